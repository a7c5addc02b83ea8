# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts that say what data mean, as E2E, WebNLG and DART have them: prompts and
completions of the files that LoRA's repository works with."""

from __future__ import annotations

import json

from .errors import DataError
from .files import read_text


def pairs_of_lines(text: str) -> list[dict] | None:
    """E2E's rows with `context` and `completion`, if each line is `context||completion`."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not all(line.count("||") == 1 for line in lines):
        return None
    return [dict(zip(("context", "completion"), map(str.strip, line.split("||")))) for line in lines]


def read_json(path: str) -> list[dict] | None:
    """Such rows of WebNLG and DART, or None if the file is neither.

    WebNLG: an object whose `entries` have `modifiedtripleset` and `lexicalisations`, of which the
    good ones are taken. DART: an array of objects with `tripleset` and
    `annotations`. Triples become "subject : relation : object | ...". Raises
    DataError."""
    try:
        content = json.loads(read_text(path))
    except ValueError:
        return None  # Others say what is wrong with it.
    try:
        if isinstance(content, dict) and isinstance(content.get("entries"), list):
            return _web_nlg(content["entries"])
        if isinstance(content, list) and content and isinstance(content[0], dict) and "tripleset" in content[0]:
            return _dart(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged: not what WebNLG's or DART's files have ({type(error).__name__}: {error})") from None
    return None


def _web_nlg(entries: list) -> list[dict]:
    rows = []
    for entry in entries:
        ((_, item),) = entry.items()  # {"1": {...}}
        context = _context((t["subject"], t["property"], t["object"]) for t in item["modifiedtripleset"])
        rows += [{"context": context, "completion": each["lex"]} for each in item["lexicalisations"] if each["comment"] == "good"]
    return rows


def _dart(items: list) -> list[dict]:
    rows = []
    for item in items:
        context = _context((subject, relation.lower(), value) for subject, relation, value in item["tripleset"])
        rows += [{"context": context, "completion": each["text"]} for each in item["annotations"]]
    return rows


def _context(triples) -> str:
    return " | ".join(" : ".join(triple) for triple in triples)
