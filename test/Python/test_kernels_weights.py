# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels on virtual weights: selection, masked products, gradients of the factors, export."""

import functools
import itertools
import json

import numpy as np
import pytest
from conftest import real_data
from virtual_weights import CRITERIA, Criterion, elements, kept, mask, random_factors, tensor

import pst

# n, m, tokens, rank: degenerate, primes, larger than every tile and block.
SHAPES = [(1, 1, 1, 1), (1, 37, 7, 2), (41, 1, 64, 3), (23, 29, 7, 17), (67, 131, 129, 5), (420, 401, 70, 8)]
LAYERS = [(name, shape) for name in CRITERIA for shape in (SHAPES if name == "pst" else SHAPES[1::3])]

compiled = functools.cache(pst.compile)


def both_threads(function, *arguments):
    """The results with one thread; with two they must have the same bits."""
    results = []
    for count in (1, 2):
        pst._pst.set_num_threads(count)
        outputs = function(*arguments)
        results.append(outputs if isinstance(outputs, tuple) else (outputs,))
    for one, two in zip(*results):
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()
    return results[0]


def uses(factors, threshold):
    types = ", ".join(map(tensor, factors))
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    return types, names, arguments, " threshold(%tau, %cut)" if threshold else ""


def compile_selection(criterion, factors):
    types, names, arguments, _ = uses(factors, False)
    return compiled(f"""{criterion.text("c")}
func.func @select({arguments}, %sparsity: f64) -> (tensor<f32>, tensor<i64>) {{
  %tau, %cut, %pruned = pst.topk_threshold @c({names}), %sparsity : ({types})
  return %tau, %cut : tensor<f32>, tensor<i64>
}}""")


def compile_layer(criterion, factors, tokens, wrt=None, masked=None):
    """(x, dy, bias, factors..., [tau, cut]) -> y, dx, masked weight, gradients of the factors."""
    rows, columns = factors[0].shape
    masked = criterion.score is not None if masked is None else masked
    types, names, arguments, threshold = uses(factors, masked)
    wrt = list(range(len(factors))) if wrt is None else wrt
    gradients = ", ".join(tensor(factors[i]) for i in wrt)
    x, y, w = (f"tensor<{shape}xf32>" for shape in (f"{tokens}x{columns}", f"{tokens}x{rows}", f"{rows}x{columns}"))
    results = ", ".join(f"%g#{i}" for i in range(len(wrt)))
    return compiled(f"""{criterion.text("c")}
func.func @layer(%x: {x}, %dy: {y}, %bias: tensor<{rows}xf32>, {arguments}{", %tau: tensor<f32>, %cut: tensor<i64>" if masked else ""}) -> ({y}, {x}, {w}, {gradients}) {{
  %y = pst.masked_matmul %x, @c({names}){threshold} bias(%bias) : {x}, ({types}) bias tensor<{rows}xf32> -> {y}
  %dx = pst.masked_matmul %dy, @c({names}) transposed{threshold} : {y}, ({types}) -> {x}
  %w = pst.masked_weight @c({names}){threshold} : ({types}) -> {w}
  %g:{len(wrt)} = pst.lowrank_accumulate %dy, %x, @c({names}){threshold} wrt {wrt} : {y}, {x}, ({types}) -> {gradients}
  return %y, %dx, %w, {results} : {y}, {x}, {w}, {gradients}
}}""")


def compile_products(criterion, factors, tokens, products, lanes):
    """(x, dy, bias, factors..., tau, cut[, pruned]) -> y, dx, masked weight."""
    rows, columns = factors[0].shape
    types, names, arguments, threshold = uses(factors, True)
    adaptive = products == "auto"
    threshold += " pruned(%pruned)" if adaptive else ""
    x, y, w = (f"tensor<{shape}xf32>" for shape in (f"{tokens}x{columns}", f"{tokens}x{rows}", f"{rows}x{columns}"))
    return compiled(
        f"""{criterion.text("c")}
func.func @layer(%x: {x}, %dy: {y}, %bias: tensor<{rows}xf32>, {arguments}, %tau: tensor<f32>, %cut: tensor<i64>{", %pruned: tensor<i64>" if adaptive else ""}) -> ({y}, {x}, {w}) {{
  %y = pst.masked_matmul %x, @c({names}){threshold} bias(%bias) : {x}, ({types}) bias tensor<{rows}xf32> -> {y}
  %dx = pst.masked_matmul %dy, @c({names}) transposed{threshold} : {y}, ({types}) -> {x}
  %w = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {w}
  return %y, %dx, %w : {y}, {x}, {w}
}}""",
        products=products,
        vector_width=lanes,
    )


def compile_export(criterion, factors):
    rows, columns = factors[0].shape
    types, names, arguments, threshold = uses(factors, True)
    return compiled(f"""{criterion.text("c")}
func.func @export({arguments}, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<{rows}x{columns}xf32> {{
  %w = pst.masked_weight @c({names}){threshold} : ({types}) -> tensor<{rows}x{columns}xf32>
  return %w : tensor<{rows}x{columns}xf32>
}}""")


def numeric_adjoints(criterion, values, weight_adjoint, score_adjoint):
    """Adjoints of the factors' elements by central differences, in float64."""
    step = 1e-6
    adjoints = []
    for i in range(len(values)):
        moved = [[v + (sign * step if j == i else 0.0) for j, v in enumerate(values)] for sign in (1, -1)]
        slope = (criterion.weight(*moved[0]) - criterion.weight(*moved[1])) / (2 * step) * weight_adjoint
        if criterion.score:
            slope += (criterion.score(*moved[0]) - criterion.score(*moved[1])) / (2 * step) * score_adjoint
        adjoints.append(slope)
    return adjoints


def fold(criterion, factors, adjoints):
    """Gradients of the factor tensors from those of their elements."""
    gradients, tensors = [], iter(factors)
    for kind, adjoint in zip(criterion.kinds, adjoints):
        first = next(tensors).astype(np.float64)
        if kind == "d":
            gradients.append(adjoint)
        elif kind == "l":
            second = next(tensors).astype(np.float64)
            gradients += [adjoint @ second.T, first.T @ adjoint]
        else:
            gradients.append(adjoint.sum(axis=1 if kind == "r" else 0))
    return gradients


def close(actual, expected, tolerance, what, addend=0.0):
    """Errors against the largest element (or addend): that is what the roundings of a sum go with."""
    scale = max(np.abs(expected).max(), np.abs(addend).max(), 1e-30)
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=tolerance, err_msg=what)


@pytest.mark.parametrize("name,shape", LAYERS)
def test_layer_against_the_formulas(name, shape):
    rows, columns, tokens, rank = shape
    rng = np.random.default_rng(rows * 1000 + columns)
    criterion = CRITERIA[name]
    factors = random_factors(criterion, rows, columns, rank, rng)
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    bias = rng.standard_normal(rows).astype(np.float32)
    values = elements(criterion, factors)
    weight = criterion.weight(*values)
    keep = np.ones((rows, columns))
    threshold = ()
    if criterion.score:
        tau, cut = compile_selection(criterion, factors)(*factors, 0.6)
        scores = criterion.score(*elements(criterion, factors, np.float32))
        keep = mask(scores, tau, cut).astype(np.float64)
        # A score that the kernel rounds otherwise may fall on the other side.
        assert abs(keep.sum() - kept(0.6, rows, columns)) <= 2
        threshold = (tau, cut)
    y, dx, exported, *gradients = both_threads(
        compile_layer(criterion, factors, tokens), x, dy, bias, *factors, *threshold
    )
    if criterion.score:
        keep = (exported != 0).astype(np.float64)
        assert keep.sum() == kept(0.6, rows, columns)
    close(exported, keep * weight, 1e-6, "masked weight")
    close(y, x.astype(np.float64) @ (keep * weight).T + bias, 3e-6, "y", bias)
    close(dx, dy.astype(np.float64) @ (keep * weight), 3e-6, "dx")
    gradient = dy.astype(np.float64).T @ x.astype(np.float64)
    adjoints = numeric_adjoints(criterion, values, gradient * keep, gradient * weight)
    for i, expected in enumerate(fold(criterion, factors, adjoints)):
        close(gradients[i], expected, 1e-5, f"gradient of factor tensor {i}")


# Tokens around the panel of 64, rows and columns around the cells of 64 x 128, a depth of two packings.
SPARSE_SHAPES = [(1, 1, 1), (1, 37, 7), (41, 1, 64), (23, 29, 70), (130, 257, 65), (64, 128, 16), (70, 1601, 90)]


@pytest.mark.parametrize("rows,columns,tokens", SPARSE_SHAPES)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("lanes", [8, 16])
def test_every_form_of_the_product(rows, columns, tokens, sparsity, lanes):
    """Evaluated in the packing, written to a buffer, compressed: the same numbers but for rounding."""
    rng = np.random.default_rng(rows + columns + tokens)
    criterion = CRITERIA["pst"]
    factors = random_factors(criterion, rows, columns, 3, rng)
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    bias = rng.standard_normal(rows).astype(np.float32)
    tau, cut = compile_selection(criterion, factors)(*factors, sparsity)
    for products in ("packed", "buffer", "compressed"):
        y, dx, weight = both_threads(
            compile_products(criterion, factors, tokens, products, lanes), x, dy, bias, *factors, tau, cut
        )
        weight = weight.astype(np.float64)
        assert (weight != 0).sum() == kept(sparsity, rows, columns)
        close(y, x @ weight.T + bias, 3e-6, f"y, {products}", bias)
        close(dx, dy @ weight, 3e-6, f"dx, {products}")


# One block and several of depth and of rows, whole tiles and edges, at 8 and 16 lanes.
@pytest.mark.parametrize("rows,columns,tokens", [(1, 5, 3), (64, 48, 32), (71, 900, 67), (1000, 37, 129)])
@pytest.mark.parametrize("form", ["packed", "compressed"])
@pytest.mark.parametrize("transposed", [False, True])
def test_epilogues(rows, columns, tokens, form, transposed):
    """bias, residual and activation, as the compiler brings them into the product."""
    rng = np.random.default_rng(rows + tokens)
    weight = rng.standard_normal((rows, columns)).astype(np.float32)
    given, out = (rows, columns) if transposed else (columns, rows)
    x, residual = (rng.standard_normal((tokens, size)).astype(np.float32) for size in (given, out))
    bias = rng.standard_normal(out).astype(np.float32)
    xt, wt, yt = f"tensor<{tokens}x{given}xf32>", f"tensor<{rows}x{columns}xf32>", f"tensor<{tokens}x{out}xf32>"
    use, bias_type = " transposed" if transposed else "", f" bias tensor<{out}xf32>"
    for kind, expected in (("relu", lambda y: np.maximum(y, 0)), ("tanh", np.tanh), (None, lambda y: y)):
        activation = f"%a = nn.activation {kind} %s : {yt}" if kind else ""
        function = compiled(
            f"""{CRITERIA["map"].text("c")}
func.func @f(%x: {xt}, %w: {wt}, %b: tensor<{out}xf32>, %r: {yt}, %tau: tensor<f32>, %cut: tensor<i64>) -> {yt} {{
  %y = pst.masked_matmul %x, @c(%w){use} threshold(%tau, %cut) bias(%b) : {xt}, ({wt}){bias_type} -> {yt}
  %s = nn.add %y, %r : {yt}
  {activation}
  return {"%a" if kind else "%s"} : {yt}
}}""",
            products=form,
            blocks=(24, 64, 400),
        )
        (y,) = both_threads(function, x, weight, bias, residual, np.array(0.7, np.float32), np.array(0))
        masked = np.where(np.abs(weight) > 0.7, weight, 0).astype(np.float64)
        total = residual + x @ (masked if transposed else masked.T) + bias
        close(y, expected(total), 3e-6, str(kind), total)


@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.8, 0.95])
def test_the_adaptive_product_takes_the_form_of_what_is_pruned(sparsity):
    rng = np.random.default_rng(5)
    criterion = CRITERIA["pst"]
    rows, columns, tokens = 200, 1000, 128  # as deep as two blocks of a dense product, whose sums differ in rounding
    factors = random_factors(criterion, rows, columns, 3, rng)
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    bias = rng.standard_normal(rows).astype(np.float32)
    tau, cut = compile_selection(criterion, factors)(*factors, sparsity)
    pruned = np.array(rows * columns - kept(sparsity, rows, columns))
    forms = {
        form: compile_products(criterion, factors, tokens, form, 8)(x, dy, bias, *factors, tau, cut, *given)
        for form, given in (("packed", ()), ("compressed", ()), ("auto", (pruned,)))
    }
    taken = "compressed" if sparsity >= 0.8 else "packed"
    for adaptive, expected in zip(forms["auto"], forms[taken]):
        assert adaptive.tobytes() == expected.tobytes()
    assert forms["packed"][0].tobytes() != forms["compressed"][0].tobytes()  # so the choice shows


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("claim", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("lanes", [8, 16])
def test_a_wrong_count_of_the_pruned_costs_time_only(sparsity, claim, lanes):
    """The room for compressed elements follows what is claimed to be pruned; what there is no room for is packed."""
    rng = np.random.default_rng(int(sparsity * 10))
    criterion = CRITERIA["pst"]
    rows, columns, tokens = 300, 1030, 128
    factors = random_factors(criterion, rows, columns, 3, rng)
    factors[2][:, :100] *= 20  # so that cells differ in what is kept
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    bias = rng.standard_normal(rows).astype(np.float32)
    tau, cut = compile_selection(criterion, factors)(*factors, sparsity)
    pruned = np.array(int(rows * columns * claim))
    function = compile_products(criterion, factors, tokens, "auto", lanes)
    y, dx, weight = both_threads(function, x, dy, bias, *factors, tau, cut, pruned)
    weight = weight.astype(np.float64)
    assert (weight != 0).sum() == kept(sparsity, rows, columns)
    close(y, x @ weight.T + bias, 3e-6, "y", bias)
    close(dx, dy @ weight, 3e-6, "dx")


@pytest.mark.parametrize("wrt", [[0], [1], [2], [5, 6], [3, 4], [1, 2, 3, 4, 5, 6]])
def test_only_what_is_wanted(wrt):
    rng = np.random.default_rng(3)
    criterion = CRITERIA["pst"]
    factors = random_factors(criterion, 50, 43, 3, rng)
    x, dy = (rng.standard_normal((31, size)).astype(np.float32) for size in (43, 50))
    bias = np.zeros(50, np.float32)
    tau, cut = np.array(1.0, np.float32), np.array(0)
    every = compile_layer(criterion, factors, 31)(x, dy, bias, *factors, tau, cut)[3:]
    some = compile_layer(criterion, factors, 31, wrt)(x, dy, bias, *factors, tau, cut)[3:]
    for i, gradient in zip(wrt, some):
        np.testing.assert_array_equal(gradient, every[i])


# Every op that a criterion may hold, none of them with a corner.
SMOOTH = Criterion(
    "dlrc",
    """  %half = arith.constant 0.5 : f32
  %p = arith.mulf %0, %1 : f32
  %q = arith.subf %p, %2 : f32
  %n = arith.negf %q : f32
  %t = arith.mulf %n, %3 : f32
  %h = arith.mulf %t, %half : f32
  %v = arith.addf %h, %0 : f32
  %s = arith.mulf %v, %v : f32
  pst.yield weight %v score %s""",
    lambda w, uv, r, c: -(w * uv - r) * c * 0.5 + w,
    lambda w, uv, r, c: (-(w * uv - r) * c * 0.5 + w) ** 2,
)


def test_gradients_against_finite_differences_of_the_loss():
    """Moves single elements of the factors in L = sum(dY * X (M * W')^T) + sum(G * W' * S)."""
    rng = np.random.default_rng(11)
    rows, columns, tokens, rank = 13, 17, 19, 2
    factors = random_factors(SMOOTH, rows, columns, rank, rng)
    x, dy = (rng.standard_normal((tokens, size)).astype(np.float32) for size in (columns, rows))
    tau, cut = compile_selection(SMOOTH, factors)(*factors, 0.3)
    _, _, exported, *gradients = compile_layer(SMOOTH, factors, tokens)(
        x, dy, np.zeros(rows, np.float32), *factors, tau, cut
    )
    keep = exported != 0
    gradient = dy.astype(np.float64).T @ x
    fixed = SMOOTH.weight(*elements(SMOOTH, factors))  # dScore = G * W' holds W' fixed

    def loss(moved):
        values = elements(SMOOTH, moved)
        return (gradient * (keep * SMOOTH.weight(*values) + fixed * SMOOTH.score(*values))).sum()

    for i, factor in enumerate(factors):
        scale = np.abs(gradients[i]).max()
        for place in itertools.islice(np.ndindex(factor.shape), 0, None, max(1, factor.size // 7)):
            slopes = []
            for sign in (1, -1):
                moved = [f.astype(np.float64) for f in factors]
                moved[i][place] += sign * 1e-4
                slopes.append(loss(moved))
            assert abs((slopes[0] - slopes[1]) / 2e-4 - gradients[i][place]) < 1e-5 * scale, (i, place)


def test_detached_magnitude_has_no_gradient():
    """With the magnitude detached, what the score adds to the low-rank sum's gradient is gone."""
    criterion = Criterion(
        "dl",
        """  %v = arith.addf %0, %1 : f32
  %d = pst.detach %v : f32
  %m = math.absf %d : f32
  pst.yield weight %v score %m""",
        lambda w, uv: w + uv,
        lambda w, uv: np.abs(w + uv),
    )
    rng = np.random.default_rng(2)
    factors = random_factors(criterion, 30, 22, 4, rng)
    x, dy = (rng.standard_normal((9, size)).astype(np.float32) for size in (22, 30))
    tau, cut = compile_selection(criterion, factors)(*factors, 0.5)
    _, _, exported, *gradients = compile_layer(criterion, factors, 9)(
        x, dy, np.zeros(30, np.float32), *factors, tau, cut
    )
    straight = (dy.astype(np.float64).T @ x) * (exported != 0)
    assert (straight == 0).any() and (straight != 0).any()
    for gradient, expected in zip(gradients, fold(criterion, factors, [straight, straight])):
        close(gradient, expected, 1e-5, "straight-through only")


def test_the_derivative_of_the_magnitude_at_zero_is_zero():
    criterion = CRITERIA["map"]
    weight = np.array([[0.0, -0.0, 2.0, -3.0]], np.float32)
    x = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    dy = np.array([[5.0]], np.float32)
    gradient = compile_layer(criterion, [weight], 1)(
        x, dy, np.zeros(1, np.float32), weight, np.array(9.0, np.float32), np.array(0)
    )[3]
    # Nothing is kept, so dW = sign(w) * G * w alone: 15 * 2 and -(20 * -3).
    np.testing.assert_array_equal(gradient, [[0.0, 0.0, 30.0, 60.0]])


COUNTED = [(1, 1), (1, 97), (89, 1), (31, 37), (64, 64), (300, 701)]


@pytest.mark.parametrize("rows,columns", COUNTED)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("ties", ["none", "quantised", "all equal", "zeros of both signs"])
def test_exactly_the_promised_number_stays(rows, columns, sparsity, ties):
    rng = np.random.default_rng(rows + columns)
    criterion = CRITERIA["pst" if ties in ("none", "quantised") else "mvp"]
    factors = random_factors(criterion, rows, columns, 4, rng, quantised=ties == "quantised")
    factors[0][factors[0] == 0] = 0.5  # so that a zero in the export is a pruned element
    if ties == "all equal":
        factors[1][:] = -2.5
    elif ties == "zeros of both signs":
        factors[1][:] = np.where(rng.random((rows, columns)) < 0.5, 0.0, -0.0)
    tau, cut = both_threads(compile_selection(criterion, factors), *factors, sparsity)
    scores = criterion.score(*elements(criterion, factors, np.float32))
    count = kept(sparsity, rows, columns)
    # The set: best scores first, of equal ones those of lower index.
    order = np.lexsort((np.arange(scores.size), -scores.ravel()))
    expected = np.zeros(scores.size, bool)
    expected[order[:count]] = True
    found = mask(scores, tau, cut).ravel()
    differ = found != expected
    near = np.abs(scores.ravel() - tau) <= 2 * np.spacing(np.abs(tau))
    assert not (differ & ~near).any() and differ.sum() <= 2
    if ties in ("all equal", "zeros of both signs", "quantised"):
        assert found.sum() == count  # these scores have no rounding to differ in
    exported = compile_export(criterion, factors)(*factors, tau, cut)
    weight = criterion.weight(*elements(criterion, factors, np.float32))
    assert (exported != 0).sum() == count - ((weight == 0) & found.reshape(weight.shape)).sum()


def test_the_example_of_the_description():
    scores = np.array([[4.0, 1.0], [2.0, 2.0]], np.float32)
    tau, cut = compile_selection(CRITERIA["mvp"], [scores, scores])(scores, scores, 0.5)
    assert (tau, cut) == (2.0, 3)


@pytest.mark.parametrize("special", [np.inf, -np.inf, 1e-45, -1e-45, np.finfo(np.float32).max])
def test_extreme_scores_are_ordered(special):
    rng = np.random.default_rng(8)
    scores = rng.standard_normal((19, 23)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = special
    function = compile_selection(CRITERIA["mvp"], [scores, scores])
    for sparsity in (0.0, 0.2, 0.5, 0.8):
        tau, cut = function(scores, scores, sparsity)
        count = kept(sparsity, *scores.shape)
        assert tau == np.sort(scores.ravel())[::-1][count - 1]
        assert mask(scores, tau, cut).sum() == count


@pytest.mark.parametrize("nan", [np.float32(np.nan), -np.float32(np.nan)])
def test_a_nan_score_makes_the_threshold_nan(nan):
    scores = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32)
    scores[17, 33] = nan
    tau, _ = compile_selection(CRITERIA["mvp"], [scores, scores])(scores, scores, 0.5)
    assert np.isnan(tau)


@pytest.mark.parametrize("sparsity", [0.1, 0.29, 0.57, 0.7, 0.9, 1 / 3, 0.999999])
def test_the_number_pruned_is_pythons_int(sparsity):
    """int(n*m*sparsity) truncates the rounded product: 0.29 * 100 is 28.999..., so 28."""
    scores = np.random.default_rng(4).permutation(100).astype(np.float32).reshape(10, 10)
    tau, cut = compile_selection(CRITERIA["mvp"], [scores, scores])(scores, scores, sparsity)
    assert mask(scores, tau, cut).sum() == 100 - int(10 * 10 * sparsity)
    assert tau == int(10 * 10 * sparsity)


def test_against_the_golden_top_k():
    """Each row of the golden inputs, of any type, as a layer of one row."""
    rows = 0
    for case in json.loads(real_data("golden_ops", "top_k.json").read_text()):
        if "input" not in case:
            continue
        scores = np.atleast_2d(np.array(case["input"]["value"], np.float32))
        indices = np.atleast_2d(np.array(case["indices"]["value"]))
        for row, best in zip(scores, indices):
            row = row.reshape(1, -1)
            sparsity = (row.size - case["k"] + 0.5) / row.size
            tau, cut = compile_selection(CRITERIA["mvp"], [row, row])(row, row, sparsity)
            assert set(np.flatnonzero(mask(row, tau, cut))) == set(best)
            rows += 1
    assert rows > 30
