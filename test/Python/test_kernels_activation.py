# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.activation, its backward and nn.column_sum."""

import numpy as np
import nn_reference as reference
import pytest
import torch

KINDS = ["gelu", "gelu_tanh", "tanh", "relu", "silu"]
# One element, primes, whole vectors, more than one chunk with a remainder.
SHAPES = [(1, 1), (7, 13), (16, 32), (67, 199)]


def forward(kind, shape):
    type = f"tensor<{shape[0]}x{shape[1]}xf32>"
    return f"""func.func @main(%x: {type}) -> {type} {{
      %y = nn.activation {kind} %x : {type}
      return %y : {type}
    }}"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_activation_and_backward(kind, shape):
    x, g = reference.random(*shape, scale=2.5), reference.random(*shape, seed=1)
    type = f"tensor<{shape[0]}x{shape[1]}xf32>"
    y, dx = reference.run(
        f"""func.func @main(%x: {type}, %g: {type}) -> ({type}, {type}) {{
          %y = nn.activation {kind} %x : {type}
          %d = nn.activation_backward {kind} %x, %g : {type}
          return %y, %d : {type}, {type}
        }}""",
        x,
        g,
    )
    (exact,) = inputs = reference.double(x)
    exact = reference.activation(kind, exact)
    reference.close(y, exact, 1e-6)
    reference.close(dx, reference.gradients(exact, inputs, g)[0], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_over_the_whole_range(kind):
    """Relative, down to the tails: an activation is no less exact where it is small."""
    x = np.concatenate([np.linspace(-6, 6, 4096), np.logspace(-30, 4, 500), -np.logspace(-30, 0.7, 500)])
    x = x.astype(np.float32).reshape(1, -1)
    (y,) = reference.run(forward(kind, x.shape), x)
    exact = reference.activation(kind, torch.tensor(x, dtype=torch.float64))
    # Rounding x^2 / 2 before e^ of it costs up to 20 half ulps at |x| = 6.
    tolerance = {"gelu": 2e-6, "gelu_tanh": 4e-6, "tanh": 5e-7, "relu": 0, "silu": 1e-6}[kind]
    reference.close(y, exact, tolerance, size=np.abs(exact.numpy()))


@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_stays_one(kind):
    x = np.array([[np.nan, 1.0, np.nan, -1.0, 2.0, 0.5, -3.0, 1.0, np.nan]], np.float32)
    function = reference.pst.compile(forward(kind, x.shape))
    np.testing.assert_array_equal(np.isnan(function(x)), np.isnan(x))


def test_backward_against_finite_differences():
    shape = (5, 11)
    x, g, direction = (reference.random(*shape, seed=seed) for seed in (3, 4, 5))
    type = "tensor<5x11xf32>"
    function = reference.pst.compile(forward("gelu", shape))
    (dx,) = reference.run(
        f"""func.func @main(%x: {type}, %g: {type}) -> {type} {{
          %d = nn.activation_backward gelu %x, %g : {type}
          return %d : {type}
        }}""",
        x,
        g,
    )
    expected = reference.finite_difference(function, [x], 0, direction, g, step=3e-2)
    assert (dx * direction).sum() == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("rows, columns", [(1, 1), (5, 3), (129, 37), (64, 128), (1031, 71)])
@pytest.mark.parametrize("squared", ["", "squared"])
def test_column_sum(rows, columns, squared):
    x = reference.random(rows, columns, seed=rows)
    text = f"""func.func @main(%x: tensor<{rows}x{columns}xf32>) -> tensor<{columns}xf32> {{
      %s = nn.column_sum %x {squared} : tensor<{rows}x{columns}xf32> -> tensor<{columns}xf32>
      return %s : tensor<{columns}xf32>
    }}"""
    (sums,) = reference.run(text, x)
    if squared:
        return reference.close(sums, (x.astype(np.float64) ** 2).sum(0), 2e-6)
    reference.close(sums, x.astype(np.float64).sum(0), 1e-6, size=np.abs(x).sum(0))
    # The order is fixed: rows from the first to the last.
    ordered = np.zeros(columns, np.float32)
    for row in x:
        ordered += row
    np.testing.assert_array_equal(sums, ordered)
