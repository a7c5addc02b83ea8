# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Layers to be stored, and programs of ops that store and multiply them."""

import functools

import numpy as np
from virtual_weights import CRITERIA, elements, random_factors, tensor

import pst

compiled = functools.cache(pst.compile)


def matrix(rows, columns):
    return f"tensor<{rows}x{columns}xf32>"


def both_threads(function, *arguments):
    results = []
    for count in (1, 2):
        pst._pst.set_num_threads(count)
        results.append(function(*arguments))
    return results


def materialize(criterion, factors, how, results, threshold=True, name="store"):
    """(factors..., [tau, cut]) -> the results' tensors"""
    names = ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    types = ", ".join(map(tensor, factors))
    count = results.count("tensor<")
    returned = ", ".join(f"%s#{i}" for i in range(count)) if count > 1 else "%s"
    use = how.replace("MASK", "threshold(%tau, %cut)" if threshold else "")
    return f"""func.func @{name}({arguments}{", %tau: tensor<f32>, %cut: tensor<i64>" if threshold else ""}) -> ({results}) {{
  %s{f":{count}" if count > 1 else ""} = pst.materialize @c({names}) {use} : ({types}) -> {results}
  return {returned} : {results}
}}
"""


def layer(rows, columns, keep, seed=0):
    """Factors of a layer, the threshold that keeps about that share, and the masked weight in float32."""
    rng = np.random.default_rng(rows * 1000 + columns + seed)
    criterion = CRITERIA["pst"]
    factors = random_factors(criterion, rows, columns, 3, rng)
    weight = criterion.weight(*elements(criterion, factors, np.float32))
    scores = np.sort(criterion.score(*elements(criterion, factors, np.float32)), axis=None)
    tau = np.float32(np.inf) if keep == 0 else scores[min(int((1 - keep) * scores.size), scores.size - 1)]
    text = criterion.text("c") + materialize(criterion, factors, "MASK as dense", matrix(rows, columns))
    masked = compiled(text)(*factors, np.array(tau), np.array(rows * columns))
    kept = masked != 0
    np.testing.assert_allclose(masked[kept], weight[kept], rtol=1e-5, atol=1e-6)
    assert keep != 0 or not kept.any()
    assert keep != 1 or kept.all()
    return criterion, factors, (np.array(tau), np.array(rows * columns)), masked


def product(storage, stored, rows, columns, tokens, epilogue="", arguments="", types="", name="product"):
    """(x, tensors of the types `stored`..., what `arguments` says) -> X S^T, and what follows"""
    x, y = matrix(tokens, columns), matrix(tokens, rows)
    names = [f"%s{i}" for i in range(stored.count("tensor<"))]
    given = ", ".join(f"{name}: {kind}" for name, kind in zip(names, stored.split(", ")))
    return f"""func.func @{name}(%x: {x}, {given}{arguments}) -> {y} {{
  %y = pst.stored_matmul %x, {storage}({", ".join(names)}){epilogue} : {x}, ({stored}){types} -> {y}
  return %y : {y}
}}
"""
