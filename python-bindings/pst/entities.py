# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Named entities of tags, and how many of them are found, as seqeval counts them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from .columns import listed


# What a tag may begin with in each scheme.
_SCHEMES = {"IOB1, IOB2": "BI", "IOE1, IOE2": "IE", "BIOES": "BIES", "BILOU": "BILU"}

# BILOU's letters as BIOES has them.
_BIOES = {"L": "E", "U": "S"}


def is_scheme(names: Collection[str]) -> bool:
    """Whether the tags are O and those of one of the schemes, and there are entities."""
    marked = [name for name in names if name != "O"]
    letters = {name[:1] for name in marked}
    return (
        bool(marked)
        and all(name[1:2] == "-" for name in marked)
        and any(letters <= set(own) and letters & set("BI") for own in _SCHEMES.values())
    )


def remarks(names: Collection[str]) -> list[str]:
    """What is to be said of tags that look like entities, but are of no known scheme."""
    if is_scheme(names) or "O" not in names or not any(name[:2] in ("B-", "I-") for name in names):
        return []
    return [f"no f1 of entities: the tags are {listed(names)}, which none of the known schemes has ({', '.join(_SCHEMES)})"]


def entities(tags: Iterable[str]) -> set[tuple[str, int, int]]:
    """(type, first word, last word) of each entity of a sentence.

    As seqeval's default mode and conlleval have it: an entity is a run of words
    of one type, which a B- or an S- begins anew and an E- or an S- ends. L- and
    U- are E- and S-, so that tags that BILOU allows are what they are there."""
    found, kind, begin, place, last = set(), None, 0, -1, ""
    for place, tag in enumerate(tags):
        here, letter = (None, "") if tag == "O" else (tag[2:], _BIOES.get(tag[0], tag[0]))
        if kind is not None and (here != kind or letter in ("B", "S") or last in ("E", "S")):
            found.add((kind, begin, place - 1))
            kind = None
        if here is not None and kind is None:
            kind, begin = here, place
        last = letter
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
