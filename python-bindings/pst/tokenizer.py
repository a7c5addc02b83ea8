# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts as the int32 arrays that a compiled program reads, by a model's own tokenizer."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np

from .data import DataError


class Tokenizer:
    """A model directory's tokenizer: `tokenizer.json`, else `vocab.txt` (BERT's
    words), else `vocab.json` and `merges.txt` (GPT-2's bytes)."""

    def __init__(self, directory):
        import tokenizers

        self.directory = os.fspath(directory)
        fast = os.path.join(self.directory, "tokenizer.json")
        vocabulary = os.path.join(self.directory, "vocab.txt")
        pairs = os.path.join(self.directory, "vocab.json"), os.path.join(self.directory, "merges.txt")
        try:
            if os.path.exists(fast):
                self._impl = tokenizers.Tokenizer.from_file(fast)
            elif os.path.exists(vocabulary):
                settings = _json_file(os.path.join(self.directory, "tokenizer_config.json"))
                self._impl = tokenizers.BertWordPieceTokenizer(
                    vocabulary,
                    lowercase=settings.get("do_lower_case", True),
                    strip_accents=settings.get("strip_accents"),
                    handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
                )
            elif all(map(os.path.exists, pairs)):
                vocabulary = pairs[0]
                self._impl = _byte_level(*pairs)
            else:
                raise DataError(
                    f"{self.directory}: no tokenizer: expected tokenizer.json, vocab.txt, or vocab.json and merges.txt"
                )
        except DataError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"{fast if os.path.exists(fast) else vocabulary}: not a tokenizer: {error}") from None
        self._impl.no_padding()

    def encode(self, examples: Examples, length: int) -> "Encoded":
        """Token ids of all examples, cut at `length` tokens; see Encoded."""
        self._impl.enable_truncation(length)
        if examples.pairs is None:
            inputs = examples.texts
        else:
            inputs = list(zip(examples.texts, examples.pairs))
        try:
            encodings = self._impl.encode_batch(inputs)
        except Exception as error:
            raise DataError(f"{examples.path}: cannot be tokenized: {error}") from None
        return Encoded(
            [encoding.ids for encoding in encodings],
            [encoding.type_ids for encoding in encodings],
            sum(bool(encoding.overflowing) for encoding in encodings),
            self.padding,
        )

    def encode_pieces(self, texts: list[str], path: str) -> list[list[int]]:
        """Token ids of each text, whole, and without special tokens."""
        self._impl.no_truncation()
        try:
            return [encoding.ids for encoding in self._impl.encode_batch(texts, add_special_tokens=False)]
        except Exception as error:
            raise DataError(f"{path}: cannot be tokenized: {error}") from None

    @property
    def padding(self) -> int:
        """The id of padding; where the vocabulary has none, that of the end of a
        text, as GPT-2's users have it, else 0. It is masked in any case."""
        for token in ("[PAD]", "<pad>", "<|endoftext|>"):
            found = self._impl.token_to_id(token)
            if found is not None:
                return found
        return 0


def _byte_level(vocabulary, merges):
    """GPT-2's tokenizer; RoBERTa's, which frames texts, if the vocabulary has its frame."""
    import tokenizers

    impl = tokenizers.ByteLevelBPETokenizer(vocabulary, merges)
    begin, end = impl.token_to_id("<s>"), impl.token_to_id("</s>")
    if begin is not None and end is not None:
        impl.post_processor = tokenizers.processors.RobertaProcessing(("</s>", end), ("<s>", begin), add_prefix_space=False)
    return impl


@dataclass
class Encoded:
    ids: list[list[int]]
    types: list[list[int]]
    truncated: int  # examples that lost tokens
    padding: int

    @property
    def longest(self) -> int:
        return max(map(len, self.ids))

    def arrays(self, length: int) -> dict[str, np.ndarray]:
        """`input_ids`, `attention_mask`, `token_type_ids`: int32[examples, length]."""
        count = len(self.ids)
        ids = np.full((count, length), self.padding, np.int32)
        mask = np.zeros((count, length), np.int32)
        types = np.zeros((count, length), np.int32)
        for i, (row, kinds) in enumerate(zip(self.ids, self.types)):
            used = min(len(row), length)
            ids[i, :used] = row[:used]
            mask[i, :used] = 1
            types[i, :used] = kinds[:used]
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _json_file(path) -> dict:
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}:{error.colno}: malformed JSON: {error.msg}") from None
