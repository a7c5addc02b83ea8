# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Pictures of masks, drawn by Matplotlib, which only they need.

A picture shows the mask (one cell a weight, or the mean of several where the
matrix is larger than the picture) beside two histograms: how many rows, and
how many columns, are sparse to which degree.
"""

from __future__ import annotations

import numpy as np

from .errors import MissingPackageError

# Longest side of a mask, in cells.
_LARGEST = 640
_ROWS, _COLUMNS = "#4271ae", "#d67832"


def draw(weight: np.ndarray, title: str, path) -> None:
    """Writes the picture of the mask of a matrix, `weight[rows, columns]`, to `path` (PNG).

    Raises MissingPackageError where Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingPackageError("pictures are drawn by Matplotlib: 'pip install matplotlib'") from None

    kept = np.asarray(weight) != 0
    rows, columns = kept.shape
    # A Figure of its own, not pyplot's: nothing global changes in the user's process.
    figure = Figure(figsize=(11, 5.5), dpi=100)
    figure.suptitle(f"{title}\n{rows} x {columns}, {100 * (1 - kept.mean()):.2f} % of the weights are zero")

    # Places are given (left, bottom, width, height): finding them would take longer than drawing.
    axes = figure.add_axes((0.07, 0.1, 0.53, 0.74))
    axes.imshow(
        shade(kept), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto" if _is_thin(kept) else "equal",
        extent=(0, columns, rows, 0))  # fmt: skip
    axes.set(xlabel="column (input)", ylabel="row (output)", title="dark: kept, white: pruned")

    for bottom, axis, name, colour in ((0.57, 1, "row", _ROWS), (0.1, 0, "column", _COLUMNS)):
        place = figure.add_axes((0.68, bottom, 0.29, 0.27))
        sparsity = 1 - kept.mean(axis=axis)
        place.hist(sparsity, bins=40, range=(0, 1), color=colour)
        place.set(xlabel=f"sparsity of a {name}", ylabel=f"number of {name}s")
        place.set_title(f"min {sparsity.min():.3f}  mean {sparsity.mean():.3f}  max {sparsity.max():.3f}", fontsize="small")
    figure.savefig(path, format="png")


def shade(kept: np.ndarray) -> np.ndarray:
    """f64[height, width] in 0..1 of a mask `kept[rows, columns]`: the share that is kept.

    Of a large matrix each cell is the mean of a block, and 1 stands for the
    densest cells, so that rows and columns which are mostly pruned stand out
    at any sparsity.
    """
    block = -(-max(kept.shape) // _LARGEST)
    if block == 1:
        return kept.astype(np.float64)
    starts = [np.arange(0, size, block) for size in kept.shape]
    sums = np.add.reduceat(np.add.reduceat(kept.astype(np.float64), starts[0], 0), starts[1], 1)
    sizes = [np.diff([*start, size]) for start, size in zip(starts, kept.shape)]
    density = sums / np.outer(*sizes)
    return np.clip(density / max(float(np.quantile(density, 0.995)), 1e-9), 0, 1)


def _is_thin(kept: np.ndarray) -> bool:
    return max(kept.shape) > 8 * min(kept.shape)
