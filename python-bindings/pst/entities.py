# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Named entities of tags by the scheme IOB2, and how many of them are found, as
seqeval counts them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np


def is_iob(names: Collection[str]) -> bool:
    """Whether the tags are O, B-... and I-..., and there are entities."""
    return any(name.startswith("B-") for name in names) and all(name == "O" or name[:2] in ("B-", "I-") for name in names)


def entities(tags: Iterable[str]) -> set[tuple[str, int, int]]:
    """(type, first word, last word) of each entity of a sentence.

    B- begins one. I- goes on with the one before it if that is of its type,
    and else begins one, as seqeval's default mode and conlleval have it."""
    found, kind, begin, place = set(), None, 0, -1
    for place, tag in enumerate(tags):
        here = None if tag == "O" else tag[2:]
        if kind is not None and (here != kind or tag.startswith("B-")):
            found.add((kind, begin, place - 1))
            kind = None
        if here is not None and kind is None:
            kind, begin = here, place
    if kind is not None:
        found.add((kind, begin, place))
    return found


def entity_metrics(names: list[str], logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """precision, recall and f1 over the entities of all sentences (0 where there
    are none), of float32[sentences, tokens, tags] and int32[sentences, tokens],
    of which words have a label of their first token and all others -100."""
    hits = predicted = truth = 0
    best = logits.argmax(-1)
    for row, right in zip(best, labels):
        words = right >= 0
        guessed = entities(names[i] for i in row[words])
        meant = entities(names[i] for i in right[words])
        hits, predicted, truth = hits + len(guessed & meant), predicted + len(guessed), truth + len(meant)
    precision, recall = hits / predicted if predicted else 0.0, hits / truth if truth else 0.0
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall) if hits else 0.0}
