# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Selections as the tests know them: from scores to masks in NumPy, written from the rules and sharing nothing with the
compiler. Of `size` competitors the int(size * sparsity) of the lowest scores go, and of equal ones the last."""

import math

import numpy as np


def stay(scores, pruned):
    """Whether each of these competitors (one axis) stays, if `pruned` of them go."""
    index = np.arange(scores.size)
    order = np.lexsort((-index, scores))  # the lowest scores first, and of equal ones the last
    kept = np.ones(scores.size, bool)
    kept[order[:pruned]] = False
    return kept


def blocks(selection, rows, columns):
    """The slices of the blocks, row by row of them."""
    kind, _, rest = selection.partition(" ")
    height, width = (1, columns) if kind == "rows" else map(int, rest.split()[0].split("x"))
    return [
        [np.s_[i : i + height, j : j + width] for j in range(0, columns, width)] for i in range(0, rows, height)
    ]


def block_scores(selection, scores):
    """Mean or largest score of each block."""
    mean = selection.endswith("mean")
    return np.array(
        [[scores[block].mean(dtype=np.float64) if mean else scores[block].max() for block in row]
         for row in blocks(selection, *scores.shape)]
    )  # fmt: skip


def masks(selection, layers, sparsity):
    """The masks of layers with these scores; `selection` as `#pst.selection` spells it."""
    if selection == "topk global":
        together = np.concatenate([scores.ravel() for scores in layers])
        kept = stay(together, int(together.size * sparsity))
        ends = np.cumsum([scores.size for scores in layers])
        return [part.reshape(scores.shape) for part, scores in zip(np.split(kept, ends[:-1]), layers)]
    return [mask(selection, scores, sparsity) for scores in layers]


def mask(selection, scores, sparsity):
    """The mask of a layer by itself."""
    rows, columns = scores.shape
    if selection == "topk layer":
        return stay(scores.ravel(), int(scores.size * sparsity)).reshape(scores.shape)
    if selection == "topk row":
        return np.stack([stay(row, int(columns * sparsity)) for row in scores])
    if selection.startswith("nm "):
        kept, size = map(int, selection[3:].split(":"))
        pruned = min(int(size * sparsity), size - kept)
        groups = scores.reshape(-1, size)
        return np.stack([stay(group, pruned) for group in groups]).reshape(scores.shape)
    of_blocks = block_scores(selection, scores)
    kept = stay(of_blocks.ravel(), int(of_blocks.size * sparsity)).reshape(of_blocks.shape)
    result = np.empty(scores.shape, bool)
    for row, stays in zip(blocks(selection, rows, columns), kept):
        for block, keep in zip(row, stays):
            result[block] = keep
    return result


def state_types(selection, rows, columns):
    """The MLIR types of what a selection leaves for the masks of a layer."""
    if selection in ("topk layer", "topk global"):
        return ["tensor<f32>", "tensor<i64>"]
    if selection == "topk row":
        return [f"tensor<{rows}xf32>", f"tensor<{rows}xi64>"]
    if selection.startswith("nm "):
        return ["tensor<i64>"]
    of_blocks = blocks(selection, rows, columns)
    return [f"tensor<{len(of_blocks)}x{len(of_blocks[0])}xf32>", "tensor<f32>", "tensor<i64>"]


def final_sparsity(selection, sparsity=0.6):
    """What may be asked of a selection."""
    if not selection.startswith("nm "):
        return sparsity
    kept, size = map(int, selection[3:].split(":"))
    return 1 - kept / size


def multiple(selection):
    """What must divide the columns."""
    return int(selection.split(":")[1]) if selection.startswith("nm ") else 1


def round_up(size, step):
    return math.ceil(size / step) * step
