# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of plain products: nn.linear and nn.matmul."""

import numpy as np
import pytest

import pst

# m, n, k: degenerate, primes, whole tiles, larger than the blocks of each dimension; few rows and a large weight.
SHAPES = [
    (1, 1, 1),
    (1, 7, 3),
    (5, 1, 9),
    (6, 16, 8),
    (13, 17, 19),
    (48, 64, 32),
    (97, 101, 103),
    (301, 70, 1031),
    (17, 1601, 530),
    (1, 773, 101),
    (3, 131, 521),
    (8, 256, 256),
]


def product(m, n, k, text, *arguments):
    """Runs on one thread and on two; the bits must be the same."""
    function = pst.compile(text)
    results = []
    for count in (1, 2):
        pst._pst.set_num_threads(count)
        results.append(function(*arguments))
    np.testing.assert_array_equal(results[0].view(np.uint32), results[1].view(np.uint32))
    return results[0]


def check(actual, a, b, bias=0.0):
    """Each sum of k products errs by at most k roundings of its terms; in practice by few."""
    exact = a.astype(np.float64) @ b.astype(np.float64) + bias
    size = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(bias)
    assert (np.abs(actual - exact) <= 1e-6 * size).all()


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("m,n,k", SHAPES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_linear(m, n, k, with_bias, transposed):
    rng = np.random.default_rng(m + n + k)
    x, w, bias = random(rng, m, k), random(rng, n, k), random(rng, n)
    given = f" bias(%b : tensor<{n}xf32>)" if with_bias else ""
    stored = f"tensor<{n}x{k}xf32>"
    if transposed:
        w, given, stored = np.ascontiguousarray(w.T), " transposed" + given, f"tensor<{k}x{n}xf32>"
    text = f"""
func.func @f(%x: tensor<{m}x{k}xf32>, %w: {stored}, %b: tensor<{n}xf32>) -> tensor<{m}x{n}xf32> {{
  %y = nn.linear %x, %w{given} : tensor<{m}x{k}xf32>, {stored} -> tensor<{m}x{n}xf32>
  return %y : tensor<{m}x{n}xf32>
}}"""
    check(product(m, n, k, text, x, w, bias), x, w if transposed else w.T, bias if with_bias else 0.0)


@pytest.mark.parametrize("m,n,k", SHAPES)
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_matmul(m, n, k, left, right):
    rng = np.random.default_rng(m * n * k)
    a, b = random(rng, m, k), random(rng, k, n)
    given = np.ascontiguousarray(a.T) if left else a, np.ascontiguousarray(b.T) if right else b
    types = [f"tensor<{array.shape[0]}x{array.shape[1]}xf32>" for array in given]
    flags = ", ".join(flag for flag, on in (("transpose_lhs", left), ("transpose_rhs", right)) if on)
    text = f"""
func.func @f(%a: {types[0]}, %b: {types[1]}) -> tensor<{m}x{n}xf32> {{
  %c = nn.matmul %a, %b {{{flags}}} : {types[0]}, {types[1]} -> tensor<{m}x{n}xf32>
  return %c : tensor<{m}x{n}xf32>
}}"""
    check(product(m, n, k, text, *given), a, b)


def test_what_is_not_finite_stays_in_its_row_and_column():
    """Padding multiplies by zeros; an infinity or a NaN must not reach other results through it."""
    rng = np.random.default_rng(0)
    x, w = random(rng, 11, 13), random(rng, 19, 13)
    x[10, 12], w[18, 0] = np.nan, np.inf
    text = """
func.func @f(%x: tensor<11x13xf32>, %w: tensor<19x13xf32>) -> tensor<11x19xf32> {
  %y = nn.linear %x, %w : tensor<11x13xf32>, tensor<19x13xf32> -> tensor<11x19xf32>
  return %y : tensor<11x19xf32>
}"""
    y = product(11, 19, 13, text, x, w)
    finite = np.isfinite(y)
    assert finite[:10, :18].all() and not finite[10].any() and not finite[:, 18].any()
