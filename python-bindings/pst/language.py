# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts for language models: files or lists of texts become blocks of tokens.

As Hugging Face's run_clm does it, texts are put one after the other and cut
into blocks of `length` tokens; but the last block, which may be shorter, is
kept (padded, and its padding is no label)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .columns import Wish
from .data import Examples, read_examples, read_text
from .errors import DataError
from .tokenizer import NO_LABEL, Tokenizer


@dataclass
class Texts:
    """Texts of one source. `documents` are apart from each other: an end of
    text goes between them; the lines of a plain file are one document."""

    path: str
    documents: list[list[str]]  # each in pieces that are tokenized alone
    warnings: list[str] = field(default_factory=list)

    @staticmethod
    def of(
        source, *, text_column: str | None = None, limit: int = 0, description: str = "the data", skip_bad_rows: bool = False
    ) -> "Texts":
        """A file (.txt or any other: one text; .jsonl, .json, .csv, .tsv: a text
        in each row), a list of strings or of dictionaries, a frame or a data
        set. `limit` keeps the first rows, or lines. Raises DataError."""
        if not isinstance(source, (str, os.PathLike)):
            if not isinstance(source, Mapping) and not hasattr(source, "columns"):
                source = list(source)
                for number, text in enumerate(source, 1):
                    if not isinstance(text, (str, Mapping)):
                        raise DataError(f"{description}:{number}: expected a text, found {type(text).__name__}")
            wish = Wish(text=text_column or "")
            rows = Examples.of(
                source, description, wish=wish, need_labels=False, skip_bad_rows=skip_bad_rows, limit=limit or None
            )
            return Texts(description, [[text] for text in rows.texts], rows.warnings)
        path = os.fspath(source)
        if os.path.splitext(path)[1].lower() in (".jsonl", ".json", ".ndjson", ".csv", ".tsv"):
            rows = read_examples(
                path, text_column=text_column or None, read_labels=False, skip_bad_rows=skip_bad_rows, limit=limit or None
            )
            told = f"{path}: column '{rows.label_column}' is not read by a language model; --task classification learns it"
            return Texts(path, [[text] for text in rows.texts], rows.warnings + ([told] if rows.label_column else []))
        if text_column:
            raise DataError(f"{path}: --text_column names a column, but the file is read as one text; "
                            "columns are those of .jsonl, .csv and .tsv")  # fmt: skip
        text = read_text(path)
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
        return Blocks(tokens, length, tokenizer.padding, texts.path)

    def __len__(self) -> int:
        full, rest = divmod(len(self.tokens), self.length)
        # One token alone is predicted from nothing.
        return full + (rest > 1)

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
