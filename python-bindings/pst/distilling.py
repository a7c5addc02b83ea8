# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a teacher says of the training data (--distill_from).

It does not change, and evaluates without dropout: so its logits are computed
once, by a program that only evaluates, and are a column of the data."""

from __future__ import annotations

import numpy as np

from .classifier import Classifier, encode
from .columns import listed
from .data import Examples
from .errors import DataError
from .label_values import matched
from .labels import Labels
from .options import Options
from .tokenizer import Encoded

COLUMN = "teacher_logits"


def check_kind(options: Options, predicts_tokens: bool, tags: bool) -> None:
    """Raises ValueError where logits are too many to be kept."""
    if options.distill_from and (predicts_tokens or tags):
        raise ValueError(
            "--distill_from is of models that classify texts, or predict a number of them, not of "
            + ("a language model, whose teacher has the logits of a vocabulary for each token" if predicts_tokens
               else "one that classifies their words")
        )  # fmt: skip


def teacher_column(options: Options, labels: Labels, examples: Examples, encoded: Encoded, limit: int) -> dict[str, np.ndarray]:
    """The teacher's logits of the examples, as a program reads them beside
    `encoded`, their tokens (at most `limit`); nothing without --distill_from.

    Raises DataError if the teacher has other labels, or reads other tokens."""
    if not options.distill_from:
        return {}
    settings = options.of_compiler(("machine",))
    if options.per_device_eval_batch_size:
        settings["per_device_eval_batch_size"] = options.per_device_eval_batch_size
    teacher = Classifier(options.distill_from, task=options.task, **settings)
    _check_labels(teacher, labels)
    own, _ = encode(teacher.tokenizer, examples, limit, options)
    for line, ours, others in zip(examples.lines, encoded.ids, own.ids):
        if ours != others:
            raise DataError(
                f"--distill_from {teacher.directory}: the teacher's tokenizer makes other tokens of {examples.path}:{line} than the "
                f"model's ({len(others)}, from {others[:8]} on, for {len(ours)}, from {ours[:8]} on): the two must share a vocabulary"
            )
    logits = teacher.logits(own, examples.path)
    return {COLUMN: np.ascontiguousarray(logits[:, 0] if labels.regression else logits)}


def _check_labels(teacher: Classifier, labels: Labels) -> None:
    theirs = teacher.labels
    if theirs.regression != labels.regression or theirs.multiple != labels.multiple or theirs.tokens:
        raise DataError(f"--distill_from {teacher.directory}: the teacher {_told(theirs)}, but the data {_wanted(labels)}")
    if labels.regression or theirs.names == labels.names:
        return
    ids = matched(set(labels.names), theirs.names)
    if ids is None or len(theirs.names) != len(labels.names) or any(ids[name] != i for i, name in enumerate(labels.names)):
        raise DataError(
            f"--distill_from {teacher.directory}: the teacher's labels are {listed(theirs.names)}, but those of the data are "
            f"{listed(labels.names)}: they must be the same, in the same order (--classes says that of the data)"
        )


def _told(labels: Labels) -> str:
    if labels.regression:
        return "predicts a number"
    return "classifies words" if labels.tokens else "gives several labels" if labels.multiple else "gives one label"


def _wanted(labels: Labels) -> str:
    return "hold a number" if labels.regression else "have several labels an example" if labels.multiple else "have one label an example"
