# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Several labels an example: a list of 0 and 1, one for each class; a list of
the names of its classes; or a column of 0 and 1 for each class."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from .columns import listed
from .errors import DataError
from .label_values import are_unnamed, matched, number_of, plain, spelled, told_missing

if TYPE_CHECKING:
    from .data import Examples

# What transformers calls this kind of problem, and --task too.
PROBLEM = "multi_label_classification"

_EXPECTED = "expected a list, as [0, 1, 0] (0 or 1 for each class) or [\"a\", \"b\"] (the classes of the example)"


def as_label(value):
    """A value of a label's column; a list is one with Python's own values."""
    if isinstance(value, (list, tuple, set, frozenset)) or getattr(value, "ndim", 0) == 1:
        return [plain(item) for item in value]
    return plain(value)


def check_list(where: str, label) -> list:
    """The list of labels that `label` is, or spells (as JSON and Python do).
    Raises DataError, which begins with `where`, the file, line and column."""
    found = label
    if isinstance(label, str):
        try:
            found = as_label(ast.literal_eval(label.strip()))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass
    if not isinstance(found, list):
        raise DataError(f"{where} is {label!r}; {_EXPECTED}")
    for item in found:
        gone = item is None or isinstance(item, float) and math.isnan(item) or isinstance(item, str) and not item.strip()
        if gone or not isinstance(item, (str, int, float)):
            raise DataError(f"{where} holds {item!r} in its list; {_EXPECTED}")
    return found


def check_answers(path: str, line: int, names: Collection[str], cells: list) -> list[int]:
    """The cells of a row's columns of labels as 0 and 1. Raises DataError."""
    answers = []
    for name, cell in zip(names, cells):
        truths = {"true": 1, "false": 0}
        number = number_of(cell) if not isinstance(cell, str) else truths.get(cell.strip().lower(), number_of(cell))
        if number not in (0, 1):
            raise DataError(f"{path}:{line}: column '{name}' must be 0 or 1, whether the example has the label, found {cell!r}")
        answers.append(int(number))
    return answers


def missing_column(names: Collection[str], cells: list) -> str:
    """What is to be said of the first cell that is empty; "" if none is."""
    for name, cell in zip(names, cells):
        if cell is None or isinstance(cell, float) and math.isnan(cell) or isinstance(cell, str) and not cell.strip():
            return f"column '{name}' has {told_missing(None)}"
    return ""


def class_names(examples: "Examples", known: list[str], classes: Collection[str]) -> list[str]:
    """The classes of a training file, in the order of their ids: those chosen
    (`classes`), else the model's (`known`) where these hold all that the file
    names, else those of the file, sorted. Raises DataError."""
    chosen = [spelled(name) for name in classes]
    lists = _lists(examples)
    if examples.label_columns:
        columns = list(examples.label_columns)
        for names, what in ((chosen, "--classes"), (known, "")):
            if set(names) == set(columns) and len(names) == len(columns):
                return names
            if names and what:
                raise DataError(f"{examples.path}: the columns of labels are {listed(columns)}, but {what} names {listed(names)}")
        return columns
    if chosen:
        return chosen
    if examples.class_names:
        return known if set(examples.class_names) <= set(known) else list(examples.class_names)
    width = _width(lists)
    if known and not are_unnamed(known) and (width == len(known) or _ids(examples, lists, known) is not None):
        return known
    if width:
        return known if len(known) == width else [f"LABEL_{i}" for i in range(width)]
    found = {spelled(label) for labels in lists for label in labels}
    if not found:
        raise DataError(f"{examples.path}: no example has a label")
    numbers = {name: number_of(name) for name in found}
    numeric = all(number is not None for number in numbers.values())
    return sorted(found, key=(lambda name: (numbers[name], name)) if numeric else None)


def encode(examples: "Examples", names: list[str]) -> np.ndarray:
    """Whether each example has each label: float32[examples, names] of 0 and 1.
    Raises DataError, with the line, for a label that is none of the names."""
    lists = _lists(examples)
    if examples.label_columns:
        order = _order(examples, names)
        return np.array([[row[i] for i in order] for row in lists], np.float32).reshape(len(lists), len(names))
    if _width(lists) == len(names):
        values = np.array([[number_of(label) for label in labels] for labels in lists], np.float32)
        return values[:, [examples.class_names.index(name) for name in names]] if set(examples.class_names) == set(names) else values
    ids = _ids(examples, lists, names)
    values = np.zeros((len(lists), len(names)), np.float32)
    for row, labels in enumerate(lists):
        seen = set()
        for label in labels:
            name = spelled(label)
            where = f"{examples.path}:{examples.lines[row]}: column '{examples.label_column}'"
            place = ids.get(name) if ids is not None else (matched({name}, names) or {}).get(name)
            if place is None:
                raise DataError(f"{where} holds the unknown label '{name}': the labels are {listed(names)}{_advice(lists, names)}")
            if place in seen:
                raise DataError(f"{where} holds the label '{name}' twice{_advice(lists, names)}")
            seen.add(place)
            values[row, place] = 1
    return values


def _lists(examples: "Examples") -> list[list]:
    if examples.labels is None:
        raise DataError(f"{examples.path}: has no labels")
    for label, line in zip(examples.labels, examples.lines):
        if label is None:
            raise DataError(f"{examples.path}:{line}: {told_missing(None)}")
        if not isinstance(label, list):
            raise DataError(f"{examples.path}:{line}: column '{examples.label_column}' is {label!r}; {_EXPECTED}")
    return examples.labels


def _width(lists: list[list]) -> int:
    """How many classes lists of 0 and 1, one for each, are of; 0 if they are lists of names."""
    width = len(lists[0])
    whole = width > 1 and all(len(labels) == width and all(number_of(label) in (0, 1) for label in labels) for labels in lists)
    return width if whole else 0


def _ids(examples: "Examples", lists: list[list], names: list[str]) -> dict[str, int] | None:
    """The id of each label in the lists; None if one is none of the names."""
    found = {spelled(label) for labels in lists for label in labels}
    if examples.class_names and set(examples.class_names) <= set(names) and not found <= set(names):
        # A data set's ids are in its own order.
        places = {str(i): names.index(name) for i, name in enumerate(examples.class_names)}
        return {label: places[label] for label in found} if found <= set(places) else None
    return matched(found, names)


def _order(examples: "Examples", names: list[str]) -> list[int]:
    columns = list(examples.label_columns)
    if sorted(columns) != sorted(names):
        raise DataError(f"{examples.path}: the columns of labels are {listed(columns)}, but the model's labels are {listed(names)}")
    return [columns.index(name) for name in names]


def _advice(lists: list[list], names: list[str]) -> str:
    """Why lists that look like 0 or 1 for each class are not read so."""
    if not all(number_of(label) in (0, 1) for labels in lists for label in labels):
        return ""
    widths = sorted({len(labels) for labels in lists})
    return f"; lists of 0 and 1 for each class have {len(names)} of them, and these have {', '.join(map(str, widths[:5]))}"
