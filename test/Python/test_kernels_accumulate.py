# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Gradients of the factors of a virtual weight, folded from G = dY^T X: every blocking, against float64."""

import numpy as np
import pytest
from virtual_weights import CRITERIA, elements, mask, random_factors, tensor

import pst

# n, m, tokens, rank: one block of tokens; several, and a part of one; several groups of rows; columns in several blocks;
# ranks of one, several and part of a group of eight.
SHAPES = [
    (1, 1, 1, 1),
    (97, 53, 40, 3),
    (200, 144, 512, 8),
    (131, 67, 513, 16),
    (24, 40, 1100, 20),
    (1700, 19, 600, 2),
    (29, 800, 530, 9),
    (100, 64, 64, 64),
]


def accumulate(criterion, factors, tokens, **options):
    rows, columns = factors[0].shape
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    types = ", ".join(map(tensor, factors))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    threshold = criterion.score is not None
    results = ", ".join(f"%g#{i}" for i in range(len(factors)))
    return pst.compile(
        f"""{criterion.text("c")}
func.func @accumulate(%dy: tensor<{tokens}x{rows}xf32>, %x: tensor<{tokens}x{columns}xf32>, {arguments}{", %tau: tensor<f32>, %cut: tensor<i64>" if threshold else ""}) -> ({types}) {{
  %g:{len(factors)} = pst.lowrank_accumulate %dy, %x, @c({names}){" threshold(%tau, %cut)" if threshold else ""} wrt {list(range(len(factors)))} : tensor<{tokens}x{rows}xf32>, tensor<{tokens}x{columns}xf32>, ({types}) -> {types}
  return {results} : {types}
}}""",
        **options,
    )


def expected(name, factors, gradient, keep):
    """The formulas of the straight-through estimator, by hand for each method."""
    wide = [factor.astype(np.float64) for factor in factors]
    straight = gradient * keep
    if name == "dense":
        return [gradient]
    if name == "lora":
        return [gradient, gradient @ wide[2].T, wide[1].T @ gradient]
    if name == "mvp":
        return [straight, gradient * wide[0]]
    weight = wide[0] + 0.75 * wide[1] @ wide[2]
    score = gradient * weight
    value = straight + np.sign(weight) * score
    return [
        value,
        0.75 * value @ wide[2].T,
        0.75 * wide[1].T @ value,
        1.5 * score @ wide[4].T,
        1.5 * wide[3].T @ score,
        score.sum(1),
        score.sum(0),
    ]


def check(name, shape, **options):
    rows, columns, tokens, rank = shape
    rng = np.random.default_rng(rows + columns)
    criterion = CRITERIA[name]
    factors = random_factors(criterion, rows, columns, rank, rng)
    dy = rng.standard_normal((tokens, rows)).astype(np.float32)
    x = rng.standard_normal((tokens, columns)).astype(np.float32)
    keep, threshold = np.ones((rows, columns)), ()
    if criterion.score:
        # Between two scores, so that no rounding moves an element across; the cut, too, is somewhere within a row.
        scores = criterion.score(*elements(criterion, factors, np.float32))
        order = np.sort(scores, axis=None)
        middle = order.size // 3
        tau = np.float32((order[middle] + order[min(middle + 1, order.size - 1)]) / 2)
        threshold = (np.array(tau), np.array(order.size // 2))
        keep = mask(scores, *threshold).astype(np.float64)
    function = accumulate(criterion, factors, tokens, **options)
    runs = []
    for threads in (1, 2):
        pst._pst.set_num_threads(threads)
        found = function(dy, x, *factors, *threshold)
        runs.append(found if isinstance(found, tuple) else (found,))
    gradients = expected(name, factors, dy.astype(np.float64).T @ x, keep)
    assert len(gradients) == len(runs[0]) == len(factors)
    for i, (one, two, right) in enumerate(zip(*runs, gradients)):
        assert one.tobytes() == two.tobytes()
        scale = np.abs(right).max()
        np.testing.assert_allclose(one / scale, right / scale, rtol=0, atol=1e-5, err_msg=f"factor tensor {i}")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_gradients_of_every_factor(shape):
    check("pst", shape)


@pytest.mark.parametrize("name", ["lora", "mvp", "dense"])
@pytest.mark.parametrize("shape", [SHAPES[3], SHAPES[5]], ids=lambda shape: "x".join(map(str, shape)))
def test_every_method(name, shape):
    check(name, shape)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("name", ["pst", "mvp"])
def test_every_width_of_vectors(name, lanes):
    for shape in (SHAPES[1], SHAPES[3]):
        check(name, shape, vector_width=lanes)


@pytest.mark.parametrize("columns", [16, 37])
def test_elements_that_equal_the_threshold_stay_before_the_cut(columns):
    """All scores are equal; the cut runs through the elements, also of the rows folded together."""
    rows, tokens = 11, 5
    rng = np.random.default_rng(3)
    dy, x = (rng.standard_normal((tokens, size)).astype(np.float32) for size in (rows, columns))
    weight = rng.standard_normal((rows, columns)).astype(np.float32)
    scores = np.full((rows, columns), 2.0, np.float32)
    function = accumulate(CRITERIA["mvp"], [weight, scores], tokens)
    gradient = (dy.astype(np.float64).T @ x).ravel()
    for cut in (0, 1, columns - 1, columns, 3 * columns + 5, rows * columns - 1, rows * columns, 2**40, -3):
        kept, _ = function(dy, x, weight, scores, np.array(2.0, np.float32), np.array(cut))
        stays = np.arange(rows * columns) < cut
        assert (kept.ravel()[~stays] == 0).all()
        np.testing.assert_allclose(kept.ravel()[stays], gradient[stays], rtol=1e-4, atol=1e-5)
