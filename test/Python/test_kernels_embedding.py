# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels that move rows of tokens: embedding, add_positions, position_sum, select_token."""

import json

import numpy as np
import nn_reference as reference
import pytest

from pst.compiled import Function

# batch, length, rows of the table, columns
SHAPES = [(1, 1, 1, 1), (3, 7, 11, 13), (4, 32, 50, 64), (5, 19, 401, 203)]


def types(batch, length, rows, columns):
    return (
        f"tensor<{batch}x{length}xi32>",
        f"tensor<{batch * length}x{columns}xf32>",
        f"tensor<{rows}x{columns}xf32>",
        f"tensor<{batch}x{columns}xf32>",
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_embedding_and_backward(shape):
    batch, length, rows, columns = shape
    indices_type, x, t, _ = types(*shape)
    indices = np.random.default_rng(1).integers(0, rows, (batch, length), dtype=np.int32)
    table, g = reference.random(rows, columns), reference.random(batch * length, columns, seed=1)
    y, dtable = reference.run(
        f"""func.func @main(%i: {indices_type}, %t: {t}, %g: {x}) -> ({x}, {t}) {{
          %y = nn.embedding %i, %t : {indices_type}, {t} -> {x}
          %d = nn.embedding_backward %i, %g : {indices_type}, {x} -> {t}
          return %y, %d : {x}, {t}
        }}""",
        indices,
        table,
        g,
    )
    (exact,) = inputs = reference.double(table)
    exact = reference.embedding(indices, exact)
    np.testing.assert_array_equal(y, exact.detach().numpy().astype(np.float32))
    reference.close(dtable, reference.gradients(exact, inputs, g)[0], 1e-6, size=np.full(dtable.shape, 4.0))
    ordered = np.zeros_like(table)
    for token, row in enumerate(indices.reshape(-1)):
        ordered[row] += g[token]
    np.testing.assert_array_equal(dtable, ordered)


def test_indices_outside_the_table_read_its_nearest_row(tmp_path):
    """The runtime refuses them (test_inputs.py), but in a GPU's memory, and of bundles that say nothing of ids."""
    rows, columns = 5, 7
    indices = np.array([[-2, 5, 0], [6, -(2**31), 2**31 - 1]], np.int32)
    text = f"""func.func @main(%i: tensor<2x3xi32>, %t: tensor<{rows}x{columns}xf32>) -> tensor<6x{columns}xf32> {{
          %y = nn.embedding %i, %t : tensor<2x3xi32>, tensor<{rows}x{columns}xf32> -> tensor<6x{columns}xf32>
          return %y : tensor<6x{columns}xf32>
        }}"""
    reference.pst._pst.compile_text(text, {"bundle": str(tmp_path / "b")})
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert [argument.pop("ids", 0) for argument in manifest["entry_points"]["main"]["arguments"]][0] == rows
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    table = reference.random(rows, columns)
    look = Function(reference.pst._pst.Program.load(str(tmp_path / "b")), "main")
    np.testing.assert_array_equal(look(indices, table), table[indices.ravel().clip(0, rows - 1)])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", [0, 2])
def test_add_positions_and_position_sum(shape, first):
    batch, length, _, columns = shape
    rows = length + 3
    begin = f"first {first}" if first else ""
    _, x, t, _ = types(batch, length, rows, columns)
    input, table = reference.random(batch * length, columns), reference.random(rows, columns, seed=1)
    g = reference.random(batch * length, columns, seed=2)
    y, dtable = reference.run(
        f"""func.func @main(%x: {x}, %t: {t}, %g: {x}) -> ({x}, {t}) {{
          %y = nn.add_positions %x, %t {begin} length {length} : {x}, {t}
          %d = nn.position_sum %g {begin} length {length} : {x} -> {t}
          return %y, %d : {x}, {t}
        }}""",
        input,
        table,
        g,
    )
    inputs = reference.double(input, table)
    exact = reference.add_positions(inputs[0], inputs[1][first:], length)
    reference.close(y, exact, 2e-7)
    reference.close(dtable, reference.gradients(exact, inputs, g)[1], 2e-7, size=np.full(dtable.shape, 10.0))
    assert (dtable[:first] == 0).all() and (dtable[first + length :] == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", [0, 2])
def test_positions_of_tokens_that_are_no_padding(shape, padding):
    """Padding before, after and between tokens, as transformers' RoBERTa counts."""
    batch, length, _, columns = shape
    rows = length + padding + 2
    _, x, t, _ = types(batch, length, rows, columns)
    ids = np.random.default_rng(length).integers(0, 4, (batch, length)).astype(np.int32)
    input, table = reference.random(batch * length, columns), reference.random(rows, columns, seed=1)
    g = reference.random(batch * length, columns, seed=2)
    kind = f"tensor<{batch}x{length}xi32>"
    y, dtable = reference.run(
        f"""func.func @main(%x: {x}, %t: {t}, %g: {x}, %i: {kind}) -> ({x}, {t}) {{
          %y = nn.add_positions %x, %t ids(%i : {kind}) first {padding + 1} length {length} : {x}, {t}
          %d = nn.position_sum %g ids(%i : {kind}) first {padding + 1} length {length} : {x} -> {t}
          return %y, %d : {x}, {t}
        }}""",
        input,
        table,
        g,
        ids,
    )
    real = (ids != padding).astype(np.int32)
    positions = (np.cumsum(real, axis=1) * real + padding).reshape(-1)
    inputs = reference.double(input, table)
    exact = inputs[0] + inputs[1][positions]
    reference.close(y, exact, 2e-7)
    # The row of padding is a sum of many.
    sizes = reference.gradients(inputs[0] + inputs[1][positions], inputs, np.abs(g))[1]
    reference.close(dtable, reference.gradients(exact, inputs, g)[1], 1e-6, size=np.maximum(sizes.numpy(), 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("last", [False, True])
def test_select_token_and_backward(shape, last):
    batch, length, _, columns = shape
    index = length - 1 if last else 0
    _, x, _, selected = types(*shape)
    input, g = reference.random(batch * length, columns), reference.random(batch, columns, seed=1)
    y, dx = reference.run(
        f"""func.func @main(%x: {x}, %g: {selected}) -> ({selected}, {x}) {{
          %y = nn.select_token %x index {index} : {x} -> {selected}
          %d = nn.select_token_backward %g index {index} : {selected} -> {x}
          return %y, %d : {selected}, {x}
        }}""",
        input,
        g,
    )
    (exact,) = inputs = reference.double(input)
    exact = reference.select_token(exact, batch, index)
    np.testing.assert_array_equal(y, exact.detach().numpy().astype(np.float32))
    np.testing.assert_array_equal(dx, reference.gradients(exact, inputs, g)[0].numpy().astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES)
def test_select_the_last_token(shape):
    """By a mask with padding at the end, at the front, in between, and of padding alone."""
    batch, length, _, columns = shape
    _, x, _, selected = types(*shape)
    m = f"tensor<{batch}x{length}xi32>"
    input, g = reference.random(batch * length, columns), reference.random(batch, columns, seed=1)
    mask = np.random.default_rng(3).integers(0, 2, (batch, length), dtype=np.int32)
    mask[-1] = 0
    y, dx = reference.run(
        f"""func.func @main(%x: {x}, %m: {m}, %g: {selected}) -> ({selected}, {x}) {{
          %y = nn.select_token %x last(%m : {m}) : {x} -> {selected}
          %d = nn.select_token_backward %g last(%m : {m}) : {selected} -> {x}
          return %y, %d : {selected}, {x}
        }}""",
        input,
        mask,
        g,
    )
    last = [max(np.flatnonzero(row), default=0) for row in mask]
    rows = np.arange(batch) * length + last
    np.testing.assert_array_equal(y, input[rows])
    expected = np.zeros_like(input)
    expected[rows] = g
    np.testing.assert_array_equal(dx, expected)
