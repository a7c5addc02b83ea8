# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files of rows as they lie on disk: TSV, CSV, JSON; texts of UTF-8; settings.

What is wrong with one row alone is kept as its `fault`, so that the caller
says whether it ends the reading; all else is a DataError with its place.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import DataError


@dataclass
class Row:
    line: int  # where it begins, from 1
    cells: list | dict
    fault: str = ""  # what is wrong with it, with its place


@dataclass
class Table:
    header: list[str] | None  # None: the columns have numbers
    rows: list[Row] = field(default_factory=list)


# A file that says its encoding by its first bytes; UTF-32's mark begins as UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


# Files that are no text, by how they begin, and what makes text of them.
_NOT_TEXT = {
    b"PK\x03\x04": "a workbook of Excel (save it as 'CSV UTF-8') or a zip file (unpack it)",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel (save it as 'CSV UTF-8')",
    b"\x1f\x8b": "compressed (unpack it with 'gunzip')",
    b"\x28\xb5\x2f\xfd": "compressed (unpack it with 'unzstd')",
    b"PAR1": "a Parquet file (pandas.read_parquet reads it, and pst.Trainer takes the frame)",
    b"ARROW1": "an Arrow file (datasets.Dataset.from_file reads it, and pst.Trainer takes the data set)",
}


# More than any file of settings, vocabulary or index has.
MOST_BYTES = 256 * 2**20


def open_readable(path: str, pipes: bool = False):
    """A file opened to be read, as bytes: a regular one, or if `pipes` are let
    in one that another program writes. Of a device one might read for ever, of
    a pipe that nobody writes wait for ever. Raises DataError; FileNotFoundError
    where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if pipes else os.O_NONBLOCK))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind) or pipes and stat.S_ISFIFO(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    what = os.strerror(errno.EISDIR) if stat.S_ISDIR(kind) else "not a regular file"
    raise DataError(f"{path}: cannot be read: {what}")


def read_small(path: str) -> bytes:
    """A regular file of at most MOST_BYTES. Raises as open_readable, and
    DataError for a longer one."""
    with open_readable(path) as file:
        data = file.read(MOST_BYTES + 1)
    _require_size(path, len(data))
    return data


@contextlib.contextmanager
def utf8_name(path: str):
    """While it lasts, a name of a file for libraries that take none but UTF-8.
    Raises as open_readable."""
    if any("\ud800" <= letter <= "\udfff" for letter in path):
        with open_readable(path) as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        yield path


def require_small(path: str) -> None:
    """Raises as read_small does, before a library reads the file."""
    with open_readable(path) as file:
        _require_size(path, os.fstat(file.fileno()).st_size)


def _require_size(path: str, size: int) -> None:
    if size > MOST_BYTES:
        raise DataError(f"{path}: has more than the {MOST_BYTES} bytes that are read of such a file")


def read_object(path: str) -> dict:
    """The JSON object in a file; {} if there is no such file. Raises DataError."""
    try:
        data = read_small(path)
    except FileNotFoundError:
        return {}
    return object_in(data, path)


def object_in(data: bytes, path: str) -> dict:
    """The JSON object that `data` of the file `path` spell, in UTF-8 with or
    without its mark. It is what the compiler takes for JSON too. Raises
    DataError."""

    def refuse(word: str):
        raise DataError(f"{path}: malformed JSON: {word} is no number of JSON's")

    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=refuse)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: invalid UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}:{error.colno}: malformed JSON: {error.msg}") from None
    except RecursionError:
        raise DataError(f"{path}: malformed JSON: {_TOO_DEEP}") from None
    except ValueError:
        raise DataError(f"{path}: malformed JSON: {_TOO_LONG}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:1:1: expected a JSON object, found {type(value).__name__}")
    if _is_deep(value):
        raise DataError(f"{path}: malformed JSON: {_TOO_DEEP}")
    _require_characters(data, value, path)
    return value


def _require_characters(data: bytes, value, path: str) -> None:
    """Raises DataError for strings with half a character, which JSON can spell
    and UTF-8 cannot."""
    if not re.search(rb"\\u[dD][89a-fA-F]", data):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise DataError(f"{path}: malformed JSON: \\u{half:04x} is half of a character, and the other half is missing") from None


# As deep as the compiler reads JSON (include/pst/Bundle/JsonText.h).
_DEEPEST_JSON = 100
_TOO_LONG = "a number has thousands of digits"  # more than Python takes
_TOO_DEEP = f"objects and lists lie more than {_DEEPEST_JSON} deep in one another"


def _is_deep(value) -> bool:
    level = [value]
    for _ in range(_DEEPEST_JSON):
        children = (child for held in level for child in (held.values() if isinstance(held, dict) else held))
        level = [child for child in children if isinstance(child, (dict, list))]
    return bool(level)


def read_text(path: str, keep_bad_bytes: bool = False) -> str:
    """A file of UTF-8, or of UTF-16 or UTF-32 with its mark; or what a pipe
    gives. Raises DataError with the position of what is wrong; `keep_bad_bytes`
    makes surrogates of bytes that are no UTF-8, as os.fsdecode does."""
    try:
        with open_readable(path, pipes=True) as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for begin, what in _NOT_TEXT.items():
        if data.startswith(begin):
            raise DataError(f"{path}: is {what}, and not text; expected .tsv, .csv, .jsonl or .txt")
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:4000]:
        # Every other byte of English in UTF-16 is 0.
        wide = data[:4000:2].count(0), data[1:4000:2].count(0)
        name = "utf-16be" if wide[0] > wide[1] else "utf-16le"
        raise DataError(
            f"{path}: holds zero bytes, as UTF-16 without its mark does; convert the file: 'iconv -f {name} -t utf-8'"
        )
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise DataError(f"{path}: begins with the mark of {encoding.upper()} and is damaged: {error.reason} "
                            f"at position {error.start} of the file") from None  # fmt: skip
        if keep_bad_bytes:
            return data.decode(encoding, "surrogateescape")
        raise DataError(_not_utf8(path, data, error)) from None


def _not_utf8(path: str, data: bytes, error: UnicodeDecodeError) -> str:
    # Positions count from the start of the file, the mark of order included.
    at = error.start + (3 if data.startswith(codecs.BOM_UTF8) else 0)
    line = data.count(b"\n", 0, at) + 1
    column = at - (data.rfind(b"\n", 0, at) + 1) + 1
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if sum(ord(c) > 127 for c in text) > 2 * broken:
        advice = "the rest of the file is UTF-8: it is damaged there; --skip_bad_rows drops such rows"
    else:
        # Windows' encoding holds Latin 1, but for bytes that no text has.
        try:
            data.decode("cp1252")
            name = "cp1252"
        except UnicodeDecodeError:
            name = "latin1"
        advice = f"convert the file, for instance (if it is Western European) with 'iconv -f {name} -t utf-8'"
    place = f"byte 0x{data[at]:02x} at position {at} of the file (byte {column} of the line)"
    return f"{path}:{line}: invalid UTF-8: {place}; {advice}"


def read_table(path: str, has_header: Callable[[list[str]], bool], keep_bad_bytes: bool = False) -> Table:
    """The rows of a file, by its extension; `has_header` decides by the first
    line of a TSV or CSV file. Raises DataError."""
    text = read_text(path, keep_bad_bytes)
    extension = os.path.splitext(path)[1].lower()
    if extension in (".jsonl", ".json", ".ndjson"):
        return _json(path, text)
    rows = _csv_rows(path, text, *_csv_separator(text)) if extension == ".csv" else _tsv_rows(path, text)
    if not rows:
        return Table(None)
    if rows[0].fault:
        raise DataError(rows[0].fault)
    header = [cell.strip() for cell in rows[0].cells] if has_header(rows[0].cells) else None
    width = len(rows[0].cells)
    rows = rows[1:] if header is not None else rows
    for row in rows:
        if not row.fault and len(row.cells) != width:
            row.fault = (
                f"{path}:{row.line}: expected {width} columns, as the {'header' if header is not None else 'first line'} "
                f"has, found {len(row.cells)}{' (a line break in a text?)' if len(row.cells) < width else ''}; "
                "--skip_bad_rows drops such rows"
            )
    return Table(header, rows)


_DOUBLED_QUOTES = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


def _tsv_rows(path: str, text: str) -> list[Row]:
    # Only a file without a single line feed ends its lines by carriage returns.
    lines = text.split("\n") if "\n" in text else text.split("\r")
    rows = [Row(number, line.rstrip("\r").split("\t")) for number, line in enumerate(lines, 1) if line.strip("\r\n")]
    if not rows:
        return rows
    # GLUE's files are not quoted; a quotation mark is a character. Of R's every name has quotation marks, of
    # pandas' all cells that hold one, which is doubled.
    quoted = all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in rows[0].cells)
    if not quoted and '""' in text:
        cells = [cell for row in rows for cell in row.cells if '"' in cell]
        quoted = all(_DOUBLED_QUOTES.fullmatch(cell) for cell in cells)
    return _csv_rows(path, text, "\t", 0) if quoted else rows


def _csv_separator(text: str) -> tuple[str, int]:
    """What separates the cells of a .csv, and how many lines say so: Excel
    writes semicolons, or tabs, where the comma is in numbers."""
    first = re.match(r"[\r\n]*([^\r\n]*)", text)[1]
    if re.fullmatch("sep=.", first):
        return first[-1], 1
    if "," not in first:
        return next((separator for separator in (";", "\t") if separator in first), ","), 0
    return ",", 0


def _csv_rows(path: str, text: str, separator: str, skipped: int) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[Row] = []
    # A text may be longer than the module's limit, which is the process's.
    limit = csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    try:
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return rows
            except csv.Error as error:
                told = f"{path}:{line}: malformed CSV: {error}"
                if reader.line_num > line or "end of data" in str(error):
                    # Who knows how many rows the open quotation has swallowed.
                    raise DataError(f"{told}: a quotation begins in this row and has no end") from None
                rows.append(Row(line, [], told + "; --skip_bad_rows drops such rows"))
                continue
            if cells and line > skipped:
                rows.append(Row(line, cells))
    finally:
        csv.field_size_limit(limit)


def _json(path: str, text: str) -> Table:
    rows = _json_lines(path, text)
    if rows and rows[0].fault or len(rows) == 1 and not _is_row(rows[0].cells):
        # No object in the first line: an array, or objects over several lines.
        values = _json_values(path, text)
        rows = rows if values is None else values
    keys: dict = {}
    for row in rows:
        if not row.fault and not isinstance(row.cells, dict):
            row.fault = f"{path}:{row.line}: expected a JSON object, found {type(row.cells).__name__}"
        if not row.fault:
            keys.update(dict.fromkeys(row.cells))
    return Table(list(keys), rows)


def _json_lines(path: str, text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(Row(number, json.loads(line)))
        except json.JSONDecodeError as error:
            fault = f"{path}:{number}:{error.colno}: malformed JSON: {error.msg}; expected one object a line"
            rows.append(Row(number, {}, fault))
        except RecursionError:
            rows.append(Row(number, {}, f"{path}:{number}: malformed JSON: nested too deeply"))
        except ValueError:
            rows.append(Row(number, {}, f"{path}:{number}: malformed JSON: {_TOO_LONG}"))
    return rows


def _is_row(value) -> bool:
    return isinstance(value, dict) and not (value and all(isinstance(cell, (dict, list)) for cell in value.values()))


def _json_values(path: str, text: str) -> list[Row] | None:
    """The objects of one array, of columns as pandas' to_json has them, or one
    after the other; None if the file is none of these."""
    decoder = json.JSONDecoder()
    blank = re.compile(r"\s*")
    at = blank.match(text).end()
    array = text.startswith("[", at)
    at = blank.match(text, at + 1).end() if array else at
    rows, line, counted = [], 1, 0
    while at < len(text) and not (array and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            if not array or isinstance(error, RecursionError):
                return None
            place = f"{path}:{error.lineno}:{error.colno}"
            raise DataError(f"{place}: malformed JSON: {error.msg}; expected an array of objects") from None
        except ValueError:
            raise DataError(f"{path}:{line}: malformed JSON: {_TOO_LONG}") from None
        rows.append(Row(line, value))
        at = blank.match(text, at).end()
        if array and at < len(text) and text[at] not in ",]" or array and at >= len(text):
            line += text.count("\n", counted, at)
            raise DataError(f"{path}:{line}: malformed JSON: expected ',' or ']' in the array of objects")
        if array and text[at] == ",":
            at = blank.match(text, at + 1).end()
    if len(rows) == 1 and not array and isinstance(rows[0].cells, dict) and not _is_row(rows[0].cells):
        return _json_columns(path, rows[0].cells)
    return rows


def _json_columns(path: str, columns: dict) -> list[Row]:
    """The rows of {"text": [...], "label": [...]}, or of the same with objects
    from the names of the rows to the cells."""
    tables = all(isinstance(column, (dict, list)) for column in columns.values())
    keys = [list(column) if isinstance(column, dict) else len(column) for column in columns.values()] if tables else []
    cells = [list(column.values()) if isinstance(column, dict) else column for column in columns.values()]
    if not keys or any(key != keys[0] for key in keys):
        raise DataError(f"{path}:1: one JSON object: expected one object for each row: one a line, or an array of them")
    return [Row(1, dict(zip(columns, row))) for row in zip(*cells)]
