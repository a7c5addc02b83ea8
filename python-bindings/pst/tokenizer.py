# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts as the int32 arrays that a compiled program reads, by a model's own tokenizer."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from . import tokenizer_parts
from .data import DataError, Examples
from .tokenizer_settings import read_settings


class Tokenizer:
    """A model directory's tokenizer, with the ids that `transformers` gives.

    docs/UserGuide.md says what is read of which file. `warnings` says where the
    files contradict each other. Raises DataError."""

    def __init__(self, directory, of_words: bool = False):
        """With `of_words` texts come as words, before each of which byte pairs
        then see a space, as transformers wants it of RoBERTa."""
        self.directory = os.fspath(directory)
        self.settings = read_settings(self.directory)
        if of_words:
            self.settings.values["add_prefix_space"] = True
        try:
            self._impl = tokenizer_parts.build(self.settings)
        except DataError:
            raise
        except Exception as error:  # the library raises bare Exception
            found = "tokenizer.json" if self.settings.source is not None else "the vocabulary"
            raise DataError(f"{self.directory}: {found}: not a tokenizer: {error}") from None
        # The length of what is encoded is a setting of the object.
        self._encoding = threading.Lock()
        self.warnings = [
            f"{self.settings.path('tokenizer.json')}: its {part} is not that of {self.settings.name}, which is taken, as "
            'transformers does; if the file is right, say "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json'
            for part in tokenizer_parts.differing_parts(self._impl, self.settings)
        ]
        inputs = self.settings.values.get("model_input_names")
        self._has_types = "token_type_ids" in inputs if isinstance(inputs, list) else self.settings.has_types

    def encode(self, examples: Examples, length: int) -> "Encoded":
        """Token ids of all examples, cut at `length` tokens; see Encoded."""
        inputs = examples.texts if examples.pairs is None else list(zip(examples.texts, examples.pairs))
        return self._encoded(self._encodings(inputs, examples.path, length), examples.path)

    def _encodings(self, inputs: list, path: str, length: int | None = None, **how) -> Iterator:
        """The library's encodings, cut at `length` if it is given. It makes some
        at a time: they hold ten times what is kept of them."""
        try:
            with self._encoding:
                if length is None:
                    self._impl.no_truncation()
                else:
                    self._impl.enable_truncation(length, direction=self.settings.truncation_side)
                for begin in range(0, len(inputs), _AT_ONCE):
                    yield from self._impl.encode_batch(inputs[begin : begin + _AT_ONCE], **how)
        except Exception as error:
            raise DataError(f"{path}: cannot be tokenized: {error}") from None

    def _encoded(self, encodings: Iterable, path: str) -> "Encoded":
        ids, types, truncated = [], [], 0
        # One object for equal numbers, and for rows of equal types.
        numbers: dict = {}
        rows: dict = {}
        for encoding in encodings:
            ids.append([numbers.setdefault(id, id) for id in encoding.ids])
            kinds = encoding.type_ids if self._has_types else [0] * len(encoding)
            types.append(rows.setdefault(tuple(kinds), kinds))
            truncated += bool(encoding.overflowing)
        side = self.settings.padding_side
        return Encoded(_fitting(ids, path), types, truncated, self.padding, side, self.settings.reads_last_token)

    def encode_words(self, sentences: list[list[str]], length: int, path: str) -> "EncodedWords":
        """Token ids of sentences that are words already, cut at `length`."""
        firsts = []

        def noted():
            encodings = self._encodings(sentences, path, length, is_pretokenized=True)
            for encoding, words in zip(encodings, sentences):
                places = [-1] * len(words)
                for place, word in reversed(list(enumerate(encoding.word_ids))):
                    if word is not None:
                        places[word] = place
                firsts.append(places)
                yield encoding

        return EncodedWords(**vars(self._encoded(noted(), path)), firsts=firsts)

    def encode_pieces(self, texts: list[str], path: str, framed: bool = False) -> list[list[int]]:
        """Token ids of each text, whole; without the special tokens around it,
        if it is not to be `framed`."""
        return _fitting([encoding.ids for encoding in self._encodings(texts, path, add_special_tokens=framed)], path)

    def spec(self) -> dict:
        """All of its parts, as tokenizer.json has them."""
        return json.loads(self._impl.to_str())

    def named_id(self, name: str) -> int | None:
        """The id of a named token (`bos_token`), if there is one."""
        return tokenizer_parts.named_id(self._impl, self.settings, name)

    def decoder(self, ids: list[int]) -> "TextDecoder":
        """Makes a text of what follows these tokens."""
        return TextDecoder(self._impl, ids)

    @property
    def padding(self) -> int:
        """The id of padding; where there is none, that of the end of a text, as
        GPT-2's users have it, else 0. It is masked in any case."""
        ids = [self.named_id(name) for name in ("pad_token", "eos_token")]
        ids += map(self._impl.token_to_id, ("[PAD]", "<pad>", "<|endoftext|>"))
        size = self.settings.vocabulary
        return next((id for id in ids if id is not None and id < min(size or _END_OF_IDS, _END_OF_IDS)), 0)

    @property
    def end_of_text(self) -> int | None:
        """The id of the token that ends a text, or None."""
        return self.named_id("eos_token")


class TextDecoder:
    """The text of tokens that follow others. A token may be a part of a letter,
    and the spaces of a text depend on what is before it, so texts are always
    made of all tokens."""

    def __init__(self, impl, before: list[int]):
        self._impl, self._before = impl, before
        self._start = len(impl.decode(before))
        self._ids: list[int] = []
        self.given = 0  # letters that add() has given

    def text_of(self, ids: list[int]) -> str:
        """That of all tokens that follow; special ones are left out."""
        return self._impl.decode(self._before + list(ids))[self._start :]

    def add(self, token: int) -> str:
        """The letters that are certain with one more token."""
        self._ids.append(token)
        text = self.text_of(self._ids)
        if text.endswith("\ufffd"):
            return ""
        piece, self.given = text[self.given :], max(len(text), self.given)
        return piece


_END_OF_IDS = 2**31

# Texts that the library tokenizes together.
_AT_ONCE = 1024

# As torch's and transformers' losses: a label that is none.
NO_LABEL = -100


def _fitting(rows: list[list[int]], path: str) -> list[list[int]]:
    """`rows`, if a program can read them. Raises DataError."""
    largest = max((max(row) for row in rows if row), default=0)
    if largest >= _END_OF_IDS:
        raise DataError(f"{path}: the tokenizer gives a token the id {largest}, which does not fit into 32 bits")
    return rows


@dataclass
class Encoded:
    ids: list[list[int]]
    types: list[list[int]]
    truncated: int  # examples that lost tokens
    padding: int
    side: str = "right"  # where padding goes, if there is any
    reads_last_token: bool = False

    @property
    def longest(self) -> int:
        return max(map(len, self.ids))

    def counts(self, length: int) -> np.ndarray:
        """Tokens of each example, `length` at most."""
        return np.minimum([len(row) for row in self.ids], length)

    def begin(self, i: int, length: int) -> int:
        """Where in its row of `length` the tokens of example `i` begin."""
        return max(0, length - len(self.ids[i])) if self.side == "left" else 0

    def arrays(self, length: int) -> dict[str, np.ndarray]:
        """`input_ids`, `attention_mask`, `token_type_ids`: int32[examples, length].

        Where a model reads the last token of a text, the mask ends before
        tokens at its end that are padding: transformers, which is not told the
        mask, takes the last one that is none."""
        count = len(self.ids)
        ids = np.full((count, length), self.padding, np.int32)
        mask = np.zeros((count, length), np.int32)
        types = np.zeros((count, length), np.int32)
        for i, (row, kinds) in enumerate(zip(self.ids, self.types)):
            used = min(len(row), length)
            first = self.begin(i, length)
            place = slice(first, first + used)
            ids[i, place] = row[:used]
            mask[i, place] = 1
            # Memory that holds zeros alone takes none until it is written.
            if any(kinds):
                types[i, place] = kinds[:used]
        if self.reads_last_token:
            end_at_last_token(ids, mask, self.padding)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


@dataclass
class EncodedWords(Encoded):
    """Of sentences of words. `firsts` has for each word the place of its first
    token among the sentence's, -1 where it has none (any more)."""

    firsts: list[list[int]] = field(default_factory=list)

    def label_array(self, labels: list[list[int]], length: int) -> np.ndarray:
        """int32[sentences, length]: the label of each word at its first token,
        NO_LABEL elsewhere."""
        array = np.full((len(self.ids), length), NO_LABEL, np.int32)
        for i, (places, row) in enumerate(zip(self.firsts, labels)):
            for place, label in zip(places, row):
                if 0 <= place < length:
                    array[i, self.begin(i, length) + place] = label
        return array


def end_at_last_token(ids: np.ndarray, mask: np.ndarray, padding: int) -> None:
    """Clears the mask after the last token of each row that is no padding; in a
    row of padding alone, after the first that the mask has."""
    last = ids.shape[1] - 1 - np.argmax(((ids != padding) & (mask == 1))[:, ::-1], axis=1)
    empty = ~((ids != padding) & (mask == 1)).any(axis=1)
    last[empty] = np.argmax(mask[empty] == 1, axis=1)
    mask[np.arange(ids.shape[1]) > last[:, None]] = 0
