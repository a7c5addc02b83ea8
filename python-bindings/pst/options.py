# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The options of a training run: `pst train`'s flags, and the keyword
arguments of `pst.Trainer`.

Names and defaults are those of Hugging Face's TrainingArguments and of the
reference implementation's scripts where they have them.
"""

from __future__ import annotations

import argparse
import difflib
import os
from dataclasses import MISSING, dataclass, field, fields


def _option(default, text, **more):
    return field(default=default, metadata={"help": text, **more})


METHODS = ("pst", "dense", "lora", "map", "mvp")
_INTERVALS = ("no", "epoch", "steps")


@dataclass
class Options:
    # Output.
    output_dir: str = _option("", "where checkpoints, logs and the model are written", required=True)
    overwrite_output_dir: bool = _option(False, "start anew in an output directory that holds a run, which is removed")
    resume_from_checkpoint: str = _option(
        "", "a checkpoint's directory, or 'last' for the newest one of --output_dir", optional_value="last"
    )
    logging_dir: str = _option("", "directory of the TensorBoard events (default: OUTPUT_DIR/tensorboard)")
    report_to: str = _option("tensorboard", "'tensorboard' or 'none'", choices=("tensorboard", "none"))

    # Data.
    task: str = _option(
        "",
        "classification, or lm: predict the next token (default: as the class that config.json names)",
        choices=("", "classification", "lm"),
    )
    task_name: str = _option("", "a GLUE task, which says columns, labels and metric: sst2, cola, rte, stsb, ...")
    text_column: str = _option("", "column of the text (default: found by its name)")
    text_pair_column: str = _option("", "column of the second text of a pair")
    label_column: str = _option("", "column of the label")
    max_seq_length: int = _option(128, "tokens of an example at most; longer ones are cut")
    block_size: int = _option(0, "of a language model: tokens of a block (0: as the model has positions, 1024 at most)")
    pad_to_max_length: bool = _option(False, "compute at --max_seq_length even if all examples are shorter")
    max_train_samples: int = _option(0, "use the first so many training examples only (0: all)")
    max_eval_samples: int = _option(0, "use the first so many evaluation examples only (0: all)")
    skip_bad_rows: bool = _option(False, "skip malformed rows with a warning")

    # Method.
    method: str = _option("pst", "how the encoder's linear layers are trained", choices=METHODS)
    sparsity: float | None = _option(
        None, "final share of zeros in each of them (default: 0.9 if the method prunes)", alias=("final_sparsity",)
    )
    initial_sparsity: float = _option(0.0, "sparsity at the beginning")
    initial_warmup: float = _option(0.1, "share of the steps that run at the initial sparsity")
    final_warmup: float = _option(0.3, "share of the steps that run at the final sparsity")
    weight_rank: int = _option(8, "rank of U and V, the change of the weight")
    mask_rank: int = _option(8, "rank of A and B, the change of the importance")
    weight_beta: float = _option(1.0, "factor of UV in the weight")
    mask_alpha1: float = _option(1.0, "factor of AB in the importance")
    mask_alpha2: float = _option(1.0, "factor of the importance's rows R and columns C")
    detach_magnitude: bool = _option(False, "do not let the importance's |W'| pass gradients on (the reference does)")
    frozen_type: str = _option(
        "f32", "frozen matrices in memory: f32, or bf16, which takes half of it", choices=("f32", "bf16")
    )
    precision: str = _option(
        "f32",
        "activations and their gradients: f32, or for GPUs (CPUs compute in f32) bf16, or tf32: f32, but rounded where they "
        "are multiplied",
        choices=("f32", "tf32", "bf16"),
    )
    bf16: bool = _option(False, "the same as --precision bf16")
    dropout: float | None = _option(None, "dropout probability of hidden states and attention (default: the model's)")

    recompute: str = _option(
        "cheap", "what the backward computes again instead of keeping it: none, cheap, or all (least memory)"
    )
    products: str = _option(
        "auto", "how masked weights enter their products: auto (by the sparsity), packed, buffer or compressed"
    )

    # Training.
    per_device_train_batch_size: int = _option(8, "examples of a micro-batch")
    per_device_eval_batch_size: int = _option(
        0, "for 'pst eval': examples of a batch (training evaluates in batches of its own size)"
    )
    gradient_accumulation_steps: int = _option(1, "micro-batches of an optimizer step")
    learning_rate: float = _option(5e-5, "AdamW's learning rate after warm-up; decays linearly to 0")
    num_train_epochs: float = _option(3.0, "passes over the training data")
    max_steps: int = _option(0, "number of optimizer steps, if positive, whatever --num_train_epochs is")
    warmup_steps: int = _option(0, "steps in which the learning rate rises to its value")
    warmup_ratio: float = _option(0.0, "the same as a share of all steps, where --warmup_steps is 0")
    weight_decay: float = _option(0.0, "AdamW's weight decay")
    adam_beta1: float = _option(0.9, "AdamW's beta1")
    adam_beta2: float = _option(0.999, "AdamW's beta2")
    adam_epsilon: float = _option(1e-8, "AdamW's epsilon")
    max_grad_norm: float = _option(1.0, "global norm to which gradients are clipped (0: no clipping)")
    seed: int = _option(42, "seed of initial values, shuffling and dropout")

    # Reporting, evaluation and checkpoints.
    logging_steps: int = _option(10, "steps between two lines of the log")
    eval_strategy: str = _option(
        "epoch", "when to evaluate", choices=_INTERVALS, alias=("evaluation_strategy",)
    )
    eval_steps: int = _option(0, "evaluate every so many steps (implies --eval_strategy steps)")
    save_strategy: str = _option("epoch", "when to write a checkpoint", choices=_INTERVALS)
    save_steps: int = _option(0, "write a checkpoint every so many steps (implies --save_strategy steps)")
    save_total_limit: int = _option(0, "keep so many newest checkpoints, and the best one (0: all)")
    metric_for_best_model: str = _option("", "metric by which the best checkpoint is chosen (default: the task's)")
    load_best_model_at_end: bool = _option(
        True, "save the best evaluated model, not the last; only evaluations at the final sparsity compete"
    )

    # Machine.
    num_threads: int = _option(0, "threads (0: one for each core)")
    target: str = _option("cpu", "where the program runs: cpu, or cuda, an NVIDIA GPU", choices=("cpu", "cuda"))
    gpu_arch: str = _option("sm_90a", "the GPU's architecture: sm_90a, or sm_80 for other ones", choices=("sm_90a", "sm_80"))
    cache: bool = _option(True, "take the compiled program from the cache on disk, and keep it there")
    bundle: str = _option("", "train with this bundle of 'pst compile' instead of compiling")

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, os.PathLike):
                setattr(self, item.name, os.fspath(value))
        if self.bf16:
            self.precision = "bf16"

    @staticmethod
    def make(**values) -> "Options":
        """Options from keyword arguments, aliases included; TypeError for an
        unknown one."""
        names = {item.name: item.name for item in fields(Options)}
        for item in fields(Options):
            names.update(dict.fromkeys(item.metadata.get("alias", ()), item.name))
        chosen = {}
        for name, value in values.items():
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                raise TypeError(f"there is no option '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))
            if names[name] in chosen:
                raise TypeError(f"option '{names[name]}' was given twice")
            chosen[names[name]] = value
        return Options(**chosen)

    def check(self) -> None:
        """Raises ValueError for what the runtime would not see."""
        for name in (
            "max_seq_length",
            "per_device_train_batch_size",
            "weight_rank",
            "mask_rank",
        ):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"--{name} must be at least 1, but is {value}")
        if self.max_seq_length < 3:
            raise ValueError(f"--max_seq_length must be at least 3 (two special tokens and a word), but is {self.max_seq_length}")
        for name in ("block_size", "max_train_samples", "max_eval_samples", "per_device_eval_batch_size", "eval_steps", "save_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must not be negative, but is {getattr(self, name)}")
        if self.block_size == 1:
            raise ValueError("--block_size must be at least 2: a token is predicted from those before it")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be in [0, 1), but is {self.dropout}")
        for name, allowed in (
            ("task", ("", "classification", "lm")),
            ("method", METHODS),
            ("frozen_type", ("f32", "bf16")),
            ("precision", ("f32", "tf32", "bf16")),
            ("target", ("cpu", "cuda")),
            ("gpu_arch", ("sm_90a", "sm_80")),
            ("recompute", ("none", "cheap", "all")),
            ("products", ("auto", "packed", "buffer", "compressed")),
            ("eval_strategy", _INTERVALS),
            ("save_strategy", _INTERVALS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"--{name} must be one of {', '.join(allowed)}, but is '{getattr(self, name)}'")
        if self.precision == "bf16" and self.target == "cpu" and not self.bundle:
            raise ValueError("--precision bf16 is for GPUs, and CPUs compute in f32: add --target cuda, or leave it out")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ValueError(f"--sparsity must be in [0, 1), but is {self.sparsity}")
        if self.sparsity and self.method in ("dense", "lora"):
            raise ValueError(f"--method {self.method} prunes nothing, but --sparsity is {self.sparsity}")


def add_arguments(parser: argparse.ArgumentParser, groups: dict[str, str], only=None) -> None:
    """Adds a flag for each option; `groups` maps an option to the title of the
    group that begins with it. `only`: names of the options wanted."""
    group = parser
    for item in fields(Options):
        if item.name in groups:
            group = parser.add_argument_group(groups[item.name])
        if only is not None and item.name not in only:
            continue
        more = item.metadata
        flags = ["--" + name for name in (item.name, *more.get("alias", ()))]
        default = None if item.default is MISSING else item.default
        text = more["help"]
        if default not in (None, "", False) and not isinstance(default, bool):
            text += f" (default: {default})"
        settings: dict = {"dest": item.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        if isinstance(default, bool):
            settings["action"] = argparse.BooleanOptionalAction if default else "store_true"
        else:
            kind = item.type if isinstance(item.type, str) else item.type.__name__
            settings["type"] = {"int": _whole, "float": float, "str": str}[kind.split(" ")[0]]
            settings["metavar"] = {"int": "N", "float": "X", "str": "TEXT"}[kind.split(" ")[0]]
            if "choices" in more:
                settings["choices"] = more["choices"]
                settings.pop("metavar")
            if "optional_value" in more:
                settings.update(nargs="?", const=more["optional_value"])
            if more.get("required"):
                settings["required"] = True
        group.add_argument(*flags, **settings)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


GROUPS = {
    "output_dir": "output",
    "task": "data",
    "method": "method",
    "per_device_train_batch_size": "training",
    "logging_steps": "evaluation and checkpoints",
    "num_threads": "machine",
}
