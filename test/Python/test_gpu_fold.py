# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Gradients of factors folded from tiles of G = dY^T X in the registers of wgmma (sm_90a), run by the emulator, against
the formulas in float64."""

import bf16
import nn_reference as reference
import numpy as np
import pytest
from test_kernels_accumulate import expected
from virtual_weights import CRITERIA, elements, mask, random_factors

import pst

pytestmark = pytest.mark.usefixtures("recorded_checks")


def threshold_of(criterion, factors):
    """A third of the elements stays; a number between two scores, so that no rounding moves an element across."""
    scores = criterion.score(*elements(criterion, factors, np.float32))
    order = np.sort(scores, axis=None)
    place = order.size * 2 // 3
    tau = np.float32((order[place] + order[min(place + 1, order.size - 1)]) / 2)
    return scores, (np.array(tau), np.array(order.size // 2))


def accumulate(criterion, factors, dy, x, wrt, frozen, masked):
    """The gradients of the factor tensors in `wrt`; the first one in bf16 if frozen."""
    types = [bf16.tensor(f.shape, "bf16" if frozen and i == 0 else "f32") for i, f in enumerate(factors)]
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = [(f"f{i}", factor, frozen and i == 0) for i, factor in enumerate(factors)]
    arguments += [("dy", dy, True), ("x", x, True)]
    values = [*factors, dy, x]
    words = ""
    if masked:
        _, threshold = threshold_of(criterion, factors)
        arguments += [("tau", "tensor<f32>"), ("cut", "tensor<i64>")]
        values += threshold
        words = "threshold(%tau, %cut) "
    results = [f"g{i}" for i in wrt]
    body = (
        f"{', '.join('%' + name for name in results)} = pst.lowrank_accumulate %dy, %x, @c({names}) {words}wrt {wrt} : "
        f"{bf16.tensor(dy.shape, 'bf16')}, {bf16.tensor(x.shape, 'bf16')}, ({', '.join(types)}) -> "
        f"{', '.join(bf16.tensor(factors[i].shape, 'f32') for i in wrt)}"
    )
    text = criterion.text("c") + bf16.function(
        body, arguments, [(name, factors[i].shape, False) for name, i in zip(results, wrt)]
    )
    return reference.call(pst.compile(text, target="emulated"), *values)


def check(name, rows, columns, tokens, rank, wrt=None, frozen=False):
    criterion, rng = CRITERIA[name], np.random.default_rng(rows + columns)
    factors = random_factors(criterion, rows, columns, rank, rng)
    if frozen:
        factors[0] = bf16.rounded(factors[0])
    dy, x = bf16.rounded(reference.random(tokens, rows)), bf16.rounded(reference.random(tokens, columns, seed=1))
    masked = criterion.score is not None
    wrt = list(range(len(factors))) if wrt is None else wrt
    found = accumulate(criterion, factors, dy, x, wrt, frozen, masked)
    keep = np.ones((rows, columns))
    if masked:
        scores, threshold = threshold_of(criterion, factors)
        keep = mask(scores, *threshold).astype(np.float64)
    gradients = expected(name, factors, dy.astype(np.float64).T @ x, keep)
    # Sums of magnitudes: of each term, products of numbers split in two of bf16 lose 2^-17 or so.
    magnitudes = [np.abs(factor) for factor in factors]
    sizes = expected(name, magnitudes, np.abs(dy).astype(np.float64).T @ np.abs(x), np.ones_like(keep))
    for i, gradient in zip(wrt, found):
        bf16.close(gradient, gradients[i], narrow=False, arithmetic=2.0**-16, size=sizes[i])


# Rows of both operands are multiples of 8 elements: so are those of G. Ranks of less than 8, of 8, and more.
@pytest.mark.parametrize("rows, columns, tokens", [(8, 8, 1), (136, 72, 37), (264, 200, 131)])
@pytest.mark.parametrize("rank", [1, 5, 8])
def test_gradients_of_every_factor(rows, columns, tokens, rank):
    check("pst", rows, columns, tokens, rank, wrt=[1, 2, 3, 4, 5, 6], frozen=True)


@pytest.mark.parametrize("name, rank", [("lora", 3), ("lora", 13), ("lora", 16), ("mvp", 1), ("dense", 1)])
def test_every_method(name, rank):
    check(name, 200, 136, 70, rank)


@pytest.mark.parametrize("rank", [9, 12, 16, 20])
def test_ranks_that_are_folded_in_shared_memory(rank):
    check("pst", 136, 72, 37, rank, wrt=[1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("wrt", [[0], [1], [2], [3, 5], [4, 6], [6], [5], [0, 4], [1, 2]])
@pytest.mark.parametrize("frozen", [False, True])
def test_some_gradients(wrt, frozen):
    if frozen and 0 in wrt:
        pytest.skip("what is frozen has no gradient")
    check("pst", 136, 72, 37, 8, wrt=wrt, frozen=frozen)


# Tiles of 128 and more columns, several to a block.
@pytest.mark.parametrize("rows, columns, tokens", [(1480, 1400, 72), (1408, 3064, 24)])
def test_wide_tiles(rows, columns, tokens):
    check("pst", rows, columns, tokens, 8, wrt=[1, 2, 3, 4, 5, 6], frozen=True)
