# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the commands of `pst` share: the options given, the data they name, and how something is said."""

from __future__ import annotations

from .streams import tell


class UsageError(ValueError):
    """The command line asks for something that cannot be."""


def given_options(args) -> dict:
    """The given flags that are options."""
    from dataclasses import fields

    from .options import Options

    given = vars(args)
    return {f.name: given[f.name] for f in fields(Options) if f.name in given}


def options_of(args):
    """The given flags as Options."""
    from .options import Options

    return Options.make(**given_options(args))


def read_labelled(path, options, limit=None, **more):
    """Examples of a file, as the options say; what is odd about it is told.
    `limit` is --max_eval_samples if not given."""
    from .data import read_examples

    examples = read_examples(
        path,
        task=options.task_name or None,
        text_column=options.text_column or None,
        text_pair_column=options.text_pair_column or None,
        label_column=options.label_column or None,
        label_columns=options.label_column_names,
        skip_bad_rows=options.skip_bad_rows,
        limit=(options.max_eval_samples if limit is None else limit) or None,
        **more,
    )
    warn(examples.warnings)
    return examples


def read_tagged(path, options, limit=None, need_tags=True):
    """Sentences of a file, as the options say; what is odd about it is told."""
    from .tagged import Tagged

    sentences = Tagged.of(
        path,
        words_column=options.text_column,
        tags_column=options.label_column,
        need_tags=need_tags,
        skip_bad_rows=options.skip_bad_rows,
        limit=(options.max_eval_samples if limit is None else limit) or None,
    )
    warn(sentences.warnings)
    return sentences


def warn(warnings) -> None:
    for warning in warnings:
        tell(f"warning: {warning}\n")


def tokenizer_of(directory, of_words: bool = False):
    """That of a model directory, with what is to be said of it on standard error."""
    from .tokenizer import Tokenizer

    tokenizer = Tokenizer(directory, of_words)
    warn(tokenizer.warnings)
    return tokenizer


def set_threads(count: int) -> None:
    """As many as the options, which were checked, say; 0: as many as there are."""
    from . import _pst

    if count:
        _pst.set_num_threads(count)


def print_pairs(pairs: dict) -> None:
    """`key: value` lines."""
    for key, value in pairs.items():
        print(f"{key}: {value:.6g}" if isinstance(value, float) else f"{key}: {value}")
