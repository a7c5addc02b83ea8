# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The arithmetic of criteria: values and derivatives, on every target and for every number of lanes."""

import numpy as np
import pytest
import torch
from random_criteria import RandomCriterion
from virtual_weights import elements, random_factors, tensor

import pst

INF, NAN = np.inf, np.nan


def weight_of(expression, values, **options):
    """A criterion's weight for each of `values`, a vector: expression is its region, from %w to %v."""
    values = np.asarray(values, np.float32)
    function = pst.compile(
        f"""pst.criterion @c(%w: dense) {{
{expression}
  pst.yield weight %v
}}
func.func @weight(%w: tensor<1x{values.size}xf32>) -> tensor<1x{values.size}xf32> {{
  %m = pst.masked_weight @c(%w) : (tensor<1x{values.size}xf32>) -> tensor<1x{values.size}xf32>
  return %m : tensor<1x{values.size}xf32>
}}""",
        **options,
    )
    return function(values[None, :])[0]


def same_everywhere(expression, values):
    """The weight; its bits are those of a single lane, and of the emulated GPU."""
    results = [weight_of(expression, values, **options) for options in ({}, {"vector_width": 1}, {"target": "emulated"})]
    for result in results[1:]:
        np.testing.assert_array_equal(result.view(np.uint32), results[0].view(np.uint32))
    return results[0]


def ulps(actual, expected):
    """Errors in units of the last place of the float32 that is expected."""
    return np.abs(actual.astype(np.float64) - expected) / np.spacing(np.abs(expected).astype(np.float32))


def test_exponential():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-87.3, 88.7, 3001), rng.standard_normal(1009) * 1e-3, [0.0, -0.0, 1e-30]]).astype(np.float32)
    y = same_everywhere("  %v = math.exp %w : f32", x)
    assert ulps(y, np.exp(x.astype(np.float64))).max() <= 2
    ends = same_everywhere("  %v = math.exp %w : f32", [88.73, INF, 3e38, -87.34, -1e5, -INF, NAN])
    np.testing.assert_array_equal(ends, np.float32([INF, INF, INF, 0, 0, 0, NAN]))


def test_logarithm():
    rng = np.random.default_rng(2)
    x = np.concatenate([np.exp(rng.uniform(-87, 88, 3001)), rng.uniform(0.5, 2, 1009), [1.0, 1e-40, 1.4e-45]]).astype(np.float32)
    y = same_everywhere("  %v = math.log %w : f32", x)
    expected = np.log(x.astype(np.float64))
    away = np.abs(expected) > 1e-3
    assert ulps(y, expected)[away].max() <= 2
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-7 * max(1, np.abs(expected).max()))
    ends = same_everywhere("  %v = math.log %w : f32", [INF, 0.0, -0.0, -1.0, -INF, NAN, 1.0])
    np.testing.assert_array_equal(ends, np.float32([INF, NAN, NAN, NAN, NAN, NAN, 0]))


def test_root_quotient_and_extremes_round_as_numpy_does():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.standard_normal(1009) * 10.0 ** rng.integers(-30, 30, 1009), [0.0, -0.0, INF, -INF, NAN]]).astype(np.float32)
    with np.errstate(all="ignore"):
        root = same_everywhere("  %v = math.sqrt %w : f32", x)
        np.testing.assert_array_equal(root, np.sqrt(x))
        quotient = same_everywhere("  %c = arith.constant 3.0 : f32\n  %v = arith.divf %c, %w : f32", x)
        np.testing.assert_array_equal(quotient, np.float32(3) / x)
    for op, expected in (("maximumf", np.maximum), ("minimumf", np.minimum)):
        y = same_everywhere(f"  %c = arith.constant 0.25 : f32\n  %v = arith.{op} %w, %c : f32", x)
        np.testing.assert_array_equal(y, expected(x, np.float32(0.25)))
        # The zeros have an order, though they are equal.
        y = same_everywhere(f"  %n = arith.negf %w : f32\n  %v = arith.{op} %w, %n : f32", [0.0, -0.0])
        assert list(np.signbit(y)) == [op == "minimumf"] * 2


# n, m, tokens, rank; seeds of the expressions.
SHAPES = [(1, 1, 1, 1), (23, 29, 7, 3), (67, 131, 33, 5)]


def layer_text(criterion, factors, tokens):
    """(x, dy, factors..., tau, cut) -> masked weight, gradients of all factors; and @select."""
    rows, columns = factors[0].shape
    types = ", ".join(map(tensor, factors))
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    x, y, w = (f"tensor<{shape}xf32>" for shape in (f"{tokens}x{columns}", f"{tokens}x{rows}", f"{rows}x{columns}"))
    results = ", ".join(f"%g#{i}" for i in range(len(factors)))
    return f"""{criterion.text()}
func.func @select({arguments}, %sparsity: f64) -> (tensor<f32>, tensor<i64>) {{
  %tau, %cut, %pruned = pst.topk_threshold @c({names}), %sparsity : ({types})
  return %tau, %cut : tensor<f32>, tensor<i64>
}}
func.func @layer(%x: {x}, %dy: {y}, {arguments}, %tau: tensor<f32>, %cut: tensor<i64>) -> ({w}, {types}) {{
  %w = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {w}
  %g:{len(factors)} = pst.lowrank_accumulate %dy, %x, @c({names}) threshold(%tau, %cut) wrt {list(range(len(factors)))} : {y}, {x}, ({types}) -> {types}
  return %w, {results} : {w}, {types}
}}"""


def reference(criterion, factors, x, dy, mask):
    """The masked weight and the gradients of the factor tensors, by float64 autograd and the straight-through estimator."""
    tensors = [torch.tensor(factor, dtype=torch.float64, requires_grad=True) for factor in factors]
    values, remaining = [], iter(tensors)
    shape = factors[0].shape
    for kind in criterion.kinds:
        first = next(remaining)
        values.append(
            first @ next(remaining) if kind == "l"
            else first[:, None].expand(shape) if kind == "r"
            else first.expand(shape)
        )  # fmt: skip
    weight, score = criterion.weight(*values), criterion.score(*values)
    g = torch.tensor(dy.astype(np.float64).T @ x.astype(np.float64))
    mask = torch.tensor(mask)
    (torch.sum(weight * (g * mask)) + torch.sum(score * (g * weight.detach()))).backward()
    gradients = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]
    return (weight * mask).detach().numpy(), gradients


def gap(scores):
    """A threshold far from every score, of those in the middle."""
    ordered = np.sort(scores, axis=None)
    if ordered.size < 3:
        return np.float32(ordered[0] - 1)
    low, high = ordered.size // 4, max(ordered.size // 4 + 2, 3 * ordered.size // 4)
    at = low + int(np.argmax(np.diff(ordered[low:high])))
    return np.float32((ordered[at] + ordered[at + 1]) / 2)


@pytest.mark.parametrize("seed", range(24))
def test_random_criteria(seed):
    rng = np.random.default_rng(seed)
    rows, columns, tokens, rank = SHAPES[seed % 3]
    criterion = RandomCriterion(seed)
    factors = random_factors(criterion, rows, columns, rank, rng)
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    wide = [torch.tensor(value) for value in elements(criterion, factors)]
    scores = criterion.score(*wide).expand(rows, columns).numpy()
    tau, cut = gap(scores), np.int64(0)
    weight, gradients = reference(criterion, factors, x, dy, scores > tau)
    text = layer_text(criterion, factors, tokens)
    programs = [pst.compile(text, **options) for options in ({}, {"vector_width": 1}, {"target": "emulated"})]
    outputs = [p.function("layer")(x, dy, *factors, np.array(tau), np.array(cut)) for p in programs]
    selected = [p.function("select")(*factors, 0.6) for p in programs]
    for output, selection in zip(outputs, selected):
        # Scores, and so masks and merged weights, have the same bits everywhere.
        assert output[0].tobytes() == outputs[0][0].tobytes()
        assert [np.asarray(s).tobytes() for s in selection] == [np.asarray(s).tobytes() for s in selected[0]]
        scale = max(np.abs(weight).max(), 1e-30)
        np.testing.assert_allclose(output[0] / scale, weight / scale, rtol=0, atol=2e-5)
        for i, (actual, expected) in enumerate(zip(output[1:], gradients)):
            scale = max(np.abs(expected).max(), 1e-30)
            np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=2e-4, err_msg=f"factor tensor {i}")
    kept = rows * columns - int(rows * columns * 0.6)
    threshold, limit = (float(np.asarray(s)) for s in selected[0])
    near = np.abs(scores - threshold) <= 1e-4 * max(1.0, np.abs(scores).max())
    assert (scores > threshold)[~near].sum() <= kept <= ((scores > threshold) | near).sum(), limit


def derivative(expression, values):
    """The score's derivative with respect to the weight of a layer of one row, with G = 1."""
    values = np.asarray(values, np.float32)
    n = values.size
    program = pst.compile(f"""pst.criterion @c(%w: dense) {{
{expression}
  %one = arith.constant 1.0 : f32
  pst.yield weight %one score %v
}}
func.func @g(%x: tensor<1x{n}xf32>, %dy: tensor<1x1xf32>, %w: tensor<1x{n}xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<1x{n}xf32> {{
  %g = pst.lowrank_accumulate %dy, %x, @c(%w) threshold(%tau, %cut) wrt [0] : tensor<1x1xf32>, tensor<1x{n}xf32>, (tensor<1x{n}xf32>) -> tensor<1x{n}xf32>
  return %g : tensor<1x{n}xf32>
}}""")
    one = np.ones((1, 1), np.float32)
    return program(np.ones((1, n), np.float32), one, values[None, :], np.array(-INF, np.float32), np.array(0, np.int64))[0]


def test_kinks():
    """Where a function has no derivative, it is what the documentation of pst.criterion says."""
    zero = "  %zero = arith.constant 0.0 : f32\n"
    assert list(derivative("  %v = math.absf %w : f32", [0.0, -0.0, 2.0, -2.0])) == [0, 0, 1, -1]
    assert list(derivative("  %v = math.sqrt %w : f32", [0.0, 4.0])) == [0, 0.25]
    assert list(derivative(zero + "  %v = arith.maximumf %w, %zero : f32", [0.0, -0.0, 2.0, -2.0])) == [0.5, 0.5, 1, 0]
    assert list(derivative(zero + "  %v = arith.minimumf %w, %zero : f32", [0.0, -0.0, 2.0, -2.0])) == [0.5, 0.5, 0, 1]
    assert list(derivative("  %v = arith.maximumf %w, %w : f32", [3.0])) == [1]
    chosen = zero + "  %twice = arith.addf %w, %w : f32\n  %c = arith.cmpf ogt, %w, %zero : f32\n  %v = arith.select %c, %twice, %w : f32"
    assert list(derivative(chosen, [0.0, 2.0, -2.0])) == [1, 2, 1]


def test_a_score_that_is_no_number_is_no_threshold():
    function = pst.compile("""pst.criterion @c(%w: dense) {
  %s = math.log %w : f32
  pst.yield weight %w score %s
}
func.func @select(%w: tensor<3x5xf32>, %sparsity: f64) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut, %pruned = pst.topk_threshold @c(%w), %sparsity : (tensor<3x5xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}""")
    w = np.random.default_rng(0).uniform(0.5, 2, (3, 5)).astype(np.float32)
    assert np.isfinite(function(w, 0.5)[0])
    for value in (0.0, -1.0):
        w[1, 2] = value
        assert np.isnan(function(w, 0.5)[0])
