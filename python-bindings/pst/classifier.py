# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A saved model that classifies, or any: `pst.load(directory).predict(texts)`.

`pst eval`, `pst predict` and the trainer's evaluation of longer rows than it
trains on go through here, so that all read a text alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from . import _pst, torch
from .columns import Wish
from .data import Examples
from .entities import entity_metrics, is_scheme
from .errors import DataError
from .kept import KeptModels, length_for, positions_of
from .labels import Labels
from .language import predicts_tokens
from .options import Options
from .packing import token_capacity
from .tagged import Tagged
from .token_arrays import encoded_of, whole_numbers
from .tokenizer import Encoded, EncodedWords, Tokenizer

if TYPE_CHECKING:
    from .generating import Generator


class Classifier:
    """A model directory that predicts classes, or a number.

        model = pst.load("runs/1/model")
        model.predict(["a good film", "a bad one"])

    It may be called: with texts it is predict(), with token ids it gives
    logits. `labels` are its classes. Options are those of `pst predict`
    (max_seq_length, per_device_eval_batch_size, num_threads, target, ...). A
    program is compiled at the first use, and again when a text comes that is
    longer than it has room for; those used last are kept, and share the model's
    weights. `warnings` says which texts were cut. Threads may predict at once. Raises DataError, CompileError, ValueError, or pst.Error.
    """

    def __init__(self, directory, **options):
        from .trainer import read_config

        self.options = Options.make(**options)
        self.options.check(trains=False)
        self.directory = os.fspath(directory)
        self.config = read_config(self.directory)
        if predicts_tokens(self.options.implied_task, self.config):
            raise DataError(
                f"{self.directory}: a language model has no classes to predict; --task classification takes it for a classifier"
            )
        self.labels = Labels.of_config(self.config, self.options.task)
        self.tokenizer = Tokenizer(self.directory, of_words=self.labels.tokens)
        self.warnings: list[str] = list(self.tokenizer.warnings)
        if self.options.num_threads:
            _pst.set_num_threads(self.options.num_threads)
        self._kept = KeptModels(self.directory)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of the texts that the model was trained on, if it says so."""
        columns = self.config.get("text_columns")
        return tuple(map(str, columns)) if isinstance(columns, list) else ()

    def encode(self, examples: Examples) -> Encoded:
        encoded, warnings = encode(self.tokenizer, examples, self.options.max_seq_length, self.options)
        self.warnings += warnings
        return encoded

    def evaluate(self, examples: Examples) -> dict:
        """As pst.Trainer.evaluate: loss, metrics and logits; without labels the
        logits alone mean something."""
        encoded = self.encode(examples)
        labels = None if examples.labels is None else self.labels.encode(examples)
        length, model = self._model_for(encoded)
        found = _pst.evaluate(model, dataset(encoded, length, labels, examples.path), 0.0)
        if labels is not None and self.labels.tokens and is_scheme(self.labels.names):
            array = encoded.label_array(labels, length)
            logits = found["logits"].reshape(*array.shape, -1)
            found["metrics"] = {**entity_metrics(self.labels.names, logits, array), **found["metrics"]}
        return found

    def logits(self, encoded: Encoded, description: str) -> np.ndarray:
        """float32[examples, labels] of texts that are encoded; where tokens have
        classes [examples, tokens, labels], of as many tokens as the program has
        room for."""
        length, model = self._model_for(encoded)
        logits = _pst.evaluate(model, dataset(encoded, length, None, description), 0.0)["logits"]
        return logits.reshape(len(encoded.ids), length, -1) if self.labels.tokens else logits

    def tag(self, sentences) -> list[dict]:
        """The `words` of each sentence, their `tags` and `probabilities`, None
        for words that were cut off.

        `sentences` is a text or a list of them, whose words spaces divide, of
        lists of words, or what pst.Trainer takes (tags are not read). Raises
        DataError for a model that gives no tags."""
        if not self.labels.tokens:
            raise DataError(f"{self.directory}: is no model that gives each word a tag; predict() is of texts")
        if isinstance(sentences, str):
            sentences = [sentences]
        sentences = Tagged.of(sentences, "the texts", words_column=self.options.text_column, need_tags=False).without_labels()
        encoded = self.encode(sentences)
        scores = self.logits(encoded, sentences.path).astype(np.float64)
        rows = []
        for i, (words, places) in enumerate(zip(sentences.words, encoded.firsts)):
            begin = encoded.begin(i, scores.shape[1])
            found = [None if place < 0 else predictions(scores[i, [begin + place]], self.labels)[0] for place in places]
            tags, shares = ([one and one[key] for one in found] for key in ("class", "probability"))
            rows.append({"words": words, "tags": tags, "probabilities": shares})
        return rows

    def predict(self, texts) -> list[dict]:
        """The `class` of each text and its `probability`; of a model that
        predicts a number its `value`; of one that gives several labels the
        `classes` whose probability is above 0.5, and the `probabilities` of all;
        of one that gives tags, see tag().

        `texts` is a text or a list of them, of (text, text) pairs, or what
        pst.Trainer takes as data (labels are not read)."""
        if self.labels.tokens:
            return self.tag(texts)
        if isinstance(texts, str):
            texts = [texts]
        columns = dict(zip(("text", "pair"), self.text_columns))
        options = self.options
        if options.text_column:
            columns = {"text": options.text_column, "pair": options.text_pair_column}
        examples = Examples.of(texts, "the texts", wish=Wish(remembered=tuple(columns.values())), need_labels=False)
        return predictions(self.evaluate(examples.without_labels())["logits"], self.labels)

    def __call__(self, texts=None, attention_mask=None, token_type_ids=None, *, input_ids=None):
        """predict() of texts; of token ids, whole numbers of any type, [rows,
        tokens], padded to the right if at all, the logits: float32[rows,
        labels], of a model that gives tags [rows, tokens, labels] with zeros
        where `attention_mask` has them. Arrays are anything that NumPy reads, by
        DLPack too; of torch tensors the logits are one.

            model(**tokenizer(["a good film"], return_tensors="pt"))
        """
        if (texts is None) == (input_ids is None):
            raise TypeError("call it with texts, or with input_ids")
        given = {"input_ids": texts if input_ids is None else input_ids}
        if input_ids is None and not _is_array(texts):
            if attention_mask is not None or token_type_ids is not None:
                raise TypeError("attention_mask and token_type_ids belong to input_ids: arrays or tensors [rows, tokens]")
            return self.predict(texts)
        given |= {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        given = {name: value for name, value in given.items() if value is not None}
        arrays = {name: whole_numbers(name, value) for name, value in given.items()}
        encoded = encoded_of(arrays, self.tokenizer)
        logits = self.logits(encoded, "input_ids")
        if self.labels.tokens:
            rows, tokens = arrays["input_ids"].shape
            found = np.zeros((rows, tokens, self.labels.count), np.float32)
            part = min(logits.shape[1], tokens)
            found[:, :part] = logits[:, :part]
            found[np.arange(tokens) >= encoded.counts(tokens)[:, None]] = 0
            logits = found
        return torch.from_numpy(logits) if any(map(torch.is_tensor, given.values())) else logits

    def _model_for(self, encoded: Encoded) -> tuple[int, "_pst.Model"]:
        """A model for texts as long as these at least, and for how many tokens."""
        options, longest, positions = self.options, encoded.longest, positions_of(self.config)
        length = length_for(longest, self.tokenizer.settings.at_most(options.max_seq_length), positions, options.pad_to_max_length)

        def fits(size):
            # Without padding a text takes as long in a program for longer ones.
            return size == length if options.pad_to_max_length or length > positions else longest <= size <= positions

        def settings():
            batch = options.per_device_eval_batch_size or 32
            return options.of_evaluation(
                length, batch, task=self.labels.task, num_labels=self.labels.count, regression=self.labels.regression, new_head=False,
                token_capacity=token_capacity(encoded.counts(length), batch, length, options, partly=True),
            )  # fmt: skip

        def tokens(settings):
            return settings["token_capacity"] or settings["batch_size"] * settings["sequence_length"]

        (length, *_), model = self._kept.get((length,), fits, settings, tokens)
        return length, model


def _is_array(value) -> bool:
    """Whether it is what token ids come as: numbers in rows, and no texts."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iubf"
    if hasattr(value, "__dlpack__"):
        return True
    row = value[0] if isinstance(value, (list, tuple)) and value else None
    return isinstance(row, (list, tuple)) and bool(row) and isinstance(row[0], (int, np.integer))


def load(directory, **options) -> "Classifier | Generator":
    """A saved model: a Classifier, or a Generator if it is a language model."""
    from .generating import Generator
    from .trainer import read_config

    kind = Generator if predicts_tokens(Options.make(**options).implied_task, read_config(directory)) else Classifier
    return kind(directory, **options)


def predictions(logits: np.ndarray, labels: Labels) -> list[dict]:
    """Each row's class and its probability, or the number it predicts; of
    several labels, those above 0.5 and the probabilities of all."""
    if labels.regression:
        return [{"value": float(row[0])} for row in logits]
    scores = logits.astype(np.float64)
    if labels.multiple:
        # tanh does not overflow.
        shares = (np.tanh(scores / 2) + 1) / 2
        return [
            {"classes": [n for n, x in zip(labels.names, row) if x > 0], "probabilities": dict(zip(labels.names, share.tolist()))}
            for row, share in zip(scores, shares)
        ]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    best = scores.argmax(axis=1)
    shares = scores.max(axis=1) / scores.sum(axis=1)
    return [{"class": labels.names[i], "probability": float(share)} for i, share in zip(best, shares)]


def dataset(encoded: Encoded, length: int, labels, description: str, **more: np.ndarray) -> "_pst.Dataset":
    return _pst.Dataset.of({**arrays_of(encoded, length, labels), **more}, description)


def arrays_of(encoded: Encoded, length: int, labels) -> dict[str, np.ndarray]:
    """What a program reads; the labels (or None) as Labels.encode gives them."""
    arrays = encoded.arrays(length)
    if labels is not None:
        arrays["labels"] = encoded.label_array(labels, length) if isinstance(encoded, EncodedWords) else labels
    return arrays


def encode(tokenizer: Tokenizer, examples: Examples | Tagged, length: int, options: Options) -> tuple[Encoded, list[str]]:
    """Tokens as a program reads them, `length` at most and one at least; and
    what is to be said about those that were cut.

    They begin their rows, unless padding is asked for, which goes where the
    tokenizer has it: so what a model says of a text does not depend on whether
    the batch has padding."""
    length = tokenizer.settings.at_most(length)
    if isinstance(examples, Tagged):
        encoded = tokenizer.encode_words(examples.words, length, examples.path)
    else:
        encoded = tokenizer.encode(examples, length)
    if not options.pad_to_max_length:
        encoded.side = "right"
    # Of an empty text some tokenizers make no token.
    nothing = tokenizer.padding if tokenizer.end_of_text is None else tokenizer.end_of_text
    encoded.ids = [ids or [nothing] for ids in encoded.ids]
    encoded.types = [types or [0] for types in encoded.types]
    told = f"{encoded.truncated} of {len(examples)} examples are longer than {length} tokens and were cut"
    return encoded, [f"{examples.path}: {told}"] if encoded.truncated else []
