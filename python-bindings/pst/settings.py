# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the compiler, the runtime and a saved config.json are told of a run."""

from __future__ import annotations

from . import _pst
from .data import Labels, find_task
from .many_labels import PROBLEM
from .options import DEFAULT_SPARSITY, Options
from .tokenizer import Tokenizer

# Spellings of Hugging Face and scikit-learn for the runtime's metrics.
_METRICS = {
    "matthews_correlation": "matthews",
    "f1_macro": "macro_f1",
    "f1_micro": "micro_f1",
    "roc_auc": "auc",
    "pearsonr": "pearson",
    "spearmanr": "spearman",
}


def compiler_options(options: Options, labels: Labels | None, length: int, training: bool, token_capacity: int = 0) -> dict:
    """What `_pst.compile_model` is told; without labels, a language model."""
    predicted = {"task": "lm"} if labels is None else {
        "task": labels.task,
        "num_labels": labels.count,
        "regression": labels.regression,
    }  # fmt: skip
    return {
        **predicted,
        "training": training,
        "batch_size": options.per_device_train_batch_size,
        "sequence_length": length,
        "token_capacity": token_capacity,
        **options.of_compiler(),
        **({"weighted_loss": True} if training and options.weighs_loss else {}),
        **({"hold_mask": True} if training and options.holds_mask else {}),
        **({"distillation": True} if training and options.distill_from else {}),
        # Where no layer has a sparsity of its own, a program serves any.
        **({"run_sparsity": float(DEFAULT_SPARSITY if options.sparsity is None else options.sparsity)} if options.layer_sparsity else {}),
    }


def runtime_options(options: Options, has_eval: bool, metric: str) -> "_pst.TrainingOptions":
    """The runtime's options, as evaluation data allow."""
    out = options.of_training()
    if not has_eval:
        out.eval_strategy, out.eval_steps = "no", None
    saves = options.save_strategy != "no" or options.save_steps is not None
    evaluates = options.eval_strategy != "no" or options.eval_steps is not None
    out.load_best_model_at_end = options.load_best_model_at_end and has_eval and saves and evaluates
    out.metric_for_best_model = metric
    return out


def metric_name(options: Options) -> str:
    """The metric for the best model as the runtime spells it."""
    name = options.metric_for_best_model.removeprefix("eval_")
    if not name and options.task_name:
        name = find_task(options.task_name).metric
    return _METRICS.get(name, name)


def label_config(labels: Labels | None, tokenizer: Tokenizer | None = None) -> dict:
    """What the trained model's config.json says about the labels, and of a model
    that reads the last token about the padding after it: by that transformers
    finds the last token."""
    if labels is None:
        return {}
    if tokenizer is not None and tokenizer.settings.reads_last_token:
        return {**label_config(labels), "pad_token_id": tokenizer.padding}
    if labels.regression:
        return {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "problem_type": "regression"}
    return {
        "id2label": {str(i): name for i, name in enumerate(labels.names)},
        "label2id": {name: i for i, name in enumerate(labels.names)},
        **({} if labels.tokens else {"problem_type": PROBLEM if labels.multiple else "single_label_classification"}),
    }


def column_config(text_columns) -> dict:
    """What the trained model's config.json says about the columns that its texts came from."""
    return {"text_columns": list(text_columns)} if text_columns else {}
