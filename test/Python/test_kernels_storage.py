# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights that are stored once, and products that take them."""

import numpy as np
import pytest
from stored_weights import both_threads, compiled, layer, materialize, matrix, product
from virtual_weights import CRITERIA, tensor

import pst

ROWS, COLUMNS, SLACK = 64, 128, 16  # of a cell, and after its elements (CompressedLayout.h)
# Degenerate, around a cell, several cells both ways with edges.
SHAPES = [(1, 1), (1, 37), (41, 1), (64, 128), (65, 129), (130, 257)]


def cells_of(rows, columns):
    return -(-rows // ROWS) * -(-columns // COLUMNS)


def stored_types(rows, columns, room=None):
    cells = cells_of(rows, columns)
    room = rows * columns + SLACK * cells if room is None else room
    return f"tensor<{room}xf32>, tensor<{room}xi8>, tensor<{cells}x{ROWS + 1}xi32>, tensor<i32>"


def decode(stored, rows, columns):
    """The matrix, by the description of the format alone; of the slots, those that are used."""
    values, places, cells, used = stored
    matrix, seen = np.zeros((rows, columns), np.float32), np.zeros(len(values), bool)
    blocks = -(-columns // COLUMNS)
    for cell, (first, *entries) in enumerate(cells):
        row, column = cell // blocks * ROWS, cell % blocks * COLUMNS
        at = first
        numbers, counts = np.divmod(entries, 256)
        assert (np.sort(numbers) == np.arange(ROWS)).all()
        assert (np.lexsort((numbers, -counts)) == np.arange(ROWS)).all()
        for r, count in zip(numbers, counts):
            if count == 0:
                continue
            assert row + r < rows
            own = places[at : at + count].astype(int)
            assert (np.diff(own) > 0).all() and (own >= 0).all() and (own < COLUMNS).all()
            matrix[row + r, column + own] = values[at : at + count]
            at += count
        assert not seen[first : at + SLACK].any() and at + SLACK <= used <= len(values)
        seen[first : at + SLACK] = True
    assert seen.sum() == used
    return matrix


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_compressed_is_the_masked_weight(rows, columns, keep, transposed):
    criterion, factors, mask, masked = layer(rows, columns, keep)
    shape = (columns, rows) if transposed else (rows, columns)
    how = ("transposed " if transposed else "") + "MASK as compressed"
    text = criterion.text("c") + materialize(criterion, factors, how, stored_types(*shape))
    one, two = both_threads(compiled(text), *factors, *mask)
    for a, b in zip(one, two):  # to the last unused slot
        assert a.tobytes() == b.tobytes()
    np.testing.assert_array_equal(decode(one, *shape), masked.T if transposed else masked)
    values, places, cells, used = one
    assert used == (masked != 0).sum() + SLACK * cells_of(*shape)
    assert (cells[1:, 0] == cells[:-1, 0] + (cells[:-1, 1:] % 256).sum(1) + SLACK).all() and cells[0, 0] == 0
    assert (np.count_nonzero(values), np.count_nonzero(values[used:]), places[used:].any()) == ((masked != 0).sum(), 0, False)


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("order", ["", " unordered"])
def test_the_order_of_cells_is_free(rows, columns, lanes, order):
    criterion, factors, mask, masked = layer(rows, columns, 0.4)
    for transposed, shape in ((False, (rows, columns)), (True, (columns, rows))):
        how = ("transposed " if transposed else "") + "MASK as compressed" + order
        text = criterion.text("c") + materialize(criterion, factors, how, stored_types(*shape))
        for stored in both_threads(compiled(text, vector_width=lanes), *factors, *mask):
            np.testing.assert_array_equal(decode(stored, *shape), masked.T if transposed else masked)


@pytest.mark.parametrize("rows,columns", [*SHAPES, (70, 1601)])
@pytest.mark.parametrize("tokens", [1, 2, 7, 64, 90])
@pytest.mark.parametrize("keep", [0, 0.1, 1])
def test_the_product_against_float64(rows, columns, tokens, keep):
    """Stored by one function, multiplied by another: what lies between them is plain tensors."""
    criterion, factors, mask, masked = layer(rows, columns, keep, tokens)
    x = np.random.default_rng(tokens).standard_normal((tokens, columns)).astype(np.float32)
    text = criterion.text("c") + materialize(criterion, factors, "MASK as compressed", stored_types(rows, columns))
    program = compiled(text + product("compressed", stored_types(rows, columns), rows, columns, tokens))
    stored = program.function("store")(*factors, *mask)
    one, two = both_threads(program.function("product"), x, *stored)
    assert one.tobytes() == two.tobytes()
    expected = x.astype(np.float64) @ masked.T.astype(np.float64)
    scale = max(np.abs(expected).max(), 1e-30)
    np.testing.assert_allclose(one / scale, expected / scale, rtol=0, atol=3e-6)


def test_one_stored_weight_serves_every_batch():
    """Compressed once, at exactly the room that it takes; then batches of other sizes, with what follows a product."""
    rows, columns = 97, 141
    criterion, factors, mask, masked = layer(rows, columns, 0.2)
    room = int((masked != 0).sum()) + SLACK * cells_of(rows, columns)
    text = criterion.text("c") + materialize(criterion, factors, "MASK as compressed", stored_types(rows, columns, room))
    bias, residual = ", %b: tensor<97xf32>", ", %r: tensor<{}x97xf32>"
    for tokens in (3, 65):
        text += product(
            "compressed", stored_types(rows, columns, room), rows, columns, tokens, " bias(%b) addend(%r) activation relu",
            bias + residual.format(tokens), f" bias tensor<97xf32> addend tensor<{tokens}x97xf32>", f"batch{tokens}",
        )  # fmt: skip
    program = compiled(text)
    stored = program.function("store")(*factors, *mask)
    assert stored[3] == room
    rng = np.random.default_rng(1)
    for tokens in (3, 65, 3):
        x, r = (rng.standard_normal((tokens, size)).astype(np.float32) for size in (columns, rows))
        b = rng.standard_normal(rows).astype(np.float32)
        y = program.function(f"batch{tokens}")(x, *stored, b, r)
        expected = np.maximum(x.astype(np.float64) @ masked.T.astype(np.float64) + b + r, 0)
        np.testing.assert_allclose(y, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("order", ["", " unordered"])
def test_without_room_nothing_is_written_and_the_product_says_so(order):
    rows, columns, tokens = 130, 257, 5
    criterion, factors, mask, masked = layer(rows, columns, 0.5)
    needed = int((masked != 0).sum()) + SLACK * cells_of(rows, columns)
    for room in (needed - 1, needed // 2, SLACK * cells_of(rows, columns)):
        text = criterion.text("c") + product("compressed", stored_types(rows, columns, room), rows, columns, tokens)
        text += materialize(criterion, factors, f"MASK as compressed{order}", stored_types(rows, columns, room))
        program = compiled(text)
        for stored in both_threads(program.function("store"), *factors, *mask):
            assert stored[3] == needed
            x = np.ones((tokens, columns), np.float32)
            assert np.isnan(program.function("product")(x, *stored)).all()


def test_a_plain_weight_is_compressed_too():
    """Magnitudes without a mask: the zeros that the weight has, of both signs, are what is left out."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((67, 131)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.6] = 0.0
    weight[rng.random(weight.shape) < 0.3] *= -1
    criterion = CRITERIA["dense"]
    text = criterion.text("c") + materialize(criterion, [weight], "as compressed", stored_types(67, 131), False)
    stored = compiled(text)(weight)
    np.testing.assert_array_equal(decode(stored, 67, 131), weight)
    assert stored[3] == (weight != 0).sum() + SLACK * cells_of(67, 131)


@pytest.mark.parametrize("tokens", [1, 3, 4, 17])
def test_values_of_bf16_are_rounded_to_nearest_even(tokens):
    """Half the bytes: the product is that of the rounded elements, summed in f32."""
    rows, columns = 70, 261
    criterion, factors, mask, masked = layer(rows, columns, 0.3, tokens)
    room = rows * columns + SLACK * cells_of(rows, columns)
    stored = f"tensor<{room}xbf16>, tensor<{room}xi8>, tensor<{cells_of(rows, columns)}x{ROWS + 1}xi32>, tensor<i32>"
    inputs = {f"%f{i}": tensor(factor) for i, factor in enumerate(factors)}
    x, y = matrix(tokens, columns), matrix(tokens, rows)
    arguments = ", ".join(f"{name}: {kind}" for name, kind in inputs.items())
    text = f"""{criterion.text("c")}func.func @both({arguments}, %tau: tensor<f32>, %cut: tensor<i64>, %x: {x}) -> {y} {{
  %s:4 = pst.materialize @c({", ".join(inputs)}) threshold(%tau, %cut) as compressed : ({", ".join(inputs.values())}) -> {stored}
  %y = pst.stored_matmul %x, compressed(%s#0, %s#1, %s#2, %s#3) : {x}, ({stored}) -> {y}
  return %y : {y}
}}
"""
    x = np.random.default_rng(tokens).standard_normal((tokens, columns)).astype(np.float32)
    bits = masked.view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    assert (rounded != masked).any()
    one, two = both_threads(compiled(text), *factors, *mask, x)
    assert one.tobytes() == two.tobytes()
    expected = x.astype(np.float64) @ rounded.T.astype(np.float64)
    np.testing.assert_allclose(one, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.filterwarnings("ignore:--vector_width")
def test_vectors_wider_than_the_slack_change_nothing(width):
    """What a vector stores behind a cell's last element must not be the next cell's, or behind the room."""
    rows, columns = 130, 257
    criterion, factors, mask, masked = layer(rows, columns, 0.1)
    room = int((masked != 0).sum()) + SLACK * cells_of(rows, columns)
    text = criterion.text("c") + materialize(criterion, factors, "MASK as compressed", stored_types(rows, columns, room))
    for tokens in (1, 7):
        text += product("compressed", stored_types(rows, columns, room), rows, columns, tokens, name=f"batch{tokens}")
    found = []
    for lanes in (16, width):
        program = pst.compile(text, vector_width=lanes)
        stored = program.function("store")(*factors, *mask)
        x = [np.random.default_rng(tokens).standard_normal((tokens, columns)).astype(np.float32) for tokens in (1, 7)]
        found.append([array.tobytes() for array in (*stored, *(program.function(f"batch{len(rows)}")(rows, *stored) for rows in x))])
    assert found[0] == found[1]
