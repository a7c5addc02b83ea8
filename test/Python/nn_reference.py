# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The nn ops as formulas in float64, and what tests of their kernels share.

Tensors are torch tensors of float64, so that gradients come from autograd and
not from the formulas that the kernels use. Shapes are those of the ops:
activations are tokens x columns, token t belongs to sequence t // length.
"""

import pathlib

import numpy as np
import torch

import pst


def cpus():
    """This machine as it is, and, where it has wider vectors, as one with AVX2 alone."""
    flags = pathlib.Path("/proc/cpuinfo")
    wide = flags.exists() and " avx512f" in flags.read_text()
    return ["", "x86-64-v3"] if wide else [""]


def random(*shape, seed=0, scale=1.0):
    """Normal values, f32."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def run(text, *arguments):
    """Compiles MLIR text and calls it; see `call`."""
    return call(pst.compile(text), *arguments)


def call(function, *arguments):
    """Runs on one thread and on two, wants the same bits, and returns a list of results."""
    runs = []
    for count in (1, 2):
        pst._pst.set_num_threads(count)
        results = function(*arguments)
        runs.append(list(results) if isinstance(results, tuple) else [results])
    for one, two in zip(*runs):
        assert one.tobytes() == two.tobytes()
    return runs[1]


def close(actual, expected, rounding=2e-6, size=None):
    """|actual - expected| <= rounding * size, element by element.

    `size` is the magnitude of what was added up (default: of the expected
    value, and at least 1, the size of the tests' inputs); `rounding` is some
    f32 epsilons (6e-8), for a sum of n terms errs by a few, not by n.
    """
    expected = expected.detach().numpy() if torch.is_tensor(expected) else np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    bound = allowed(expected, rounding, size)
    error = np.abs(actual - expected)
    worst = np.unravel_index(np.argmax(error / np.maximum(bound, 1e-36)), actual.shape)
    assert (error <= bound).all(), f"{actual[worst]} instead of {expected[worst]} at {worst}"


def allowed(expected, rounding=2e-6, size=None):
    """The bound of `close`."""
    return rounding * (np.maximum(np.abs(expected), 1.0) if size is None else np.asarray(size, np.float64))


def double(*arrays):
    """The arrays as float64 tensors whose gradients are wanted."""
    return [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]


def gradients(result, inputs, output_gradient):
    """Gradients of sum(result * output_gradient), by autograd."""
    weights = torch.tensor(np.asarray(output_gradient), dtype=torch.float64)
    return torch.autograd.grad(result, inputs, weights)


def finite_difference(function, inputs, which, direction, output_gradient, step=1e-2):
    """The derivative of sum(function(*inputs) * output_gradient) as inputs[which] moves along `direction`.

    By a central difference of fourth order through the compiled f32 function:
    its error is about step^4 plus (f32 rounding of the sum) / step.
    """

    def value(distance):
        moved = list(inputs)
        moved[which] = (inputs[which] + np.float32(distance) * direction).astype(np.float32)
        return float((function(*moved).astype(np.float64) * output_gradient).sum())

    return (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)


# Dropout: the hash of lib/Codegen/Kernel/Dropout.h, written a second time.


def _mix64(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def _mix32(x):
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return x ^ x >> np.uint32(16)


def kept(seed, site, probability, shape, length=None):
    """Which elements a dropout keeps: of rows x columns, which are sequences of `length` positions (one, without it), or of
    attention's sequences x heads x queries x keys."""
    key = _mix64((_mix64(seed % 2**64) + (site + 1) * 0x9E3779B97F4A7C15) % 2**64)
    if len(shape) == 4:
        sequence = np.arange(shape[0] * shape[1]).reshape(shape[0], shape[1], 1, 1)
        index = np.arange(shape[2])[:, None] * 65536 + np.arange(shape[3])
    else:
        position = np.arange(shape[0])[:, None]
        sequence = position // (length or shape[0])
        index = position % (length or shape[0]) * shape[1] + np.arange(shape[1])
    value = _mix32(index.astype(np.uint32) ^ np.uint32(key % 2**32))
    value = _mix32(value ^ (np.uint32(key >> 32) + np.uint32(0x9E3779B9) * sequence.astype(np.uint32)))
    return value >= np.uint32(int(probability * 2**32))


# The ops.


def activation(kind, x):
    if kind == "gelu":  # erfc keeps its digits where 1 + erf has none left.
        return x / 2 * torch.special.erfc(-x / 2**0.5)
    if kind == "gelu_tanh":
        return x * torch.sigmoid(2 * (2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))
    return {"tanh": torch.tanh, "relu": torch.relu, "silu": lambda x: x / (1 + torch.exp(-x))}[kind](x)


def layer_norm(x, scale, shift, epsilon):
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + epsilon).sqrt() * scale + shift


def rms_norm(x, scale, epsilon):
    return x / (x.square().mean(1, keepdim=True) + epsilon).sqrt() * scale


def rotary_table(frequencies, length, scale):
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1) * scale


def rotary(x, table, transposed=False):
    """As complex numbers: a pair of columns times e^(i angle)."""
    half = table.shape[1] // 2
    turn = torch.complex(table[:, :half], table[:, half:])
    turn = (turn.conj() if transposed else turn).repeat(x.shape[0] // len(table), 1)[:, None]
    pairs = x.reshape(x.shape[0], -1, 2, half)
    turned = torch.complex(pairs[:, :, 0], pairs[:, :, 1]) * turn
    return torch.stack([turned.real, turned.imag], 2).reshape(x.shape)


def attention(query, key, value, mask, heads, keep=None, probability=0.0, causal=False, window=None):
    """`keep` is batch x heads x length x length, of bool, for a dropout. Keys
    may have fewer heads; with a window, a query sees so many tokens up to its own."""
    batch, length = mask.shape
    width = query.shape[1] // heads

    def split(matrix):
        parts = matrix.reshape(batch, length, -1, width).transpose(1, 2)
        return parts.repeat_interleave(heads // parts.shape[1], 1)

    scores = split(query) @ split(key).transpose(2, 3) / width**0.5
    padding = torch.tensor(mask == 0)[:, None, None, :]
    later = torch.ones(length, length).triu(1).bool() if causal else torch.zeros(length, length).bool()
    if window:
        later |= torch.ones(length, length).tril(-window).bool()
    # Adding f32's lowest value rounds a score away: rows of padding alone are
    # uniform, but their gradient is that of a softmax.
    probabilities = torch.softmax(scores.masked_fill(padding | later, -torch.inf), 3)
    uniform = torch.softmax((scores - scores.detach()).masked_fill(later, -torch.inf), 3)
    probabilities = torch.where((padding | later).all(3, keepdim=True), uniform, probabilities)
    if keep is not None:
        probabilities = probabilities * torch.tensor(keep) / (1 - probability)
    return (probabilities @ split(value)).transpose(1, 2).reshape(query.shape)


def embedding(indices, table):
    return table[torch.tensor(indices.reshape(-1).astype(np.int64)).clamp(0, table.shape[0] - 1)]


def add_positions(x, table, length):
    return x + table[torch.arange(x.shape[0]) % length]


def select_token(x, sequences, index):
    return x.reshape(sequences, -1, x.shape[1])[:, index]


def cross_entropy(logits, labels, scale):
    rows = [(b, int(label)) for b, label in enumerate(labels) if 0 <= label < logits.shape[1]]
    losses = [torch.logsumexp(logits[b], 0) - logits[b, label] for b, label in rows]
    return scale * (sum(losses) + 0.0 * logits.sum())


def squared_error(predictions, labels, scale):
    examples = torch.tensor(~np.isnan(labels))
    errors = predictions[:, 0] - torch.tensor(np.nan_to_num(labels), dtype=torch.float64)
    return scale * torch.where(examples, errors, 0.0).square().sum()


def binary_cross_entropy(logits, labels, scale, weights=None):
    """PyTorch's loss, of the labels that are no NaN; the mean is over all columns."""
    known = torch.tensor(~np.isnan(labels))
    targets = torch.tensor(np.nan_to_num(labels), dtype=torch.float64)
    weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weights)
    return scale * torch.where(known, losses, 0.0).mean(1).sum()


def distillation_loss(logits, teacher, scale, temperature, binary=False):
    """PyTorch's divergences of the rows that have a teacher, times the temperature's square; of `binary` of each column's yes and no, their mean."""
    known = torch.tensor(~np.isnan(teacher[:, 0]))
    student, targets = logits[known] / temperature, torch.tensor(teacher, dtype=torch.float64)[known] / temperature
    if binary:
        student, targets = (torch.stack((torch.nn.functional.logsigmoid(x), torch.nn.functional.logsigmoid(-x)), -1) for x in (student, targets))
    else:
        student, targets = torch.log_softmax(student, -1), torch.log_softmax(targets, -1)
    divergence = torch.nn.functional.kl_div(student, targets, reduction="none", log_target=True).sum()
    return scale * temperature**2 * divergence / (logits.shape[1] if binary else 1)


class AdamW:
    """pst.adamw, one step at a time, in float64; a rate is a number, or one for each element."""

    def __init__(self, parameter, decayed):
        self.parameter = parameter.astype(np.float64)
        self.decayed = decayed
        self.moment1 = np.zeros_like(self.parameter)
        self.moment2 = np.zeros_like(self.parameter)

    def step(self, gradient, rate, beta1, beta2, epsilon, decay, correction1, correction2, most):
        """Returns the norm of the gradient before it is clipped."""
        gradient = gradient.astype(np.float64)
        norm = np.sqrt((gradient**2).sum())
        if most != 0:
            gradient = gradient * min(1.0, most / (norm + 1e-6))
        rate = np.broadcast_to(rate, self.parameter.shape)
        self.parameter[: self.decayed] *= 1 - rate[: self.decayed] * decay
        self.moment1 = beta1 * self.moment1 + (1 - beta1) * gradient
        self.moment2 = beta2 * self.moment2 + (1 - beta2) * gradient**2
        root = np.sqrt(self.moment2 / correction2)
        self.parameter -= rate * (self.moment1 / correction1) / (root + epsilon)
        return norm
