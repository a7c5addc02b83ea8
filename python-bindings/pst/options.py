# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The options of a training run: `pst train`'s flags, and the keyword
arguments of `pst.Trainer`.

Those of the compiler and of the runtime's loop are declared there, once, and
read from the extension; here are the ones that only Python knows: what the data
are, and how to report. Names and defaults are those of Hugging Face's
TrainingArguments and of the reference implementation's scripts where they have
them.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import io
import operator
import os
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace

from . import _pst
from .arguments import Switch, truth
from .many_labels import PROBLEM
from .reporters import kinds
from .tasks import TOKEN_CLASSES

DECLARED = {option["name"]: option for option in _pst.option_table()}
METHODS = tuple(DECLARED["method"]["choices"])

# The run's where none is named.
DEFAULT_SPARSITY = 0.9


def names_file(value: str | None) -> bool:
    """Whether --criterion or --layer_sparsity says a file's name, not nothing or that each layer is as sparse as the model has it."""
    return value not in (None, "", _pst.OWN_ZEROS)


# Titles of the groups of flags, in their order.
GROUPS = ("output", "data", "method", "training", "evaluation and checkpoints", "machine")
# Of programs that only evaluate, which 'pst train' has no flags for.
INFERENCE = "inference"

# What these commands have differently.
_CHANGES = {
    "output_dir": {"required": True},
    "resume_from_checkpoint": {"optional_value": "last"},
    "task": {"group": "data"},
    "sparsity": {"alias": ("final_sparsity",)},
    "eval_strategy": {"alias": ("evaluation_strategy",)},
    "load_best_model_at_end": {"default": True},
}


def _option(group, default, text, **more):
    return field(default=default, metadata={"group": group, "help": text, **more})


def _names(option: str, text: str) -> list[str]:
    """Names with commas between them, quoted where one holds a comma."""
    try:
        return [name.strip() for name in next(csv.reader([text]), [])]
    except csv.Error:
        most = csv.field_size_limit()
        raise ValueError(f"--{option} must be names in one line, with commas between them, each of at most {most} letters") from None


def flag_of(name: str, value) -> str:
    """An option and its value as on the command line."""
    return f"--{name} {value if isinstance(value, str) else format(value, 'g')}"


# The published code: one rate for all that it trains, which the head is not; no clipping. What it lacks has its default.
_REFERENCE_RATE = 3e-5
_REFERENCE = {
    "head_learning_rate": 0.0, "max_grad_norm": 0.0, "weight_decay": 0.0, "gradient_accumulation_steps": 1, "initial_sparsity": 0.0,
    "lr_scheduler_type": "linear",
    "method": "pst", "selection": "topk", "detach_magnitude": False, "init_scale": 1.0,
    "weight_beta": 1.0, "mask_alpha1": 1.0, "mask_alpha2": 1.0, "mask_interval": 1, "mask_freeze": 1.0,
    "criterion": "", "hyperparameters": "", "layer_sparsity": "", "modules_to_save": _pst.NO_MODULES, "distill_from": "", "class_weights": "", "bundle": "",
}  # fmt: skip


@dataclass
class _PythonOptions:
    logging_dir: str = _option("output", "", "directory of the TensorBoard events (default: OUTPUT_DIR/tensorboard)")
    report_to: str = _option(
        "output", "tensorboard", "where the numbers of the run go: tensorboard, wandb, trackio, several with commas, or none"
    )
    run_name: str = _option("output", "", "the run's name in wandb and trackio (default: the last part of --output_dir)")

    task_name: str = _option("data", "", "a GLUE task, which says columns, labels and metric: sst2, cola, rte, stsb, ...")
    text_column: str = _option("data", "", "column of the text (default: found by its name)")
    text_pair_column: str = _option("data", "", "column of the second text of a pair")
    completion_column: str = _option(
        "data", "", "of a language model: column of what it shall say to the prompt in --text_column (default: found by its name)"
    )
    label_column: str = _option("data", "", "column of the label")
    label_columns: str = _option("data", "", "columns of 0 and 1, one for each of an example's labels, with commas between them")
    classes: str = _option(
        "data", "", "the classes, in the order of their ids, with commas between them (default: found in the training data)"
    )
    max_seq_length: int = _option("data", 128, "tokens of an example at most; longer ones are cut")
    block_size: int = _option(
        "data", 0, "of a language model: tokens of a block (0: as the model has positions, 1024 at most)"
    )
    pad_to_max_length: bool = _option("data", False, "compute at --max_seq_length even if all examples are shorter, padding too")
    max_train_samples: int = _option("data", 0, "use the first so many training examples only (0: all)")
    max_eval_samples: int = _option("data", 0, "use the first so many evaluation examples only (0: all)")
    skip_bad_rows: bool = _option("data", False, "skip malformed rows with a warning")

    distill_from: str = _option(
        "training", "", "directory of a model, fine-tuned for this task, that the loss draws this one towards"
    )
    calibration_samples: int = _option(
        "method", 128, "of pst_wanda, wanda and ria: training examples, evenly spread, on which what layers read is measured"
    )
    reference_exact: bool = _option(
        "method", False, "train as the authors' published code does, what it gets wrong included (docs/Methods.md)"
    )
    per_device_train_batch_size: int = _option("training", 8, "examples of a micro-batch")
    tokens_per_batch: int = _option(
        "training", 0, "as many examples in a micro-batch as have so many tokens on average (0: --per_device_train_batch_size)"
    )
    per_device_eval_batch_size: int = _option(
        "training", 0, "for 'pst eval': examples of a batch (training evaluates in batches of its own size)"
    )

    bf16: bool = _option("machine", False, "the same as --precision bf16")
    bundle: str = _option("machine", "", "train with this bundle of 'pst compile' instead of compiling")

    def __post_init__(self):
        if isinstance(self.resume_from_checkpoint, (bool, type(None))):
            self.resume_from_checkpoint = "last" if self.resume_from_checkpoint else ""
        for name in ("report_to", "class_weights"):
            value = getattr(self, name)
            if hasattr(value, "__iter__") and not isinstance(value, str):
                setattr(self, name, ",".join(map(str, value)))
        for item in fields(self):
            if item.name not in ("classes", "label_columns"):
                setattr(self, item.name, _converted(item, getattr(self, item.name)))
        if self.bf16:
            self.precision = "bf16"
        for name in ("classes", "label_columns"):
            value = getattr(self, name)
            if not isinstance(value, str):
                # Quoted where a name holds a comma.
                line = io.StringIO()
                csv.writer(line, lineterminator="").writerow(map(str, value or ()))
                setattr(self, name, line.getvalue())
        if not self.task and (self.label_columns or self.task_name or self.text_pair_column):
            self.task = PROBLEM if self.label_columns else "classification"

    @property
    def class_names(self) -> list[str]:
        """`classes` as a list."""
        return _names("classes", self.classes)

    @property
    def label_column_names(self) -> list[str]:
        """`label_columns` as a list."""
        return _names("label_columns", self.label_columns)

    @property
    def labelled_by(self) -> str:
        """The first option given that only classification has, or ""."""
        names = ("task_name", "label_column", "label_columns", "text_pair_column", "classes")
        return next((name for name in names if getattr(self, name)), "")

    @property
    def implied_task(self) -> str:
        """The task; if it is not given, what the other options imply: whoever
        names labels does not want a language model."""
        return self.task or ("classification" if self.labelled_by else "lm" if self.completion_column else "")

    @property
    def weighs_loss(self) -> str:
        """The first option given by which the loss is a weighted one, or ""."""
        return next((name for name in ("class_weights", "label_smoothing_factor") if getattr(self, name)), "")

    @property
    def holds_mask(self) -> bool:
        """Whether the mask stays between steps, so that the program must keep it."""
        return self.mask_interval != 1 or self.mask_freeze != 1

    def of_compiler(self, groups=("method", "machine")) -> dict:
        """The options of the compiler that are in these groups, and set."""
        values = {
            name: getattr(self, name)
            for name, option in DECLARED.items()
            if option["table"] == "compiler" and option["group"] in groups
        }
        return {name: value for name, value in values.items() if value is not None}

    def of_evaluation(self, length: int, batch_size: int, **predicted) -> dict:
        """What `_pst.compile_model` is told of a saved model that is evaluated."""
        return {
            "training": False,
            "batch_size": batch_size,
            "sequence_length": length,
            "method": "dense",
            **predicted,
            **self.of_compiler(("machine", INFERENCE)),
        }

    def of_training(self) -> "_pst.TrainingOptions":
        """The options of the runtime's loop. Raises ValueError."""
        options = _pst.TrainingOptions()
        for name, option in DECLARED.items():
            if option["table"] == "training":
                setattr(options, name, getattr(self, name))
        return options

    @staticmethod
    def make(**values) -> "Options":
        """Options from keyword arguments, aliases included, with what
        `reference_exact` implies; TypeError for an unknown one, ValueError for
        one that does not go with it."""
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
        options = Options(**chosen)
        return options._of_reference(chosen) if options.reference_exact else options

    def _of_reference(self, given) -> "Options":
        """With what `reference_exact` implies. Raises ValueError where one of
        the options `given` says otherwise."""
        rate = _REFERENCE_RATE if self.learning_rate is None else self.learning_rate
        implied = {**_REFERENCE, "learning_rate": rate, "mask_learning_rate": rate}
        for name, value in implied.items():
            if name in given and getattr(self, name) != value:
                raise ValueError(
                    f"--{name} {getattr(self, name)} is given, but --reference_exact has "
                    + ("none" if value in ("", _pst.NO_MODULES) else flag_of(name, value))
                    + ": leave one of them out"
                )
        return replace(self, **implied)

    @property
    def implied_by_reference(self) -> dict:
        """What `reference_exact` has changed, of the options of a run."""
        if not self.reference_exact:
            return {}
        defaults = {item.name: item.default for item in fields(Options)}
        names = ("learning_rate", "mask_learning_rate", *_REFERENCE)
        return {name: getattr(self, name) for name in names if getattr(self, name) != defaults[name]}

    def of_method(self) -> "Options":
        """With what the method implies: `sparse_lora`, to which no sparsity is
        named, trains under the model's own zeros."""
        if self.method != "sparse_lora" or self.sparsity is not None or names_file(self.layer_sparsity) or self.bundle:
            return self
        return replace(self, layer_sparsity=_pst.OWN_ZEROS)

    def check(self, trains: bool = True) -> None:
        """Raises ValueError for options that are out of their range, or do not
        go together, in a program that trains or only evaluates."""
        for name in ("max_seq_length", "per_device_train_batch_size", "calibration_samples"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"--{name} must be at least 1, but is {value}")
        kinds(self.report_to)
        if self.max_seq_length < 3:
            raise ValueError(f"--max_seq_length must be at least 3 (two special tokens and a word), but is {self.max_seq_length}")
        if self.task == "lm" and self.labelled_by:
            raise ValueError(f"--{self.labelled_by} is of a task with labels, and --task lm has none: leave one of them out")
        if self.label_columns and self.task != PROBLEM:
            raise ValueError(f"--label_columns is of --task {PROBLEM}, but the task is {self.task}")
        if self.task == TOKEN_CLASSES and (self.task_name or self.text_pair_column):
            name = "task_name" if self.task_name else "text_pair_column"
            raise ValueError(f"--{name} is of sentences, and --task {self.task} of their words: leave one of them out")
        if self.completion_column and not self.text_column:
            raise ValueError("--completion_column needs --text_column, the column of the prompts")
        if self.completion_column and self.implied_task != "lm":
            raise ValueError(
                "--completion_column is of a language model, but "
                + (f"the task is {self.task}" if self.task else f"--{self.labelled_by} is of a task with labels")
            )
        if self.label_columns and self.label_column:
            raise ValueError("--label_column and --label_columns are both given: leave one of them out")
        if len(set(self.label_column_names)) < len(self.label_column_names) or "" in self.label_column_names:
            raise ValueError(f"--label_columns must be different names, with commas between them, but is '{self.label_columns}'")
        if self.classes and len(set(self.class_names)) < max(2, len(self.class_names)):
            raise ValueError(f"--classes must be at least two different names, with commas between them, but is '{self.classes}'")
        for name in ("block_size", "max_train_samples", "max_eval_samples", "per_device_eval_batch_size", "tokens_per_batch"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must not be negative, but is {getattr(self, name)}")
        if self.tokens_per_batch and self.bundle:
            raise ValueError("--tokens_per_batch has no part with --bundle, which has a batch of its own: leave one of them out")
        if self.layer_sparsity == "owl" and self.bundle:
            raise ValueError("--layer_sparsity owl is measured before a program is compiled, but --bundle has one: leave one of them out")
        if self.block_size == 1:
            raise ValueError("--block_size must be at least 2: a token is predicted from those before it")
        if not self.bundle:
            _pst.check_compiler_options({**self.of_compiler(), "training": trains})
        self.of_training().check()
        if self.sparsity and self.method in ("dense", "lora"):
            raise ValueError(f"--method {self.method} prunes nothing, but --sparsity is {self.sparsity}")


def _declared(option: dict):
    """A field of Options for an option that the extension declares."""
    more = _CHANGES.get(option["name"], {})
    kind = {"flag": bool, "integer": int, "number": float}.get(option["type"], str)
    metadata = {"group": option["group"], "help": option["help"], **more}
    if option["choices"]:
        metadata["choices"] = tuple(option["choices"])
    return option["name"], kind, field(default=more.get("default", option["default"]), metadata=metadata)


Options = make_dataclass(
    "Options",
    [_declared(option) for option in DECLARED.values() if option["group"] in (*GROUPS, INFERENCE) or option["name"] in _CHANGES],
    bases=(_PythonOptions,),
    namespace={"__doc__": "The options of `pst train`, each an attribute.", "__module__": __name__},
)


def add_arguments(parser: argparse.ArgumentParser, titles: bool = False, only=None) -> None:
    """Adds a flag for each option, under the titles of their groups if wanted.
    `only`: names of the options wanted."""
    for title in GROUPS if only is None else (*GROUPS, INFERENCE):
        group = parser.add_argument_group(title) if titles else parser
        for item in fields(Options):
            if item.metadata["group"] == title and (only is None or item.name in only):
                _add_argument(group, item)


def _add_argument(group, item) -> None:
    more = item.metadata
    flags = ["--" + name for name in (item.name, *more.get("alias", ()))]
    default = None if item.default is MISSING else item.default
    text = more["help"]
    if default not in (None, "") and not isinstance(default, bool):
        text += f" (default: {default})"
    settings: dict = {"dest": item.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    kind = item.type if isinstance(item.type, str) else item.type.__name__
    if kind == "bool":
        settings.update(action=Switch, on=default is True)
    else:
        settings["type"] = {"int": _whole, "float": float, "str": str}[kind]
        settings["metavar"] = {"int": "N", "float": "X", "str": "TEXT"}[kind]
        if "choices" in more:
            settings["choices"] = more["choices"]
            settings.pop("metavar")
        if "optional_value" in more:
            settings.update(nargs="?", const=more["optional_value"])
        if more.get("required"):
            settings["required"] = True
    group.add_argument(*flags, **settings)


def _whole(value) -> int:
    """A whole number, however it is written: 4, "4", 4.0, NumPy's 4."""
    try:
        number = value if isinstance(value, str) else operator.index(value)
        return int(number)
    except (TypeError, ValueError):
        pass
    try:
        number = float(value)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"'{value}' is not a whole number")


def _converted(item, value):
    """The value of an option as what the option is; None is its default.
    Raises ValueError with the option's name."""
    if value is None:
        return None if item.default is MISSING else item.default
    kind = item.type if isinstance(item.type, str) else item.type.__name__
    is_truth = isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    try:
        if kind == "bool":
            return bool(value) if is_truth or value in (0, 1) else truth(value)
        if kind in ("int", "float") and not is_truth:
            return _whole(value) if kind == "int" else float(value)
        if kind == "str" and isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
    except (TypeError, ValueError, AttributeError, argparse.ArgumentTypeError):
        pass
    wanted = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a string"}[kind]
    raise ValueError(f"option '{item.name}' must be {wanted}, but is {value!r}")
