# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst eval` and `pst predict`: what a saved model says of a file."""

from __future__ import annotations

import os

from .command import UsageError, given_options, options_of, print_pairs, read_labelled, read_tagged, set_threads, tokenizer_of, warn
from .outputs import check_output_file, with_lines, write_conll, write_json, write_predictions, write_rows


def evaluate(args) -> int:
    from .classifier import Classifier, predictions
    from .language import predicts_tokens
    from .trainer import read_config

    options = options_of(args)
    options.check(trains=False)
    inputs = (args.validation_file, args.predictions and args.output_file)
    for path, flag in ((args.predictions, "--predictions"), (args.output_file, "--output_file")):
        if path:
            check_output_file(path, flag, inputs if flag == "--predictions" else inputs[:1])
    set_threads(options.num_threads)
    config = read_config(args.model_name_or_path)
    if args.generate:
        return _eval_generated(args, options)
    from .generating import OPTIONS

    if named := [name for name in (*OPTIONS, "metrics") if name in args]:
        raise UsageError(f"--{named[0]} is of --generate, which evaluates texts that a language model goes on with")
    if predicts_tokens(options.implied_task, config):
        return _eval_language(args, options, config)
    model = Classifier(args.model_name_or_path, **given_options(args))
    if model.labels.tokens:
        return _eval_tags(args, options, model)
    # -1 is a number like any other.
    known = ("-1",) if model.labels.regression and not options.task_name else model.labels.names
    examples = read_labelled(
        args.validation_file, options, classes=known, many=model.labels.multiple, remembered=model.text_columns
    )
    evaluation = model.evaluate(examples)
    summary = _summary(evaluation, "examples")
    if args.predictions:
        found = dict(zip(examples.numbers, predictions(evaluation["logits"], model.labels)))
        rows = _all_rows(args.validation_file, options, examples, model.text_columns)
        rest = rows.select([i for i, number in enumerate(rows.numbers) if number not in found])
        if len(rest):
            # They were skipped for want of a label.
            found.update(zip(rest.numbers, predictions(model.evaluate(rest)["logits"], model.labels)))
        write_predictions(args.predictions, [found[number] for number in rows.numbers], rows)
    return _tell(args, model, summary)


def _summary(evaluation: dict, what: str) -> dict:
    return {what: evaluation["examples"], "loss": evaluation["loss"], **evaluation["metrics"], "seconds": evaluation["seconds"]}


def _tell(args, model, summary: dict) -> int:
    if args.predictions:
        summary["predictions"] = args.predictions
    warn(dict.fromkeys(model.warnings))
    if args.output_file:
        write_json(args.output_file, summary)
    print_pairs(summary)
    return 0


def _all_rows(path, options, examples, remembered):
    """The rows of a file up to the last of the examples, without their labels."""
    if not examples.skipped:
        return examples.without_labels()
    from dataclasses import replace

    rows = read_labelled(path, replace(options, skip_bad_rows=True), read_labels=False, limit=0, remembered=remembered)
    last = examples.numbers[-1] if options.max_eval_samples else float("inf")
    rows.skipped = [row for row in rows.skipped if row[0] <= last]
    return rows.select([i for i, number in enumerate(rows.numbers) if number <= last])


def predict(args) -> int:
    from .classifier import Classifier, predictions

    options = options_of(args)
    options.check(trains=False)
    if args.output_file:
        check_output_file(args.output_file, "--output_file", (args.file,))
    model = Classifier(args.model_name_or_path, **given_options(args))
    if model.labels.tokens:
        return _tag(args, options, model)
    examples = read_labelled(args.file, options, read_labels=False, limit=0, remembered=model.text_columns, guess=True)
    rows = with_lines(predictions(model.evaluate(examples)["logits"], model.labels), examples)
    warn(model.warnings)
    if args.output_file:
        write_rows(args.output_file, rows)
        print_pairs({"rows": len(rows), "predictions": args.output_file})
    else:
        write_rows(None, rows)
    return 0


def _eval_tags(args, options, model) -> int:
    sentences = read_tagged(args.validation_file, options)
    summary = _summary(model.evaluate(sentences), "sentences")
    if args.predictions:
        write_conll(args.predictions, model.tag(sentences))
    return _tell(args, model, summary)


def _tag(args, options, model) -> int:
    """A word and its tag in each line, as a CoNLL file has them; or JSON lines."""
    extension = os.path.splitext(args.output_file or "")[1].lower()
    if extension == ".csv":
        raise UsageError(f"--output_file {args.output_file}: tags are written to .jsonl or, as CoNLL has them, to any other file")
    sentences = read_tagged(args.file, options, limit=0, need_tags=False)
    found = model.tag(sentences)
    warn(model.warnings)
    if extension in (".jsonl", ".json", ".ndjson"):
        write_rows(args.output_file, with_lines(found, sentences))
    else:
        write_conll(args.output_file, found)
    if args.output_file:
        print_pairs({"sentences": len(found), "predictions": args.output_file})
    return 0


def metrics_of(directory, path, options, given: dict) -> dict:
    """Loss and metrics of a saved model on a file of labelled data; `given` are
    the options that were asked for."""
    from .classifier import Classifier
    from .language import predicts_tokens
    from .trainer import read_config

    directory = os.fspath(directory)
    config = read_config(directory)
    if predicts_tokens(options.implied_task, config):
        evaluation, _ = _language(directory, path, options, config)
    else:
        model = Classifier(directory, **given)
        if model.labels.tokens:
            data = read_tagged(path, options)
        else:
            known = ("-1",) if model.labels.regression and not options.task_name else model.labels.names
            data = read_labelled(path, options, classes=known, many=model.labels.multiple, remembered=model.text_columns)
        evaluation = model.evaluate(data)
    return {"loss": evaluation["loss"], **evaluation["metrics"]}


def _language(directory, path, options, config):
    """The evaluation of a language model, and what it read."""
    from . import _pst
    from .language import Answers, block_length, read_language
    from .packing import token_capacity

    length = block_length(options.block_size, config)
    texts = read_language(path, tokenizer_of(directory), config, options, length, limit=options.max_eval_samples)
    warn(texts.warnings)
    batch, room = options.per_device_eval_batch_size or 8, 0
    if isinstance(texts, Answers):
        room = token_capacity(texts.counts(), batch, texts.length, options, partly=True)
    program = _pst.compile_model(directory, options.of_evaluation(texts.length, batch, task="lm", token_capacity=room))
    model = _pst.Model(program, directory, 0)
    return _pst.evaluate(model, _pst.Dataset.of(texts.arrays(), texts.path), 0.0), texts


def _eval_language(args, options, config) -> int:
    if args.predictions:
        raise UsageError("--predictions is for models that classify, and for --generate: a language model has a loss and a perplexity")
    evaluation, texts = _language(args.model_name_or_path, args.validation_file, options, config)
    summary = {
        "tokens": texts.num_tokens,
        "loss": evaluation["loss"],
        **evaluation["metrics"],
        "seconds": evaluation["seconds"],
    }
    if args.output_file:
        write_json(args.output_file, summary)
    print_pairs(summary)
    return 0


# The search of Li et al. and of LoRA's repository, and tokens of a text there.
_SEARCH = {"num_beams": 10, "length_penalty": 0.8, "no_repeat_ngram_size": 4, "max_new_tokens": 64}


def _eval_generated(args, options) -> int:
    """Texts that follow prompts, held against all references of each."""
    import time

    from . import text_metrics
    from .data import Examples
    from .errors import DataError
    from .generating import OPTIONS, Generator
    from .language import read_source

    names = [name.strip() for name in getattr(args, "metrics", ",".join(text_metrics.METRICS)).split(",")]
    for name in names:
        if name not in text_metrics.METRICS:
            raise UsageError(f"--metrics: '{name}' is none of {', '.join(text_metrics.METRICS)}")
    text_metrics.require(names)
    begin = time.monotonic()
    wanted = {name: getattr(args, name) for name in OPTIONS if name in args}
    if not wanted.get("do_sample"):
        wanted = _SEARCH | wanted
    rows = read_source(
        args.validation_file, text_column=options.text_column, completion_column=options.completion_column,
        skip_bad_rows=options.skip_bad_rows, limit=options.max_eval_samples,
    )  # fmt: skip
    warn(rows.warnings)
    if not isinstance(rows, Examples):
        raise DataError(f"{args.validation_file}: --generate needs prompts with completions: docs/UserGuide.md says which files have them")
    groups: dict[str, list[str]] = {}
    for prompt, completion in zip(rows.texts, rows.pairs):
        # A space between the two belongs to the first token of what follows.
        groups.setdefault(prompt.rstrip(" "), []).append(completion.strip())
    given = {name: value for name, value in given_options(args).items() if name not in OPTIONS}
    found = Generator(args.model_name_or_path, **given).generate(list(groups), **wanted)
    texts, references = [row["text"].strip() for row in found], list(groups.values())
    summary = {"texts": len(texts), "references": sum(map(len, references))}
    summary |= {name: text_metrics.METRICS[name](texts, references) for name in names}
    summary["seconds"] = time.monotonic() - begin
    if args.predictions:
        lines = zip(groups, texts, found, references)
        write_rows(args.predictions, [
            {"prompt": prompt, "prediction": text, "finish_reason": row["finish_reason"], "references": group} for prompt, text, row, group in lines
        ])  # fmt: skip
        summary["predictions"] = args.predictions
    if args.output_file:
        write_json(args.output_file, summary)
    print_pairs(summary)
    return 0
