# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.layer_norm and its backward, and what a norm's backward does with a row."""

import numpy as np
import nn_reference as reference
import pytest

# One row, one column, primes, more rows than a chunk of the backward (64).
SHAPES = [(1, 2), (3, 1), (5, 7), (16, 64), (131, 37), (203, 129)]


def forward(rows, columns, epsilon):
    x, v = f"tensor<{rows}x{columns}xf32>", f"tensor<{columns}xf32>"
    return f"""func.func @main(%x: {x}, %scale: {v}, %shift: {v}) -> {x} {{
      %y = nn.layer_norm %x, %scale, %shift epsilon {epsilon:e} : {x}, {v}
      return %y : {x}
    }}"""


def backward(rows, columns, epsilon):
    x, v = f"tensor<{rows}x{columns}xf32>", f"tensor<{columns}xf32>"
    return f"""func.func @main(%x: {x}, %scale: {v}, %g: {x}) -> ({x}, {v}, {v}) {{
      %dx, %ds, %dt = nn.layer_norm_backward %x, %scale, %g epsilon {epsilon:e} : {x}, {v}
      return %dx, %ds, %dt : {x}, {v}, {v}
    }}"""


def arguments(rows, columns):
    x = reference.random(rows, columns, scale=3.0) + np.float32(2.0)
    scale = 1 + reference.random(columns, seed=1, scale=0.3)
    return x, scale, reference.random(columns, seed=2), reference.random(rows, columns, seed=3)


@pytest.mark.parametrize("rows, columns", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5])
def test_layer_norm(rows, columns, epsilon):
    x, scale, shift, g = arguments(rows, columns)
    inputs = reference.double(x, scale, shift)
    exact = reference.layer_norm(*inputs, epsilon)
    (y,) = reference.run(forward(rows, columns, epsilon), x, scale, shift)
    # A row's mean errs by some f32 epsilons of its largest element, and that,
    # divided by the deviation, is the error of every element of the row.
    deviation = np.sqrt(x.astype(np.float64).var(1, keepdims=True) + epsilon)
    condition = np.maximum(1.0, np.abs(x).max(1, keepdims=True) / deviation)
    reference.close(y, exact, 1e-6, size=condition * np.ones_like(x) * 3)
    dx, dscale, dshift = reference.run(backward(rows, columns, epsilon), x, scale, g)
    if columns == 1:  # The deviation is zero: only the shift's gradient has a scale to be measured by.
        assert np.isfinite(dx).all()
    else:
        exact_dx, exact_dscale, _ = reference.gradients(exact, inputs, g)
        size = condition * np.abs(g).max() * 3 / deviation * np.ones_like(x)
        reference.close(dx, exact_dx, 2e-6, size=size)
        reference.close(dscale, exact_dscale, 2e-6, size=(condition * np.abs(g)).sum(0) * 3)
    reference.close(dshift, g.astype(np.float64).sum(0), 1e-6, size=np.abs(g).sum(0))


def test_a_constant_row_is_the_shift():
    x = np.full((2, 24), 3.25, np.float32)
    scale, shift = reference.random(24), reference.random(24, seed=1)
    (y,) = reference.run(forward(2, 24, 1e-12), x, scale, shift)
    np.testing.assert_array_equal(y, np.stack([shift, shift]))


@pytest.mark.parametrize("which", [0, 1])
def test_backward_against_finite_differences(which):
    rows, columns = 4, 19
    x, scale, shift, g = arguments(rows, columns)
    function = reference.pst.compile(forward(rows, columns, 1e-5))
    gradient = reference.run(backward(rows, columns, 1e-5), x, scale, g)[which]
    direction = reference.random(*gradient.shape, seed=7)
    expected = reference.finite_difference(function, [x, scale, shift], which, direction, g, step=2e-2)
    assert (gradient * direction).sum() == pytest.approx(expected, rel=5e-4)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("rows, columns", [(5, 7), (70, 64), (131, 37), (6, 3)])
def test_a_norms_gradient_is_added_to_another_and_dropped_out(norm, rows, columns):
    x, scale, shift, g = arguments(rows, columns)
    other, seed, site, probability = reference.random(rows, columns, seed=5), 12345, 6, 0.25
    length = next(size for size in (7, 5, 3, 2, 1) if rows % size == 0)
    m, v = f"tensor<{rows}x{columns}xf32>", f"tensor<{columns}xf32>"
    results = "%dx, %ds, %dt, %drop" if norm == "layer_norm" else "%dx, %ds, %drop"
    text = f"""func.func @main(%x: {m}, %scale: {v}, %g: {m}, %r: {m}, %seed: i64) -> ({m}, {v}, {m}) {{
      {results} = nn.{norm}_backward %x, %scale, %g epsilon 1.0e-5 addend(%r)
        dropout(%seed) probability {probability} site {site} length {length} : {m}, {v} addend {m} dropped {m}
      return %dx, %ds, %drop : {m}, {v}, {m}
    }}"""
    dx, dscale, dropped = reference.run(text, x, scale, g, other, seed)
    inputs = reference.double(x, scale)
    exact = reference.rms_norm(*inputs, 1e-5)
    if norm == "layer_norm":
        exact = reference.layer_norm(*inputs, reference.double(shift)[0], 1e-5)
    exact_dx, exact_dscale = reference.gradients(exact, inputs, g)
    size = np.full_like(x, 20.0)
    reference.close(dx, exact_dx.numpy() + other, 2e-6, size=size)
    reference.close(dscale, exact_dscale, 2e-6, size=np.abs(g).sum(0) * 20)
    keep = reference.kept(seed, site, probability, (rows, columns), length)
    assert 0.5 < keep.mean() < 0.95
    np.testing.assert_array_equal(dropped, np.where(keep, dx * np.float32(1 / (1 - probability)), 0))
