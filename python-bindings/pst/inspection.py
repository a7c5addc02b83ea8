# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a sparse model looks like: zeros per layer, and pictures of its masks.

A weight counts as pruned where the saved file holds an exact zero. A picture
shows the mask (one cell a weight, or a mean of several where the matrix is
larger than the picture) beside two histograms: how many rows, and how many
columns, are sparse to which degree.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from . import png, tensorfile

# The linear layers of a model's blocks, by the names of Hugging Face.
_LAYER = re.compile(r"(^|\.)(layer|layers|h|block|blocks)\.\d+\..*\.weight$")

_INK = (31, 61, 107)
_ROWS = (66, 113, 174)
_COLUMNS = (214, 120, 50)
_GREY = (150, 150, 150)
_GRID = (226, 226, 226)


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
    for name, file in model_tensors_in_order(directory):
        weight = file.read(name)
        zeros = weight.size - int(np.count_nonzero(weight))
        reports.append(LayerReport(name, weight.shape[0], weight.shape[1], zeros))
    return reports


def model_tensors_in_order(directory):
    """(name, file) of the two-dimensional weights inside the blocks."""
    found = [
        (name, file)
        for name, file in tensorfile.model_tensors(directory).items()
        if _LAYER.search(name) and len(file.shape(name)) == 2 and 0 not in file.shape(name)
    ]
    # Layer 10 after layer 9.
    return sorted(found, key=lambda item: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", item[0])])


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


def draw(weight: np.ndarray, title: str, path, largest: int = 640) -> None:
    """Writes the picture of one matrix's mask to `path` (PNG)."""
    kept = np.asarray(weight) != 0
    rows, columns = kept.shape
    image = _shade(kept, largest)
    height, width = image.shape[:2]

    left, top, gap, plot_width, plot_height = 62, 58, 84, 340, 176
    plots_left = left + width + gap
    body = max(height, 2 * plot_height + 66)
    canvas = png.Canvas(
        max(plots_left + plot_width + 24, png.text_width(title, 2) + 32), top + body + 56
    )
    canvas.text(16, 14, title, scale=2)
    share = 100 * (1 - kept.mean())
    subtitle = f"{rows} x {columns}, {share:.2f} % of the weights are zero"
    canvas.text(16, 36, subtitle, _GREY)

    canvas.image(left, top, image)
    canvas.frame(left, top, width, height, _GREY)
    _axis(canvas, left, top, width, height, rows, columns)
    canvas.text(left + width / 2, top + height + 36, "dark: kept, white: pruned", _GREY, align="centre")

    for index, (axis, name, colour) in enumerate(((1, "rows", _ROWS), (0, "columns", _COLUMNS))):
        _histogram(
            canvas,
            plots_left,
            top + index * (plot_height + 66),
            plot_width,
            plot_height,
            1 - kept.mean(axis=axis),
            name,
            colour,
        )
    canvas.save(path)


def _shade(kept: np.ndarray, largest: int) -> np.ndarray:
    """uint8[height, width, 3]: darker where a larger share is kept.

    Small matrices are enlarged by a whole factor; of large ones each cell is
    the mean of a block, and the darkest ink stands for the densest cells, so
    that rows and columns which are mostly pruned stand out at any sparsity.
    """
    rows, columns = kept.shape
    factor = max(1, largest * 3 // 4 // max(rows, columns))
    block = -(-max(rows, columns) // largest)
    if block > 1:
        row_starts, column_starts = np.arange(0, rows, block), np.arange(0, columns, block)
        sums = np.add.reduceat(np.add.reduceat(kept.astype(np.float64), row_starts, 0), column_starts, 1)
        counts = np.outer(np.diff([*row_starts, rows]), np.diff([*column_starts, columns]))
        density = sums / counts
        density = density / max(float(np.quantile(density, 0.995)), 1e-9)
    else:
        density = kept.astype(np.float64)
    density = np.clip(np.kron(density, np.ones((factor, factor))), 0, 1)[..., None]
    return np.round(255 + density * (np.array(_INK) - 255.0)).astype(np.uint8)


def _axis(canvas, left, top, width, height, rows, columns):
    for share in (0, 0.5, 1):
        x, y = left + share * width, top + share * height
        canvas.rectangle(x - (share == 1), top + height + 1, 1, 4, _GREY)
        canvas.text(x, top + height + 8, str(round(share * columns)), align="centre")
        canvas.rectangle(left - 5, y - (share == 1), 4, 1, _GREY)
        canvas.text(left - 8, y - 3, str(round(share * rows)), align="right")
    canvas.text(left + width / 2, top + height + 22, "column (input)", align="centre")
    canvas.text_up(10, top + height / 2, "row (output)")


def _histogram(canvas, left, top, width, height, sparsity, name, colour):
    bins = 40
    counts = np.histogram(sparsity, bins, (0, 1))[0]
    tallest = max(int(counts.max()), 1)
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + share * width
        canvas.rectangle(x - (share == 1), top, 1, height, _GRID)
        canvas.rectangle(x - (share == 1), top + height, 1, 4, _GREY)
        canvas.text(x, top + height + 8, f"{share:g}", align="centre")
    for share in (0, 0.5, 1):
        y = top + (1 - share) * height
        canvas.rectangle(left, y - (share == 0), width, 1, _GRID)
        canvas.text(left - 6, y - 3, f"{share * tallest:g}", align="right")
    step = width / bins
    for i, count in enumerate(counts):
        tall = count / tallest * (height - 2)
        if count:
            canvas.rectangle(left + i * step + 0.5, top + height - max(tall, 1), step - 1, max(tall, 1), colour)
    canvas.frame(left, top, width, height, _GREY)
    canvas.text(left + width / 2, top + height + 22, f"sparsity of a {name[:-1]}", align="centre")
    canvas.text_up(left - 50, top + height / 2, f"number of {name}")
    spread = f"min {sparsity.min():.3f}  mean {sparsity.mean():.3f}  max {sparsity.max():.3f}"
    canvas.text(left + width, top - 11, spread, _GREY, align="right")
    canvas.text(left, top - 11, f"per {name[:-1]}", colour)


def picture_name(layer: str) -> str:
    """A file name for a layer's picture."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", layer.removesuffix(".weight")) + ".png"


def draw_layers(directory, pattern: str, output) -> list[str]:
    """Draws the layers that `pattern` means into the folder `output`.

    Returns the paths of the pictures.
    """
    files = dict(model_tensors_in_order(directory))
    os.makedirs(output, exist_ok=True)
    paths = []
    for name in choose(list(files), pattern):
        path = os.path.join(output, picture_name(name))
        draw(files[name].read(name), name.removesuffix(".weight"), path)
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
