# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs of one saved model, for batches and texts of several sizes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from . import _pst

# Each has its own code, arena and caches.
MOST = 4
# No text is so short that a program of its own would be worth it.
_SHORTEST = 16


class KeptModels:
    """The `MOST` programs of a model that were used last, over one set of its
    weights: what the first has read and stored, the others share. Threads may
    ask at once."""

    def __init__(self, directory: str):
        self._directory = directory
        self._lock = threading.Lock()  # of _models, and held for no longer
        self._compiling = threading.Lock()  # of _storage, and so that a program is made once
        self._models: dict[tuple[int, ...], _pst.Model] = {}  # by size, the one used last at the end
        self._storage: dict[str, int] = {}  # how the first one has chosen to store weights

    def get(self, size: tuple[int, ...], fits: Callable[..., bool], settings: Callable[[], dict], tokens: Callable[[dict], int]):
        """The smallest size that `fits` of those that are kept, and its model;
        else those of a program that is compiled with `settings()` for `size`.

        `tokens(settings)` is the rows of its products, by which the compiler
        chooses how weights are stored: the first program's choice is that of all.
        Raises pst.Error if the files have changed meanwhile so that it cannot be."""
        found = self._find(fits)
        if found is None:
            with self._compiling:
                found = self._find(fits)  # another thread may have made it
                if found is None:
                    found = size, self._make(size, settings(), tokens)
        return found

    def _find(self, fits):
        with self._lock:
            size = min(filter(lambda size: fits(*size), self._models), default=None)
            if size is None:
                return None
            model = self._models[size] = self._models.pop(size)
            return size, model

    def _make(self, size, settings: dict, tokens) -> "_pst.Model":
        with self._lock:
            first = next(iter(self._models.values()), None)
        chooses = settings["target"] == "cpu" and settings["weight_storage"] == "auto"
        if first is None:
            if chooses:
                self._storage = {"storage_tokens": tokens(settings)}
            model = _pst.Model(_pst.compile_model(self._directory, settings), self._directory, 0)
        else:
            # The same program as without it, where it says nothing new.
            if chooses and self._storage["storage_tokens"] != tokens(settings):
                settings = {**settings, **self._storage}
            model = _pst.Model(_pst.compile_model(self._directory, settings), first)
        with self._lock:
            self._models[size] = model
            while len(self._models) > MOST:
                del self._models[next(iter(self._models))]
        return model


def length_for(longest: int, most: int, positions: int, padded: bool) -> int:
    """Tokens that a program for texts of `longest` has room for, so that few
    lengths make few programs: a power of two, and of one that computes padding
    also one and a half times that; but no more than `most`, nor than the model
    has `positions`, beyond which the length is part of what is computed."""
    if longest > positions:
        return longest
    length = max(_SHORTEST, 1 << (longest - 1).bit_length())
    if padded and _SHORTEST < longest <= length * 3 // 4:
        length = length * 3 // 4
    return min(length, positions, most if longest <= most else length)


def positions_of(config: dict) -> int:
    """Tokens of a text that a model has positions for, by config.json; 0 if that
    does not say."""
    found = config.get("n_positions", config.get("max_position_embeddings"))
    if not isinstance(found, int):
        return 0
    # The first ones of a RoBERTa's table are of no token.
    padding = config.get("pad_token_id", 1)
    skipped = padding + 1 if "roberta" in str(config.get("model_type")) and isinstance(padding, int) else 0
    return max(0, found - skipped)
