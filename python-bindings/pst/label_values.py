# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What one label means, whether it is missing, and which of some names it is.

A label is what it means, not how a file spells it: 1, 1.0, "1", "1 " and True
are one value. A missing label is none of the classes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable

# What pandas' read_csv, and so `datasets`, takes for a missing value, without regard to case
# but for words that may well be classes; and what SNLI writes where its annotators disagreed.
_MISSING = {"", "nan", "-nan", "null", "<na>", "n/a", "#n/a", "#na", "-"}
_MISSING_AS_SPELLED = {"None", "NA"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def plain(value):
    """A value of NumPy, pandas or a tensor's as Python's own."""
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas'
        return None
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def number_of(label) -> int | float | None:
    """The number that a label is, or None. Booleans are 1 and 0."""
    if isinstance(label, bool):
        return int(label)
    if isinstance(label, str):
        text = label.strip()
        if not _NUMBER.fullmatch(text):
            return None
        if text.lstrip("+-").isdigit():
            return int(text)
        label = float(text)
    if isinstance(label, float) and label.is_integer():
        return int(label)
    return label if isinstance(label, (int, float)) and math.isfinite(label) else None


def spelled(label) -> str:
    """One spelling of a label. Digits after a leading zero are a code, and stay."""
    if isinstance(label, str) and re.fullmatch(r"0[0-9]+", label.strip()):
        return label.strip()
    number = number_of(label)
    return str(label).strip() if number is None else str(number)


def missing_in(labels: Iterable, classes: Collection[str] = (), positive: bool = False) -> list[bool]:
    """Which labels are missing; a name among `classes` never is.

    -1 is, as GLUE and SNLI use it, beside words, beside the ids 0, 1, ... and
    where all labels are `positive` numbers; it is not beside +1 alone, beside
    other numbers below 0, nor beside fractions. "-" is not where "+" is a
    label."""
    labels = list(labels)
    missing = [label is None or isinstance(label, float) and math.isnan(label) for label in labels]
    spellings = ["" if gone else spelled(label) for label, gone in zip(labels, missing)]
    distinct = set(spellings)
    for name in distinct:
        if name in classes:
            continue
        if name.lower() in _MISSING and not (name == "-" and "+" in distinct) or name in _MISSING_AS_SPELLED:
            missing = [gone or other == name for gone, other in zip(missing, spellings)]
    if "-1" in distinct and "-1" not in classes:
        others = {name for name, gone in zip(spellings, missing) if not gone} - {"-1"}
        numbers = {number_of(name) for name in others} - {None}
        if positive or others != {"1"} and all(isinstance(number, int) and number >= 0 for number in numbers):
            missing = [gone or name == "-1" for gone, name in zip(missing, spellings)]
    return missing


def told_missing(label) -> str:
    """The sentence about a missing label, after its place."""
    text = "no label" if label in (None, "") else f"no label: '{label}' stands for a missing one"
    name = spelled(label) if isinstance(label, (str, int)) and str(label).strip("-+").lower() != "nan" else ""
    return text + "; --skip_bad_rows drops such rows" + (f", --classes={name},... makes it a class" if name else "")


def value_of(name: str):
    """What names are compared by: "01" is the number 1, "1" too."""
    number = number_of(name)
    return name if number is None else number


def ids_by_value(names: list[str]) -> dict:
    """Ids by value; where two names have one value ("1", "01"), by name."""
    values = [value_of(name) for name in names]
    times = Counter(values)
    return {(value if times[value] == 1 else name): i for i, (value, name) in enumerate(zip(values, names))}


def matched(found: set[str], names: list[str]) -> dict[str, int] | None:
    """The id of each label found: by name, by value, as words for true and
    false, or as ids of names that are no numbers. None if one has none."""
    ids = {name: i for i, name in enumerate(names)}
    if found <= set(ids):
        return ids
    ids = ids_by_value(names)
    if all(value_of(name) in ids for name in found):
        return {name: ids[value_of(name)] for name in found}
    truths = {"false": 0, "true": 1, "0": 0, "1": 1}
    if len(names) == 2 and all(name.lower() in truths for name in (*names, *found)):
        ids = {truths[name.lower()]: i for i, name in enumerate(names)}
        return {name: ids[truths[name.lower()]] for name in found} if len(ids) == 2 else None
    if any(number_of(name) is None for name in names) and are_ids(found, len(names)):
        return {name: int(name) for name in found}
    return None


def are_ids(found: set[str], count: int) -> bool:
    return found <= {str(i) for i in range(count)}


def are_unnamed(names: list[str]) -> bool:
    """Whether the names are those that transformers gives to classes without."""
    return names == [f"LABEL_{i}" for i in range(len(names))]
