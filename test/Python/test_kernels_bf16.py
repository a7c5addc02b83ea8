# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kernels for GPUs on activations of bf16, run by the emulator against float64."""

import bf16
import nn_reference as reference
import numpy as np
import pytest
import torch
from bf16 import emulate, rounded
from virtual_weights import CRITERIA, random_factors
from virtual_weights import tensor as f32_type

import pst

pytestmark = pytest.mark.usefixtures("recorded_checks")

# One element, primes, and more than a block's part with a remainder.
SHAPES = [(1, 1), (7, 13), (36, 128), (137, 131)]


def narrow(*shape, seed=0, scale=1.0):
    return rounded(reference.random(*shape, seed=seed, scale=scale))


def matrix(*shape):
    return bf16.tensor(shape, "bf16")


def test_rounding_is_to_nearest_even():
    """Halves, denormals, infinities, and what rounds to an infinity, as torch rounds; NaN stays NaN."""
    bits = np.random.default_rng(0).integers(0, 2**32, 997, np.uint32)
    bits[:300] = bits[:300] & 0xFFFF0000 | 0x8000  # halves
    bits[300:330] = bits[300:330] & 0x807FFFFF  # denormals
    bits[330:336] = [0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x80000000, 0x7FC00000, 0xFFFFFFFF]
    x = bits.view(np.float32).reshape(1, -1)
    (y,) = emulate("", [("x", x, True)], [("x", x.shape, True)])
    np.testing.assert_array_equal(y, rounded(x))
    assert np.isnan(y).sum() == np.isnan(x).sum() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_add(shape):
    x, y = narrow(*shape), narrow(*shape, seed=1)
    type = matrix(*shape)
    (z,) = emulate(f"%z = nn.add %x, %y : {type}", [("x", x, True), ("y", y, True)], [("z", shape, True)])
    np.testing.assert_array_equal(z, rounded(x + y))


@pytest.mark.parametrize("shape", SHAPES)
def test_dropout(shape):
    x, probability = narrow(*shape), 0.3
    text = bf16.function(
        f"%y = nn.dropout %x, %seed probability {probability:e} site 5 : {matrix(*shape)}",
        [("x", x, True), ("seed", "i64")],
        [("y", shape, True)],
    )
    (y,) = reference.call(pst.compile(text, target="emulated"), x, 11)
    keep = reference.kept(11, 5, probability, shape)
    bf16.close(y, np.where(keep, x.astype(np.float64) / (1 - probability), 0.0))
    np.testing.assert_array_equal(y != 0, keep & (x != 0))


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "tanh", "relu"])
@pytest.mark.parametrize("shape", [(7, 13), (36, 128)])
def test_activation(kind, shape):
    x, dy = narrow(*shape, scale=2.0), narrow(*shape, seed=1)
    y, dx = emulate(
        f"%y = nn.activation {kind} %x : {matrix(*shape)}\n"
        f"%dx = nn.activation_backward {kind} %x, %dy : {matrix(*shape)}",
        [("x", x, True), ("dy", dy, True)],
        [("y", shape, True), ("dx", shape, True)],
    )
    (wide,) = reference.double(x)
    expected = reference.activation(kind, wide)
    bf16.close(y, expected)
    bf16.close(dx, reference.gradients(expected, [wide], dy)[0])


@pytest.mark.parametrize("shape", [(1, 3), (7, 13), (65, 131), (3, 768), (5, 1030)])
def test_layer_norm(shape):
    x, dy = narrow(*shape, scale=3.0), narrow(*shape, seed=1)
    scale, shift = reference.random(shape[1], seed=2), reference.random(shape[1], seed=3)
    type, vector = matrix(*shape), f"tensor<{shape[1]}xf32>"
    y, dx, dscale, dshift = emulate(
        f"%y = nn.layer_norm %x, %scale, %shift epsilon 1.0e-5 : {type}, {vector}\n"
        f"%dx, %dscale, %dshift = nn.layer_norm_backward %x, %scale, %dy epsilon 1.0e-5 : {type}, {vector}",
        [("x", x, True), ("dy", dy, True), ("scale", scale, False), ("shift", shift, False)],
        [("y", shape, True), ("dx", shape, True), ("dscale", scale.shape, False), ("dshift", shift.shape, False)],
    )
    inputs = reference.double(x, scale, shift)
    expected = reference.layer_norm(*inputs, 1e-5)
    gradients = reference.gradients(expected, inputs, dy)
    bf16.close(y, expected, arithmetic=1e-5)
    bf16.close(dx, gradients[0], arithmetic=2e-5)
    bf16.close(dscale, gradients[1], narrow=False, arithmetic=1e-5, size=10.0 * shape[0] ** 0.5)
    bf16.close(dshift, gradients[2], narrow=False, size=np.abs(dy).sum(0))


# With heads of 16, 32, ... columns, tensor cores multiply probabilities and their gradients as bf16: off by half an
# epsilon each, so the sums are by no more than that of the largest sum.
ROUNDED = 2.0**-8


def check_attention(batch, length, heads, width, probability, causal, key_heads=None, window=None):
    shapes = [(batch * length, count * width) for count in (heads, key_heads or heads, key_heads or heads)]
    inputs = [narrow(*shape, seed=i) for i, shape in enumerate(shapes)]
    dy = narrow(*shapes[0], seed=4)
    mask = (np.random.default_rng(5).random((batch, length)) > 0.2).astype(np.int32)
    mask[:, 0] = 1
    type = f"{matrix(*shapes[0])}, {matrix(*shapes[1])}, tensor<{batch}x{length}xi32>"
    kind = ("causal " if causal else "") + (f"window {window}" if window else "")
    drop = f"dropout %seed probability {probability:e} site 3" if probability else ""
    text = bf16.function(
        f"%y = nn.attention %q, %k, %v, %m heads {heads} {kind} {drop} : {type}\n"
        f"%dq, %dk, %dv = nn.attention_backward %q, %k, %v, %m, %dy heads {heads} {kind} {drop} : {type}",
        [(name, array, True) for name, array in zip("qkv", inputs)]
        + [("dy", dy, True), ("m", mask, False), ("seed", "i64")],
        [(name, shape, True) for name, shape in zip(("y", "dq", "dk", "dv"), shapes[:1] + shapes)],
    )
    y, *gradients = reference.call(pst.compile(text, target="emulated"), *inputs, dy, mask, 9)
    keep = reference.kept(9, 3, probability, (batch, heads, length, length)) if probability else None
    wide = reference.double(*inputs)
    expected = reference.attention(*wide, mask, heads, keep, probability, causal, window)
    bf16.close(y, expected, arithmetic=ROUNDED if width % 16 == 0 else 1e-5)
    # A gradient of keys is a sum over the heads that share them.
    least = [1.0 + (length * count) ** 0.5 for count in (1, heads // (key_heads or heads), heads // (key_heads or heads))]
    for mine, theirs, size in zip(gradients, map(np.asarray, reference.gradients(expected, wide, dy)), least):
        bf16.close(mine, theirs, arithmetic=ROUNDED if width % 16 == 0 else 1e-5, size=np.maximum(np.abs(theirs), size))


@pytest.mark.parametrize(
    "batch, length, heads, width",
    [(1, 1, 1, 1), (2, 13, 3, 7), (2, 37, 2, 16), (1, 65, 2, 32), (1, 1, 1, 64), (2, 131, 1, 64), (1, 70, 1, 80), (1, 33, 2, 128)],
)
@pytest.mark.parametrize("probability, causal", [(0.0, False), (0.2, False), (0.2, True)])
def test_attention(batch, length, heads, width, probability, causal):
    check_attention(batch, length, heads, width, probability, causal)


@pytest.mark.parametrize(
    "batch, length, heads, width, key_heads, window",
    [(2, 13, 6, 7, 2, None), (2, 37, 6, 16, 3, 5), (1, 131, 2, 64, 1, 40), (1, 70, 3, 80, 1, 1), (1, 193, 1, 32, 1, 66)],
)
@pytest.mark.parametrize("probability", [0.0, 0.2])
def test_attention_of_shared_keys_and_windows(batch, length, heads, width, key_heads, window, probability):
    check_attention(batch, length, heads, width, probability, True, key_heads, window)


@pytest.mark.parametrize("shape", [(1, 2), (5, 7), (67, 24), (70, 129)])
def test_rms_norm(shape):
    x, dy = narrow(*shape, scale=2.0), narrow(*shape, seed=1)
    scale = 1 + reference.random(shape[1], seed=2, scale=0.3)
    type, vector = matrix(*shape), f32_type(scale)
    y, dx, dscale = emulate(
        f"%y = nn.rms_norm %x, %scale epsilon 1.0e-5 : {type}, {vector}\n"
        f"%dx, %dscale = nn.rms_norm_backward %x, %scale, %dy epsilon 1.0e-5 : {type}, {vector}",
        [("x", x, True), ("dy", dy, True), ("scale", scale, False)],
        [("y", shape, True), ("dx", shape, True), ("dscale", scale.shape, False)],
    )
    inputs = reference.double(x, scale)
    expected = reference.rms_norm(*inputs, 1e-5)
    gradients = reference.gradients(expected, inputs, dy)
    bf16.close(y, expected, arithmetic=1e-5)
    bf16.close(dx, gradients[0], arithmetic=2e-5)
    bf16.close(dscale, gradients[1], narrow=False, arithmetic=1e-5, size=10.0 * shape[0] ** 0.5)


@pytest.mark.parametrize("batch, length, heads, width", [(1, 1, 1, 2), (2, 5, 3, 6), (1, 37, 2, 64), (2, 9, 1, 48)])
def test_rotary(batch, length, heads, width):
    shape = (batch * length, heads * width)
    x, table = narrow(*shape), reference.random(length, width, seed=1)
    y, d = emulate(
        f"%y = nn.rotary %x, %t : {matrix(*shape)}, {f32_type(table)}\n"
        f"%d = nn.rotary %x, %t transposed : {matrix(*shape)}, {f32_type(table)}",
        [("x", x, True), ("t", table, False)],
        [("y", shape, True), ("d", shape, True)],
    )
    wide, wide_table = reference.double(x, table)
    size = 1 + np.abs(np.asarray(wide.detach())).max() * np.abs(table).max()
    bf16.close(y, reference.rotary(wide, wide_table), size=size)
    bf16.close(d, reference.rotary(wide, wide_table, transposed=True), size=size)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (67, 24)])
def test_gated_activation(shape):
    gate, value, dy = (narrow(*shape, seed=seed) for seed in range(3))
    y, dgate, dvalue = emulate(
        f"%y = nn.gated_activation silu %g, %v : {matrix(*shape)}\n"
        f"%dg = nn.gated_activation_backward silu %g, %v, %dy : {matrix(*shape)}\n"
        f"%dv = nn.gated_activation silu %g, %dy : {matrix(*shape)}",
        [("g", gate, True), ("v", value, True), ("dy", dy, True)],
        [("y", shape, True), ("dg", shape, True), ("dv", shape, True)],
    )
    inputs = reference.double(gate, value)
    expected = reference.activation("silu", inputs[0]) * inputs[1]
    bf16.close(y, expected, arithmetic=1e-5)
    for mine, theirs in zip((dgate, dvalue), reference.gradients(expected, inputs, dy)):
        bf16.close(mine, theirs, arithmetic=1e-5, size=np.maximum(np.abs(np.asarray(theirs)), 4.0))


@pytest.mark.parametrize("batch, length, rows, columns", [(1, 1, 1, 1), (3, 5, 11, 7), (2, 33, 17, 72)])
def test_embedding(batch, length, rows, columns):
    rng = np.random.default_rng(rows)
    indices = rng.integers(0, rows, (batch, length)).astype(np.int32)
    table, positions = reference.random(rows, columns), reference.random(length + 2, columns, seed=1)
    tokens = (batch * length, columns)
    gradient = narrow(*tokens, seed=2)
    results = emulate(
        f"%e = nn.embedding %i, %t : tensor<{batch}x{length}xi32>, {f32_type(table)} -> {matrix(*tokens)}\n"
        f"%n = nn.embedding %i, %tn : tensor<{batch}x{length}xi32>, {matrix(*table.shape)} -> {matrix(*tokens)}\n"
        f"%p = nn.add_positions %e, %pos length {length} : {matrix(*tokens)}, {f32_type(positions)}\n"
        f"%de = nn.embedding_backward %i, %g : tensor<{batch}x{length}xi32>, {matrix(*tokens)} -> {f32_type(table)}\n"
        f"%dp = nn.position_sum %g length {length} : {matrix(*tokens)} -> {f32_type(positions)}",
        [("i", indices, False), ("t", table, False), ("tn", table, True), ("pos", positions, False), ("g", gradient, True)],
        [("e", tokens, True), ("n", tokens, True), ("p", tokens, True)]
        + [("de", table.shape, False), ("dp", positions.shape, False)],
    )
    looked_up = rounded(table)[indices.reshape(-1)]
    np.testing.assert_array_equal(results[0], looked_up)
    np.testing.assert_array_equal(results[1], looked_up)
    place = np.arange(batch * length) % length
    np.testing.assert_array_equal(results[2], rounded(looked_up + positions[place]))
    for found, row, count in ((results[3], indices.reshape(-1), rows), (results[4], place, length + 2)):
        sums, sizes = np.zeros((count, columns)), np.zeros((count, columns))
        np.add.at(sums, row, gradient.astype(np.float64))
        np.add.at(sizes, row, np.abs(gradient))
        bf16.close(found, sums, narrow=False, size=np.maximum(sizes, 1e-6))


@pytest.mark.parametrize("batch, length, columns", [(1, 1, 1), (3, 5, 7), (2, 9, 136)])
def test_select_token(batch, length, columns):
    x, gradient = narrow(batch * length, columns), narrow(batch, columns, seed=1)
    index = length // 2
    y, dx = emulate(
        f"%y = nn.select_token %x index {index} : {matrix(*x.shape)} -> {matrix(batch, columns)}\n"
        f"%dx = nn.select_token_backward %g index {index} : {matrix(batch, columns)} -> {matrix(*x.shape)}",
        [("x", x, True), ("g", gradient, True)],
        [("y", gradient.shape, True), ("dx", x.shape, True)],
    )
    np.testing.assert_array_equal(y, x.reshape(batch, length, columns)[:, index])
    expected = np.zeros((batch, length, columns), np.float32)
    expected[:, index] = gradient
    np.testing.assert_array_equal(dx, expected.reshape(x.shape))


@pytest.mark.parametrize("rows, columns", [(1, 1), (5, 3), (129, 37), (131, 264)])
def test_column_sum(rows, columns):
    x = narrow(rows, columns)
    (sums,) = emulate(
        f"%s = nn.column_sum %x : {matrix(rows, columns)} -> tensor<{columns}xf32>",
        [("x", x, True)],
        [("s", (columns,), False)],
    )
    bf16.close(sums, x.astype(np.float64).sum(0), narrow=False, arithmetic=1e-6, size=np.abs(x).sum(0))


def test_losses():
    """Their inputs may be bf16, and then so are the gradients; sums are not."""
    rows, classes = 7, 5
    logits, predictions = narrow(rows, classes, scale=2.0), narrow(rows, 1, seed=1)
    labels = np.array([0, 4, -100, 2, 1, 3, 3], np.int32)
    targets = reference.random(rows, seed=2)
    answers = np.random.default_rng(4).integers(0, 2, (rows, classes)).astype(np.float32)
    loss, error, many, dlogits, dpredictions, dmany = emulate(
        "%one = arith.constant 1.0 : f32\n%d = arith.constant dense<1.0> : tensor<f32>\n"
        f"%loss = nn.cross_entropy %x, %l, %one : {matrix(rows, classes)}, tensor<{rows}xi32>\n"
        f"%dx = nn.cross_entropy_backward %x, %l, %one, %d : {matrix(rows, classes)}, tensor<{rows}xi32>\n"
        f"%error = nn.squared_error %p, %t, %one : {matrix(rows, 1)}, tensor<{rows}xf32>\n"
        f"%dp = nn.squared_error_backward %p, %t, %one, %d : {matrix(rows, 1)}, tensor<{rows}xf32>\n"
        f"%many = nn.binary_cross_entropy %x, %a, %one : {matrix(rows, classes)}, tensor<{rows}x{classes}xf32>\n"
        f"%dm = nn.binary_cross_entropy_backward %x, %a, %one, %d : {matrix(rows, classes)}, tensor<{rows}x{classes}xf32>",
        [("x", logits, True), ("p", predictions, True), ("l", labels, False), ("t", targets, False), ("a", answers, False)],
        [
            ("loss", (), False), ("error", (), False), ("many", (), False),
            ("dx", logits.shape, True), ("dp", predictions.shape, True), ("dm", logits.shape, True),
        ],
    )
    wide, wide_predictions = reference.double(logits, predictions)
    expected = reference.cross_entropy(wide, labels, 1.0)
    bf16.close(loss, expected, narrow=False)
    bf16.close(dlogits, torch.autograd.grad(expected, wide)[0])
    expected = reference.binary_cross_entropy(wide, answers, 1.0)
    bf16.close(many, expected, narrow=False)
    bf16.close(dmany, torch.autograd.grad(expected, wide)[0])
    expected = reference.squared_error(wide_predictions, targets, 1.0)
    bf16.close(error, expected, narrow=False)
    bf16.close(dpredictions, torch.autograd.grad(expected, wide_predictions)[0])


PRODUCTS = [(1, 1, 1), (5, 7, 11), (67, 70, 33), (129, 65, 130)]


@pytest.mark.parametrize("m, n, k", PRODUCTS)
@pytest.mark.parametrize("transposed", ["", "transpose_lhs", "transpose_rhs"])
@pytest.mark.parametrize("elements", ["bf16 bf16 bf16", "bf16 f32 f32", "f32 bf16 bf16"])
def test_matmul(m, n, k, transposed, elements):
    left, right, result = (kind == "bf16" for kind in elements.split())
    a, b = (narrow if left else reference.random)(m, k), (narrow if right else reference.random)(k, n, seed=1)
    expected = a.astype(np.float64) @ b
    size = np.abs(a).astype(np.float64) @ np.abs(b)
    a = np.ascontiguousarray(a.T) if "lhs" in transposed else a
    b = np.ascontiguousarray(b.T) if "rhs" in transposed else b
    types = [bf16.tensor(shape, kind) for shape, kind in zip((a.shape, b.shape, (m, n)), elements.split())]
    (c,) = emulate(
        f"%c = nn.matmul %a, %b {{{transposed}}} : {types[0]}, {types[1]} -> {types[2]}",
        [("a", a, left), ("b", b, right)],
        [("c", (m, n), result)],
    )
    # A kernel may round a right operand of f32 to bf16, as tensor cores multiply nothing else.
    rounding = bf16.EPSILON if left and not right else 0.0
    bf16.close(c, expected, result, arithmetic=1e-6 + rounding, size=size)


@pytest.mark.parametrize("m, n, k", [(70, 72, 64), (128, 67, 1090)])
def test_a_right_operand_of_f32_is_rounded(m, n, k):
    """That of a product of some size, beside a left one of bf16; the sum is f32's."""
    a, b = narrow(m, k), reference.random(k, n, seed=1)
    (c,) = emulate(
        f"%c = nn.matmul %a, %b : {matrix(m, k)}, {bf16.tensor((k, n), 'f32')} -> {bf16.tensor((m, n), 'f32')}",
        [("a", a, True), ("b", b, False)],
        [("c", (m, n), False)],
    )
    size = np.abs(a).astype(np.float64) @ np.abs(b)
    bf16.close(c, a.astype(np.float64) @ bf16.rounded(b), False, arithmetic=1e-6, size=size)


# With classes whose rows are whole accesses and not.
@pytest.mark.parametrize(
    "tokens, classes, features, weight, smoothing",
    [(5, 3, 8, "bf16", 0), (70, 1031, 40, "bf16", 0), (65, 5003, 8, "bf16", 0), (70, 1031, 40, "f32", 0), (67, 2056, 25, "f32", 0),
     (65, 1031, 40, "bf16", 0.5), (67, 1031, 25, "f32", 0.1)],
)  # fmt: skip
def test_linear_cross_entropy(tokens, classes, features, weight, smoothing):
    """The loss is that of logits of bf16; their gradient is rounded once, as is a weight of f32."""
    x = narrow(tokens, features)
    w = (narrow if weight == "bf16" else reference.random)(classes, features, seed=1, scale=features**-0.5)
    labels = np.random.default_rng(3).integers(0, classes, tokens, dtype=np.int32)
    labels[0] = -100  # no example
    types = f"{matrix(tokens, features)}, {bf16.tensor(w.shape, weight)}, tensor<{tokens}xi32>"
    results = [("loss", (), False), ("dx", x.shape, True)]
    names, kind = "%dx", ""
    if weight == "f32":
        results.append(("dw", w.shape, False))
        names, kind = "%dx, %dw", f" weight {bf16.tensor(w.shape, weight)}"
    smoothed = "smoothing %s" if smoothing else ""
    loss, dx, *dw = emulate(
        "%scale = arith.constant 1.0 : f32\n%g = arith.constant dense<-1.7> : tensor<f32>\n"
        f"%s = arith.constant {float(smoothing)} : f32\n"
        f"%loss = nn.linear_cross_entropy %x, %w, %l, %scale {smoothed} : {types}\n"
        f"{names} = nn.linear_cross_entropy_backward %x, %w, %l, %scale, %g {smoothed} : {types}{kind}",
        [("x", x, True), ("w", w, weight == "bf16"), ("l", labels, False)],
        results,
    )
    multiplied = bf16.rounded(w).astype(np.float64)
    (logits,) = reference.double(bf16.rounded(x.astype(np.float64) @ multiplied.T))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(labels, dtype=torch.long), reduction="sum", label_smoothing=smoothing)
    # A sum in f32 may be rounded to the other neighbour in bf16: of the labels' logits, here a few.
    bf16.close(loss, expected, narrow=False, arithmetic=1e-5, size=10.0 * tokens)
    gradient = -1.7 * torch.autograd.grad(expected, logits)[0].numpy()
    rounding = 3e-6 + bf16.EPSILON
    bf16.close(dx, gradient @ multiplied, True, arithmetic=rounding, size=np.abs(gradient) @ np.abs(multiplied))
    assert (dx[0] == 0).all()
    if dw:
        bf16.close(dw[0], gradient.T @ x, False, arithmetic=rounding, size=np.abs(gradient).T @ np.abs(x))


@pytest.mark.parametrize("tokens, n, m", [(1, 1, 1), (5, 7, 11), (70, 67, 33)])
@pytest.mark.parametrize("result", ["bf16", "f32"])
@pytest.mark.parametrize("weight", ["bf16", "f32"])
def test_linear(tokens, n, m, weight, result):
    x, bias = narrow(tokens, m), reference.random(n, seed=2)
    w = (narrow if weight == "bf16" else reference.random)(n, m, seed=1)
    (y,) = emulate(
        f"%y = nn.linear %x, %w bias(%b : tensor<{n}xf32>) : "
        f"{matrix(tokens, m)}, {bf16.tensor((n, m), weight)} -> {bf16.tensor((tokens, n), result)}",
        [("x", x, True), ("w", w, weight == "bf16"), ("b", bias, False)],
        [("y", (tokens, n), result == "bf16")],
    )
    # A kernel may round a weight of f32 to bf16, as tensor cores multiply nothing else.
    weight_error = 0.0 if weight == "bf16" else bf16.EPSILON
    size = np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias)
    bf16.close(y, x.astype(np.float64) @ w.T + bias, result == "bf16", arithmetic=1e-6 + weight_error, size=size)


def weight_case(name, rows, columns, rank=5, frozen=False):
    """Criterion, factors as arguments, and the pieces of an op on them; the
    first factor in bf16 if `frozen`."""
    criterion = CRITERIA[name]
    factors = random_factors(criterion, rows, columns, rank, np.random.default_rng(rows))
    if frozen:
        factors[0] = rounded(factors[0])
    arguments = [(f"f{i}", factor, frozen and i == 0) for i, factor in enumerate(factors)]
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    types = ", ".join(matrix(*f.shape) if frozen and i == 0 else f32_type(f) for i, f in enumerate(factors))
    return criterion.text("c"), factors, arguments, names, types


WEIGHTS = [(1, 1), (5, 7), (37, 53), (36, 64), (131, 72), (64, 200)]


@pytest.mark.parametrize("rows, columns", WEIGHTS)
@pytest.mark.parametrize("frozen", [False, True])
def test_masked_weight_is_the_f32_one_rounded(rows, columns, frozen):
    criterion, factors, arguments, names, types = weight_case("pst", rows, columns, frozen=frozen)
    body = f"""%half = arith.constant 0.5 : f64
      %tau, %cut, %pruned = pst.topk_threshold @c({names}), %half : ({types})
      %w = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {bf16.tensor((rows, columns), "f32")}
      %n = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {matrix(rows, columns)}"""
    text = criterion + bf16.function(body, arguments, [("w", (rows, columns), False), ("n", (rows, columns), True)])
    wide, rounded_weight = reference.call(pst.compile(text, target="emulated"), *factors)
    assert (wide != 0).sum() == rows * columns - rows * columns // 2
    np.testing.assert_array_equal(rounded_weight, rounded(wide))


@pytest.mark.parametrize("tokens, rows, columns", [(1, 1, 1), (5, 7, 11), (33, 37, 53), (70, 64, 72)])
@pytest.mark.parametrize("transposed", [False, True])
def test_masked_matmul(tokens, rows, columns, transposed):
    """Against the product of the masked weight, rounded as the kernel rounds it."""
    criterion, factors, arguments, names, types = weight_case("pst", rows, columns, frozen=True)
    x = narrow(tokens, rows if transposed else columns)
    n = columns if transposed else rows
    addend, bias = narrow(tokens, n, seed=3), reference.random(n, seed=4)
    operands = "transposed threshold(%tau, %cut)" if transposed else "threshold(%tau, %cut) bias(%b)"
    bias_type = "" if transposed else f"bias tensor<{n}xf32> "
    body = f"""%half = arith.constant 0.5 : f64
      %tau, %cut, %pruned = pst.topk_threshold @c({names}), %half : ({types})
      %w = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {matrix(rows, columns)}
      %y = pst.masked_matmul %x, @c({names}) {operands} addend(%a) activation gelu :
        {matrix(*x.shape)}, ({types}) {bias_type}addend {matrix(tokens, n)} -> {matrix(tokens, n)}"""
    arguments = [*arguments, ("x", x, True), ("a", addend, True), ("b", bias, False)]
    text = criterion + bf16.function(body, arguments, [("w", (rows, columns), True), ("y", (tokens, n), True)])
    w, y = reference.call(pst.compile(text, target="emulated"), *factors, x, addend, bias)
    op = w if transposed else w.T
    product = x.astype(np.float64) @ op + addend + (0 if transposed else bias)
    size = np.abs(x).astype(np.float64) @ np.abs(op) + np.abs(addend) + np.abs(bias)
    bf16.close(y, reference.activation("gelu", torch.from_numpy(product)), arithmetic=2e-6, size=size + 1)


@pytest.mark.parametrize(
    "tokens, rows, columns", [(1, 1, 1), (5, 7, 11), (33, 37, 53), (70, 65, 130), (33, 40, 56), (70, 136, 72), (131, 264, 200)]
)
def test_lowrank_accumulate_is_that_of_f32(tokens, rows, columns):
    """Products of bf16 numbers are exact in f32, so gradients differ by the order of additions only."""
    criterion, factors, arguments, names, types = weight_case("pst", rows, columns)
    dy, x = narrow(tokens, rows, seed=5), narrow(tokens, columns, seed=6)
    results = ", ".join(f32_type(f) for f in factors[1:])
    wrt = list(range(1, len(factors)))

    def accumulate(narrow_activations):
        element = "bf16" if narrow_activations else "f32"
        types_of = f"{bf16.tensor(dy.shape, element)}, {bf16.tensor(x.shape, element)}"
        body = f"""%half = arith.constant 0.5 : f64
          %tau, %cut, %pruned = pst.topk_threshold @c({names}), %half : ({types})
          {", ".join(f"%g{i}" for i in wrt)} = pst.lowrank_accumulate %dy, %x, @c({names}) threshold(%tau, %cut) wrt {wrt} :
            {types_of}, ({types}) -> {results}"""
        text = criterion + bf16.function(
            body,
            [*arguments, ("dy", dy, narrow_activations), ("x", x, narrow_activations)],
            [(f"g{i}", factors[i].shape, False) for i in wrt],
        )
        return reference.call(pst.compile(text, target="emulated"), *factors, dy, x)

    for found, expected in zip(accumulate(True), accumulate(False)):
        bf16.close(found, expected, narrow=False, arithmetic=2e-6, size=np.abs(expected).max() + tokens**0.5 * rows)


@pytest.mark.parametrize(
    "op, type",
    [("nn.activation gelu %x", "tensor<2x3xbf16>"), ("nn.add %x, %x", "tensor<2x3xbf16>")],
)
def test_a_cpu_refuses(op, type):
    text = f"func.func @main(%x: {type}) -> {type} {{\n  %y = {op} : {type}\n  return %y : {type}\n}}"
    with pytest.raises(pst.CompileError, match="kernels for CPUs compute in f32; bf16 .* 'cuda' and 'emulated'"):
        pst.compile(text)
