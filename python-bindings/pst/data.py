# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Labelled sentences, from files or from what Python has.

`read_examples` turns a file into `Examples`, `Examples.of` a list, a frame or
a data set; `pst.labels` turns labels into ids, `pst.tokenizer` texts into the
arrays that a compiled program reads. Every error is a `DataError` that says
the file (or the data), the line (or the row) and the column.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from .columns import TASKS, Columns, Task, Wish, choose_columns, find_task, is_text_name, looks_like_cola
from .errors import DataError
from .files import Row, Table, read_table, read_text
from .label_values import missing_in, plain, told_missing
from .labels import Labels, names_in
from .many_labels import as_label, check_answers, check_list, missing_column

__all__ = ["TASKS", "DataError", "Examples", "Labels", "Task", "find_task", "names_in", "read_examples", "read_text"]

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Examples:
    """The rows of one file, in its order.

    `labels` holds what the file holds (str, int, float or bool; lists of them
    where an example has several; None where one is missing), or is None if the
    file has no label column. Row i begins at
    line `lines[i]`, and is number `numbers[i]`, from 0, of the file's rows;
    `skipped` has number and line of those that were left out.
    """

    path: str
    texts: list[str]
    pairs: list[str] | None
    labels: list | None
    lines: list[int]
    label_column: str = ""
    label_columns: tuple[str, ...] = ()  # a column of 0 and 1 for each label
    warnings: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    skipped: list[tuple[int, int]] = field(default_factory=list)
    text_columns: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()  # what a data set calls its classes 0, 1, ...

    def __post_init__(self):
        self.numbers = self.numbers or list(range(len(self.texts)))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def has_lists(self) -> bool:
        """Whether the examples have several labels."""
        return bool(self.label_columns) or any(isinstance(label, list) for label in self.labels or ())

    def without_labels(self) -> "Examples":
        return replace(self, labels=None)

    def select(self, chosen: Collection[int]) -> "Examples":
        """The examples at these places."""
        def of(values):
            return None if values is None else [values[i] for i in chosen]

        names = ("texts", "pairs", "labels", "lines", "numbers")
        return replace(self, **{name: of(getattr(self, name)) for name in names})

    @staticmethod
    def of_rows(rows, description: str = "the data") -> "Examples":
        """Examples of (text, label) or (text, text, label) tuples."""
        return Examples.of(rows, description)

    @staticmethod
    def of(
        source,
        description: str = "the data",
        *,
        wish: Wish = Wish(),
        need_labels: bool = True,
        skip_bad_rows: bool = False,
        limit: int | None = None,
        classes: Collection[str] = (),
    ) -> "Examples":
        """Examples of what Python has: (text, label) or (text, text, label)
        rows, texts alone if labels are not needed; dictionaries of columns;
        a frame of pandas; a data set of `datasets`. Their columns are found as
        those of a file are. Lines are the rows' numbers, from 1."""
        if isinstance(source, Examples):
            return source
        rows, class_names = python_rows(source, description)
        if not rows:
            raise DataError(f"{description}: no examples")
        if isinstance(rows[0], Mapping):
            table = _table_of_mappings(rows, description)
            columns = choose_columns(description, table.header, len(table.header), wish, need_labels)
        else:
            table, columns = _table_of_tuples(rows, description, need_labels)
        names = class_names.get(columns.label, ())
        examples = _collect(description, table, columns, need_labels, skip_bad_rows, limit, classes or names, wish)
        examples.class_names = tuple(names)
        return examples


def read_examples(
    path,
    *,
    task: str | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = True,
    read_labels: bool = True,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    classes: Collection[str] = (),
    label_columns: Collection[str] = (),
    many: bool = False,
    remembered: tuple[str, ...] = (),
    guess: bool = False,
    answers: bool = False,
) -> Examples:
    """Reads a `.tsv`/`.txt` (tab separated), `.csv`, `.jsonl` or `.json` file.

    Columns are those named, else those of the GLUE `task`, else found by their
    usual names. `skip_bad_rows` drops rows that are malformed, or lack a
    label, with a warning, where the default is a DataError; `classes` are
    labels that are never taken for missing ones. If labels are not needed,
    there may be no label column, and missing labels are None; if they are not
    to be read either, `labels` is None. `label_columns` are columns of 0 and 1,
    one for each label; with `many` a label is a list, of text too, or there is
    a column for each of the classes. `limit` keeps the first rows only.
    `remembered` are a model's own text columns, taken if
    the file has them; with `guess` text is else found by what columns hold.
    With `answers` pairs are prompts and their completions.
    """
    path = os.fspath(path)
    wish = Wish(
        task or "", text_column or "", text_pair_column or "", label_column or "",
        tuple(label_columns), many, tuple(classes) if many else (), remembered, answers,
    )  # fmt: skip
    if task:
        find_task(task)

    def has_header(cells: list[str]) -> bool:
        if task and not find_task(task).header:
            return len(cells) > 1 and cells[1].strip() not in ("0", "1")
        if guess and len(cells) == 1 and not path.lower().endswith((".csv", ".tsv")):
            # A list of texts, one a line.
            return is_text_name(cells[0]) or cells[0].strip() in (*remembered, wish.text)
        return not looks_like_cola(cells)

    need_labels = need_labels and read_labels
    table = read_table(path, has_header, skip_bad_rows)
    rows = table.rows
    if not rows:
        raise DataError(f"{path}: no examples: the file {'has a header only' if table.header else 'is empty'}")
    if table.header is None and guess and len(rows[0].cells) == 1:
        columns = Columns(0)
    else:
        first = next((row for row in rows if not row.fault), None)
        if first is None:
            raise DataError(rows[0].fault)
        width = len(first.cells) if table.header is None else len(table.header)
        columns = choose_columns(
            path, table.header, width, wish, need_labels, (lambda: _columns_of_words(table)) if guess else None
        )
    return _collect(path, table, columns, need_labels, skip_bad_rows, limit, classes, wish, read_labels)


def _collect(path, table: Table, columns: Columns, need_labels, skip, limit, classes, wish: Wish, read_labels=True) -> Examples:
    """The examples of a table. Raises DataError for the first bad row, or skips those."""
    reads = read_labels and columns.label is not None
    names = [columns.text] if columns.pair is None else [columns.text, columns.pair]
    several = columns.label if isinstance(columns.label, tuple) else ()
    examples = Examples(
        path, [], None if columns.pair is None else [], [] if reads else None, [],
        "" if columns.label is None or several else str(columns.label), tuple(map(str, several)), list(columns.warnings),
        text_columns=tuple(map(str, names)),
    )  # fmt: skip
    places = {name: i for i, name in reversed(list(enumerate(table.header or [])))}
    labels, missing = [None] * len(table.rows), [""] * len(table.rows)
    if examples.labels is not None and several:
        labels = [[None if row.fault else plain(_cell(row, name, places)) for name in several] for row in table.rows]
        missing = [missing_column(several, cells) for cells in labels]
    elif examples.labels is not None:
        labels = [None if row.fault else as_label(_cell(row, columns.label, places)) for row in table.rows]
        gone = missing_in(labels, classes, bool(wish.task) and find_task(wish.task).regression)
        missing = [f"column '{columns.label}' has {told_missing(label)}" if none else "" for label, none in zip(labels, gone)]
    unlabelled = 0
    for number, row in enumerate(table.rows):
        if limit is not None and len(examples) >= limit:
            break
        label = None if missing[number] else labels[number]
        try:
            if row.fault:
                raise DataError(row.fault)
            texts = [_text(path, row, name, places) for name in names]
            if columns.input is not None and _cell(row, columns.input, places) not in (None, ""):
                texts[0] += "\n" + _text(path, row, columns.input, places)
            if examples.labels is not None and not missing[number]:
                label = _checked_label(path, row, columns.label, label, wish.many)
            if need_labels and missing[number]:
                unlabelled += skip
                raise DataError(f"{path}:{row.line}: {missing[number]}")
        except DataError:
            if not skip:
                raise
            examples.skipped.append((number, row.line))
            continue
        examples.texts.append(texts[0] + columns.between)
        if examples.pairs is not None:
            examples.pairs.append(texts[1])
        if examples.labels is not None:
            examples.labels.append(label.strip() if isinstance(label, str) else label)
        examples.lines.append(row.line)
        examples.numbers.append(number)
    examples.warnings += _skipped(path, len(table.rows), len(examples.skipped), unlabelled)
    if not examples.texts:
        raise DataError(f"{path}: no examples: every row is malformed or lacks its label")
    return examples


def _skipped(path, count: int, skipped: int, unlabelled: int) -> list[str]:
    parts = [(skipped - unlabelled, "are malformed"), (unlabelled, "have no label")]
    told = " and ".join(f"{n} of {count} rows {what}" for n, what in parts if n)
    return [f"{path}: {told} and were skipped"] if told else []


def _cell(row: Row, name, places: Mapping):
    if isinstance(row.cells, dict):
        return row.cells.get(name)
    return row.cells[places.get(name, name)]


def _text(path, row: Row, name, places) -> str:
    text = plain(_cell(row, name, places))
    if text is None or isinstance(text, float) and math.isnan(text):
        raise DataError(f"{path}:{row.line}: column '{name}' is missing")
    if not isinstance(text, str):
        raise DataError(f"{path}:{row.line}: column '{name}' must be a string, found {type(text).__name__}")
    broken = _SURROGATE.search(text)
    if broken:
        what = f"half of a surrogate pair, \\u{ord(broken[0]):04x}, which is no character"
        raise DataError(f"{path}:{row.line}: column '{name}' holds {what}; --skip_bad_rows drops such rows")
    return str(text)


def _checked_label(path, row: Row, name, label, many: bool):
    if isinstance(name, tuple):
        return check_answers(path, row.line, name, label)
    if many or isinstance(label, list):
        return check_list(f"{path}:{row.line}: column '{name}'", label)
    if not isinstance(label, (str, int, float)):
        raise DataError(f"{path}:{row.line}: column '{name}' must be a string or a number, found {type(label).__name__}")
    return label


def _columns_of_words(table: Table) -> list[str]:
    """The columns most of whose cells hold more than one word."""
    found = []
    for i, name in enumerate(table.header or []):
        cells = [_cell(row, name, {name: i}) for row in table.rows[:1000] if not row.fault]
        words = sum(isinstance(cell, str) and len(cell.split()) > 1 for cell in cells)
        if 2 * words > len(cells):
            found.append(name)
    # One column of strings is text, of one word too.
    return found or ([table.header[0]] if len(table.header or []) == 1 else [])


def python_rows(source, description: str) -> tuple[list, dict]:
    """The rows of what Python has, and the class names of its label columns."""
    if isinstance(source, (str, bytes)) or not isinstance(source, Iterable):
        raise DataError(f"{description}: expected rows, found {type(source).__name__}")
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # a frame
        return source.to_dict("records"), {}
    if isinstance(source, Mapping):
        columns = list(source.values())
        if columns and all(isinstance(column, Mapping) or hasattr(column, "features") for column in columns):
            raise DataError(f"{description}: several data sets, {', '.join(map(str, source))}: give one of them")
        if len({len(column) for column in columns}) > 1 or any(isinstance(column, str) for column in columns):
            raise DataError(f"{description}: expected rows, or columns of one length")
        return [dict(zip(source, row)) for row in zip(*columns)], {}
    features = getattr(source, "features", None)
    classes = {
        name: [str(value) for value in names]
        for name, feature in (features.items() if isinstance(features, Mapping) else ())
        # Of a column of lists, those of their elements.
        for names in [getattr(getattr(feature, "feature", feature), "names", None)]
        if isinstance(names, (list, tuple))
    }
    return [_python_row(row) for row in source], classes


def _python_row(row):
    if isinstance(row, (str, Mapping)):
        return row
    if isinstance(row, tuple) and hasattr(row, "_fields"):  # a frame's itertuples()
        return row._asdict()
    if isinstance(row, tuple) and len(row) == 2 and hasattr(row[1], "to_dict"):  # a frame's iterrows()
        return row[1].to_dict()
    if hasattr(row, "to_dict"):
        return row.to_dict()
    return tuple(row) if isinstance(row, (list, tuple)) or getattr(row, "ndim", 0) == 1 else row


def _table_of_mappings(rows: list, description: str) -> Table:
    names: dict = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{description}:{number}: expected a dictionary, as the first row is, found {row!r}")
        names.update(dict.fromkeys(map(str, row)))
    return Table(list(names), [Row(number, {str(k): plain(v) for k, v in row.items()}) for number, row in enumerate(rows, 1)])


def _table_of_tuples(rows: list, description: str, need_labels: bool) -> tuple[Table, Columns]:
    """(text, label), (text, text, label); and texts or (text, text) if labels are not needed."""
    rows = [(row,) if isinstance(row, str) else row for row in rows]
    width = len(rows[0]) if isinstance(rows[0], tuple) else 0
    bare = not need_labels and (width == 1 or width == 2 and all(isinstance(row[-1], str) for row in rows if len(row) == 2))
    texts = width if bare else width - 1
    wanted = "(text, label) or (text, text, label)" if need_labels else "a text, or (text, text)"
    for number, row in enumerate(rows, 1):
        fits = isinstance(row, tuple) and len(row) == width and texts in (1, 2)
        if not fits or not all(isinstance(text, str) for text in row[:texts]):
            found = row[0] if isinstance(row, tuple) and len(row) == 1 else row
            raise DataError(f"{description}:{number}: expected {wanted}, found {found!r}")
    header = ["text", "text_pair"][:texts] + ([] if bare else ["label"])
    table = Table(header, [Row(number, list(row)) for number, row in enumerate(rows, 1)])
    return table, Columns("text", "text_pair" if texts == 2 else None, None if bare else "label")
