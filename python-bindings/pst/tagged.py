# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sentences of words with a tag for each, from files or from what Python has.

A CoNLL file has a word and its tag in each line, and a blank line between
sentences; JSON has lists of both. Every error is a DataError that says the
file (or the data) and the line (or the row)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from .columns import listed
from .data import python_rows
from .errors import DataError
from .files import Row, read_table, read_text
from .label_values import are_ids, are_unnamed, matched, number_of, plain, spelled
from .labels import names_in
from .tokenizer import NO_LABEL

_WORDS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "labels", "ner", "label", "pos_tags")


@dataclass
class Tagged:
    """The sentences of one source, in its order.

    `tags` has a tag for each word, as the source has it (None: none of the
    word), or is None. Sentence i begins at line `lines[i]`, and is number
    `numbers[i]`, from 0; `skipped` has number and line of those left out."""

    path: str
    words: list[list[str]]
    tags: list[list] | None
    lines: list[int]
    warnings: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    skipped: list[tuple[int, int]] = field(default_factory=list)
    class_names: tuple[str, ...] = ()  # what a data set calls its tags 0, 1, ...
    text_columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    @property
    def labels(self):
        return self.tags

    def without_labels(self) -> "Tagged":
        return replace(self, tags=None)

    @staticmethod
    def of(
        source,
        description: str = "the data",
        *,
        words_column: str = "",
        tags_column: str = "",
        need_tags: bool = True,
        skip_bad_rows: bool = False,
        limit: int | None = None,
    ) -> "Tagged":
        """Sentences of a file (.jsonl, .json; any other: CoNLL), of (words,
        tags) tuples, of dictionaries, a frame or a data set. `limit` keeps the
        first. If tags are not needed they are not read, and a sentence may be a
        text, whose words spaces divide."""
        if isinstance(source, Tagged):
            return source
        if not isinstance(source, (str, os.PathLike)):
            rows, names = _python_rows(source, description)
            return _collect(description, rows, names, words_column, tags_column, need_tags, skip_bad_rows, limit)
        path = os.fspath(source)
        extension = os.path.splitext(path)[1].lower()
        if extension == ".csv":
            raise DataError(f"{path}: sentences of words and tags are read from .jsonl and CoNLL files, not from .csv")
        if extension in (".jsonl", ".json", ".ndjson"):
            rows = read_table(path, lambda cells: True, skip_bad_rows).rows
            return _collect(path, rows, {}, words_column, tags_column, need_tags, skip_bad_rows, limit)
        for column, flag in ((words_column, "--text_column"), (tags_column, "--label_column")):
            if column:
                raise DataError(
                    f"{path}: {flag} names a column, but a CoNLL file has none: the first of a line is the word, the last its tag"
                )
        return _read_conll(path, need_tags, skip_bad_rows, limit)

    def names(self, config: dict | None, classes: Collection[str]) -> list[str]:
        """The tags in the order of their ids: those chosen (`classes`), else
        the model's where these hold all of them, else those found, sorted."""
        if classes:
            return [spelled(name) for name in classes]
        known = names_in(config)
        if self.class_names:
            return known if set(self.class_names) <= set(known) else list(self.class_names)
        found = self._found()
        if not found:
            raise DataError(f"{self.path}: no word has a tag")
        if known and not are_unnamed(known) and matched(found, known) is not None:
            return known
        if all(isinstance(number_of(name), int) for name in found):
            count = max(int(name) for name in found) + 1
            return known if len(known) >= count else [f"LABEL_{i}" for i in range(count)]
        return sorted(found)

    def ids(self, names: list[str]) -> list[list[int]]:
        """The id of each word's tag, NO_LABEL where it has none. Raises
        DataError, with the sentence's line, for a tag that is none of the names."""
        if self.tags is None:
            raise DataError(f"{self.path}: has no tags")
        found = self._found()
        if self.class_names and set(self.class_names) <= set(names) and are_ids(found, len(self.class_names)):
            places = {str(i): names.index(name) for i, name in enumerate(self.class_names)}
        else:
            places = matched(found, names) or {name: i for i, name in enumerate(names)}
        rows = []
        for line, tags in zip(self.lines, self.tags):
            unknown = next((spelled(tag) for tag in tags if tag is not None and spelled(tag) not in places), None)
            if unknown is not None:
                raise DataError(
                    f"{self.path}:{line}: unknown tag '{unknown}' in the sentence of this line: the tags are {listed(names)}"
                )
            rows.append([NO_LABEL if tag is None else places[spelled(tag)] for tag in tags])
        return rows

    def _found(self) -> set[str]:
        return {spelled(tag) for tags in self.tags or () for tag in tags if tag is not None}


def _read_conll(path: str, need_tags: bool, skip: bool, limit: int | None) -> Tagged:
    sentences = Tagged(path, [], [] if need_tags else None, [])
    number, words, tags, fault, begin = 0, [], [], "", 0

    def finish():
        nonlocal number, words, tags, fault
        if words or fault:
            if fault and not skip:
                raise DataError(fault)
            if fault:
                sentences.skipped.append((number, begin))
            elif limit is None or len(sentences) < limit:
                _add(sentences, words, tags if need_tags else None, begin, number)
            number += 1
        words, tags, fault = [], [], ""

    for line, text in enumerate(read_text(path).splitlines(), 1):
        cells = [cell.strip() for cell in text.split("\t")] if "\t" in text else text.split()
        if not any(cells):
            finish()
            continue
        if cells[0].startswith("-DOCSTART-"):
            continue
        if not words and not fault:
            begin = line
        if need_tags and (len(cells) < 2 or not cells[0] or not cells[-1]):
            fault = fault or (
                f"{path}:{line}: expected a word and its tag, with a tab or a space between them, found {text.strip()!r}; "
                "--skip_bad_rows drops such sentences"
            )
            continue
        words.append(cells[0])
        tags.append(_tag(cells[-1]))
    finish()
    return _finished(sentences, number)


def _collect(path, rows: list[Row], class_names: dict, words_column, tags_column, need_tags, skip, limit) -> Tagged:
    first = next((row.cells for row in rows if not row.fault), None)
    if first is None:
        raise DataError(rows[0].fault if rows else f"{path}: no examples")
    words = _column(path, first, words_column, (*_WORDS, *(() if need_tags else ("text", "sentence"))), "words", "--text_column")
    tags = _column(path, first, tags_column, _TAGS, "tags", "--label_column") if need_tags else None
    sentences = Tagged(path, [], [] if need_tags else None, [], class_names=tuple(class_names.get(tags, ())))
    for number, row in enumerate(rows):
        if limit is not None and len(sentences) >= limit:
            break
        try:
            if row.fault:
                raise DataError(row.fault)
            found = _words(f"{path}:{row.line}: column '{words}'", row.cells.get(words), need_tags)
            own = _tags(f"{path}:{row.line}: column '{tags}'", row.cells.get(tags), found) if need_tags else None
        except DataError:
            if not skip:
                raise
            sentences.skipped.append((number, row.line))
            continue
        _add(sentences, found, own, row.line, number)
    return _finished(sentences, len(rows))


def _add(sentences: Tagged, words: list[str], tags: list | None, line: int, number: int) -> None:
    sentences.words.append(words)
    if sentences.tags is not None:
        sentences.tags.append(tags)
    sentences.lines.append(line)
    sentences.numbers.append(number)


def _finished(sentences: Tagged, count: int) -> Tagged:
    if sentences.skipped:
        sentences.warnings.append(f"{sentences.path}: {len(sentences.skipped)} of {count} sentences are malformed and were skipped")
    if not sentences.words:
        raise DataError(f"{sentences.path}: no sentences")
    return sentences


def _column(path: str, cells: Mapping, wanted: str, usual: Collection[str], what: str, flag: str) -> str:
    for name in (wanted,) if wanted else usual:
        if name in cells:
            return name
    if wanted:
        raise DataError(f"{path}:1: there is no column '{wanted}' for the {what}; the columns are {listed(cells)}")
    raise DataError(
        f"{path}:1: no column of {what} found: the columns are {listed(cells)}; name yours with {flag}, or say --task classification "
        "if the model is to classify texts"
    )


def _listed_values(value) -> list | None:
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
        return [plain(item) for item in value]
    return None


def _words(where: str, value, need_tags: bool) -> list[str]:
    words = value.split() if isinstance(value, str) and not need_tags else _listed_values(value)
    if not words or not all(isinstance(word, str) for word in words):
        raise DataError(f"{where} must be a list of words, found {value!r}")
    return words


def _tags(where: str, value, words: list[str]) -> list:
    tags = _listed_values(value)
    if tags is None:
        raise DataError(f"{where} must be a list of tags, one for each word, found {value!r}")
    if len(tags) != len(words):
        raise DataError(f"{where} has {len(tags)} tags, but the sentence has {len(words)} words")
    for tag in tags:
        if isinstance(tag, bool) or not isinstance(tag, (str, int)) or isinstance(tag, str) and not tag.strip():
            raise DataError(f"{where} holds {tag!r}, which is no tag: expected names, or ids as whole numbers (-100: no tag)")
    return [_tag(tag) for tag in tags]


def _tag(tag):
    """A tag without spaces around it; None for -100, which is none."""
    return None if number_of(tag) == NO_LABEL else tag.strip() if isinstance(tag, str) else tag


def _python_rows(source, description: str) -> tuple[list[Row], dict]:
    found, class_names = python_rows(source, description)
    rows = []
    for number, row in enumerate(found, 1):
        if isinstance(row, str) or isinstance(row, tuple) and all(isinstance(word, str) for word in row):
            row = {"tokens": row}
        elif isinstance(row, tuple) and len(row) == 2:
            row = dict(zip(("tokens", "tags"), row))
        rows.append(row)
        if not isinstance(row, Mapping):
            raise DataError(f"{description}:{number}: expected (words, tags) or a dictionary of both, found {row!r}")
    return [Row(number, {str(key): value for key, value in row.items()}) for number, row in enumerate(rows, 1)], class_names
