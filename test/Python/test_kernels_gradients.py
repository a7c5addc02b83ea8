# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels whose results are added to gradients: two calls leave the sum of both, against float64."""

import nn_reference as reference
import numpy as np
import pytest
from virtual_weights import CRITERIA, random_factors, tensor

import pst


def program(declarations, parameters, arguments, body, result=None):
    """A function that runs `body` (with pst.accumulate to parameters of these types), and returns their gradients.

    `result` (name, type) is returned before them.
    """
    declared = "\n".join(f"pst.parameter @{name} trainable init<zeros> : {type}" for name, type in parameters.items())
    loads = "\n".join(f"%now_{name} = pst.load @{name} gradient : {type}" for name, type in parameters.items())
    names = [f"%now_{name}" for name in parameters]
    types = list(parameters.values())
    if result:
        names, types = [result[0], *names], [result[1], *types]
    return pst.compile(
        f"""{declarations}
{declared}
func.func @main({arguments}) -> ({", ".join(types)}) {{
{body}
{loads}
return {", ".join(names)} : {", ".join(types)}
}}"""
    )


def outputs(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", ["lora", "mvp"])
@pytest.mark.parametrize("rows, columns, tokens, rank", [(1, 1, 1, 1), (97, 53, 40, 3), (131, 67, 1129, 8)])
def test_lowrank_accumulate(name, rows, columns, tokens, rank):
    criterion = CRITERIA[name]
    rng = np.random.default_rng(rows)
    factors = random_factors(criterion, rows, columns, rank, rng)
    types = list(map(tensor, factors))
    y, x = f"tensor<{tokens}x{rows}xf32>", f"tensor<{tokens}x{columns}xf32>"
    arguments = [f"%dy: {y}", f"%x: {x}", *(f"%f{i}: {type}" for i, type in enumerate(types))]
    if criterion.score:  # all elements are equal to the threshold, and before the cut
        arguments += ["%tau: tensor<f32>", "%cut: tensor<i64>"]
    names = ", ".join(f"%f{i}" for i in range(len(types)))
    threshold = "threshold(%tau, %cut) " if criterion.score else ""
    body = (
        f"%g:{len(types)} = pst.lowrank_accumulate %dy, %x, @c({names}) {threshold}wrt {list(range(len(types)))}"
        f" : {y}, {x}, ({', '.join(types)}) -> {', '.join(types)}\n"
    )
    body += "\n".join(f"pst.accumulate %g#{i}, @p{i} : {type}" for i, type in enumerate(types))
    parameters = {f"p{i}": type for i, type in enumerate(types)}
    function = program(criterion.text("c"), parameters, ", ".join(arguments), body)
    expected = [np.zeros(factor.shape) for factor in factors]
    for call in range(2):
        dy, inputs = (rng.standard_normal((tokens, size)).astype(np.float32) for size in (rows, columns))
        if criterion.score:
            factors[1] = np.full_like(factors[1], 2.0)
        extra = (np.array(2.0, np.float32), np.array(rows * columns)) if criterion.score else ()
        found = outputs(function(dy, inputs, *factors, *extra))
        gradient = dy.astype(np.float64).T @ inputs
        wide = [factor.astype(np.float64) for factor in factors]
        if name == "mvp":
            added = [gradient, gradient * wide[0]]
        else:
            added = [gradient, gradient @ wide[2].T, wide[1].T @ gradient]
        for i, (sum, more) in enumerate(zip(expected, added)):
            sum += more
            scale = np.abs(sum).max()
            np.testing.assert_allclose(found[i] / scale, sum / scale, rtol=0, atol=1e-5, err_msg=f"call {call}, factor {i}")


@pytest.mark.parametrize("wanted", ["", "scale", "shift", "scale shift"])
@pytest.mark.parametrize("rows, columns", [(3, 1), (67, 5), (130, 24), (1100, 12)])
def test_layer_norm(rows, columns, wanted):
    """Gradients of scale and shift that nobody asks for are not computed, and do not change the others."""
    epsilon = 1e-5
    matrix, vector = f"tensor<{rows}x{columns}xf32>", f"tensor<{columns}xf32>"
    body = f"%dx, %dscale, %dshift = nn.layer_norm_backward %x, %scale, %dy epsilon {epsilon:e} : {matrix}, {vector}\n"
    body += "\n".join(f"pst.accumulate %d{name}, @{name} : {vector}" for name in wanted.split())
    function = program(
        "",
        dict.fromkeys(wanted.split(), vector),
        f"%x: {matrix}, %scale: {vector}, %dy: {matrix}",
        body,
        result=("%dx", matrix),
    )
    sums = dict.fromkeys(wanted.split(), 0.0)
    for call in range(2):
        x = reference.random(rows, columns, seed=call, scale=2.0)
        scale, dy = 1 + reference.random(columns, seed=call + 2, scale=0.3), reference.random(rows, columns, seed=call + 4)
        wide, wide_scale = reference.double(x, scale)
        found = outputs(function(x, scale, dy))
        shift = reference.double(np.zeros(columns, np.float32))[0]
        y = reference.layer_norm(wide, wide_scale, shift, epsilon)
        dx, dscale, dshift = (g.numpy() for g in reference.gradients(y, [wide, wide_scale, shift], dy))
        reference.close(found[0], dx, 1e-4, size=np.abs(dx).max())
        for name, gradient in zip(wanted.split(), found[1:]):
            sums[name] = sums[name] + {"scale": dscale, "shift": dshift}[name]
            reference.close(gradient, sums[name], 1e-5, size=np.abs(sums[name]).max() + np.sqrt(rows))


@pytest.mark.parametrize("rows, columns", [(1, 1), (5, 3), (129, 37), (1031, 71)])
def test_column_sum(rows, columns):
    matrix, vector = f"tensor<{rows}x{columns}xf32>", f"tensor<{columns}xf32>"
    body = f"%s = nn.column_sum %x : {matrix} -> {vector}\npst.accumulate %s, @p : {vector}"
    function = program("", {"p": vector}, f"%x: {matrix}", body)
    expected, size = np.zeros(columns), np.zeros(columns)
    for seed in (1, 2, 3):
        x = reference.random(rows, columns, seed=seed)
        expected, size = expected + x.astype(np.float64).sum(0), size + np.abs(x).sum(0)
        reference.close(outputs(function(x))[0], expected, 1e-6, size=size)
