# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Selection of weights: every way to the threshold ends at the same element.

Layers of more than 65536 elements are selected from a bracket that a sample tells, by radix where the sample misleads;
smaller ones are gathered whole.
"""

import functools

import numpy as np
import pytest
from virtual_weights import CRITERIA, elements, kept, mask, random_factors, tensor

import pst

SHAPES = [(211, 331), (69001, 1), (1, 65537), (409, 173)]  # sampled, unless a row is shorter than a vector
compiled = functools.cache(pst.compile)


def selection(criterion, factors, previous=False, **options):
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    return compiled(
        f"""{criterion.text("c")}
func.func @select({arguments}, %sparsity: f64{", %previous: tensor<f32>" if previous else ""}) -> (tensor<f32>, tensor<i64>, tensor<i64>) {{
  %tau, %cut, %pruned = pst.topk_threshold @c({names}), %sparsity{" previous(%previous)" if previous else ""} : ({", ".join(map(tensor, factors))})
  return %tau, %cut, %pruned : tensor<f32>, tensor<i64>, tensor<i64>
}}""",
        **options,
    )


def select(scores, sparsity, previous=None, **options):
    """Threshold, cut and number pruned of a layer whose scores are these; the same for both numbers of threads."""
    found = set()
    for threads in (1, 2):
        pst._pst.set_num_threads(threads)
        function = selection(CRITERIA["mvp"], [scores, scores], previous is not None, **options)
        extra = () if previous is None else (np.array(previous, np.float32),)
        tau, cut, pruned = function(scores, scores, sparsity, *extra)
        found.add((tau.tobytes(), int(cut), int(pruned)))
    assert len(found) == 1
    return np.frombuffer(found.pop()[0], np.float32)[0], int(cut), int(pruned)


def expected(scores, sparsity):
    """The same from a stable sort: the score of rank `keep`, and the index after the last kept of that score."""
    flat = scores.ravel()
    order = np.argsort(-flat, kind="stable")
    best = order[: kept(sparsity, *scores.shape)]
    tau = flat[best[-1]]
    return tau, int(best[flat[best] == tau].max()) + 1


def check(scores, sparsity, previous=None, **options):
    tau, cut, pruned = select(scores, sparsity, previous, **options)
    assert (tau, cut) == expected(scores, sparsity), (sparsity, previous)
    assert mask(scores, tau, cut).sum() == kept(sparsity, *scores.shape) == scores.size - pruned


def distribution(name, rows, columns):
    rng = np.random.default_rng(rows)
    scores = rng.standard_normal((rows, columns)).astype(np.float32)
    if name == "quantised":
        scores = np.round(scores * 4) / 4
    elif name == "300 values":
        scores = np.round(scores * 50) / 50
    elif name == "two values":
        scores = np.where(scores > 1, 2, -1).astype(np.float32)
    elif name == "close to 300 values":  # ties that a factor has begun to part
        scores = (np.round(scores * 50) / 50 * (1 + 1e-5 * rng.standard_normal(scores.shape))).astype(np.float32)
    elif name == "all equal":
        scores[:] = -1.25
    elif name == "zeros of both signs":
        scores = np.where(scores < 0.5, np.where(scores < 0, 0.0, -0.0), scores).astype(np.float32)
    elif name == "ascending":  # the bracket lies in few chunks, which overflow
        scores = np.sort(scores, axis=None).reshape(rows, columns)
    elif name == "unlike its sample":  # what no vector of the sample holds
        scores[:, columns // 16 * 16 :] += 100
    elif name == "two heaps":
        scores = np.where(scores > 1.3, 1e30, 1e-30).astype(np.float32) * (1 + scores / 1e3)
    return scores


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize(
    "name",
    ["normal", "quantised", "300 values", "two values", "close to 300 values", "all equal", "zeros of both signs", "ascending", "unlike its sample", "two heaps"],
)
def test_the_threshold_is_that_of_a_stable_sort(rows, columns, name):
    scores = distribution(name, rows, columns)
    for sparsity in (0.0, 0.37, 0.9, 0.9999, 1 - 1e-9):
        check(scores, sparsity)


@pytest.mark.parametrize("name", ["normal", "quantised", "all equal", "ascending", "unlike its sample"])
def test_what_was_before_never_changes_the_result(name):
    scores = distribution(name, *SHAPES[0])
    tau = expected(scores, 0.9)[0]
    largest = np.finfo(np.float32).max
    for previous in (tau, tau * 1.01, tau * 0.7, -tau, 3.9, 0.0, largest, -largest, np.inf, -np.inf, np.nan):
        check(scores, 0.9, previous)
    # The threshold moves with the sparsity, too far at the end.
    for sparsity in (0.0, 0.05, 0.5, 0.88, 0.91, 0.97):
        check(scores, sparsity, tau)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_width_of_vectors_selects_the_same(lanes):
    for name in ("normal", "quantised", "unlike its sample"):
        scores = distribution(name, *SHAPES[0])
        for previous in (None, 1.2):
            check(scores, 0.9, previous, vector_width=lanes)


@pytest.mark.parametrize("ranks", [1, 8, 17])
def test_scores_of_all_factors_are_selected_exactly(ranks):
    """The selection's score has the same bits as the mask's, or the count of what stays would be off."""
    rng = np.random.default_rng(ranks)
    criterion = CRITERIA["pst"]
    factors = random_factors(criterion, 263, 257, ranks, rng)
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    types = ", ".join(map(tensor, factors))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    export = pst.compile(f"""{criterion.text("c")}
func.func @export({arguments}, %tau: tensor<f32>, %cut: tensor<i64>) -> {tensor(factors[0])} {{
  %w = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {tensor(factors[0])}
  return %w : {tensor(factors[0])}
}}""")
    scores = criterion.score(*elements(criterion, factors, np.float32))
    for sparsity in (0.1, 0.5, 0.9):
        tau, cut, pruned = selection(criterion, factors)(*factors, sparsity)
        again = selection(criterion, factors, previous=True)(*factors, sparsity, tau)
        assert (tau, cut, pruned) == again
        assert (export(*factors, tau, cut) != 0).sum() == kept(sparsity, 263, 257)
        assert abs(tau - expected(scores, sparsity)[0]) <= 2 * np.spacing(np.abs(tau))


@pytest.mark.parametrize("rows,columns", [(211, 331), (37, 41)])
@pytest.mark.parametrize("where", [0, 12345, -1])
def test_a_nan_anywhere_makes_the_threshold_nan(rows, columns, where):
    scores = distribution("normal", rows, columns)
    scores.ravel()[where % scores.size] = np.nan
    for previous in (None, 1.28):
        tau, cut, pruned = select(scores, 0.9, previous)
        assert np.isnan(tau) and pruned == scores.size == (~mask(scores, tau, cut)).sum()
    scores[:] = np.nan
    assert np.isnan(select(scores, 0.9)[0])


@pytest.mark.parametrize("special", [np.inf, -np.inf])
def test_infinite_scores_are_ordered(special):
    scores = distribution("normal", 211, 331)
    scores[np.random.default_rng(1).random(scores.shape) < 0.12] = special
    for sparsity in (0.0, 0.5, 0.9):
        check(scores, sparsity)
        check(scores, sparsity, 1.0)


# Two of a shape beside each other, one by itself; with scores of their own, of which one layer's are ties.
@pytest.mark.parametrize(
    "shapes",
    [[(211, 331), (211, 331), (409, 173)], [(257, 132), (132, 260), (132, 260), (132, 260)], [(5, 7), (5, 7), (3, 9)]],
    ids=["single columns", "columns by four", "small"],
)
def test_layers_selected_at_once(shapes):
    rng = np.random.default_rng(len(shapes))
    names = [(f"%w{i}", f"%s{i}", tensor(np.empty(shape, np.float32))) for i, shape in enumerate(shapes)]
    count = len(shapes)
    factors, types = ", ".join(f"{w}, {s}" for w, s, _ in names), ", ".join(f"{t}, {t}" for _, _, t in names)
    results = ", ".join(["tensor<f32>"] * count + ["tensor<i64>"] * 2 * count)
    function = compiled(f"""{CRITERIA["mvp"].text("c")}
func.func @select({", ".join(f"{w}: {t}, {s}: {t}" for w, s, t in names)}, %first: f64, %rest: f64) -> ({results}) {{
  %t:{count}, %c:{count}, %p:{count} = pst.topk_threshold @c({factors}), %first{", %rest" * (count - 1)} : ({types})
  return {", ".join(f"%{r}#{i}" for r in "tcp" for i in range(count))} : {results}
}}""")
    scores = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    scores[1] = np.round(scores[1] * 2) / 2
    values = [value for s in scores for value in (np.zeros_like(s), s)]
    for sparsity in (0.3, 0.9):
        found = function(*values, sparsity, 0.6)
        for i, s in enumerate(scores):
            own = 0.6 if i else sparsity
            assert (found[i], found[count + i]) == expected(s, own)
            assert found[2 * count + i] == s.size - kept(own, *s.shape)
