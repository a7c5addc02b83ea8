# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights of 8 bits: what is stored, by NumPy's float32; what is made of it, by float64."""

import functools

import numpy as np
import pytest
from nn_reference import call, close, random
from test_kernels_storage import SLACK, cells_of, decode, stored_types
from virtual_weights import CRITERIA

import pst

TINY = np.finfo(np.float32).tiny
# Degenerate, around a cell, several cells both ways with edges, and so large that few rows read it in place.
SHAPES = [(1, 1), (41, 1), (1, 37), (65, 129), (130, 257), (301, 243)]

compiled = functools.cache(pst.compile)


def matrix(rows, columns, element="f32"):
    return f"tensor<{rows}x{columns}x{element}>"


def hard(rows, columns, kept=1.0):
    """Rows of their own magnitudes: one of zeros, one with a single element, negative, and one of denormal numbers."""
    rng = np.random.default_rng(rows * 1000 + columns)
    weight = rng.standard_normal((rows, columns)) * np.exp(rng.uniform(-9, 9, (rows, 1)))
    weight[rng.random(weight.shape) >= kept] = 0
    weight[rows // 5] = 0
    if rows > 3:
        weight[3] = 0
        weight[3, columns // 2] = -1.5
        weight[1] *= 1e-41 / np.abs(weight[1]).max(initial=1e-30)
    return weight.astype(np.float32)


def quantized(weight):
    """Numbers and scales, as the description of pst.materialize has them."""
    largest = np.abs(weight).max(axis=1)
    scales = np.where(largest == 0, 0, np.maximum(largest / np.float32(127), TINY)).astype(np.float32)
    divisors = np.where(scales == 0, 1, scales)[:, None]
    return np.rint(weight / divisors).astype(np.int8), scales


def store(rows, columns, storage, transposed):
    """@store: the weight, or its transpose, as it is stored."""
    shape = (columns, rows) if transposed else (rows, columns)
    types = {
        "quantized": f"{matrix(*shape, 'i8')}, tensor<{shape[0]}xf32>",
        "compressed": stored_types(*shape).replace("xf32>", "xi8>", 1) + f", tensor<{shape[0]}xf32>",
    }[storage]
    count = types.count("tensor<")
    results = ", ".join(f"%s#{i}" for i in range(count))
    return types, f"""{CRITERIA["dense"].text("c")}
func.func @store(%w: {matrix(rows, columns)}) -> ({types}) {{
  %s:{count} = pst.materialize @c(%w){" transposed" if transposed else ""} as {storage} : ({matrix(rows, columns)}) -> {types}
  return {results} : {types}
}}
"""


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_numbers_and_scales(rows, columns, transposed):
    weight = hard(rows, columns)
    given = np.ascontiguousarray(weight.T) if transposed else weight
    values, scales = call(compiled(store(*given.shape, "quantized", transposed)[1]), given)
    wanted, wanted_scales = quantized(weight)
    np.testing.assert_array_equal(scales, wanted_scales)
    np.testing.assert_array_equal(values, wanted)
    if rows > 3:
        assert values.min() == -127 and 0 in scales and TINY in scales
    # Within half a scale of the weight; and what was rounded once is not rounded again.
    again = (values * scales[:, None]).astype(np.float32)
    assert (np.abs(again - weight) <= scales[:, None] * 0.500001).all()
    given = np.ascontiguousarray(again.T) if transposed else again
    np.testing.assert_array_equal(call(compiled(store(*given.shape, "quantized", transposed)[1]), given)[0], values)


@pytest.mark.parametrize("rows,columns", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_compressed_numbers_are_those_that_are_not_zero(rows, columns, transposed):
    weight = hard(rows, columns, kept=0.3)
    given = np.ascontiguousarray(weight.T) if transposed else weight
    *stored, scales = call(compiled(store(*given.shape, "compressed", transposed)[1]), given)
    wanted, wanted_scales = quantized(weight)
    assert stored[0].dtype == np.int8
    np.testing.assert_array_equal(decode(stored, rows, columns), wanted)
    np.testing.assert_array_equal(scales, wanted_scales)
    assert stored[3] == np.count_nonzero(wanted) + SLACK * cells_of(rows, columns)
    assert rows < 3 or np.count_nonzero(wanted) < np.count_nonzero(weight)  # some round to 0


def product(rows, columns, tokens, storage, types, epilogue=False):
    x, y = matrix(tokens, columns), matrix(tokens, rows)
    names = [f"%s{i}" for i in range(types.count("tensor<"))]
    arguments = ", ".join(f"{name}: {kind}>" for name, kind in zip(names, types.rstrip(">").split(">, ")))
    more = f", %b: tensor<{rows}xf32>, %r: {y}" if epilogue else ""
    return f"""func.func @product{tokens}(%x: {x}, {arguments}{more}) -> {y} {{
  %y = pst.stored_matmul %x, {storage}({", ".join(names)}){" bias(%b) addend(%r) activation relu" if epilogue else ""}
    : {x}, ({types}){f" bias tensor<{rows}xf32> addend {y}" if epilogue else ""} -> {y}
  return %y : {y}
}}
"""


@pytest.mark.parametrize("rows,columns", [*SHAPES, (70, 1601)])
@pytest.mark.parametrize("storage", ["quantized", "compressed"])
@pytest.mark.parametrize("lanes", [8, 16])
def test_products_are_those_of_the_numbers_times_their_scales(rows, columns, storage, lanes):
    """By the kernels of few rows and of many, with what follows a product and without."""
    weight = hard(rows, columns, kept=0.4 if storage == "compressed" else 1)
    types, text = store(rows, columns, storage, False)
    several = {1: False, 3: True, 8: True, 29: False, 90: True}
    text += "".join(product(rows, columns, tokens, storage, types, epilogue) for tokens, epilogue in several.items())
    program = compiled(text, vector_width=lanes)
    stored = program.function("store")(weight)
    values, scales = (array.astype(np.float64) for array in quantized(weight))
    for tokens, epilogue in several.items():
        x, bias, addend = random(tokens, columns, seed=1), random(rows, seed=2), random(tokens, rows, seed=3)
        more = (bias, addend) if epilogue else ()
        (found,) = call(program.function(f"product{tokens}"), x, *stored, *more)
        expected = (x.astype(np.float64) @ values.T) * scales + sum(more)
        # Where bytes are multiplied by bytes, an element is off by 2^-24 of the largest of its row of X.
        coarse = np.abs(x) + np.abs(x).max(axis=1, keepdims=True) * 2.0**-24 / 2e-6
        size = coarse.astype(np.float64) @ np.abs(values.T) * scales + sum(map(np.abs, more))
        close(found, np.maximum(expected, 0) if epilogue else expected, size=np.maximum(size, 1e-30))


def test_what_is_no_number_shows():
    """A row with a NaN or an infinity makes no number of anything; others are as ever."""
    weight = hard(7, 20)
    weight[2, 3], weight[5, 1] = np.nan, -np.inf
    for storage in ("quantized", "compressed"):
        types, text = store(7, 20, storage, False)
        program = compiled(text + product(7, 20, 2, storage, types))
        stored = program.function("store")(weight)
        found = program.function("product2")(random(2, 20), *stored)
        np.testing.assert_array_equal(np.isfinite(found), np.array([[True, True, False, True, True, False, True]] * 2), storage)


@pytest.mark.parametrize("positions", ["", "first 1 ids"])
def test_rows_of_tables(positions):
    words, width, length = 23, 37, 5
    table = hard(words, width)
    values, scales = quantized(table)
    rows = values.astype(np.float64) * scales[:, None]
    ids = np.random.default_rng(4).integers(0, words, (2, length)).astype(np.int32)
    ids[0, 0], ids[1, 1] = 0, words - 1
    counted = bool(positions)
    x = matrix(2 * length, width)
    text = f"""func.func @f(%ids: {matrix(2, length, "i32")}, %t: {matrix(words, width, "i8")}, %s: tensor<{words}xf32>) -> {x} {{
  %e = nn.embedding %ids, %t scales(%s : tensor<{words}xf32>) : {matrix(2, length, "i32")}, {matrix(words, width, "i8")} -> {x}
  %y = nn.add_positions %e, %t {f"ids(%ids : {matrix(2, length, 'i32')}) " if counted else ""}scales(%s : tensor<{words}xf32>)
    {"first 1 " if counted else "first 2 "}length {length} : {x}, {matrix(words, width, "i8")}
  return %y : {x}
}}"""
    (found,) = call(compiled(text), ids, values, scales)
    places = np.where(ids == 0, 0, np.cumsum(ids != 0, axis=1)) if counted else np.tile(np.arange(length) + 2, (2, 1))
    expected = rows[ids.ravel()] + rows[places.ravel()]
    close(found, expected, size=np.abs(rows[ids.ravel()]) + np.abs(rows[places.ravel()]))


@pytest.mark.parametrize("smoothing", [None, 0.25])
def test_the_loss_over_a_vocabulary(smoothing):
    tokens, words, width = 6, 53, 40
    weight = random(words, width, seed=1)
    weight[7] = 0
    values, scales = quantized(weight)
    x, labels = random(tokens, width, seed=2), np.array([3, 52, 0, -100, 7, 11], np.int32)
    w, v = matrix(words, width, "i8"), f"tensor<{words}xf32>"
    text = f"""func.func @f(%x: {matrix(tokens, width)}, %w: {w}, %l: tensor<{tokens}xi32>, %f: f32, %s: {v}, %e: f32) -> tensor<f32> {{
  %loss = nn.linear_cross_entropy %x, %w, %l, %f scales(%s : {v}) {"smoothing %e" if smoothing else ""} : {matrix(tokens, width)}, {w}, tensor<{tokens}xi32>
  return %loss : tensor<f32>
}}"""
    (found,) = call(compiled(text), x, values, labels, 0.25, scales, smoothing or 0)
    logits = x.astype(np.float64) @ (values.astype(np.float64) * scales[:, None]).T
    rest = np.log(np.exp(logits).sum(axis=1))
    own = 1 - (smoothing or 0)
    wanted = own * logits[np.arange(tokens), labels % words] + (1 - own) * logits.mean(axis=1)
    expected = (rest - wanted)[labels >= 0].sum() * 0.25
    np.testing.assert_allclose(found, expected, rtol=1e-6)
