# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Token ids that come as arrays or tensors, as a tokenizer of another library makes them."""

from __future__ import annotations

import numpy as np

from . import torch
from .tokenizer import Encoded


def whole_numbers(name: str, value) -> np.ndarray:
    """An array, a tensor or a list as int32. Raises TypeError, ValueError."""
    torch.check(value, f"input '{name}'")
    array = np.asarray(value)
    if array.dtype == bool:
        array = array.astype(np.int32)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"input '{name}' must hold whole numbers, not {array.dtype}")
    if array.size and not (-(2**31) <= array.min() and array.max() < 2**31):
        raise ValueError(f"input '{name}' holds {array.max()}, which does not fit into 32 bits")
    return array.astype(np.int32, copy=False)


def rows_and_tokens(arrays: dict[str, np.ndarray]) -> tuple[int, int]:
    """The shape that all have. Raises ValueError."""
    found = arrays["input_ids"].shape
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape != found:
            raise ValueError(f"{name} must be of shape [rows, tokens], as input_ids, but is {list(array.shape)}")
    return found


def encoded_of(arrays: dict[str, np.ndarray], tokenizer) -> Encoded:
    """The tokens of each row, without its padding. Raises ValueError."""
    rows, tokens = rows_and_tokens(arrays)
    if not rows or not tokens:
        raise ValueError(f"input_ids is {[rows, tokens]}: there is no token in it")
    ids = arrays["input_ids"]
    mask = arrays.get("attention_mask", np.ones_like(ids))
    counts = mask.sum(axis=1)
    wrong = np.flatnonzero((mask != (np.arange(tokens) < counts[:, None])).any(axis=1) | (counts == 0))
    if wrong.size:
        raise ValueError(
            f"row {wrong[0]} of attention_mask is not ones and then zeros: pad to the right (padding_side='right'), "
            "or call pst.compile, which takes any mask"
        )
    types = arrays.get("token_type_ids", np.zeros_like(ids))
    return Encoded(
        [row[:count].tolist() for row, count in zip(ids, counts)], [row[:count].tolist() for row, count in zip(types, counts)],
        0, tokenizer.padding, "right", tokenizer.settings.reads_last_token,
    )  # fmt: skip
