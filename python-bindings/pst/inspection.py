# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a sparse model looks like: zeros per layer, and its masks (`pictures.py`).

A weight counts as pruned where the saved file holds an exact zero.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from . import pictures
from ._pst import TensorFile

# The linear layers of a model's blocks, by the names of Hugging Face.
_LAYER = re.compile(r"(^|\.)(layer|layers|h|block|blocks)\.\d+\..*\.weight$")

@dataclass
class LayerReport:
    """`zeros` of `rows * columns` elements of the tensor `name` are 0."""

    name: str
    rows: int
    columns: int
    zeros: int

    @property
    def sparsity(self) -> float:
        return self.zeros / (self.rows * self.columns)


def layers(directory) -> list[LayerReport]:
    """Every linear layer of the model's blocks, in the model's order."""
    reports = []
    file = TensorFile(directory)
    for name in matrices_in_order(file):
        weight = file.read(name)
        zeros = weight.size - int(np.count_nonzero(weight))
        reports.append(LayerReport(name, weight.shape[0], weight.shape[1], zeros))
    return reports


def matrices_in_order(file: TensorFile) -> list[str]:
    """The two-dimensional weights inside the blocks of a model."""
    found = [
        name
        for name in file.names()
        if _LAYER.search(name) and len(file.shape(name)) == 2 and 0 not in file.shape(name)
    ]  # fmt: skip
    # Layer 10 after layer 9.
    return sorted(found, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])


def choose(names: list[str], pattern: str) -> list[str]:
    """The names that `pattern` means: "all", an exact name, or a part of it.

    Raises ValueError if there is none.
    """
    if pattern == "all":
        return names
    exact = [name for name in names if name in (pattern, pattern + ".weight")]
    chosen = exact or [name for name in names if pattern in name]
    if not chosen:
        raise ValueError(f"there is no layer '{pattern}'; the first ones are: {', '.join(names[:3])}")
    return chosen


def picture_name(layer: str) -> str:
    """A file name for a layer's picture."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", layer.removesuffix(".weight")) + ".png"


def draw_layers(directory, pattern: str, output) -> list[str]:
    """Draws the layers that `pattern` means into the folder `output`.

    Returns the paths of the pictures.
    """
    file = TensorFile(directory)
    names = matrices_in_order(file)
    os.makedirs(output, exist_ok=True)
    paths = []
    for name in choose(names, pattern):
        path = os.path.join(output, picture_name(name))
        pictures.draw(file.read(name), name.removesuffix(".weight"), path)
        paths.append(path)
    return paths


def table(reports: list[LayerReport]) -> str:
    """The reports as aligned text, with a total."""
    if not reports:
        return "no linear layers found"
    rows = [(r.name.removesuffix(".weight"), f"{r.rows} x {r.columns}", str(r.zeros), f"{r.sparsity:.4%}") for r in reports]
    weights = sum(r.rows * r.columns for r in reports)
    zeros = sum(r.zeros for r in reports)
    rows.append(("total", str(weights), str(zeros), f"{zeros / weights:.4%}"))
    head = ("layer", "shape", "zeros", "sparsity")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(4)]
    line = lambda row: row[0].ljust(widths[0]) + "".join("  " + row[i].rjust(widths[i]) for i in (1, 2, 3))
    return "\n".join(line(row) for row in [head, *rows])
