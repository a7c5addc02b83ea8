# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How much room a batch that is stored without padding has."""

from __future__ import annotations

import math

import numpy as np

from .options import Options


def token_capacity(counts: np.ndarray, batch_size: int, length: int, options: Options, partly: bool = False) -> int:
    """What `room_for` says of examples with such counts of tokens; 0, which is
    with padding, if that is asked for.

    With `partly`, batches may be of fewer examples than `batch_size`, which
    then cost nothing: never with padding where that can be.
    """
    if options.pad_to_max_length:
        return 0
    return room_for(counts, batch_size, length) or (batch_size * length if partly else 0)


def room_for(counts: np.ndarray, batch_size: int, length: int) -> int:
    """Tokens of a batch that nearly all batches of examples with such counts of
    tokens fit into, and one of `length` in any case: the runtime takes in parts
    what does not fit.

    The mean of a batch, and three standard deviations, in steps of an eighth at
    most, so that programs are shared. 0, which is with padding, if that takes
    hardly more.
    """
    room = batch_size * counts.mean() + 3 * math.sqrt(batch_size) * counts.std()
    step = 1 << max(0, math.floor(math.log2(room)) - 3)
    room = max(length, step * math.ceil(room / step))
    return room if room <= 0.9 * batch_size * length else 0


def examples_of(tokens: int, counts: np.ndarray) -> int:
    """How many examples have so many tokens on average; one at least."""
    return max(1, round(tokens / float(counts.mean())))


def used_share(counts: np.ndarray, batch_size: int, capacity: int) -> float:
    """Mean share of `capacity` that the tokens of a batch take."""
    return batch_size * float(counts.mean()) / capacity
