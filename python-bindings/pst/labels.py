# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Labels as values: what one means, whether it is missing, and its class.

A label is what it means, not how a file spells it: 1, 1.0, "1", "1 " and True
are one value. A missing label is none of the classes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _pst
from .columns import find_task, listed
from .errors import DataError

if TYPE_CHECKING:
    from .data import Examples

# What pandas' read_csv, and so `datasets`, takes for a missing value, without regard to case
# but for words that may well be classes; and what SNLI writes where its annotators disagreed.
_MISSING = {"", "nan", "-nan", "null", "<na>", "n/a", "#n/a", "#na", "-"}
_MISSING_AS_SPELLED = {"None", "NA"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# More values than this are a column of something else, unless the user named it.
MOST_CLASSES = 1000

# More classes than any model has; a list of so many names is made at once.
_MOST_NAMES = 1_000_000


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


@dataclass
class Labels:
    """The classes in the order of their ids, or one number to predict."""

    names: list[str]
    regression: bool = False

    @property
    def count(self) -> int:
        return 1 if self.regression else len(self.names)

    @staticmethod
    def of(
        examples: "Examples",
        config: dict | None = None,
        task: str | None = None,
        *,
        classes: Collection[str] = (),
        named: bool = False,
    ) -> "Labels":
        """The labels of a training file.

        They are `classes`, if given. Else the model's own, in its order, where
        these hold every label of the file, by name or by id. Else the labels
        are sorted (numbers by value), and labels that are numbers but not
        whole ones are values to predict. `named` says that the user chose the
        column, which may then hold more classes than MOST_CLASSES.
        """
        if classes:
            return Labels([spelled(name) for name in classes])
        if examples.class_names:
            known = names_in(config)
            return Labels(known if set(examples.class_names) <= set(known) else list(examples.class_names))
        known = names_in(config)
        if task and find_task(task).regression or (config or {}).get("problem_type") == "regression" or len(known) == 1:
            return Labels([], True)
        labels = _present(examples)
        spellings = {label: spelled(label) for label in set(labels)}
        found = set(spellings.values())
        if known and (found <= set(known) or _matched(found, known) is not None and not _are_unnamed(known)):
            return Labels(known)
        numbers = {name: number_of(name) for name in found}
        numeric = all(number is not None for number in numbers.values())
        if not task and numeric and any(isinstance(number, float) for number in numbers.values()):
            return Labels([], True)
        if known and _are_ids(found, len(known)):
            return Labels([str(i) for i in range(len(known))])
        names = sorted(found, key=(lambda name: (numbers[name], name)) if numeric else None)
        names = _one_spelling(names, numbers)
        if len(names) < 2:
            raise DataError(
                f"{examples.path}: every example has the label '{names[0]}': training needs at least two classes"
            )
        if len(names) > MOST_CLASSES and not named:
            raise DataError(
                f"{examples.path}: column '{examples.label_column}' has {len(names)} different values, "
                "which is no set of classes; is it the label column? If so, name it with --label_column"
            )
        return Labels(names)

    @staticmethod
    def of_config(config: dict) -> "Labels":
        """The labels of a trained model's config.json."""
        names = names_in(config)
        if config.get("problem_type") == "regression" or len(names) == 1:
            return Labels([], True)
        return Labels(names or ["LABEL_0", "LABEL_1"])

    def encode(self, examples: "Examples") -> np.ndarray:
        """int32 ids, or float32 values for regression; shape [examples]."""
        labels = _present(examples)
        if set(examples.class_names) <= set(self.names):
            # A data set's ids are in its own order.
            names = dict(enumerate(examples.class_names))
            labels = [names.get(number_of(label), label) for label in labels]
        if self.regression:
            values = np.empty(len(examples), np.float32)
            for i, label in enumerate(labels):
                number = number_of(label)
                if number is None or not math.isfinite(np.float32(number)):
                    raise DataError(
                        f"{examples.path}:{examples.lines[i]}: label '{label}' is not a finite number, "
                        "and the model predicts one"
                    )
                values[i] = number
            return values
        spellings = [spelled(label) for label in labels]
        ids = _matched(set(spellings), self.names)
        if ids is None:
            ids = _by_value(self.names)
            for i, name in enumerate(spellings):
                if _value(name) not in ids:
                    raise DataError(
                        f"{examples.path}:{examples.lines[i]}: unknown label '{name}' in column "
                        f"'{examples.label_column}': the labels are {listed(self.names)}"
                    )
            return np.array([ids[_value(name)] for name in spellings], np.int32)
        return np.array([ids[name] for name in spellings], np.int32)


def _present(examples: "Examples") -> list:
    """Labels without the spaces around them; a DataError if one is missing."""
    if examples.labels is None:
        raise DataError(f"{examples.path}: has no labels")
    for i, label in enumerate(examples.labels):
        if label is None or isinstance(label, float) and math.isnan(label):
            raise DataError(f"{examples.path}:{examples.lines[i]}: {told_missing(label)}")
    return [label.strip() if isinstance(label, str) else label for label in examples.labels]


def _value(name: str):
    """What names are compared by: "01" is the number 1, "1" too."""
    number = number_of(name)
    return name if number is None else number


def _by_value(names: list[str]) -> dict:
    """Ids by value; where two names have one value ("1", "01"), by name."""
    values = [_value(name) for name in names]
    times = Counter(values)
    return {(value if times[value] == 1 else name): i for i, (value, name) in enumerate(zip(values, names))}


def _matched(found: set[str], names: list[str]) -> dict[str, int] | None:
    """The id of each label found: by name, by value, as words for true and
    false, or as ids of names that are no numbers. None if one has none."""
    ids = {name: i for i, name in enumerate(names)}
    if found <= set(ids):
        return ids
    ids = _by_value(names)
    if all(_value(name) in ids for name in found):
        return {name: ids[_value(name)] for name in found}
    truths = {"false": 0, "true": 1, "0": 0, "1": 1}
    if len(names) == 2 and all(name.lower() in truths for name in (*names, *found)):
        ids = {truths[name.lower()]: i for i, name in enumerate(names)}
        return {name: ids[truths[name.lower()]] for name in found} if len(ids) == 2 else None
    if any(number_of(name) is None for name in names) and _are_ids(found, len(names)):
        return {name: int(name) for name in found}
    return None


def _one_spelling(names: list[str], numbers: dict) -> list[str]:
    """Without names whose value another one has: 1 and 01 are the class 1,
    true and True the class that comes first."""
    kept: dict = {}
    for name in names:
        key = numbers[name] if numbers[name] is not None else name.lower() if name.lower() in ("true", "false") else name
        kept.setdefault(key, name)
    # The number's own spelling, if the file has both.
    return [str(key) if str(key) in numbers else name for key, name in kept.items()]


def _are_ids(found: set[str], count: int) -> bool:
    return found <= {str(i) for i in range(count)}


def _are_unnamed(names: list[str]) -> bool:
    """Whether the names are those that transformers gives to classes without."""
    return names == [f"LABEL_{i}" for i in range(len(names))]


def names_in(config: dict | None) -> list[str]:
    """The classes of a config.json, by `id2label` or `num_labels`; empty if it
    has neither."""
    config = config or {}
    table = config.get("id2label")
    if not isinstance(table, dict) or not table:
        count = config.get("num_labels")
        if isinstance(count, int) and count > _MOST_NAMES:
            raise DataError(f'config.json: "num_labels" is {count}; a model has at most {_MOST_NAMES} classes')
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return [f"LABEL_{i}" for i in range(count)]
        return []
    try:
        by_id = {int(key): str(name) for key, name in table.items()}
    except ValueError:
        raise DataError("config.json: the keys of \"id2label\" must be whole numbers") from None
    if sorted(by_id) != list(range(len(by_id))):
        raise DataError("config.json: the keys of \"id2label\" must be 0, 1, ..., one for each label")
    return [by_id[i] for i in range(len(by_id))]


def head_rows(directory) -> int | None:
    """The classes of the head that a model's files hold; None if they hold none
    or cannot be read."""
    try:
        tensors = _pst.TensorFile(directory)
    except _pst.Error:
        return None
    for name in ("classifier.weight", "classifier.out_proj.weight", "score.weight"):
        if name in tensors and len(tensors.shape(name)) == 2:
            return tensors.shape(name)[0]
    return None


def class_weights(wish: str, labels: Labels, ids) -> str:
    """--class_weights as the runtime reads them: `wish` itself or, if that is
    "balanced", n / (C * n[c]) of n training examples with the classes `ids`, as
    scikit-learn has it. Raises DataError for a class without examples."""
    if wish != "balanced":
        return wish
    counts = np.bincount(ids, minlength=labels.count)
    if not counts.all():
        missing = labels.names[int(np.argmin(counts))]
        raise DataError(f"--class_weights balanced: the training data have no example of the class '{missing}'; give the weights as numbers")
    return ",".join(repr(float(weight)) for weight in len(ids) / (labels.count * counts))
