# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every selection: what it finds, and all that uses its masks, against NumPy (selections.py)."""

import functools

import numpy as np
import pytest
import selections
from test_kernels_weights import both_threads, close, fold, numeric_adjoints
from virtual_weights import CRITERIA, elements, random_factors, tensor

import pst

SELECTIONS = ["topk layer", "topk row", "nm 2:4", "nm 4:8", "nm 1:2", "nm 3:16", "block 16x16 mean", "block 3x5 max",
              "block 5x16 mean", "rows mean", "rows max"]  # fmt: skip
# n, m, tokens, rank: degenerate, primes, larger than vectors, blocks and chunks of rows.
SHAPES = [(1, 1, 1, 1), (7, 37, 5, 2), (67, 131, 33, 3)]

compiled = functools.cache(pst.compile)


def shape_for(selection, shape):
    rows, columns, tokens, rank = shape
    return rows, selections.round_up(columns, selections.multiple(selection)), tokens, rank


def select_text(selection, layers, rows, columns):
    """The ops that leave the state of each layer, whose factors are `(names, types)`; the names of the states."""
    states = selections.state_types(selection, rows, columns)
    if selection.startswith("nm "):
        kept, size = selection[3:].split(":")
        text = f"""  %size = arith.constant {size}.0 : f64
  %all = arith.constant {size} : i64
  %last = arith.constant {kept} : i64
  %share = arith.mulf %sparsity, %size : f64
  %gone = arith.fptosi %share : f64 to i64
  %left = arith.subi %all, %gone : i64
  %now = arith.maxsi %left, %last : i64
  %kept = tensor.from_elements %now : tensor<i64>
"""
        return text, ["%kept"] * len(layers)
    text, names = "", []
    if selection == "topk global":
        cuts = ", ".join(["tensor<i64>"] * len(layers))
        text = f"""  %tau, %cuts:{len(layers)}, %pruned:{len(layers)} = pst.common_threshold @c({", ".join(n for n, _ in layers)}), %sparsity
      : ({", ".join(t for _, t in layers)}) -> tensor<f32>, {cuts}, {cuts}
"""
        return text, [f"%tau, %cuts#{i}" for i in range(len(layers))]
    for i, (factors, types) in enumerate(layers):
        if selection == "topk layer":
            text += f"  %tau{i}, %cut{i}, %pruned{i} = pst.topk_threshold @c({factors}), %sparsity : ({types})\n"
            names.append(f"%tau{i}, %cut{i}")
        elif selection == "topk row":
            text += f"  %tau{i}, %cut{i}, %pruned{i} = pst.row_thresholds @c({factors}), %sparsity : ({types}) -> {', '.join(states)}\n"
            names.append(f"%tau{i}, %cut{i}")
        else:
            text += f"""  %scores{i} = pst.block_scores @c({factors}), <{selection}> : ({types}) -> {states[0]}
  %tau{i}, %cut{i}, %pruned{i} = pst.topk_threshold @blocks(%scores{i}), %sparsity : ({states[0]})
"""
            names.append(f"%scores{i}, %tau{i}, %cut{i}")
    return text, names


BLOCKS = "pst.criterion @blocks(%s: dense) {\n  pst.yield weight %s score %s\n}\n"


def uses(factors, prefix="f"):
    names = ", ".join(f"%{prefix}{i}" for i in range(len(factors)))
    types = ", ".join(map(tensor, factors))
    return names, types, ", ".join(f"%{prefix}{i}: {tensor(factor)}" for i, factor in enumerate(factors))


def with_state(selection, names, rows, columns):
    return f"selection<{selection}>({names} : {', '.join(selections.state_types(selection, rows, columns))})"


def compile_layer(selection, criterion, factors, tokens, **options):
    """(x, dy, factors..., sparsity) -> masked weight, y, dx, gradients of the factors."""
    rows, columns = factors[0].shape
    names, types, arguments = uses(factors)
    text, (state,) = select_text(selection, [(names, types)], rows, columns)
    mask = with_state(selection, state, rows, columns)
    x, y, w = (f"tensor<{shape}xf32>" for shape in (f"{tokens}x{columns}", f"{tokens}x{rows}", f"{rows}x{columns}"))
    gradients = ", ".join(map(tensor, factors))
    results = ", ".join(f"%g#{i}" for i in range(len(factors)))
    return compiled(
        f"""{criterion.text("c")}{BLOCKS}
func.func @layer(%x: {x}, %dy: {y}, {arguments}, %sparsity: f64) -> ({w}, {y}, {x}, {gradients}) {{
{text}
  %w = pst.masked_weight @c({names}) {mask} : ({types}) -> {w}
  %y = pst.masked_matmul %x, @c({names}) {mask} : {x}, ({types}) -> {y}
  %dx = pst.masked_matmul %dy, @c({names}) transposed {mask} : {y}, ({types}) -> {x}
  %g:{len(factors)} = pst.lowrank_accumulate %dy, %x, @c({names}) {mask} wrt {list(range(len(factors)))} : {y}, {x}, ({types}) -> {gradients}
  return %w, %y, %dx, {results} : {w}, {y}, {x}, {gradients}
}}""",
        **options,
    )


def compile_masks(selection, criterion, layers, **options):
    """(factors of each layer..., sparsity) -> the masked weight of each."""
    parts = [uses(factors, f"l{i}f") for i, factors in enumerate(layers)]
    rows, columns = layers[0][0].shape
    text, states = select_text(selection, [(names, types) for names, types, _ in parts], rows, columns)
    body = ""
    for i, ((names, types, _), state) in enumerate(zip(parts, states)):
        mask = with_state(selection, state, *layers[i][0].shape)
        body += f"  %w{i} = pst.masked_weight @c({names}) {mask} : ({types}) -> {tensor(layers[i][0])}\n"
    results = ", ".join(tensor(factors[0]) for factors in layers)
    return compiled(
        f"""{criterion.text("c")}{BLOCKS}
func.func @masks({", ".join(arguments for _, _, arguments in parts)}, %sparsity: f64) -> ({results}) {{
{text}{body}
  return {", ".join(f"%w{i}" for i in range(len(layers)))} : {results}
}}""",
        **options,
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["pst", "map", "mvp"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_layer_against_the_formulas(selection, name, shape):
    rows, columns, tokens, rank = shape_for(selection, shape)
    rng = np.random.default_rng(rows * 1000 + columns)
    criterion, sparsity = CRITERIA[name], selections.final_sparsity(selection)
    factors = random_factors(criterion, rows, columns, rank, rng)
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    w, y, dx, *gradients = both_threads(compile_layer(selection, criterion, factors, tokens), x, dy, *factors, sparsity)
    values = elements(criterion, factors)
    weight = criterion.weight(*values)
    expected = selections.mask(selection, criterion.score(*elements(criterion, factors, np.float32)), sparsity)
    keep = w != 0
    # A score that NumPy rounds otherwise may fall on the other side, a block with all that is in it.
    assert keep.sum() == expected.sum()
    if not selection.startswith(("block", "rows")):
        assert (keep != expected).sum() <= 2
    keep = keep.astype(np.float64)
    close(w, keep * weight, 1e-6, "masked weight")
    close(y, x.astype(np.float64) @ (keep * weight).T, 3e-6, "y", np.abs(x).max())
    close(dx, dy.astype(np.float64) @ (keep * weight), 3e-6, "dx", np.abs(dy).max())
    gradient = dy.astype(np.float64).T @ x.astype(np.float64)
    adjoints = numeric_adjoints(criterion, values, gradient * keep, gradient * weight)
    for i, wanted in enumerate(fold(criterion, factors, adjoints)):
        close(gradients[i], wanted, 1e-5, f"gradient of factor tensor {i}")


def tied(name, rows, columns, seed):
    """Factors with heavy ties among the scores, which are whole numbers (or sums of them: exact); no weight is zero."""
    rng = np.random.default_rng(seed)
    criterion = CRITERIA[name]
    factors = [np.round(factor * 2) for factor in random_factors(criterion, rows, columns, 2, rng)]
    if name == "map":
        factors[0][factors[0] == 0] = 1
    if name == "mvp":
        factors[0] = np.where(factors[0] == 0, 7, factors[0])
    return criterion, [np.ascontiguousarray(factor, np.float32) for factor in factors]


@pytest.mark.parametrize("shape", [(1, 16), (37, 48), (70, 144)])
@pytest.mark.parametrize("name", ["map", "mvp"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_ties_go_by_index(selection, name, shape):
    criterion, factors = tied(name, *shape, seed=shape[0])
    scores = criterion.score(*elements(criterion, factors))
    shares = (0.0, 0.25, 0.37, 0.5, 0.9, 0.9999)
    for sparsity in shares:
        (w,) = both_threads(compile_masks(selection, criterion, [factors]), *factors, sparsity)
        np.testing.assert_array_equal(w != 0, selections.mask(selection, scores, sparsity), err_msg=str(sparsity))


def test_zeros_of_both_signs_are_one_score():
    scores = np.where(np.random.default_rng(3).random((9, 32)) < 0.5, 0.0, -0.0).astype(np.float32)
    weights = np.ones_like(scores)
    for selection in SELECTIONS:
        share = selections.final_sparsity(selection)
        (w,) = both_threads(compile_masks(selection, CRITERIA["mvp"], [[weights, scores]]), weights, scores, share)
        np.testing.assert_array_equal(w != 0, selections.mask(selection, np.zeros_like(scores), share), err_msg=selection)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_width_of_vectors_keeps_the_same(selection):
    criterion, factors = tied("mvp", 23, 48, seed=5)
    found = set()
    for lanes in (4, 8, 16):
        (w,) = both_threads(compile_masks(selection, criterion, [factors], vector_width=lanes), *factors, 0.5)
        found.add(w.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", ["pst", "map", "mvp"])
@pytest.mark.parametrize("shapes", [[(5, 16)], [(37, 48), (1, 7), (37, 48), (211, 331)], [(3, 3)] * 5])
def test_layers_compete_with_each_other(name, shapes):
    """Of all elements together so many stay, and of equal scores those of the first layers."""
    rank = 3
    rng = np.random.default_rng(len(shapes))
    exact = [tied(name, *shape, seed=i)[1] for i, shape in enumerate(shapes)] if name != "pst" else []
    smooth = [random_factors(CRITERIA[name], *shape, rank, rng) for shape in shapes]
    criterion = CRITERIA[name]
    for layers in filter(None, (exact, smooth)):
        scores = [criterion.score(*elements(criterion, factors, np.float32)) for factors in layers]
        arguments = [factor for factors in layers for factor in factors]
        function = compile_masks("topk global", criterion, layers)
        total = sum(score.size for score in scores)
        for sparsity in (0.0, 0.37, 0.5, 0.9, 0.9999):
            weights = both_threads(function, *arguments, sparsity)
            expected = selections.masks("topk global", scores, sparsity)
            assert sum((w != 0).sum() for w in weights) == total - int(total * sparsity), sparsity
            differing = sum(((w != 0) != mask).sum() for w, mask in zip(weights, expected))
            assert differing <= (2 if layers is smooth else 0), sparsity


def common_state(scores, sparsity):
    """What NumPy says of layers that compete: the threshold, and each layer's cut and how many are pruned."""
    flat = np.concatenate([score.ravel() for score in scores])
    keep, starts = flat.size - int(flat.size * sparsity), np.cumsum([0] + [score.size for score in scores])
    if np.isnan(flat).any():
        return np.nan, [0] * len(scores), [score.size for score in scores]
    stays = np.zeros(flat.size, bool)
    stays[np.argsort(-flat, kind="stable")[:keep]] = True
    tau = flat[stays].min()
    cuts = []
    for begin, end in zip(starts, starts[1:]):
        ties = flat[begin:end] == tau
        kept = np.flatnonzero(ties & stays[begin:end])
        left = (ties & ~stays[begin:end]).any()
        # Of an earlier layer all stays, of a later one nothing, also if it has no such score at all.
        earlier = (stays[end:] & (flat[end:] == tau)).any()
        cuts.append((kept[-1] + 1 if len(kept) and left else end - begin) if len(kept) or earlier else 0)
    return tau, cuts, [int((~stays[begin:end]).sum()) for begin, end in zip(starts, starts[1:])]


COMPETING = [(37, 48), (1, 1), (211, 331), (5, 3), (37, 48)]


@functools.cache
def compile_common(shapes=tuple(COMPETING), **options):
    """(weight and score of each layer..., sparsity, previous) -> threshold, cuts, pruned; the scores are given."""
    types = [f"tensor<{n}x{m}xf32>" for n, m in shapes for _ in range(2)]
    names = [f"%f{i}" for i in range(len(types))]
    counts = ", ".join(["tensor<i64>"] * 2 * len(shapes))
    given = ", ".join(f"{name}: {type}" for name, type in zip(names, types))
    results = ", ".join([f"%{what}#{i}" for what in ("cuts", "pruned") for i in range(len(shapes))])
    return pst.compile(
        f"""{CRITERIA["mvp"].text("c")}
func.func @select({given}, %s: f64, %p: tensor<f32>) -> (tensor<f32>, {counts}) {{
  %tau, %cuts:{len(shapes)}, %pruned:{len(shapes)} = pst.common_threshold @c({", ".join(names)}), %s previous(%p)
      : ({", ".join(types)}) -> tensor<f32>, {counts}
  return %tau, {results} : tensor<f32>, {counts}
}}""",
        **options,
    )


KINDS = ["smooth", "tied", "equal", "nan", "one layer above"]


def competing_scores(kind, shapes):
    rng = np.random.default_rng(11)
    scores = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    if kind == "tied":
        return [np.round(score) for score in scores]
    if kind == "equal":
        return [np.full_like(score, -0.0 if i % 2 else 0.0) for i, score in enumerate(scores)]
    if kind == "nan":
        scores[2][-1, -1] = np.nan
    if kind == "one layer above":  # most of its scores lie in the bracket: more than there is room for
        scores[2] = (1 + scores[2] * 1e-6).astype(np.float32)
    return scores


def check_common(call, scores, sparsity, previous):
    tau, cuts, pruned = common_state(scores, sparsity)
    given = [tensor for score in scores for tensor in (np.ones_like(score), score)]
    found = call(*given, sparsity, np.array(previous, np.float32))
    np.testing.assert_array_equal(found[0], np.float32(tau), err_msg=f"{sparsity} {previous}")
    assert [int(value) for value in found[1:]] == cuts + pruned, (sparsity, previous)
    return tau


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_before_never_shows(kind):
    """Enough scores for a sample. Whatever is guessed, the results are NumPy's to the bit, on any number of threads."""
    scores = competing_scores(kind, COMPETING)
    call = functools.partial(both_threads, compile_common())
    for sparsity in (0.0, 0.5, 0.93, 0.99999):
        tau = check_common(call, scores, sparsity, -np.finfo(np.float32).max)
        for previous in (np.nan, np.inf, -np.inf, 0.0, tau, tau * 1.001, 1e30):
            check_common(call, scores, sparsity, previous)


@pytest.mark.parametrize("kind", KINDS)
def test_gpus_find_the_same_threshold_of_layers(kind):
    """Also where lists of what was kept overflow, ties end within a layer or with it, and layers have one element."""
    shapes = ((37, 48), (1, 1), (64, 96), (5, 3), (37, 48))
    function = compile_common(shapes, target="emulated")
    for sparsity in (0.37, 0.9):
        check_common(function, competing_scores(kind, shapes), sparsity, 0.0)


def test_more_layers_than_a_launch_has_parameters_for():
    shapes = ((2, 3), (1, 8)) * 65
    check_common(compile_common(shapes, target="emulated"), competing_scores("tied", shapes), 0.5, 0.0)


@pytest.mark.parametrize("selection", [s for s in SELECTIONS if not s.startswith("nm ")])
def test_a_nan_keeps_nothing_above_it(selection):
    """The state that the runtime looks at holds a NaN, and the mask none of what competes with it."""
    weights = np.ones((9, 32), np.float32)
    scores = np.random.default_rng(1).standard_normal((9, 32)).astype(np.float32)
    scores[4, 7] = np.nan
    (w,) = both_threads(compile_masks(selection, CRITERIA["mvp"], [[weights, scores]]), weights, scores, 0.5)
    assert not w[4].any() if selection == "topk row" else not w.any()


@pytest.mark.parametrize("selection", ["nm 2:4", "nm 4:8"])
def test_groups_keep_their_number_whatever_the_scores(selection):
    kept, size = map(int, selection[3:].split(":"))
    weights = np.ones((9, 32), np.float32)
    scores = np.random.default_rng(1).standard_normal((9, 32)).astype(np.float32)
    scores[np.random.default_rng(2).random(scores.shape) < 0.4] = np.nan
    scores[5] = np.inf
    (w,) = both_threads(compile_masks(selection, CRITERIA["mvp"], [[weights, scores]]), weights, scores, 0.99)
    assert ((w != 0).reshape(-1, size).sum(1) == kept).all()
