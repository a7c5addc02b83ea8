# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What commands write: predictions and results, and what can be known of their
paths before anything runs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterable

from . import _pst
from .errors import DataError


def check_output_file(path, what: str, inputs: Iterable = ()) -> None:
    """Raises DataError if a file cannot be written at `path`, or would replace
    one that is read; `what` is its flag."""
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise DataError(f"{what} {path}: is a directory; expected the path of a file")
    if not os.path.isdir(folder):
        raise DataError(f"{what} {path}: there is no directory {folder}; make it first")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise DataError(f"{what} {path}: cannot be written: no permission")
    for source in inputs:
        if source and os.path.realpath(source) == os.path.realpath(path):
            raise DataError(f"{what} {path}: is also what is read; choose another path")


def check_output_directory(path, inputs: Iterable = (), replaced: Iterable[str] = (), flag: str = "--output_dir") -> None:
    """Raises DataError if `path` cannot become a directory, or if what it will
    hold under the names `replaced` is, or holds, one of the inputs."""
    path = os.fspath(path)
    above = os.path.abspath(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise DataError(f"{flag} {path}: {above} is a file, not a directory")
    if not os.access(above, os.W_OK):
        raise DataError(f"{flag} {path}: cannot be written: no permission in {above}")
    for name in replaced:
        target = os.path.realpath(os.path.join(path, name))
        for source in inputs:
            if source and os.path.commonpath([target, os.path.realpath(source)]) == target:
                raise DataError(
                    f"{flag} {path}: this would write {os.path.normpath(os.path.join(path, name))}, "
                    f"and reads {source}; choose another directory"
                )


def json_value(value):
    """What JSON can hold: null for a number that is none."""
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path, text: str) -> None:
    """A file of UTF-8, whole or not at all: an error leaves what was there. A
    pipe or a device is written to. Raises Error, with the path."""
    # Half a character, which a name in a file may be, is written as its number.
    _pst.write_file(os.fspath(path), text.encode("utf-8", "backslashreplace"))


def write_json(path, content) -> None:
    write_text(path, json.dumps(json_value(content), indent=2, allow_nan=False) + "\n")


def _cell(value):
    """A value in a table: a list or a dictionary is JSON."""
    if isinstance(value, (list, dict)):
        return json.dumps(json_value(value), ensure_ascii=False, allow_nan=False)
    return f"{value:.6g}" if isinstance(value, float) else value


def write_predictions(path, predictions: list[dict], examples) -> None:
    """TSV of `index` and `prediction`: line i is row i of the file, blank for
    a row that was skipped."""
    values = [""] * (len(predictions) + len(examples.skipped))
    for number, prediction in zip(examples.numbers, predictions):
        values[number] = _cell(next(iter(prediction.values())))
    write_text(path, "".join(["index\tprediction\n", *(f"{i}\t{value}\n" for i, value in enumerate(values))]))


@contextlib.contextmanager
def _whole(path):
    """What is written to the file at `path` as a whole, or without one to
    standard output."""
    if not path:
        yield sys.stdout
        return
    text = io.StringIO()
    yield text
    write_text(path, text.getvalue())


def write_conll(path, sentences: list[dict]) -> None:
    """A word and its tag in each line, a blank line between sentences; on
    standard output without a path. A word without a tag (cut off) has "_"."""
    with _whole(path) as file:
        for i, sentence in enumerate(sentences):
            file.write("\n" if i else "")
            file.writelines(f"{word}\t{tag or '_'}\n" for word, tag in zip(sentence["words"], sentence["tags"]))


def with_lines(predictions: list[dict], examples) -> list[dict]:
    """Each prediction with the `line` of its row; rows that were skipped are
    among them, without a value."""
    nothing = dict.fromkeys(predictions[0])
    rows = [*zip(examples.numbers, examples.lines, predictions), *((*row, nothing) for row in examples.skipped)]
    return [{"line": line, **values} for _, line, values in sorted(rows, key=lambda row: row[0])]


def write_rows(path, rows: list[dict]) -> None:
    """JSON lines, TSV or CSV, by the extension of the path; without one CSV on standard output."""
    extension = os.path.splitext(path or "")[1].lower()
    with _whole(path) as file:
        if extension in (".jsonl", ".json", ".ndjson"):
            file.writelines(json.dumps(json_value(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
            return
        separator = "\t" if extension == ".tsv" else ","
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
