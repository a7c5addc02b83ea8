# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.attention and its backward."""

import numpy as np
import nn_reference as reference
import pytest
import torch

SEED, SITE = 2**40 + 17, 5
# batch, length, heads, width of a head: one token, widths below a vector,
# lengths below and above a block of queries (32, or 16 from 257 on), primes.
SHAPES = [
    (2, 1, 1, 1),
    (3, 5, 2, 3),
    (2, 32, 12, 32),
    (2, 37, 3, 17),
    (1, 64, 2, 8),
    (2, 128, 2, 64),
    (1, 70, 1, 128),
    (1, 257, 2, 5),
    (1, 512, 1, 64),
]


def program(batch, length, heads, width, probability, causal=False, key_heads=None, window=None, element="f32"):
    x, m = f"tensor<{batch * length}x{heads * width}x{element}>", f"tensor<{batch}x{length}xi32>"
    k = f"tensor<{batch * length}x{(key_heads or heads) * width}x{element}>"
    options = "causal " if causal else ""
    options += f"window {window} " if window else ""
    options += "" if probability is None else f"dropout %seed probability {probability:e} site {SITE}"
    return f"""
    func.func @forward(%q: {x}, %k: {k}, %v: {k}, %mask: {m}, %seed: i64) -> {x} {{
      %y = nn.attention %q, %k, %v, %mask heads {heads} {options} : {x}, {k}, {m}
      return %y : {x}
    }}
    func.func @backward(%q: {x}, %k: {k}, %v: {k}, %mask: {m}, %g: {x}, %seed: i64) -> ({x}, {k}, {k}) {{
      %dq, %dk, %dv = nn.attention_backward %q, %k, %v, %mask, %g heads {heads} {options} : {x}, {k}, {m}
      return %dq, %dk, %dv : {x}, {k}, {k}
    }}"""


def arguments(batch, length, heads, width, key_heads=None):
    """Query, key, value, a mask with holes (the last sequence has no token at all), a gradient."""
    columns = [count * width for count in (heads, key_heads or heads, key_heads or heads, heads)]
    *matrices, g = (reference.random(batch * length, size, seed=seed) for seed, size in enumerate(columns))
    mask = (np.random.default_rng(9).random((batch, length)) < 0.7).astype(np.int32)
    mask[0, 0] = 1
    if batch > 1:
        mask[-1] = 0
    return *matrices, mask, g


def check(sizes, probability, causal, key_heads, window, **options):
    """Result and gradients against float64."""
    batch, length, heads, width = sizes
    q, k, v, mask, g = arguments(*sizes, key_heads)
    keep = None
    if probability is not None:
        keep = reference.kept(SEED, SITE, probability, (batch, heads, length, length))
    inputs = reference.double(q, k, v)
    exact = reference.attention(*inputs, mask, heads, keep, probability or 0.0, causal, window)
    compiled = reference.pst.compile(program(*sizes, probability, causal, key_heads, window), **options)
    (y,) = reference.call(compiled.function("forward"), q, k, v, mask, SEED)
    reference.close(y, exact, 2e-6)
    results = reference.call(compiled.function("backward"), q, k, v, mask, g, SEED)
    # A gradient is a difference of products of size sqrt(width); of a key a sum over the queries that share it.
    size = max(4.0, width**0.5) * (heads / key_heads)
    for actual, expected in zip(results, reference.gradients(exact, inputs, g)):
        reference.close(actual, expected, 2e-6, size=np.full(actual.shape, size))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("probability", [None, 0.1])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("cpu", reference.cpus())
def test_attention_and_backward(shape, probability, causal, cpu):
    check(shape, probability, causal, shape[2], None, cpu=cpu)


# batch, length, heads, width, heads of keys, window: groups of 3 and of all,
# windows of one token, within a block, across blocks, and longer than all.
GROUPS = [
    (2, 5, 6, 2, 2, None),
    (2, 37, 6, 17, 2, 5),
    (1, 70, 4, 8, 1, 33),
    (2, 33, 2, 3, 2, 1),
    (1, 257, 3, 5, 1, 40),
    (1, 64, 2, 16, 1, 100),
]


@pytest.mark.parametrize("shape", GROUPS)
@pytest.mark.parametrize("probability", [None, 0.1])
@pytest.mark.parametrize("cpu", reference.cpus())
def test_shared_keys_and_windows(shape, probability, cpu):
    *sizes, key_heads, window = shape
    check(sizes, probability, True, key_heads, window, cpu=cpu)


# Keys in several tiles, the last of one key, and of a part; windows within a
# tile and across.
LONG = [
    ((1, 1025, 1, 5), None, False, 1, None),
    ((1, 1100, 2, 8), 0.1, False, 2, None),
    ((2, 1037, 2, 3), 0.1, True, 1, None),
    ((1, 2100, 1, 17), None, True, 1, 100),
    ((1, 2100, 1, 64), 0.1, True, 1, 1500),
]


@pytest.mark.parametrize(("sizes", "probability", "causal", "key_heads", "window"), LONG)
def test_long_sequences(sizes, probability, causal, key_heads, window):
    check(sizes, probability, causal, key_heads, window)


def test_padding_has_no_say():
    """Keys and values of padding do not reach the result, not even as one bit; nor do the gradients reach them."""
    shape = (2, 37, 3, 17)
    q, k, v, mask, g = arguments(*shape)
    mask[-1, 3:5] = 1
    compiled = reference.pst.compile(program(*shape, None))
    y = compiled.function("forward")(q, k, v, mask, SEED)
    padding = mask.reshape(-1) == 0
    k[padding] *= -3
    v[padding] += 100
    np.testing.assert_array_equal(compiled.function("forward")(q, k, v, mask, SEED), y)
    _, dk, dv = compiled.function("backward")(q, k, v, mask, g, SEED)
    assert (dk[padding] == 0).all() and (dv[padding] == 0).all()
    assert (dk[~padding] != 0).all() and (dv[~padding] != 0).all()


@pytest.mark.parametrize("shape", [(2, 37, 3, 17), (1, 70, 2, 8)])
def test_later_tokens_have_no_say(shape):
    """Under `causal` a token's result, and the gradients of earlier ones, do not depend on later tokens: no bit does."""
    batch, length, heads, width = shape
    q, k, v, mask, g = (a.reshape(batch, length, -1) for a in arguments(*shape))
    mask[:] = 1
    compiled = reference.pst.compile(program(*shape, None, causal=True))

    def run():
        flat = [a.reshape(batch * length, -1) for a in (q, k, v)]
        y = compiled.function("forward")(*flat, mask.reshape(batch, length), SEED)
        gradients = compiled.function("backward")(
            *flat, mask.reshape(batch, length), g.reshape(batch * length, -1), SEED
        )
        return [a.reshape(batch, length, -1) for a in (y, *gradients)]

    cut = length // 2
    g[:, cut:] = 0  # so that what comes later has no gradient to give back
    before = run()
    for array in (q, k, v):
        array[:, cut:] = -3 * array[:, cut:] + 1
    for which, (one, other) in enumerate(zip(before, run())):
        np.testing.assert_array_equal(one[:, :cut], other[:, :cut])
        # The first query sees one key, however it scores.
        assert (one[:, which == 1 : cut] != 0).all()
    assert all((a[:, cut:] == 0).all() for a in before[1:])


def test_large_scores():
    """Scores of some thousands: the softmax picks one key and nothing overflows."""
    shape = (1, 19, 1, 8)
    q, k, v, mask, g = arguments(*shape)
    mask[:] = 1
    q, k = q * 60, k * 60
    compiled = reference.pst.compile(program(*shape, None))
    y = compiled.function("forward")(q, k, v, mask, SEED)
    exact = reference.attention(*(torch.tensor(a, dtype=torch.float64) for a in (q, k, v)), mask, 1)
    # A score of 10^4 is rounded by 10^-3, which is the relative error of e^score.
    reference.close(y, exact, 4e-3)
    for gradient in compiled.function("backward")(q, k, v, mask, g, SEED):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_backward_against_finite_differences(which):
    shape = (2, 11, 2, 5)
    q, k, v, mask, g = arguments(*shape)
    mask[-1, :4] = 1
    compiled = reference.pst.compile(program(*shape, 0.2))

    def forward(*matrices):
        return compiled.function("forward")(*matrices, mask, SEED)

    gradient = compiled.function("backward")(q, k, v, mask, g, SEED)[which]
    direction = reference.random(*gradient.shape, seed=7)
    expected = reference.finite_difference(forward, [q, k, v], which, direction, g, step=2e-2)
    assert (gradient * direction).sum() == pytest.approx(expected, rel=5e-4)
