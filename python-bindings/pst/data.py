# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Labelled sentences from files: GLUE's TSV, CSV and JSON lines.

`read_examples` turns a file into `Examples`, `Labels` turns labels into ids;
`pst.tokenizer` turns texts into the arrays that a compiled program reads.
Every error is a `DataError` that says the file, the line and the column.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import dataclass, field

import numpy as np


class DataError(ValueError):
    """Something in a data file, or in what was asked of it, is wrong."""


# For each GLUE task: its text columns, its label column, and whether its label
# is a number to be predicted. CoLA has no header: columns go by number.
@dataclass(frozen=True)
class Task:
    texts: tuple
    label: object
    metric: str
    regression: bool = False
    header: bool = True


TASKS = {
    "cola": Task((3,), 1, "matthews", header=False),
    "sst2": Task(("sentence",), "label", "accuracy"),
    "mrpc": Task(("#1 String", "#2 String"), "Quality", "f1"),
    "qqp": Task(("question1", "question2"), "is_duplicate", "f1"),
    "stsb": Task(("sentence1", "sentence2"), "score", "pearson", regression=True),
    "mnli": Task(("sentence1", "sentence2"), "gold_label", "accuracy"),
    "qnli": Task(("question", "sentence"), "label", "accuracy"),
    "rte": Task(("sentence1", "sentence2"), "label", "accuracy"),
    "wnli": Task(("sentence1", "sentence2"), "label", "accuracy"),
}

# Names by which columns are found when none is given, in order of preference.
_PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
    ("#1 String", "#2 String"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("query", "passage"),
)
_TEXTS = ("sentence", "text", "review", "question", "content")
_LABELS = (
    "label",
    "labels",
    "gold_label",
    "is_duplicate",
    "Quality",
    "score",
    "similarity_score",
    "target",
    "class",
)


@dataclass
class Examples:
    """The rows of one file, in its order.

    `labels` holds what the file holds (str, int, float or bool), or is None if
    the file has no label column; `lines[i]` is the line at which row i begins.
    """

    path: str
    texts: list[str]
    pairs: list[str] | None
    labels: list | None
    lines: list[int]
    label_column: str = ""
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    @staticmethod
    def of_rows(rows, description: str = "the data") -> "Examples":
        """Examples of (text, label) or (text, text, label) tuples."""
        rows = list(rows)
        if not rows:
            raise DataError(f"{description}: no examples")
        width = len(rows[0])
        for number, row in enumerate(rows, 1):
            if len(row) != width or width not in (2, 3) or not all(isinstance(t, str) for t in row[:-1]):
                raise DataError(f"{description}:{number}: expected (text, label) or (text, text, label), found {row!r}")
        return Examples(
            description,
            [row[0] for row in rows],
            [row[1] for row in rows] if width == 3 else None,
            [row[-1] for row in rows],
            list(range(1, len(rows) + 1)),
            "label",
        )


def find_task(name: str) -> Task:
    """The GLUE task of that name ("SST-2", "sst2", "STS-B", ...)."""
    key = name.lower().replace("-", "").replace("_", "")
    if key not in TASKS:
        raise DataError(f"unknown task '{name}': expected one of {', '.join(TASKS)}")
    return TASKS[key]


def read_examples(
    path,
    *,
    task: str | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = True,
    skip_bad_rows: bool = False,
    limit: int | None = None,
) -> Examples:
    """Reads a `.tsv`/`.txt` (tab separated, no quoting), `.csv`, `.jsonl` or
    `.json` (one object a line) file.

    Columns are those named, else those of the GLUE `task`, else found by their
    usual names. `skip_bad_rows` drops rows with a wrong number of columns or
    an empty label, with a warning, where the default is a DataError. `limit`
    keeps the first rows only.
    """
    path = os.fspath(path)
    text = read_text(path)
    known = find_task(task) if task else None
    extension = os.path.splitext(path)[1].lower()
    if extension in (".jsonl", ".json", ".ndjson"):
        header, rows = _json_rows(path, text)
    else:
        header, rows = _table_rows(path, text, "," if extension == ".csv" else "\t", known)
    if not rows:
        raise DataError(f"{path}: no examples: the file {'has a header only' if header else 'is empty'}")

    chosen = _choose_columns(path, header, rows, known, text_column, text_pair_column, label_column, need_labels)
    text_key, pair_key, label_key = chosen
    examples = Examples(path, [], None if pair_key is None else [], None if label_key is None else [], [])
    examples.label_column = "" if label_key is None else _column_name(header, label_key)
    skipped = 0
    for line, row in rows:
        try:
            values = [
                None if key is None else _cell(path, line, row, key, header, kind)
                for key, kind in ((text_key, "text"), (pair_key, "text"), (label_key, "label"))
            ]
        except DataError:
            if not skip_bad_rows:
                raise
            skipped += 1
            continue
        examples.texts.append(values[0])
        if pair_key is not None:
            examples.pairs.append(values[1])
        if label_key is not None:
            examples.labels.append(values[2])
        examples.lines.append(line)
        if limit is not None and len(examples) >= limit:
            break
    if skipped:
        examples.warnings.append(f"{path}: {skipped} of {len(rows)} rows are malformed and were skipped")
    if not examples.texts:
        raise DataError(f"{path}: no examples: every row is malformed")
    return examples


def read_text(path: str) -> str:
    """A file of UTF-8, with or without its mark. Raises DataError with the position of what is wrong."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Positions count from the start of the file, the mark of order included.
        at = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, at) + 1
        column = at - (data.rfind(b"\n", 0, at) + 1) + 1
        raise DataError(
            f"{path}:{line}: invalid UTF-8: byte 0x{data[at]:02x} at position {at} of the file "
            f"(byte {column} of the line); convert the file, for instance with "
            "'iconv -f latin1 -t utf-8'"
        ) from None


def _table_rows(path, text, separator, task):
    """(header or None, [(line, list of cells)]) of a TSV or CSV file."""
    if separator == "\t":
        # GLUE's files are not quoted; a quotation mark is a character.
        lines = text.split("\n")
        table = [
            (number, line.rstrip("\r").split("\t"))
            for number, line in enumerate(lines, 1)
            if line.strip("\r\n") != ""
        ]
    else:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        table, before = [], 0
        try:
            for row in reader:
                if row:
                    table.append((before + 1, row))
                before = reader.line_num
        except csv.Error as error:
            raise DataError(f"{path}:{before + 1}: malformed CSV: {error}") from None
    if not table:
        return None, []
    has_header = task.header if task else not _looks_like_cola(table[0][1])
    if not has_header:
        width = len(table[0][1])
        header = None
    else:
        header = [cell.strip() for cell in table[0][1]]
        width = len(header)
        table = table[1:]
    return header, [(line, row if len(row) == width else _Ragged(row, width)) for line, row in table]


class _Ragged(list):
    """A row whose number of cells is not that of the header."""

    def __init__(self, cells, width):
        super().__init__(cells)
        self.width = width


def _looks_like_cola(cells) -> bool:
    return len(cells) == 4 and cells[1] in ("0", "1") and "sentence" not in cells


def _json_rows(path, text):
    rows, keys = [], {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number}:{error.colno}: malformed JSON: {error.msg}; expected one object a line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
        keys.update(dict.fromkeys(row))
        rows.append((number, row))
    return list(keys), rows


def _choose_columns(path, header, rows, task, text_column, pair_column, label_column, need_labels):
    """The keys (names, or numbers in a file without a header) of the columns."""
    names = header if header is not None else [str(i) for i in range(len(rows[0][1]))]

    def resolve(name, what):
        if name in names:
            return _key(header, names, name)
        raise DataError(f"{path}:1: there is no column '{name}' for the {what}; the columns are {_listed(names)}")

    if task:
        texts = list(task.texts)
        label = task.label
        # The same task as Hugging Face names its columns.
        if header is not None and not all(name in names for name in texts):
            texts, label = [], None
    elif header is None:
        texts, label = [3], 1  # only CoLA comes here
    else:
        texts, label = [], None

    if text_column:
        texts = [resolve(text_column, "text")]
        if pair_column:
            texts.append(resolve(pair_column, "second text"))
    elif pair_column:
        raise DataError("--text_pair_column needs --text_column")
    elif not texts:
        pair = next((p for p in _PAIRS if p[0] in names and p[1] in names), None)
        single = next((name for name in _TEXTS if name in names), None)
        if pair:
            texts = list(pair)
        elif single:
            texts = [single]
        else:
            raise DataError(
                f"{path}:1: no text column found: the columns are {_listed(names)}; "
                "name yours with --text_column"
            )
    if label_column:
        label = resolve(label_column, "label")
    elif label is None or (header is not None and label not in names):
        label = next((name for name in _LABELS if name in names and name not in texts), None)
        if label is None and need_labels:
            raise DataError(
                f"{path}:1: no label column found: the columns are {_listed(names)}; "
                "name yours with --label_column"
            )
    if header is None and isinstance(rows[0][1], list):
        width = len(names)
        for key in [*texts, label]:
            if isinstance(key, int) and key >= width:
                raise DataError(f"{path}:1: expected at least {key + 1} tab-separated columns, found {width}")
    return texts[0], texts[1] if len(texts) > 1 else None, label


def _key(header, names, name):
    return name if header is not None else names.index(name)


def _column_name(header, key):
    return key if isinstance(key, str) else str(key)


def _listed(names):
    shown = ", ".join(f"'{name}'" for name in names[:12])
    return shown + (", ..." if len(names) > 12 else "")


def _cell(path, line, row, key, header, kind):
    if isinstance(row, _Ragged):
        raise DataError(
            f"{path}:{line}: expected {row.width} columns, as the {'header' if header else 'first line'} "
            f"has, found {len(row)}"
        )
    if isinstance(row, dict):
        if key not in row or row[key] is None:
            raise DataError(f"{path}:{line}: column '{key}' is missing")
        value = row[key]
        if kind == "text":
            if not isinstance(value, str):
                raise DataError(f"{path}:{line}: column '{key}' must be a string, found {type(value).__name__}")
            return value
        if not isinstance(value, (str, int, float)):
            raise DataError(
                f"{path}:{line}: column '{key}' must be a string or a number, found {type(value).__name__}"
            )
        return value
    value = row[header.index(key) if header is not None else key]
    if kind == "label" and not value.strip():
        raise DataError(f"{path}:{line}: column '{key}' (the label) is empty")
    return value.strip() if kind == "label" else value


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text_of(label) -> str:
    """One spelling for a label, whatever type the file gave it."""
    if isinstance(label, bool):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


@dataclass
class Labels:
    """The classes in the order of their ids, or one number to predict."""

    names: list[str]
    regression: bool = False

    @property
    def count(self) -> int:
        return 1 if self.regression else len(self.names)

    @staticmethod
    def of(examples: Examples, config: dict | None = None, task: str | None = None) -> "Labels":
        """The labels of a training file.

        The model's own `id2label` gives the order where it holds every label
        of the file; else the labels are sorted (numbers by value). Labels that
        are numbers but not whole ones are values to predict.
        """
        numbers = [_number(label) for label in examples.labels]
        if task and find_task(task).regression or (config or {}).get("problem_type") == "regression":
            return Labels([], True)
        numeric = all(number is not None for number in numbers)
        if not task and numeric and any(not number.is_integer() for number in numbers):
            return Labels([], True)
        found = {_text_of(label) for label in examples.labels}
        known = names_in(config)
        if known and found <= set(known):
            return Labels(known)
        names = sorted(found, key=(lambda name: (float(name), name)) if numeric else None)
        if len(names) < 2:
            raise DataError(
                f"{examples.path}: every example has the label '{names[0]}': training needs at least two classes"
            )
        if len(names) > 1000:
            raise DataError(
                f"{examples.path}: column '{examples.label_column}' has {len(names)} different values, "
                "which is no set of classes; is it the label column?"
            )
        return Labels(names)

    @staticmethod
    def of_config(config: dict) -> "Labels":
        """The labels of a trained model's config.json."""
        names = names_in(config)
        if config.get("problem_type") == "regression" or len(names) == 1:
            return Labels([], True)
        return Labels(names or ["LABEL_0", "LABEL_1"])

    def encode(self, examples: Examples) -> np.ndarray:
        """int32 ids, or float32 values for regression; shape [examples]."""
        if self.regression:
            values = np.empty(len(examples), np.float32)
            for i, label in enumerate(examples.labels):
                number = _number(label)
                if number is None or not math.isfinite(number):
                    raise DataError(
                        f"{examples.path}:{examples.lines[i]}: label '{label}' is not a finite number, "
                        "and the model predicts one"
                    )
                values[i] = number
            return values
        ids = {name: i for i, name in enumerate(self.names)}
        found = {_text_of(label) for label in examples.labels}
        numeric = all(_number(name) is not None for name in self.names)
        if not found <= set(ids) and not numeric and _are_ids(found, len(self.names)):
            ids = {str(i): i for i in range(len(self.names))}
        encoded = np.empty(len(examples), np.int32)
        for i, label in enumerate(examples.labels):
            spelled = _text_of(label)
            if spelled not in ids:
                raise DataError(
                    f"{examples.path}:{examples.lines[i]}: unknown label '{spelled}' in column "
                    f"'{examples.label_column}': the labels are {_listed(list(ids))}"
                )
            encoded[i] = ids[spelled]
        return encoded


def _are_ids(found: set[str], count: int) -> bool:
    return found <= {str(i) for i in range(count)}


def names_in(config: dict | None) -> list[str]:
    """`id2label` of a config.json as a list, empty if it has none."""
    table = (config or {}).get("id2label")
    if not isinstance(table, dict) or not table:
        return []
    try:
        by_id = {int(key): str(name) for key, name in table.items()}
    except ValueError:
        raise DataError("config.json: the keys of \"id2label\" must be whole numbers") from None
    if sorted(by_id) != list(range(len(by_id))):
        raise DataError("config.json: the keys of \"id2label\" must be 0, 1, ..., one for each label")
    return [by_id[i] for i in range(len(by_id))]
