# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.add, nn.dropout and pst.accumulate."""

import numpy as np
import nn_reference as reference
import pytest

# One element, primes, more than one chunk of 16,384 with a remainder.
SHAPES = [(1, 1), (7, 13), (251, 137)]


@pytest.mark.parametrize("shape", SHAPES)
def test_add(shape):
    x, y = reference.random(*shape), reference.random(*shape, seed=1)
    type = f"tensor<{shape[0]}x{shape[1]}xf32>"
    (z,) = reference.run(
        f"""func.func @main(%x: {type}, %y: {type}) -> {type} {{
          %z = nn.add %x, %y : {type}
          return %z : {type}
        }}""",
        x,
        y,
    )
    np.testing.assert_array_equal(z, x + y)


def dropout(shape, probability, site, more=""):
    type = f"tensor<{shape[0]}x{shape[1]}xf32>"
    return f"""func.func @main(%x: {type}, %seed: i64) -> {type} {{
      %y = nn.dropout %x, %seed probability {probability:e} site {site} {more} : {type}
      return %y : {type}
    }}"""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("probability, seed, site", [(0.1, 42, 0), (0.5, -3, 7), (0.999, 2**62 + 11, 123)])
def test_dropout(shape, probability, seed, site):
    x = reference.random(*shape)
    (y,) = reference.run(dropout(shape, probability, site), x, seed)
    keep = reference.kept(seed, site, probability, shape)
    np.testing.assert_array_equal(y != 0, keep)
    reference.close(y, np.where(keep, x.astype(np.float64) / (1 - probability), 0.0), 2e-7)


@pytest.mark.parametrize("batch, length, columns", [(1, 1, 1), (7, 3, 5), (2, 66, 384), (13, 2, 37)])
def test_dropout_of_sequences(batch, length, columns):
    x = reference.random(batch * length, columns)
    (y,) = reference.run(dropout(x.shape, 0.4, 3, f"length {length}"), x, 77)
    keep = reference.kept(77, 3, 0.4, x.shape, length)
    np.testing.assert_array_equal(y != 0, keep)
    # Of the first positions of each, it is that of shorter sequences.
    part = (length + 1) // 2
    shorter = np.ascontiguousarray(x.reshape(batch, length, columns)[:, :part]).reshape(-1, columns)
    (z,) = reference.run(dropout(shorter.shape, 0.4, 3, f"length {part}"), shorter, 77)
    np.testing.assert_array_equal(z.reshape(batch, part, columns), y.reshape(batch, length, columns)[:, :part])


def test_dropped_elements_are_zero_whatever_they_were():
    x = np.full((1, 64), np.inf, np.float32)
    (y,) = reference.run(dropout(x.shape, 0.5, 1), x, 5)
    keep = reference.kept(5, 1, 0.5, x.shape)
    assert keep.any() and not keep.all()
    np.testing.assert_array_equal(y, np.where(keep, np.float32(np.inf), np.float32(0)))


@pytest.mark.parametrize("batch, length, columns, token", [(1, 1, 1, 0), (3, 7, 5, 6), (32, 66, 384, 0), (2, 13, 37, 4)])
def test_dropout_of_a_token_is_that_among_all_tokens(batch, length, columns, token):
    x = reference.random(batch * length, columns)
    (all_rows,) = reference.run(dropout(x.shape, 0.3, 2, f"length {length}"), x, 9)
    picked = x.reshape(batch, length, columns)[:, token].copy()
    (y,) = reference.run(dropout(picked.shape, 0.3, 2, f"token {token}"), picked, 9)
    np.testing.assert_array_equal(y, all_rows.reshape(batch, length, columns)[:, token])


def test_statistics_of_dropout():
    """Rates and correlations of the masks are those of independent draws, within 4 sigma."""
    shape, probability = (512, 257), 0.1
    count = shape[0] * shape[1]
    x = np.ones(shape, np.float32)
    functions = {site: reference.pst.compile(dropout(shape, probability, site)) for site in (0, 1)}
    # As many sequences as there are positions in it.
    functions |= {site: reference.pst.compile(dropout(shape, probability, site, more)) for site, more in ((12, "length 16"), (13, "length 1"))}
    masks = [functions[site](x, seed) != 0 for site in functions for seed in (0, 1, 2, 43)]
    sigma = np.sqrt(probability * (1 - probability))
    noise = [(mask - (1 - probability)) / sigma for mask in masks]
    for i, one in enumerate(noise):
        assert abs(one.mean()) < 4 / np.sqrt(count)
        # Neighbours in a row, in a column, and a power of two apart.
        for distance in (1, shape[1], 64, 4096):
            assert abs((one.ravel()[distance:] * one.ravel()[:-distance]).mean()) < 4 / np.sqrt(count - distance)
        for other in noise[:i]:
            assert abs((one * other).mean()) < 4 / np.sqrt(count)


@pytest.mark.parametrize("shape", SHAPES)
def test_accumulate(shape):
    type = f"tensor<{shape[0]}x{shape[1]}xf32>"
    function = reference.pst.compile(
        f"""pst.parameter @p trainable init<zeros> : {type}
        func.func @main(%x: {type}) -> {type} {{
          pst.accumulate %x, @p : {type}
          %g = pst.load @p gradient : {type}
          return %g : {type}
        }}"""
    )
    expected = np.zeros(shape, np.float32)
    for seed in (1, 2, 3):
        x = reference.random(*shape, seed=seed)
        expected = expected + x
        np.testing.assert_array_equal(function(x), expected)


@pytest.mark.parametrize("value, expected", [("nn.activation relu %x", lambda x: np.maximum(x, 0)), ("arith.addf %x, %x", lambda x: x + x)])
def test_what_is_returned_twice_is_there_twice(value, expected):
    """The first result is written in place, the second is a copy of it; so is an argument."""
    x = reference.random(3, 5)
    type = "tensor<3x5xf32>"
    first, second, same = reference.run(
        f"""func.func @main(%x: {type}) -> ({type}, {type}, {type}) {{
          %y = {value} : {type}
          return %y, %y, %x : {type}, {type}, {type}
        }}""",
        x,
    )
    np.testing.assert_array_equal(first, expected(x))
    np.testing.assert_array_equal(second, expected(x))
    np.testing.assert_array_equal(same, x)
