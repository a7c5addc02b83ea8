# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `pst prepare`: data files as the tensors that `pst-run` reads."""

from __future__ import annotations

import os

from . import _pst, calibrating
from .classifier import arrays_of, encode
from .command import options_of, print_pairs, read_labelled, read_tagged, tokenizer_of, warn
from .distilling import check_kind, teacher_column
from .labels import Labels, has_many_labels, names_in
from .language import block_length, common_length, predicts_tokens, read_language
from .outputs import check_output_directory
from .settings import compiler_options
from .tasks import classifies_tokens
from .trainer import read_config, sequence_length


def prepare(args) -> int:
    """Runs `pst prepare` with its flags as read; returns the exit status."""
    options = options_of(args)
    options.check()
    check_output_directory(args.output_dir, (args.train_file, args.validation_file), ("train.safetensors", "validation.safetensors"))
    config = read_config(args.model_name_or_path)
    tags = classifies_tokens(options.task, config)
    check_kind(options, predicts_tokens(options.implied_task, config), tags)
    if predicts_tokens(options.implied_task, config):
        return _prepare_language(args, options, config)
    tokenizer = tokenizer_of(args.model_name_or_path, of_words=tags)
    if tags:
        read = [("train", read_tagged(args.train_file, options, limit=options.max_train_samples))]
        labels = Labels(read[0][1].names(config, options.class_names), tokens=True)
    else:
        many = has_many_labels(options.task, config)
        given = {"classes": options.class_names or names_in(config), "many": many}
        read = [("train", read_labelled(args.train_file, options, limit=options.max_train_samples, **given))]
        labels = Labels.of(
            read[0][1], config, options.task_name or None, classes=options.class_names, named=bool(options.label_column)
        )
    if args.validation_file and tags:
        read.append(("validation", read_tagged(args.validation_file, options)))
    elif args.validation_file:
        read.append(("validation", read_labelled(args.validation_file, options, classes=labels.names, many=labels.multiple)))
    encoded = []
    for _, examples in read:
        tokens, warnings = encode(tokenizer, examples, options.max_seq_length, options)
        warn(warnings)
        encoded.append(tokens)
    length = sequence_length(encoded, options, tokenizer)
    columns = [teacher_column(options, labels, read[0][1], encoded[0], options.max_seq_length), {}]
    os.makedirs(args.output_dir, exist_ok=True)
    summary: dict = {"labels": "a number" if labels.regression else ", ".join(labels.names), "sequence_length": length}
    for (name, examples), tokens, more in zip(read, encoded, columns):
        path = os.path.join(args.output_dir, name + ".safetensors")
        _pst.write_tensors(path, {**arrays_of(tokens, length, labels.encode(examples)), **more})
        summary[name] = path
    if "calibration_samples" in vars(args):
        summary["calibration"] = _calibrate(args, options, labels, length, arrays_of(encoded[0], length, None))
    print_pairs(summary)
    return 0


def _calibrate(args, options, labels, length: int, arrays: dict) -> str:
    """Measures what layers read of the training data; returns the file's path."""
    path = os.path.join(args.output_dir, calibrating.FILE)
    settings = compiler_options(options, labels, length, False)
    rows = calibrating.some_rows(arrays, options.calibration_samples)
    calibrating.write(path, args.model_name_or_path, settings, rows, args.train_file)
    return path


def _prepare_language(args, options, config) -> int:
    tokenizer = tokenizer_of(args.model_name_or_path)
    limit = block_length(options.block_size, config)
    files = [("train", args.train_file, options.max_train_samples)]
    if args.validation_file:
        files.append(("validation", args.validation_file, options.max_eval_samples))
    sets = [read_language(file, tokenizer, config, options, limit, limit=most) for _, file, most in files]
    length = common_length(sets, options, limit)
    os.makedirs(args.output_dir, exist_ok=True)
    summary: dict = {"block_size": length}
    for (name, *_), texts in zip(files, sets):
        warn(texts.warnings)
        texts.length = length
        path = os.path.join(args.output_dir, name + ".safetensors")
        _pst.write_tensors(path, texts.arrays())
        summary[name] = path
    if "calibration_samples" in vars(args):
        summary["calibration"] = _calibrate(args, options, None, length, sets[0].arrays())
    print_pairs(summary)
    return 0
