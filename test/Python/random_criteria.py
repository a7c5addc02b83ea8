# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Criteria made of random expressions: as MLIR text, and on their own as functions of float64 tensors."""

import numpy as np
import torch

# How many operands an operation of the region takes, and what it is in PyTorch.
OPERATIONS = {
    "arith.addf": (2, torch.add),
    "arith.subf": (2, torch.sub),
    "arith.mulf": (2, torch.mul),
    "arith.divf": (2, torch.div),
    "arith.negf": (1, torch.neg),
    "arith.maximumf": (2, torch.maximum),
    "arith.minimumf": (2, torch.minimum),
    "math.absf": (1, torch.abs),
    "math.sqrt": (1, torch.sqrt),
    "math.exp": (1, torch.exp),
    "math.log": (1, torch.log),
}
COMPARISONS = {"ogt": torch.gt, "olt": torch.lt, "oge": torch.ge, "ole": torch.le}
KINDS = {"d": "dense", "l": "lowrank", "r": "row", "c": "col"}


class RandomCriterion:
    """A criterion over a dense weight and some factors. `weight` and `score` take the n x m values of all factors."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)
        self.kinds = "d" + "".join(self._rng.permutation(list("dlrc"))[: 1 + seed % 4])
        self._lines: list[str] = []
        self._functions: list = []
        names = [self._leaf(i) for i in range(len(self.kinds))]
        self._weight = self._apply("arith.addf", names[0], self._tree(names, 2))
        self._score = self._apply("arith.addf", self._tree(names, 4), self._tree(names, 3))

    def text(self, name: str = "c") -> str:
        arguments = ", ".join(f"%v{i}: {KINDS[kind]}" for i, kind in enumerate(self.kinds))
        body = "\n".join(self._lines)
        return f"pst.criterion @{name}({arguments}) {{\n{body}\n  pst.yield weight %v{self._weight} score %v{self._score}\n}}\n"

    def weight(self, *factors):
        return self._evaluate(factors, self._weight)

    def score(self, *factors):
        return self._evaluate(factors, self._score)

    def _evaluate(self, factors, wanted):
        values: list = []
        for function in self._functions:
            values.append(function(factors, values))
        return values[wanted]

    def _leaf(self, factor: int) -> int:
        self._functions.append(lambda factors, values: factors[factor])
        return len(self._functions) - 1

    def _new(self, text: str, function) -> int:
        self._functions.append(function)
        number = len(self._functions) - 1
        self._lines.append(f"  %v{number} = {text}")
        return number

    def _constant(self, value: float) -> int:
        return self._new(f"arith.constant {value!r} : f32", lambda factors, values: torch.tensor(value, dtype=torch.float64))

    def _apply(self, op: str, *operands: int) -> int:
        function = OPERATIONS[op][1]
        text = op + " " + ", ".join(f"%v{i}" for i in operands) + " : f32"
        return self._new(text, lambda factors, values: function(*(values[i] for i in operands)))

    def _choose(self, a: int, b: int, x: int, y: int) -> int:
        predicate = str(self._rng.choice(list(COMPARISONS)))
        compare = COMPARISONS[predicate]
        condition = self._new(f"arith.cmpf {predicate}, %v{a}, %v{b} : f32", lambda factors, values: compare(values[a], values[b]))
        return self._new(
            f"arith.select %v{condition}, %v{x}, %v{y} : f32",
            lambda factors, values: torch.where(values[condition], values[x], values[y]),
        )

    def _tree(self, names, depth: int) -> int:
        """An expression whose operands are numbers for which its operations are defined, and whose value stays small."""
        if depth == 0:
            return int(self._rng.choice(names))
        sub = lambda: self._tree(names, depth - 1)  # noqa: E731
        positive = lambda: self._apply("arith.addf", self._apply("math.absf", sub()), self._constant(0.5))  # noqa: E731
        op = str(self._rng.choice([*OPERATIONS, "select"]))
        if op == "select":
            return self._choose(sub(), sub(), sub(), sub())
        if op == "math.exp":
            return self._apply(op, self._apply("arith.minimumf", sub(), self._constant(0.75)))
        if op in ("math.sqrt", "math.log"):
            return self._apply(op, positive())
        if op == "arith.divf":
            return self._apply(op, sub(), positive())
        return self._apply(op, *(sub() for _ in range(OPERATIONS[op][0])))
