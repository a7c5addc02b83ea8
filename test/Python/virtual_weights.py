# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Virtual weights as the tests know them: criteria as MLIR text and, on their own, as NumPy formulas."""

from dataclasses import dataclass
from typing import Callable

import numpy as np


@dataclass(frozen=True)
class Criterion:
    """Kinds of the factors (d, l, r, c), the body, and the same in NumPy."""

    kinds: str
    body: str
    weight: Callable
    score: Callable | None = None

    def text(self, name: str) -> str:
        words = {"d": "dense", "l": "lowrank", "r": "row", "c": "col"}
        arguments = ", ".join(f"%{i}: {words[kind]}" for i, kind in enumerate(self.kinds))
        return f"pst.criterion @{name}({arguments}) {{\n{self.body}\n}}\n"


def _binary(result, op, a, b):
    return f"  %{result} = arith.{op} %{a}, %{b} : f32\n"


def _absolute(result, a):
    return f"  %{result} = math.absf %{a} : f32\n"


f = np.float32

# The methods of the field, as recipes.
CRITERIA = {
    "pst": Criterion(
        "dllrc",
        "  %beta = arith.constant 0.75 : f32\n  %alpha = arith.constant 1.5 : f32\n"
        + _binary("u", "mulf", 1, "beta")
        + _binary("v", "addf", 0, "u")
        + _absolute("m", "v")
        + _binary("a", "mulf", 2, "alpha")
        + _binary("ma", "addf", "m", "a")
        + _binary("rc", "addf", 3, 4)
        + _binary("s", "addf", "ma", "rc")
        + "  pst.yield weight %v score %s",
        lambda w, uv, ab, r, c: w + uv * f(0.75),
        lambda w, uv, ab, r, c: (np.abs(w + uv * f(0.75)) + ab * f(1.5)) + (r + c),
    ),
    "pst_without_structuredness": Criterion(
        "dll",
        _binary("v", "addf", 0, 1)
        + _absolute("m", "v")
        + _binary("s", "addf", "m", 2)
        + "  pst.yield weight %v score %s",
        lambda w, uv, ab: w + uv,
        lambda w, uv, ab: np.abs(w + uv) + ab,
    ),
    "pst_without_low_rank": Criterion(
        "dlrc",
        _binary("v", "addf", 0, 1)
        + _absolute("m", "v")
        + _binary("mr", "addf", "m", 2)
        + _binary("s", "addf", "mr", 3)
        + "  pst.yield weight %v score %s",
        lambda w, uv, r, c: w + uv,
        lambda w, uv, r, c: (np.abs(w + uv) + r) + c,
    ),
    "lora": Criterion("dl", _binary("v", "addf", 0, 1) + "  pst.yield weight %v", lambda w, uv: w + uv),
    "map": Criterion("d", _absolute("s", 0) + "  pst.yield weight %0 score %s", lambda w: w, np.abs),
    "mvp": Criterion("dd", "  pst.yield weight %0 score %1", lambda w, s: w, lambda w, s: s),
    "dense": Criterion("d", "  pst.yield weight %0", lambda w: w),
}


def multiply_add(a, b, c):
    """a * b + c, rounded once to float32 (the wide sum makes a second rounding all but impossible)."""
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(np.float32)


def elements(criterion, factors, dtype=np.float64):
    """The n x m values of each factor; in float32 with the rank sum that the kernels have."""
    rows, columns = factors[0].shape
    values, tensors = [], iter(factors)
    for kind in criterion.kinds:
        first = next(tensors).astype(dtype)
        if kind == "d":
            values.append(first)
        elif kind == "r":
            values.append(np.broadcast_to(first[:, None], (rows, columns)))
        elif kind == "c":
            values.append(np.broadcast_to(first[None, :], (rows, columns)))
        else:
            second = next(tensors).astype(dtype)
            if dtype == np.float32:
                total = np.zeros((rows, columns), np.float32)
                for k in range(first.shape[1]):
                    total = multiply_add(first[:, k : k + 1], second[k : k + 1, :], total)
                values.append(total)
            else:
                values.append(first @ second)
    return values


def random_factors(criterion, rows, columns, rank, rng, quantised=False):
    """Factors of a layer; `quantised` makes heavy ties: few values, zero rows, both zeros."""
    factors = []
    for kind in criterion.kinds:
        if kind == "d":
            shapes = [(rows, columns)]
        elif kind == "l":
            shapes = [(rows, rank), (rank, columns)]
        else:
            shapes = [(rows,) if kind == "r" else (columns,)]
        for shape in shapes:
            factors.append(rng.standard_normal(shape) * (0.5 if kind == "l" else 1.0))
    if quantised:
        factors = [np.round(factor) for factor in factors]
        factors[0][::3] = 0.0
        factors[0][1::3] *= -0.0 if rows % 2 else 1.0
    return [np.ascontiguousarray(factor, np.float32) for factor in factors]


def tensor(array) -> str:
    """The MLIR type of a float32 array."""
    return "tensor<" + "".join(f"{size}x" for size in array.shape) + "f32>"


def kept(keep_share, rows, columns):
    """How many elements stay at a sparsity."""
    return rows * columns - int(rows * columns * keep_share)


def mask(scores, threshold, cut):
    """The rule of the threshold, over float32 scores."""
    index = np.arange(scores.size).reshape(scores.shape)
    return (scores > threshold) | ((scores == threshold) & (index < cut))
