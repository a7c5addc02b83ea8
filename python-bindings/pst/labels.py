# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The classes of a model or of a training file, and the ids of labels."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _pst, many_labels
from .columns import find_task, listed
from .errors import DataError
from .label_values import are_ids, are_unnamed, ids_by_value, matched, number_of, spelled, told_missing, value_of
from .tasks import TOKEN_CLASSES, classifies_tokens

if TYPE_CHECKING:
    from .data import Examples

# More values than this are a column of something else, unless the user named it.
MOST_CLASSES = 1000

# More classes than any model has; a list of so many names is made at once.
_MOST_NAMES = 1_000_000


@dataclass
class Labels:
    """The classes in the order of their ids, or one number to predict. With
    `multiple`, an example has any number of the classes; of `tokens` each has
    one."""

    names: list[str]
    regression: bool = False
    multiple: bool = False
    tokens: bool = False

    @property
    def count(self) -> int:
        return 1 if self.regression else len(self.names)

    @property
    def task(self) -> str:
        """What the compiler is told of it (--task)."""
        return TOKEN_CLASSES if self.tokens else many_labels.PROBLEM if self.multiple else "classification"

    @property
    def class_list(self) -> list[str] | None:
        """The names, or None where a number is predicted."""
        return None if self.regression else self.names

    def occurring(self, encoded: np.ndarray) -> int:
        """How many of the classes these labels have, as encode() gives them."""
        if self.tokens:
            return len({i for row in encoded for i in row if i >= 0})
        return int((encoded != 0).any(axis=0).sum()) if self.multiple else len(np.unique(encoded))

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
        column, which may then hold more classes than MOST_CLASSES. Lists, and
        several columns, are several labels an example (pst.many_labels).
        """
        if examples.has_lists:
            return Labels(many_labels.class_names(examples, names_in(config), classes), multiple=True)
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
        if known and (found <= set(known) or matched(found, known) is not None and not are_unnamed(known)):
            return Labels(known)
        numbers = {name: number_of(name) for name in found}
        numeric = all(number is not None for number in numbers.values())
        if not task and numeric and any(isinstance(number, float) for number in numbers.values()):
            return Labels([], True)
        if known and are_ids(found, len(known)):
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
    def of_config(config: dict, task: str = "") -> "Labels":
        """The labels of a trained model's config.json; `task` is --task."""
        names = names_in(config)
        if classifies_tokens(task, config):
            return Labels(names or ["LABEL_0", "LABEL_1"], tokens=True)
        multiple = has_many_labels(task, config)
        if config.get("problem_type") == "regression" or len(names) == 1 and not multiple:
            return Labels([], True)
        return Labels(names or ["LABEL_0", "LABEL_1"], multiple=multiple)

    def encode(self, examples: "Examples") -> np.ndarray:
        """int32 ids, or float32 values for regression; shape [examples]. Of
        several labels, float32[examples, classes] of 0 and 1; of sentences
        (pst.tagged) the ids of each one's words."""
        if self.tokens:
            return examples.ids(self.names)
        if self.multiple:
            return many_labels.encode(examples, self.names)
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
        ids = matched(set(spellings), self.names)
        if ids is None:
            ids = ids_by_value(self.names)
            for i, name in enumerate(spellings):
                if value_of(name) not in ids:
                    raise DataError(
                        f"{examples.path}:{examples.lines[i]}: unknown label '{name}' in column "
                        f"'{examples.label_column}': the labels are {listed(self.names)}"
                    )
            return np.array([ids[value_of(name)] for name in spellings], np.int32)
        return np.array([ids[name] for name in spellings], np.int32)


def _present(examples: "Examples") -> list:
    """Labels without the spaces around them; a DataError if one is missing."""
    if examples.labels is None:
        raise DataError(f"{examples.path}: has no labels")
    for i, label in enumerate(examples.labels):
        if label is None or isinstance(label, float) and math.isnan(label):
            raise DataError(f"{examples.path}:{examples.lines[i]}: {told_missing(label)}")
    return [label.strip() if isinstance(label, str) else label for label in examples.labels]


def _one_spelling(names: list[str], numbers: dict) -> list[str]:
    """Without names whose value another one has: 1 and 01 are the class 1,
    true and True the class that comes first."""
    kept: dict = {}
    for name in names:
        key = numbers[name] if numbers[name] is not None else name.lower() if name.lower() in ("true", "false") else name
        kept.setdefault(key, name)
    # The number's own spelling, if the file has both.
    return [str(key) if str(key) in numbers else name for key, name in kept.items()]


def has_many_labels(task: str, config: dict) -> bool:
    """Whether an example may have several labels: as --task says, or the
    model's config.json."""
    return task == many_labels.PROBLEM or task != "lm" and config.get("problem_type") == many_labels.PROBLEM


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
    scikit-learn has it, and (n - n[c]) / n[c] where they have several labels
    each, as PyTorch's pos_weight is meant. Raises DataError for a class without
    examples."""
    if wish != "balanced":
        return wish
    counts = (ids == 1).sum(0) if labels.multiple else np.bincount(ids, minlength=labels.count)
    if not counts.all():
        missing = labels.names[int(np.argmin(counts))]
        raise DataError(f"--class_weights balanced: the training data have no example of the class '{missing}'; give the weights as numbers")
    weights = ((ids == 0).sum(0) if labels.multiple else len(ids) / labels.count) / counts
    return ",".join(repr(float(weight)) for weight in weights)
