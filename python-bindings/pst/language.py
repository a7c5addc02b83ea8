# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts for language models: files or lists of texts become blocks of tokens.

As Hugging Face's run_clm does it, texts are put one after the other and cut
into blocks of `length` tokens; but the last block, which may be shorter, is
kept (padded, and its padding is no label). Prompts with completions are not
put together: each is an example."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from . import nlg_files
from .columns import Wish
from .data import Examples, read_examples, read_text
from .errors import DataError
from .options import Options
from .tokenizer import NO_LABEL, Tokenizer


@dataclass
class Texts:
    """Texts of one source. `documents` are apart from each other: an end of
    text goes between them; the lines of a plain file are one document."""

    path: str
    documents: list[list[str]]  # each in pieces that are tokenized alone
    warnings: list[str] = field(default_factory=list)


def read_source(
    source, *, text_column: str | None = None, completion_column: str | None = None, limit: int = 0,
    description: str = "the data", skip_bad_rows: bool = False,
) -> Texts | Examples:  # fmt: skip
    """A file (.txt or any other: one text; .jsonl, .json, .csv, .tsv: a text in
    each row; as nlg_files has them: prompts and completions), a list of strings or of dictionaries, a frame or a data set.

    Examples are what rows of two texts are, prompts and their completions: of
    columns of such names, or of those named, and (text, text) rows of Python.
    `limit` keeps the first rows, or lines. Raises DataError."""
    wish = Wish(text=text_column or "", pair=completion_column or "", answers=True)
    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, Mapping) and not hasattr(source, "columns"):
            source = list(source)
            for number, text in enumerate(source, 1):
                pair = isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text)
                if not pair and not isinstance(text, (str, Mapping)):
                    raise DataError(f"{description}:{number}: expected a text, found {type(text).__name__}")
        rows = Examples.of(source, description, wish=wish, need_labels=False, skip_bad_rows=skip_bad_rows, limit=limit or None)
        return rows if rows.pairs is not None else Texts(description, [[text] for text in rows.texts], rows.warnings)
    path = os.fspath(source)
    extension, found = os.path.splitext(path)[1].lower(), None
    if extension == ".json" and not wish.text and not wish.pair:
        found = nlg_files.read_json(path)
    if found is None and extension in (".jsonl", ".json", ".ndjson", ".csv", ".tsv"):
        rows = read_examples(
            path, text_column=wish.text, text_pair_column=wish.pair, answers=True, read_labels=False,
            skip_bad_rows=skip_bad_rows, limit=limit or None,
        )  # fmt: skip
        if rows.pairs is not None:
            return rows
        told = f"{path}: column '{rows.label_column}' is not read by a language model; --task classification learns it"
        return Texts(path, [[text] for text in rows.texts], rows.warnings + ([told] if rows.label_column else []))
    if text_column:
        raise DataError(f"{path}: --text_column names a column, but the file is read as one text; "
                        "columns are those of .jsonl, .csv and .tsv")  # fmt: skip
    if found is None:
        text = read_text(path)
        found = nlg_files.pairs_of_lines(text)
    if found is not None:
        return Examples.of(found, path, wish=wish, need_labels=False, skip_bad_rows=skip_bad_rows, limit=limit or None)
    lines = text.splitlines(keepends=True)[: limit or None]
    if not text.strip():
        raise DataError(f"{path}: no text: the file is empty")
    return Texts(path, [lines])


@dataclass
class Blocks:
    """Tokens of a source, cut into blocks of `length`; the last may be shorter."""

    tokens: np.ndarray  # int32, all of them
    length: int
    padding: int
    path: str
    warnings: list[str] = field(default_factory=list)

    @staticmethod
    def of(texts: Texts, tokenizer: Tokenizer, length: int, end_of_text: int | None) -> "Blocks":
        """Raises DataError if there are fewer than two tokens."""
        pieces: list = []
        for document in texts.documents:
            pieces += tokenizer.encode_pieces(document, texts.path)
            if end_of_text is not None and len(texts.documents) > 1:
                pieces.append([end_of_text])
        tokens = np.concatenate([np.asarray(piece, np.int32) for piece in pieces] or [np.zeros(0, np.int32)])
        if len(tokens) < 2:
            raise DataError(f"{texts.path}: has {len(tokens)} tokens: a language model learns from two at least")
        return Blocks(tokens, length, tokenizer.padding, texts.path, texts.warnings)

    def __len__(self) -> int:
        full, rest = divmod(len(self.tokens), self.length)
        # One token alone is predicted from nothing.
        return full + (rest > 1)

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    def arrays(self) -> dict[str, np.ndarray]:
        """`input_ids`, `attention_mask`, `labels`: int32[blocks, length]. The
        labels are the tokens themselves; the program compares each with what it
        predicts from those before."""
        count = len(self) * self.length
        ids = np.full(count, self.padding, np.int32)
        mask = np.zeros(count, np.int32)
        labels = np.full(count, NO_LABEL, np.int32)
        used = min(count, len(self.tokens))
        ids[:used] = labels[:used] = self.tokens[:used]
        mask[:used] = 1
        shape = (len(self), self.length)
        return {name: array.reshape(shape) for name, array in
                (("input_ids", ids), ("attention_mask", mask), ("labels", labels))}  # fmt: skip


@dataclass
class Answers:
    """Prompts with their completions, an example each: all of its tokens are
    read, and those of the completion are learnt, as TRL has it."""

    ids: list[list[int]]
    firsts: list[int]  # of each, where its completion begins
    length: int  # of a row
    padding: int
    path: str
    warnings: list[str]

    @staticmethod
    def of(rows: Examples, tokenizer: Tokenizer, length: int, end_of_text: int | None) -> "Answers":
        """Tokens of both texts as of one, and the end of a text after them,
        `length` at most. A completion begins where its prompt alone has other
        tokens. Examples none of whose completion is left are left out. Raises
        DataError if these are all."""
        prompts = tokenizer.encode_pieces(rows.texts, rows.path, framed=True)
        wholes = tokenizer.encode_pieces([text + pair for text, pair in zip(rows.texts, rows.pairs)], rows.path, framed=True)
        ids, firsts, cut = [], [], 0
        for prompt, whole in zip(prompts, wholes):
            if end_of_text is not None and whole[-1:] != [end_of_text]:
                whole = [*whole, end_of_text]
            first = next((i for i, (one, other) in enumerate(zip(prompt, whole)) if one != other), min(len(prompt), len(whole)))
            cut += len(whole) > length
            # A first token is predicted from nothing.
            if max(first, 1) < min(len(whole), length):
                ids.append(whole[:length])
                firsts.append(first)
        warnings = list(rows.warnings)
        if cut:
            warnings.append(f"{rows.path}: {cut} of {len(wholes)} examples are longer than {length} tokens and were cut")
        if lost := len(wholes) - len(ids):
            told = f"{rows.path}: of {lost} of {len(wholes)} examples no token of the completion is within {length} tokens"
            if not ids:
                raise DataError(f"{told}: nothing can be learnt; --block_size allows longer ones")
            warnings.append(f"{told}: they were left out")
        return Answers(ids, firsts, max(map(len, ids)), tokenizer.padding, rows.path, warnings)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.ids))

    def counts(self) -> np.ndarray:
        """Tokens of each example."""
        return np.array([len(row) for row in self.ids])

    def arrays(self) -> dict[str, np.ndarray]:
        """As those of Blocks: int32[examples, length]; the prompts' tokens are no labels."""
        shape = (len(self.ids), self.length)
        ids, labels = np.full(shape, self.padding, np.int32), np.full(shape, NO_LABEL, np.int32)
        mask = np.zeros(shape, np.int32)
        for i, (row, first) in enumerate(zip(self.ids, self.firsts)):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
            labels[i, first : len(row)] = row[first:]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def read_language(source, tokenizer: Tokenizer, config: dict, options: Options, length: int, **reading) -> Blocks | Answers:
    """What a language model learns of a source, in rows of `length` tokens at
    most. Raises DataError."""
    found = read_source(
        source, text_column=options.text_column, completion_column=options.completion_column,
        skip_bad_rows=options.skip_bad_rows, **reading,
    )  # fmt: skip
    kind = Answers if isinstance(found, Examples) else Blocks
    return kind.of(found, tokenizer, length, end_of_text(config, tokenizer))


def common_length(sets: Sequence[Blocks | Answers], options: Options, limit: int) -> int:
    """The length to compile for: `limit`, or that of the longest example where
    all data are prompts and completions."""
    return limit if options.pad_to_max_length else max(each.length for each in sets)


def predicts_tokens(task: str, config: dict) -> bool:
    """Whether a model is to be trained as a language model: as `task` says, or
    if that is empty, as the class that config.json names."""
    if task:
        return task == "lm"
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else ""
    return isinstance(name, str) and name.endswith(("LMHeadModel", "ForCausalLM"))


def block_length(wanted: int, config: dict) -> int:
    """Tokens of a block: those wanted; for 0 1024, or as many as the model has
    positions. Raises DataError for more than a table of positions has; rotary
    positions have none."""
    table = config.get("n_positions")
    if isinstance(table, int) and wanted > table:
        raise DataError(f"--block_size is {wanted}, but the model has {table} positions")
    positions = table or config.get("max_position_embeddings")
    return wanted or min(positions if isinstance(positions, int) else 1024, 1024)


def end_of_text(config: dict, tokenizer: Tokenizer) -> int | None:
    """The token that ends a text: the tokenizer's, else that of config.json, the
    first if there are several; None if neither names one. Raises DataError for
    a token that the model does not have."""
    size = config.get("vocab_size")

    def is_known(token):
        return token >= 0 and (not isinstance(size, int) or token < size)

    told = config.get("eos_token_id")
    if isinstance(told, list) and told:
        told = told[0]
    token = tokenizer.end_of_text
    if token is not None and is_known(token):
        return token
    if not isinstance(told, int):
        told = token
    if told is not None and not is_known(told):
        raise DataError(
            f"{os.path.join(tokenizer.directory, 'config.json')}: \"eos_token_id\" is {told}, but the vocabulary has {size} "
            "entries, and the tokenizer names no other token that ends a text"
        )
    return told
