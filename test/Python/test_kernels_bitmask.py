# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights that are stored with a bit for each element, and products that take them."""

import numpy as np
import pytest
from stored_weights import both_threads, compiled, layer, materialize, matrix, product
from virtual_weights import CRITERIA

WORD, BLOCK, SLACK = 64, 128, 64  # BitmaskLayout.h
# Degenerate, around a word, a block and a tile, several of them both ways with edges.
SHAPES = [(1, 1), (1, 37), (41, 1), (64, 128), (65, 129), (70, 64), (130, 331)]
# This one, one that expands f32 alone, one that expands nothing.
CPUS = ["", "skylake-avx512", "x86-64-v3"]
VALUES = ["f32", "bf16", "i8"]


def words_of(columns):
    return -(-columns // WORD)


def stored_types(rows, columns, value="f32", room=None):
    room = rows * columns + SLACK if room is None else room
    scales = f", tensor<{rows}xf32>" if value == "i8" else ""
    return f"tensor<{room}x{value}>, tensor<{(rows * words_of(columns) + 1) * 8}xi8>, tensor<{rows}x{-(-columns // BLOCK)}xi32>, tensor<i32>{scales}"


def decode(stored, rows, columns):
    """The matrix, by the description of the format alone."""
    values, bits, starts, used, *scales = stored
    bits = np.unpackbits(bits.view(np.uint8), bitorder="little")
    assert not bits[rows * words_of(columns) * WORD :].any()
    kept = bits[: rows * words_of(columns) * WORD].reshape(rows, -1)
    assert not kept[:, columns:].any()
    kept = kept[:, :columns].astype(bool)
    slots = np.cumsum(kept).reshape(kept.shape) - kept
    np.testing.assert_array_equal(starts, slots[:, ::BLOCK])
    assert used == kept.sum() + SLACK <= len(values)
    assert not values[kept.sum() :].any()
    result = np.zeros((rows, columns), np.float32)
    result[kept] = values[: kept.sum()]
    return result * scales[0][:, None] if scales else result


def rounded(masked, value):
    """What is stored of a weight: in bf16 its elements to nearest even, in i8 whole numbers of rows' scales."""
    if value == "bf16":
        bits = masked.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    if value == "i8":
        largest = np.abs(masked).max(1, keepdims=True)
        scales = np.where(largest == 0, 0, np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny)).astype(np.float32)
        return np.rint(masked / np.where(scales == 0, 1, scales)).astype(np.float32) * scales
    return masked


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize("keep", [0, 0.3, 1])
@pytest.mark.parametrize("value", ["f32", "i8"])
@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_stored_is_the_masked_weight(rows, columns, keep, value, transposed):
    criterion, factors, mask, masked = layer(rows, columns, keep)
    shape = (columns, rows) if transposed else (rows, columns)
    how = ("transposed " if transposed else "") + "MASK as bitmask"
    text = criterion.text("c") + materialize(criterion, factors, how, stored_types(*shape, value))
    one, two = both_threads(compiled(text), *factors, *mask)
    for a, b in zip(one, two):  # to the last unused slot
        assert a.tobytes() == b.tobytes()
    np.testing.assert_array_equal(decode(one, *shape), rounded(masked.T if transposed else masked, value))


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize("tokens", [1, 3, 6, 17, 90])
@pytest.mark.parametrize("value", VALUES)
def test_the_product_against_float64(rows, columns, tokens, value):
    """Stored and multiplied in one program, for each kind of CPU: with what follows a product."""
    criterion, factors, mask, masked = layer(rows, columns, 0.4, tokens)
    types = stored_types(rows, columns, value)
    inputs = ", ".join(f"%f{i}: tensor<{'x'.join(map(str, f.shape))}xf32>" for i, f in enumerate(factors))
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    kinds = ", ".join(f"tensor<{'x'.join(map(str, f.shape))}xf32>" for f in factors)
    count = types.count("tensor<")
    x_type, y_type = matrix(tokens, columns), matrix(tokens, rows)
    text = f"""{criterion.text("c")}func.func @both({inputs}, %tau: tensor<f32>, %cut: tensor<i64>, %x: {x_type}, %b: tensor<{rows}xf32>, %r: {y_type}) -> {y_type} {{
  %s:{count} = pst.materialize @c({names}) threshold(%tau, %cut) as bitmask : ({kinds}) -> {types}
  %y = pst.stored_matmul %x, bitmask({", ".join(f"%s#{i}" for i in range(count))}) bias(%b) addend(%r) activation relu : {x_type}, ({types}) bias tensor<{rows}xf32> addend {y_type} -> {y_type}
  return %y : {y_type}
}}
"""
    rng = np.random.default_rng(tokens)
    x, b, r = (rng.standard_normal(shape).astype(np.float32) for shape in ((tokens, columns), rows, (tokens, rows)))
    weight = rounded(masked, value).astype(np.float64)
    if value != "f32" and min(rows, columns) > 1:
        assert (weight != masked).any()
    expected = np.maximum(x.astype(np.float64) @ weight.T + b + r, 0)
    for cpu in CPUS:
        one, two = both_threads(compiled(text, cpu=cpu), *factors, *mask, x, b, r)
        assert one.tobytes() == two.tobytes()
        np.testing.assert_allclose(one, expected, rtol=0, atol=3e-6 * max(np.abs(expected).max(), 1))


def test_one_stored_weight_serves_every_batch_and_says_where_it_lacks_room():
    rows, columns = 97, 141
    criterion, factors, mask, masked = layer(rows, columns, 0.2)
    needed = int((masked != 0).sum()) + SLACK
    for room in (needed, needed - 1, SLACK):
        types = stored_types(rows, columns, room=room)
        text = criterion.text("c") + materialize(criterion, factors, "MASK as bitmask", types)
        for tokens in (3, 65):
            text += product("bitmask", types, rows, columns, tokens, name=f"batch{tokens}")
        program = compiled(text)
        stored = program.function("store")(*factors, *mask)
        assert stored[3] == needed
        for tokens in (3, 65, 3):
            x = np.random.default_rng(tokens).standard_normal((tokens, columns)).astype(np.float32)
            y = program.function(f"batch{tokens}")(x, *stored)
            if room < needed:
                assert np.isnan(y).all()
            else:
                expected = x.astype(np.float64) @ masked.T.astype(np.float64)
                np.testing.assert_allclose(y, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_a_plain_weight_with_zeros_of_both_signs():
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((67, 131)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.6] = 0.0
    weight[rng.random(weight.shape) < 0.3] *= -1
    criterion = CRITERIA["dense"]
    stored = compiled(criterion.text("c") + materialize(criterion, [weight], "as bitmask", stored_types(67, 131), False))(weight)
    np.testing.assert_array_equal(decode(stored, 67, 131), weight)
