# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which columns of a file are its texts and its label: GLUE's tasks, and the
names that columns usually have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import DataError


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
    ("question", "passage"),
    ("question", "context"),
    ("premise", "hypothesis"),
    ("#1 String", "#2 String"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("sentence_1", "sentence_2"),
    ("sentence_A", "sentence_B"),
    ("text_a", "text_b"),
    ("query", "passage"),
    ("query", "document"),
    ("claim", "evidence"),
)
_TEXTS = ("sentence", "text", "review", "question", "content", "tweet", "comment", "utterance", "query")
# Of language models: a prompt and its completion, and what stands between them.
_ANSWERS = {("prompt", "completion"): "", ("instruction", "output"): "\n", ("context", "completion"): " "}
# What an instruction is about, where it is not empty.
_INPUT = "input"
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
    "acceptable",
    "acceptability",
    "sentiment",
    "category",
    "intent",
    "emotion",
)
# Texts that are no example alone: one of these beside the text that was found is told.
_MORE_TEXTS = ("title", "body", "passage", "context", "document", "answer", "summary")


def find_task(name: str) -> Task:
    """The GLUE task of that name ("SST-2", "sst2", "STS-B", ...)."""
    key = name.lower().replace("-", "").replace("_", "")
    if key not in TASKS:
        raise DataError(f"unknown task '{name}': expected one of {', '.join(TASKS)}")
    return TASKS[key]


def looks_like_cola(cells: Sequence[str]) -> bool:
    """Whether a first line is a row of CoLA's and not a header."""
    return len(cells) == 4 and cells[1].strip() in ("0", "1")


def is_text_name(name: str) -> bool:
    """Whether a column of this name would be found as text."""
    names = {other.lower() for other in (*_TEXTS, *(n for pair in _PAIRS for n in pair))}
    return name.strip().lower() in names


@dataclass
class Columns:
    """The keys of a file's columns: names, or numbers where it has no header."""

    text: object
    pair: object = None
    label: object = None  # a tuple of names: a column for each label
    warnings: list[str] = field(default_factory=list)
    input: object = None  # of instructions
    between: str = ""  # a prompt and its completion


@dataclass(frozen=True)
class Wish:
    """What the user says about columns; empty: to be found."""

    task: str = ""
    text: str = ""
    pair: str = ""
    label: str = ""
    labels: tuple[str, ...] = ()  # a column for each label
    many: bool = False  # an example has several labels
    classes: tuple[str, ...] = ()  # the labels of a model that gives several
    # The columns that a model was trained with, taken where the file has them.
    remembered: tuple[str, ...] = ()
    answers: bool = False  # of a language model: a pair is a prompt and its completion


class _Names:
    """The columns of one file, found as they are spelled or without regard to
    case and spaces."""

    def __init__(self, path: str, header: list[str] | None, width: int):
        self.path = path
        self.has_header = header is not None
        self.all = header if header is not None else [str(i) for i in range(width)]

    def find(self, name):
        if not isinstance(name, str):
            return name if not self.has_header and name < len(self.all) else None
        found = [i for i, other in enumerate(self.all) if other == name]
        found = found or [i for i, other in enumerate(self.all) if other.strip().lower() == name.strip().lower()]
        if len(found) > 1:
            raise DataError(f"{self.path}:1: {len(found)} columns are called '{name}'; rename one of them")
        if not found:
            return None
        return self.all[found[0]] if self.has_header else found[0]

    def require(self, name: str, what: str):
        found = self.find(name)
        if found is None:
            raise DataError(
                f"{self.path}:1: there is no column '{name}' for the {what}; the columns are {listed(self.all)}"
            )
        return found


def choose_columns(path: str, header: list[str] | None, width: int, wish: Wish, need_labels: bool, guess=None) -> Columns:
    """The columns of a file with this header, or of this width without one.

    `guess()` gives the columns that hold texts by their values, for a file
    whose names say nothing. Raises DataError if a column is not found."""
    names = _Names(path, header, width)
    if wish.answers and (found := _choose_answers(names, wish)):
        return found
    texts, warnings = _choose_texts(names, wish, guess)
    label = _choose_label(names, wish, texts, need_labels)
    if label is None and need_labels:
        raise DataError(
            f"{path}:1: no label column found: the columns are {listed(names.all)}; name yours with --label_column"
            + (", or --label_columns, one for each label" if wish.many else "")
        )
    if not wish.text and header is not None and len(texts) == 1:
        known = (texts[0], label, *wish.labels, *wish.classes)
        more = [n for n in names.all if n not in known and (is_text_name(n) or n.strip().lower() in _MORE_TEXTS)]
        if more:
            warnings.append(
                f"{path}: texts are read from column '{texts[0]}' alone, not from {listed(more)}; "
                "--text_column and --text_pair_column name two"
            )
    return Columns(texts[0], texts[1] if len(texts) > 1 else None, label, warnings)


def _choose_answers(names: _Names, wish: Wish) -> Columns | None:
    """A prompt and its completion: those named, else found by their names in a file that has no column "text"."""
    if wish.pair:
        return Columns(names.require(wish.text, "prompt"), names.require(wish.pair, "completion"))
    if wish.text or not names.has_header or names.find("text") is not None:
        return None
    for (prompt, completion), between in _ANSWERS.items():
        found = names.find(prompt), names.find(completion)
        if None not in found:
            return Columns(*found, input=names.find(_INPUT) if prompt == "instruction" else None, between=between)
    return None


def _choose_texts(names: _Names, wish: Wish, guess) -> tuple[list, list[str]]:
    if wish.text:
        texts = [names.require(wish.text, "text")]
        if wish.pair:
            texts.append(names.require(wish.pair, "second text"))
        return texts, []
    if wish.pair:
        raise DataError("--text_pair_column needs --text_column")
    task = find_task(wish.task) if wish.task else None
    if not names.has_header:
        column = 3  # only CoLA's files come here
        if column >= len(names.all):
            raise DataError(f"{names.path}:1: expected at least {column + 1} tab-separated columns, found {len(names.all)}")
        return [column], []
    tries = [wish.remembered] if wish.remembered else []
    if task and task.header:
        tries.append(task.texts)
    # The same task as Hugging Face names its columns.
    for wanted in (*tries, *_PAIRS, *((name,) for name in _TEXTS)):
        found = [names.find(name) for name in wanted]
        if None not in found:
            return found, []
    found = guess() if guess else []
    if len(found) == max(1, len(wish.remembered)):
        told = f"{names.path}: texts are read from {listed(found)}, by what the file holds below its first line, the header"
        return found, [told + "; --text_column names another"]
    raise DataError(
        f"{names.path}:1: no text column found: the columns are {listed(names.all)}; name yours with --text_column"
        + (_NO_HEADER if any(map(_looks_like_a_value, names.all)) else "")
    )


# A name is a word or two.
_NO_HEADER = "; the first line looks like an example: put a line of names above it, such as text,label"


def _looks_like_a_value(name: str) -> bool:
    return name.strip().isdigit() or len(name.split()) > 3


def _choose_label(names: _Names, wish: Wish, texts: list, needed: bool):
    if wish.labels:
        found = tuple(names.require(name, "label") if needed else names.find(name) for name in wish.labels)
        return None if None in found else found
    if wish.label:
        return names.require(wish.label, "label") if needed else names.find(wish.label)
    task = find_task(wish.task) if wish.task else None
    if not names.has_header:
        return 1
    tries = [task.label] if task and task.header else []
    found = (names.find(name) for name in (*tries, *_LABELS))
    label = next((name for name in found if name is not None and name not in texts), None)
    if wish.classes and names.has_header:
        columns = tuple(names.find(name) for name in wish.classes)
        if None not in columns and (label is None or label in columns):
            return columns
    return label


def listed(names) -> str:
    """Names for a message, the first twelve."""
    names = list(names)
    return ", ".join(f"'{name}'" for name in names[:12]) + (", ..." if len(names) > 12 else "")
