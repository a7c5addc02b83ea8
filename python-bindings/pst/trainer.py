# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst.Trainer`: from a model directory and labelled sentences to a sparse
model. The loop itself is the runtime's; this reads, compiles and reports."""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

import numpy as np

from . import _pst, adapter, calibrating, modelcard
from .callbacks import Callbacks, StopOnSignal, own_metrics
from .classifier import Classifier, arrays_of, dataset, encode
from .columns import Wish
from .compiled import parse_type
from .criterion import Criterion
from .data import DataError, Examples, Labels, names_in, read_examples
from .distilling import check_kind, teacher_column
from .distributed import Peers
from .entities import entity_metrics, is_scheme, remarks
from .files import read_object, read_text
from .labels import class_weights, has_many_labels, head_rows
from .language import Answers, Blocks, block_length, common_length, predicts_tokens, read_language
from .options import DEFAULT_SPARSITY, Options, flag_of, names_file
from .outputs import write_text
from .packing import examples_of, token_capacity, used_share
from .report import Progress
from .reporters import Reporter, Reports
from .settings import column_config, compiler_options, label_config, metric_name, runtime_options
from .tagged import Tagged
from .tasks import classifies_tokens
from .tokenizer import Encoded, EncodedWords, Tokenizer

# What a checkpoint needs, besides itself, to become a model again.
RUN_FILE = "run.json"
RUN_FORMAT = 2  # of 1, a BERT's pooler was trained only where --modules_to_save named it
CRITERION_FILE = "criterion.mlir"
LAYERS_FILE = "layer_sparsity.json"


def read_config(model_dir) -> dict:
    """config.json of a model directory. Raises DataError."""
    path = os.path.join(os.fspath(model_dir), "config.json")
    if not os.path.exists(path):
        if os.path.exists(os.path.join(os.fspath(model_dir), adapter.CONFIG)):
            raise DataError(f"{os.fspath(model_dir)}: an adapter, which is no model: 'pst export {os.fspath(model_dir)} --output_dir MODEL' makes one")
        raise DataError(
            f"{os.fspath(model_dir)}: not a model directory: expected config.json, model.safetensors and a tokenizer; nothing is "
            f"downloaded: 'hf download google-bert/bert-base-uncased --local-dir {os.path.basename(os.fspath(model_dir))}', with "
            "the model's own name on the hub, gets one"
        )
    config = read_object(path)
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    if name.endswith(("ForSequenceClassification", "ForTokenClassification")) and not config.get("id2label") and not config.get("num_labels"):
        # The files know how many classes there are.
        rows = head_rows(model_dir)
        if rows is not None:
            config["num_labels"] = rows
    return config


def sequence_length(encoded: list[Encoded], options: Options, tokenizer: Tokenizer) -> int:
    """The length to compile for: no longer than the longest example."""
    limit = tokenizer.settings.at_most(options.max_seq_length)
    return limit if options.pad_to_max_length else min(limit, max(e.longest for e in encoded))


class Trainer:
    """Fine-tunes a model to a sparse one.

        trainer = pst.Trainer("bert-base-uncased", train="train.tsv", eval="dev.tsv",
                              output_dir="runs/sst2", sparsity=0.9, learning_rate=5e-4)
        result = trainer.train()
        trainer.save("runs/sst2/model")

    `model` is a Hugging Face model directory; `train` and `eval` are files
    (TSV, CSV, JSON), `pst.Examples`, lists of (text, label), of (text, text,
    label) or of dictionaries, frames of pandas, or data sets of `datasets`; of
    a language model text files or lists of texts, or of (prompt, completion); where words are tagged CoNLL
    and JSON files, lists of (words, tags), or the others with such columns.
    `options` are those of `pst train`, see `pst.Options`. `callbacks` are
    called while it runs, and may end it (`pst.Callback`).
    `reporters` get its numbers, beside those of `report_to` (`pst.Reporter`).
    `compute_metrics(predictions, labels)` returns a dictionary of metrics, of
    float32[examples, labels], the logits, and int32[examples] (float32 of a
    regression, float32[examples, labels] of several labels an example; of
    tokens float32[sentences, tokens, labels] and int32[sentences, tokens], -100
    where a token has no label); they go before those of the same names, and
    metric_for_best_model may be one of them.

    The program is compiled in the constructor, which raises DataError,
    CompileError, ValueError, or pst.Error.

    Under torchrun this is one rank of a data-parallel run: every rank makes the
    same trainer and calls train(); rank 0 (`trainer.peers.leads`) writes the
    checkpoints and the log, and shall be the one that saves.
    """

    def __init__(
        self,
        model,
        train=None,
        eval=None,
        *,
        callbacks: Iterable = (),
        compute_metrics: Callable | None = None,
        reporters: Iterable[Reporter] = (),
        progress: Progress | None = None,
        **options,
    ):
        self.options = Options.make(**options).of_method()
        self.options.check()
        self.peers = Peers.of_environment()
        self.model_dir = os.fspath(model)
        self.config = read_config(self.model_dir)
        self.warnings: list[str] = []
        if implied := self.options.implied_by_reference:
            self.warnings.append("--reference_exact means " + " ".join(itertools.starmap(flag_of, implied.items())))
        self._callbacks = list(callbacks)
        Callbacks(self._callbacks)
        if train is None:
            raise ValueError("Trainer needs training data: train=...")
        if not self.options.output_dir:
            raise ValueError("Trainer needs a directory for checkpoints and logs: output_dir=...")
        if self.options.early_stopping_patience and eval is None:
            raise ValueError("--early_stopping_patience needs evaluation data: --validation_file, or eval=...")
        self._tags = classifies_tokens(self.options.task, self.config)
        self.tokenizer = Tokenizer(self.model_dir, of_words=self._tags)
        self.warnings += self.tokenizer.warnings
        # Files only have a name.
        self.data = {name: os.fspath(data) for name, data in (("train", train), ("eval", eval)) if isinstance(data, (str, os.PathLike))}
        # What to call it, and its limit; for a language model `labels` is None.
        sources = [(train, "the training data", self.options.max_train_samples)]
        if eval is not None:
            sources.append((eval, "the evaluation data", self.options.max_eval_samples))
        if self.options.class_weights and predicts_tokens(self.options.implied_task, self.config):
            raise ValueError("--class_weights is of models that tell classes apart, not of a language model")
        check_kind(self.options, predicts_tokens(self.options.implied_task, self.config), self._tags)
        self.labels: Labels | None = None
        self.text_columns: tuple[str, ...] = ()
        # Of a batch without padding, and the mean share of it that is used.
        self.token_capacity, self.token_use = 0, 1.0
        # Files of what is measured before the program is compiled, by the options that name them.
        self._measured: dict[str, str] = {}
        program = None
        self._limit = self.tokenizer.settings.at_most(self.options.max_seq_length)
        if self.options.bundle:
            # A bundle has its own length.
            program = _pst.Program.load(self.options.bundle)
            self.length = _program_length(program, self.options.bundle)
            self._limit = min(self._limit, self.length)
        if predicts_tokens(self.options.implied_task, self.config):
            if compute_metrics is not None:
                raise ValueError("compute_metrics is of models that classify: a language model's program has no logits")
            self._limit = block_length(self.options.block_size, self.config) if program is None else self.length
            texts = [self._texts(*source) for source in sources]
            if program is None:
                self.length = self._limit = common_length(texts, self.options, self._limit)
                if isinstance(texts[0], Answers):
                    self._pack(texts[0].counts())
                elif tokens := self.options.tokens_per_batch:
                    self.options = replace(self.options, per_device_train_batch_size=max(1, round(tokens / self.length)))
            sets = [lambda given=given: self._rows(given) for given in texts]
        else:
            examples = [self._examples(*sources[0])]
            self.labels = self._labels(examples[0])
            if self.options.weighs_loss and self.labels.regression:
                raise ValueError(f"--{self.options.weighs_loss} is of classes, but the labels are numbers")
            if self.options.label_smoothing_factor and self.labels.multiple:
                raise ValueError(
                    "--label_smoothing_factor is of models that give one label, but the examples have several"
                )
            if self.options.weighs_loss and self._tags:
                raise ValueError(f"--{self.options.weighs_loss} is of models that classify texts, but this one classifies their words")
            self.text_columns = examples[0].text_columns
            examples += [self._examples(*source) for source in sources[1:]]
            labels = [self.labels.encode(e) for e in examples]
            encoded = [self._encode(e) for e in examples]
            if program is None:
                self.length = sequence_length(encoded, self.options, self.tokenizer)
                self._pack(encoded[0].counts(self.length))
            columns = [teacher_column(self.options, self.labels, examples[0], encoded[0], self._limit), {}]
            sets = [
                lambda given=given: dataset(given[0], self.length, given[1], given[2].path, **given[3])
                for given in zip(encoded, labels, examples, columns)
            ]
        if program is None and (self._wants_norms or self.options.layer_sparsity == calibrating.OWL):
            if self.labels is None:
                texts[0].length = self.length
            self._calibrate(texts[0].arrays() if self.labels is None else arrays_of(encoded[0], self.length, None))
        if program is None:
            program = self._compile(compiler_options(self._with_measured, self.labels, self.length, True, self.token_capacity))
        # That the head is new, and what is left out for that.
        self.warnings += program.remarks
        self._has_random_head = bool(program.remarks)
        self.program = program
        self.model = _pst.Model(program, self.model_dir, self.options.seed)
        learns = "lm" if self.labels is None else "regression" if self.labels.regression else self.labels.task
        if self.model.task != learns:
            raise DataError(
                f"{self.options.bundle}: the bundle was compiled for the task {self.model.task}, but that of the data is {learns}"
            )
        if self.model.has_distillation != bool(self.options.distill_from):
            raise DataError(
                f"{self.options.bundle}: the bundle was compiled "
                + ("with --distillation: name a teacher, --distill_from DIR" if self.model.has_distillation
                   else "without --distillation, which --distill_from needs")
            )  # fmt: skip
        if self.labels is not None and self.model.num_labels != self.labels.count:
            raise DataError(
                f"{examples[0].path}: the data have {self.labels.count} labels, and the program has {self.model.num_labels}"
            )
        self._train, self._eval = [make() for make in sets] + ([] if eval is not None else [None])
        finds_entities = self._tags and is_scheme(self.labels.names)
        self.warnings += remarks(self.labels.names) if self._tags else []
        self._runtime_options = runtime_options(
            self.options, eval is not None, metric_name(self.options) or ("f1" if finds_entities else "")
        )
        if self.labels is not None and self.options.weighs_loss:
            self._runtime_options.class_weights = class_weights(self.options.class_weights, self.labels, labels[0])
        if not self.options.num_threads:
            self._runtime_options.num_threads = self.peers.default_threads()
        self._compute_metrics = compute_metrics
        if finds_entities:
            self._compute_metrics = functools.partial(_tag_metrics, self.labels.names, compute_metrics)
        self._eval_labels = None if self.labels is None or eval is None else self._label_array(encoded[1], labels[1], self.length)
        # Options out of range are found now, not after the first minute.
        self.plan = _pst.plan(
            self._runtime_options, self.model, len(self._train), self.peers.count, self._compute_metrics is not None
        )
        self._reporters = list(reporters)
        self._progress = progress
        self.result: dict | None = None

    def _pack(self, counts: np.ndarray) -> None:
        """Decides how many examples of so many tokens each a batch has, and whether it is stored without padding."""
        if tokens := self.options.tokens_per_batch:
            self.options = replace(self.options, per_device_train_batch_size=examples_of(tokens, counts))
        batch = self.options.per_device_train_batch_size
        self.token_capacity = token_capacity(counts, batch, self.length, self.options)
        if self.token_capacity:
            self.token_use = used_share(counts, batch, self.token_capacity)

    def _calibrate(self, arrays: dict[str, np.ndarray]) -> None:
        """Measures what layers read, for the method's criterion and for sparsities by outliers."""
        options = self.options
        file, spread = (os.path.abspath(os.path.join(options.output_dir, name)) for name in (calibrating.FILE, calibrating.OWL_FILE))
        wants_norms, shares_out = self._wants_norms, options.layer_sparsity == calibrating.OWL
        settings = compiler_options(replace(options, layer_sparsity=""), self.labels, self.length, False)
        if self.peers.leads:
            os.makedirs(options.output_dir, exist_ok=True)
            measured = (self.model_dir, settings, calibrating.some_rows(arrays, options.calibration_samples), "the training data")
            if wants_norms:
                calibrating.write(file, *measured)
            if shares_out:
                calibrating.write_owl(spread, *measured, DEFAULT_SPARSITY if options.sparsity is None else options.sparsity)
        self.peers.wait()
        self._measured = {**({"calibration_file": file} if wants_norms else {}), **({"layer_sparsity": spread} if shares_out else {})}

    @property
    def _with_measured(self) -> Options:
        """The options, with the files of what was measured for them."""
        return replace(self.options, **self._measured)

    @property
    def _wants_norms(self) -> bool:
        return _pst.is_measured(self.options.method) and not self.options.calibration_file

    def _compile(self, settings: dict):
        # One rank of a machine compiles; the others find the program on disk.
        others = self.options.cache and self.peers.local_rank > 0
        if others:
            self.peers.wait()
        program = _pst.compile_model(self.model_dir, settings)
        if self.options.cache and not others:
            self.peers.wait()
        return program

    def _texts(self, source, what: str, limit: int) -> Blocks | Answers:
        """What a language model reads of a source."""
        texts = read_language(source, self.tokenizer, self.config, self.options, self._limit, limit=limit, description=what)
        self.warnings += texts.warnings
        return texts

    def _rows(self, texts: Blocks | Answers) -> "_pst.Dataset":
        """The same as data of the program's length."""
        texts.length = self.length
        return _pst.Dataset.of(texts.arrays(), texts.path)

    def _labels(self, examples: Examples | Tagged) -> Labels:
        options = self.options
        if isinstance(examples, Tagged):
            labels = Labels(examples.names(self.config, options.class_names), tokens=True)
        else:
            labels = Labels.of(
                examples,
                self.config,
                options.task_name or None,
                classes=options.class_names,
                # Rows of Python's say which of their values is the label.
                named=bool(options.label_column) or examples.path == "the training data",
            )
        found = 0 if labels.regression else labels.occurring(labels.encode(examples))
        if found < labels.count and not options.classes and not labels.regression:
            self.warnings.append(
                f"{examples.path}: has {found} of the model's {labels.count} classes; --classes names those of another set"
            )
        return labels

    def _examples(self, source, what: str, limit: int) -> Examples | Tagged:
        options = self.options
        if self._tags:
            sentences = Tagged.of(
                source, what, words_column=options.text_column, tags_column=options.label_column,
                skip_bad_rows=options.skip_bad_rows, limit=limit or None,
            )  # fmt: skip
            self.warnings += sentences.warnings
            return sentences
        known = options.class_names or names_in(self.config) if self.labels is None else self.labels.names
        regression = self.labels.regression if self.labels else self.config.get("problem_type") == "regression"
        many = self.labels.multiple if self.labels else has_many_labels(options.task, self.config)
        settings = {
            "skip_bad_rows": options.skip_bad_rows,
            "limit": limit or None,
            # -1 is a number like any other.
            "classes": ("-1",) if regression and not options.task_name else known,
        }
        if isinstance(source, (str, os.PathLike)):
            examples = read_examples(
                source,
                task=options.task_name or None,
                text_column=options.text_column or None,
                text_pair_column=options.text_pair_column or None,
                label_column=options.label_column or None,
                label_columns=options.label_column_names,
                many=many,
                **settings,
            )
        else:
            wish = Wish(
                options.task_name, options.text_column, options.text_pair_column, options.label_column,
                tuple(options.label_column_names), many, tuple(known) if many else (),
            )  # fmt: skip
            examples = Examples.of(source, what, wish=wish, **settings)
        self.warnings += examples.warnings
        return examples

    @staticmethod
    def _label_array(encoded: Encoded, labels, length: int):
        """The labels as a program reads them."""
        return encoded.label_array(labels, length) if isinstance(encoded, EncodedWords) else labels

    def _encode(self, examples: Examples | Tagged) -> Encoded:
        """Tokens as the program takes them: no more than it has room for."""
        encoded, warnings = encode(self.tokenizer, examples, self._limit, self.options)
        self.warnings += warnings
        return encoded

    @property
    def trainable_parameters(self) -> int:
        """Number of elements that training changes."""
        parameters = json.loads(self.program.manifest)["parameters"]
        return sum(math.prod(parse_type(p["type"])[1]) for p in parameters if p["role"] == "trainable")

    @property
    def sparsity(self) -> float:
        """Of the parameters that the model now holds."""
        return self.result["sparsity"] if self.result else self.plan["sparsity"]

    def train(self) -> dict:
        """Runs, or resumes, to the end.

        The first Ctrl-C, SIGTERM or SIGHUP ends the run with a checkpoint after
        the current step (the result's "stopped" is then true); a second one at
        once. Returns step, total_steps, seconds, seconds_per_step, sparsity,
        stopped, ended_early (by a callback or early_stopping_patience), history
        and best (evaluations), best_checkpoint: the same on all ranks.
        """
        options = self.options
        leads = self.peers.leads
        progress = self._progress or Progress() if leads else Progress(quiet=True)
        reports = Reports(self._reporters if leads else ())
        for warning in self.warnings:
            progress.line("warning: " + warning)
        follow = Callbacks([progress, reports, *self._callbacks])
        on_step_end = follow.hook("on_step_end")
        begun = False

        def on_step(record):
            nonlocal begun
            if not begun and leads:
                # Only now is it sure that the output directory is this run's.
                self._write_run_file()
                reports.open(options, {"model": self.model_dir, **asdict(options)})
                begun = True
            on_step_end(record)

        compute = self._compute_metrics
        try:
            self._has_random_head = False
            with StopOnSignal(progress.line) as stop:
                self.result = _pst.train(
                    self.model,
                    self._runtime_options,
                    self._train,
                    self._eval,
                    on_step=on_step,
                    on_log=follow.hook("on_log"),
                    on_evaluate=follow.hook("on_evaluate"),
                    on_save=follow.hook("on_save"),
                    on_message=progress.on_message,
                    should_stop=lambda: stop.asked,
                    should_end=lambda: follow.want_end,
                    compute_metrics=compute and (lambda logits: own_metrics(compute, logits, self._eval_labels)),
                    peers=self.peers,
                )
            follow.hook("on_train_end")(self.result)
        finally:
            progress.close()
            reports.close()
        return self.result

    def _write_run_file(self) -> None:
        options = self._with_measured
        settings = compiler_options(options, self.labels, self.length, True)
        # The run's own copies, whatever becomes of the files.
        if options.criterion:
            settings["criterion"] = self._keep(CRITERION_FILE, Criterion(options.criterion).text)
        if names_file(options.layer_sparsity):
            settings["layer_sparsity"] = self._keep(LAYERS_FILE, read_text(options.layer_sparsity))
        if options.calibration_file:
            settings["calibration_file"] = os.path.abspath(os.path.join(self.options.output_dir, calibrating.FILE))
            if os.path.abspath(options.calibration_file) != settings["calibration_file"]:
                shutil.copyfile(options.calibration_file, settings["calibration_file"])
        content = {
            "format": RUN_FORMAT,
            "model": os.path.abspath(self.model_dir),
            "bundle": os.path.abspath(self.options.bundle) if self.options.bundle else "",
            "compiler_options": settings,
            "labels": self.labels and self.labels.class_list,
            "text_columns": self.text_columns,
            "data": self.data,
            "trainable": self.trainable_parameters,
            "options": asdict(self.options),
        }
        self._keep(RUN_FILE, json.dumps(content, indent=2))

    def _keep(self, name: str, text: str) -> str:
        """Writes a file of the run; returns its path."""
        path = os.path.abspath(os.path.join(self.options.output_dir, name))
        write_text(path, text)
        return path

    def evaluate(self, data=None, sparsity: float | None = None) -> dict:
        """Loss and metrics on the evaluation data, or on `data`.

        `data` are read as `pst eval` of the saved model reads them: rows that
        are longer than those trained on are not cut but at max_seq_length (a
        program is compiled for them, and the model written to a directory that
        is removed again). Examples without labels have logits only. Completions
        are cut at what a language model's program was compiled for.

        Returns examples, loss, metrics, sparsity, seconds and logits
        (float32[examples, labels]; without columns for a language model, whose
        examples are blocks, and whose loss is the mean over tokens).
        """
        sparsity = self.sparsity if sparsity is None else sparsity
        if data is None:
            if self._eval is None:
                raise ValueError("there are no evaluation data: Trainer(..., eval=...) or evaluate(data)")
            return self._with_own_metrics(_pst.evaluate(self.model, self._eval, sparsity), self._eval_labels)
        if self.labels is None:
            return _pst.evaluate(self.model, self._rows(self._texts(data, "the data", 0)), sparsity)
        examples = self._examples(data, "the data", 0)
        labels = None if examples.labels is None else self.labels.encode(examples)
        encoded, warnings = encode(self.tokenizer, examples, self.options.max_seq_length, self.options)
        if encoded.longest > self.length:
            found = self._evaluate_saved(examples, sparsity)
        else:
            self.warnings += warnings
            found = _pst.evaluate(self.model, dataset(encoded, self.length, labels, examples.path), sparsity)
        return self._with_own_metrics(found, labels if labels is None else self._label_array(encoded, labels, found["logits"].shape[1]))

    def _with_own_metrics(self, evaluation: dict, labels) -> dict:
        if self._compute_metrics is None or labels is None:
            return evaluation
        own = own_metrics(self._compute_metrics, evaluation["logits"], labels)
        return {**evaluation, "metrics": {**evaluation["metrics"], **own}}

    def _evaluate_saved(self, examples: Examples, sparsity: float) -> dict:
        options = self.options
        with tempfile.TemporaryDirectory(prefix="pst-evaluate-") as parent:
            directory = os.path.join(parent, "model")
            self._export(directory, sparsity)
            saved = Classifier(
                directory,
                max_seq_length=options.max_seq_length,
                per_device_eval_batch_size=options.per_device_eval_batch_size,
                task=self.labels.task,
                **options.of_compiler(("machine",)),
            )
            saved.labels = self.labels
            evaluation = saved.evaluate(examples)
        self.warnings += saved.warnings
        return {**evaluation, "sparsity": sparsity}

    def save(self, directory=None) -> dict:
        """Writes the sparse model as a directory that `transformers` loads,
        with a model card (README.md).

        Default: OUTPUT_DIR/model. Replaces what lies there. Returns layers
        (elements, pruned, zeros of each), zero_share, sparsity. Raises
        ValueError before train() if the head has random values.
        """
        if self._has_random_head:
            raise ValueError(f"{self.model_dir}: its head starts from random values: train() before save()")
        directory = os.fspath(directory) if directory is not None else os.path.join(self.options.output_dir, "model")
        saved = self._export(directory, self.sparsity)
        card = modelcard.Card(
            name=os.path.basename(os.path.abspath(self.options.output_dir)),
            base=modelcard.base_name(self.model_dir, self.config),
            options=asdict(self.options),
            zero_share=saved["zero_share"],
            layers=len(saved["layers"]),
            trainable=self.trainable_parameters,
            labels=self.labels and self.labels.class_list,
            predicts_tokens=self.labels is None,
            classifies_tokens=self._tags,
            evaluation=modelcard.held_evaluation(self.result, self._runtime_options.load_best_model_at_end),
            data=self.data,
        )
        modelcard.write(directory, card, modelcard.Storage("dense", saved["bytes"], saved["bytes"]))
        return saved

    def _export(self, directory: str, sparsity: float) -> dict:
        config = {**label_config(self.labels, self.tokenizer), **column_config(self.text_columns)}
        return _pst.export_model(self.model, sparsity, directory, True, json.dumps(config))


def _tag_metrics(names: list[str], compute: Callable | None, logits, labels) -> dict:
    """Those of entities, and what the user computes beside them."""
    return {**entity_metrics(names, logits, labels), **(own_metrics(compute, logits, labels) if compute else {})}


def _program_length(program, bundle: str) -> int:
    """The sequence length that a bundle was compiled for."""
    entry = json.loads(program.manifest)["entry_points"].get("forward")
    kind = next((a["type"] for a in (entry or {}).get("arguments", []) if a["name"] == "input_ids"), None)
    if kind is None:
        raise DataError(f"{bundle}: the bundle has no 'forward' that reads input_ids: it is not that of a model")
    return parse_type(kind)[1][1]
