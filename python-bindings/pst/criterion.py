# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst.Criterion`: a method of one's own (docs/WriteACriterion.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import _pst


@dataclass(frozen=True)
class Factor:
    """A factor beside the layer's weight: its kind ("dense", "lowrank", "row" or "col"), the rank of a "lowrank" one, and
    the names of its tensors."""

    kind: str
    rank: int
    tensors: tuple[str, ...]


class Criterion:
    """The formula of a weight and its score, checked.

    `source` is MLIR text with one `pst.criterion`, or a file that holds it. What it reads from files lies where that file
    lies, or for a text in the current directory. Raises CompileError, with the line.

    text: the criterion with whole paths. name, scores, trains_model: what it is called, whether it has a score, and whether
    it trains the model's own weights. hyperparameters: their names, ranks included, and their values if a run sets none.
    factors: those beside the weight.
    """

    def __init__(self, source):
        found = _pst.describe_criterion(os.fspath(source))
        self.text: str = found["text"]
        self.name: str = found["name"]
        self.scores: bool = found["scores"]
        self.trains_model: bool = found["trains_model"]
        self.hyperparameters: dict[str, float] = dict(sorted(found["hyperparameters"].items()))
        self.factors = tuple(Factor(kind, rank, tuple(tensors)) for kind, rank, tensors in found["factors"])

    def __fspath__(self) -> str:
        """The text: what an option takes in place of a file."""
        return self.text

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:g}" for name, value in self.hyperparameters.items())
        return f"<pst criterion {self.name}({values})>"


def recipe(method: str) -> Criterion:
    """The criterion of a built-in method. Raises ValueError for an unknown one."""
    return Criterion(_pst.recipe_text(method))
