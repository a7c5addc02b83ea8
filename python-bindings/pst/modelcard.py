# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The model card of what is saved: README.md as Hugging Face's hub reads it."""

from __future__ import annotations

import json
import math
import os
import shlex
from dataclasses import MISSING, dataclass, field, fields

from .errors import DataError
from .files import read_small
from .outputs import write_text

FILE = "README.md"
_FILES = "## Files"

# What the metrics are called on the hub.
_NAMES = {"matthews": "matthews_correlation", "macro_f1": "f1_macro", "micro_f1": "f1_micro", "auc": "roc_auc", "pearson": "pearsonr", "spearman": "spearmanr"}


@dataclass
class Storage:
    """How the weights are stored. `bytes` are those of the file, `dense_bytes`
    those that it has with all weights whole; the same of the sparse layers alone.
    `metrics`: by name, before and after rounding."""

    form: str  # of `pst export --format`
    bytes: int
    dense_bytes: int
    layer_bytes: int = 0
    layer_dense_bytes: int = 0
    value_type: str = ""
    embedding_type: str = ""
    bound: float | None = None
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    base_digest: str = ""
    layout: str = ""  # of compressed-tensors

    def text(self) -> str:
        """The last part of a card."""
        rows = [("all tensors", self.dense_bytes, self.bytes)]
        if self.layer_bytes:
            rows.append(("the sparse layers", self.layer_dense_bytes, self.layer_bytes))
        text = f"{_FILES}\n\n{self._words()}\n\n| | MiB dense | MiB |\n|---|---|---|\n"
        text += "".join(f"| {what} | {dense / 2**20:.2f} | {now / 2**20:.2f} |\n" for what, dense, now in rows)
        if self.metrics:
            text += "\n| metric | before | rounded |\n|---|---|---|\n"
            text += "".join(f"| {name} | {before:.4f} | {after:.4f} |\n" for name, (before, after) in self.metrics.items())
        return text

    def zeros(self) -> str:
        """What other runtimes make of zeros."""
        runtime = {"gguf": "llama.cpp", "onnx": "ONNX Runtime"}[self.form]
        return f"zeros are stored as such: the file is no smaller for them, and {runtime} multiplies them like any number"

    def _words(self) -> str:
        if self.form == "adapter":
            return (
                "An adapter: what was trained, without the base model, whose tensors have the digest "
                f"`{self.base_digest}`. `pst export ADAPTER --base BASE --output_dir MODEL` makes the model of both."
            )
        if self.form == "dense":
            return "`transformers` loads it unchanged; zeros are stored as such."
        if self.form == "gguf":
            bound = f" (a weight differs by at most {self.bound:.3g})" if self.bound else ""
            values = f", with matrices of {self.value_type}{bound}" if self.value_type else ""
            return f"`model.gguf` is for llama.cpp and what stands on it{values}; {self.zeros()}."
        if self.form == "onnx":
            return (
                "`model.onnx` is for ONNX Runtime and others: it takes `input_ids`, `attention_mask` and, of a BERT, `token_type_ids`, i64 of any "
                f"batch and length, and gives `logits`; {self.zeros()}."
            )
        embeddings = f", and embeddings are of {self.embedding_type}" if self.embedding_type else ""
        bound = f" (a weight differs by at most {self.bound:.3g})" if self.bound else ""
        return (
            f"Sparse weights lie in the layout `{self.layout}` of compressed-tensors, with values of "
            f"{self.value_type or 'the type that they had'}{embeddings}{bound}; `pst` reads it, and `pst export` makes a dense model of it."
        )


@dataclass
class Card:
    """What is known of a saved model. `evaluation` is the record of the
    parameters that it holds, or None; `data` are the files it is of."""

    name: str
    base: str
    options: dict
    zero_share: float
    layers: int
    trainable: int | None = None
    labels: list[str] | None = None
    predicts_tokens: bool = False
    classifies_tokens: bool = False
    evaluation: dict | None = None
    data: dict[str, str] = field(default_factory=dict)

    def text(self, storage: Storage) -> str:
        return f"---\n{self._metadata()}---\n\n{self._words()}\n{storage.text()}"

    @property
    def _task(self) -> str:
        return "text-generation" if self.predicts_tokens else "token-classification" if self.classifies_tokens else "text-classification"

    def _results(self) -> dict[str, float]:
        """Numbers only: the hub has no word for one that is not defined."""
        found = self.evaluation or {}
        values = {**found.get("metrics", {}), "loss": found.get("loss")}
        return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}

    def _metadata(self) -> str:
        # JSON is YAML: strings are quoted as it quotes them. The licence is for
        # the user to name.
        lines = [
            f"base_model: {json.dumps(self.base)}",
            "library_name: transformers",
            f"pipeline_tag: {self._task}",
            "tags:",
            *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(("sparse", "pst", self.options["method"]))),
        ]
        metrics = [{"type": _NAMES.get(name, name), "value": value} for name, value in self._results().items()]
        if metrics and self.data.get("eval"):
            dataset = os.path.basename(self.data["eval"])
            result = {"task": {"type": self._task}, "dataset": {"name": dataset, "type": dataset}, "metrics": metrics}
            index = [{"name": self.name, "results": [result]}]
            lines.append(f"model-index: {json.dumps(index)}")
        return "\n".join(lines) + "\n"

    def _words(self) -> str:
        options = self.options
        text = (
            f"# {self.name}\n\n"
            f"`{self.base}`, fine-tuned with the method `{options['method']}`"
            + (f" to {self.zero_share:.1%} zeros in {self.layers} linear layers" if self.layers else "")
            + (f"; {self.trainable:,} parameters were trained" if self.trainable else "")
            + ".\n"
        )
        if self.labels:
            text += "\nClasses: " + ", ".join(f"`{name}`" for name in self.labels) + ".\n"
        if self.evaluation:
            text += f"\n| metric, after {self.evaluation['step']} steps | value |\n|---|---|\n"
            text += "".join(f"| {name} | {value:.4f} |\n" for name, value in self._results().items())
        return text + f"\nMade with\n\n    {command(self.base, self.data, options)}\n"


def command(base: str, data: dict[str, str], options: dict) -> str:
    """The command line of a run: its options where they are not the defaults."""
    from .options import Options

    parts = ["pst", "train", "--model_name_or_path", base]
    for name, flag in (("train", "--train_file"), ("eval", "--validation_file")):
        if data.get(name):
            parts += [flag, data[name]]
    for item in fields(Options):
        value = options.get(item.name)
        default = None if item.default is MISSING else item.default
        if value not in (None, default) and item.name not in ("resume_from_checkpoint", "overwrite_output_dir"):
            parts += [f"--{item.name}", str(value)]
    return shlex.join(parts)


def base_name(model_dir: str, config: dict) -> str:
    """What a base model is called: as on the hub, if its files say so."""
    known = config.get("_name_or_path")
    return known if isinstance(known, str) and known and not os.path.isabs(known) else os.path.basename(os.path.abspath(model_dir))


def held_evaluation(result: dict | None, loads_best: bool) -> dict | None:
    """The evaluation of the parameters that a model holds after a run."""
    if result is None:
        return None
    best = result["best"] if loads_best and not result["stopped"] else None
    step = best["step"] if best else result["step"]
    return next((record for record in reversed(result["history"]) if record["step"] == step), None)


def write(directory, card: Card, storage: Storage) -> None:
    write_text(os.path.join(directory, FILE), card.text(storage))


def rewrite(source, directory, base: str, storage: Storage) -> None:
    """The card of a model that was stored otherwise in `source`: what is said
    there, with the files as they are now; without a card there, these alone."""
    try:
        text = read_small(os.path.join(source, FILE)).decode()
    except (DataError, FileNotFoundError, UnicodeDecodeError):
        text = f"---\nbase_model: {json.dumps(base)}\nlibrary_name: transformers\ntags:\n- sparse\n- pst\n---\n\n# {base}\n"
    before = text.partition(f"\n{_FILES}\n")[0].rstrip("\n")
    write_text(os.path.join(directory, FILE), f"{before}\n\n{storage.text()}")
