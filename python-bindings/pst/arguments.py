# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Command lines: errors of one sentence, switches that take a value, a file of
flags (--config), and those flags of Hugging Face's scripts that are none here,
which are taken where they ask for what is done anyway, and explained elsewhere.
"""

from __future__ import annotations

import argparse
import difflib

from .files import object_in, read_small
from .streams import tell

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def truth(text: str) -> bool:
    """A switch's value, as HfArgumentParser takes it. Raises ValueError."""
    word = text.strip().lower()
    if word in _TRUE + _FALSE:
        return word in _TRUE
    raise ValueError(f"'{text}' is neither true nor false")


class Switch(argparse.Action):
    """--x, --x True, --x False, and --no-x for one that is on by default."""

    def __init__(self, option_strings, dest, default=None, help=None, on=False):
        flags = [*option_strings, *(["--no-" + flag[2:] for flag in option_strings] if on else [])]
        super().__init__(flags, dest, nargs="?", default=default, help=help, metavar="BOOL")

    def __call__(self, parser, namespace, values, option_string=None):
        try:
            value = True if values is None else truth(values)
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, value != option_string.startswith("--no-"))


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without forty lines of usage. No flag
    is known by a part of its name."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message):
        help_ = f"{self.prog} --help" if " " in self.prog else f"{self.prog} COMMAND --help"
        self.exit(2, f"{self.prog}: error: {message}\n('{help_}' lists the flags)\n")

    def flags(self) -> list[str]:
        return [flag for flag in self._option_string_actions if flag.startswith("--") and flag != "--help"]

    def refuse_unknown(self, rest) -> None:
        """An error for what is left of a command line."""
        flag = rest[0].split("=")[0]
        close = difflib.get_close_matches(flag, self.flags(), 1) if flag.startswith("--") else []
        hint = f"; did you mean {close[0]}?" if close else ""
        self.error(f"there is no {'flag' if flag.startswith('-') else 'argument'} '{flag}' here{hint}")


# Flags of TrainingArguments and of transformers' example scripts that are none
# here: the values that ask for what is done anyway (None: any value, which is
# then told to have no part), and what to do instead.
HUGGING_FACE: dict[str, tuple[tuple[str, ...] | None, str]] = {
    "do_train": (("true",), "'pst train' trains; 'pst eval' evaluates a saved model"),
    "do_eval": (("true",), "nothing is evaluated where there is no --validation_file"),
    "do_predict": (("true", "false"), "--test_file names what is predicted"),
    "optim": (("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw"), "the optimizer is AdamW"),
    "adafactor": (("false",), "the optimizer is AdamW"),
    "fp16": (("false",), "half precision is --precision bf16"),
    "fp16_full_eval": (("false",), "half precision is --precision bf16"),
    "bf16_full_eval": (("false",), "half precision is --precision bf16"),
    "tf32": (("false",), "that is --precision tf32"),
    "fp16_opt_level": (None, "half precision is --precision bf16"),
    "half_precision_backend": (None, "half precision is --precision bf16"),
    "logging_strategy": (("steps",), "--logging_steps says how often"),
    "gradient_checkpointing": (("false",), "that is --recompute cheap, or all"),
    "group_by_length": (("false",), "batches are of one length"),
    "auto_find_batch_size": (("false",), "choose --per_device_train_batch_size; the memory plan is printed before the first step"),
    "dataloader_drop_last": (("false",), "the last batch is padded with rows that do not count"),
    "dataloader_num_workers": (None, "the data are in memory"),
    "dataloader_pin_memory": (None, "the data are in memory"),
    "preprocessing_num_workers": (None, "texts become tokens in one process, with all its threads"),
    "disable_tqdm": (None, "there is a line for every --logging_steps steps"),
    "remove_unused_columns": (None, "columns that are not named are not read"),
    "cache_dir": (None, "models and data are read where they lie"),
    "overwrite_cache": (None, "tokens are kept in no file"),
    "use_fast_tokenizer": (None, "there is one kind of tokenizer"),
    "ignore_mismatched_sizes": (None, "a head of another number of classes starts from random values, and that is told"),
    "local_rank": (None, "torchrun says it"),
    "ddp_backend": (None, "gradients are summed in the order of the ranks"),
    "ddp_find_unused_parameters": (None, "gradients are summed in the order of the ranks"),
    "full_determinism": (None, "the same inputs give the same bits in any case"),
    "eval_accumulation_steps": (None, "evaluation keeps what the metric needs"),
    "prediction_loss_only": (("false",), "metrics cost little: leave it out"),
    "save_safetensors": (("true",), "files are safetensors"),
    "save_only_model": (("false",), "a checkpoint is what a run can go on from"),
    "torch_compile": (None, "programs are compiled in any case"),
    "use_cpu": (("true",), "that is --target"),
    "no_cuda": (("true",), "that is --target"),
    "push_to_hub": (("false",), "'hf upload' takes the folder model/ of --output_dir"),
    "hub_model_id": ((), "'hf upload' takes the folder model/ of --output_dir"),
    "per_gpu_train_batch_size": ((), "that is --per_device_train_batch_size"),
    "per_gpu_eval_batch_size": ((), "that is --per_device_eval_batch_size"),
    "data_seed": ((), "--seed is that of the shuffling, too"),
    "deepspeed": ((), "ranks of torchrun share the batch, and nothing else"),
    "fsdp": ((), "ranks of torchrun share the batch, and nothing else"),
    "config_name": ((), "config.json is that of --model_name_or_path"),
    "tokenizer_name": ((), "the tokenizer is that of --model_name_or_path"),
    "dataset_name": ((), "data are files: --train_file and --validation_file"),
    "dataset_config_name": ((), "data are files: --train_file and --validation_file"),
    "validation_split_percentage": ((), "data are files: --train_file and --validation_file"),
}


class _HuggingFaceFlag(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        taken, instead = HUGGING_FACE[option_string[2:]]
        value = "true" if values is None else values.strip().lower()
        if taken is None:
            tell(f"warning: {option_string} has no part here: {instead}\n")
        elif value not in taken:
            raise argparse.ArgumentError(self, (f"'{values}' is not to be had: " if values else "is none of ours: ") + instead)


def add_hugging_face_flags(parser: argparse.ArgumentParser) -> None:
    for name in HUGGING_FACE:
        parser.add_argument(
            "--" + name, nargs="?", action=_HuggingFaceFlag, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def _yaml_in(data: bytes, path: str):
    try:
        import yaml
    except ImportError:
        raise ValueError("YAML is read with the package PyYAML, which is not installed: 'pip install pyyaml', or use JSON") from None
    try:
        return yaml.safe_load(data.decode())
    except RecursionError:
        raise ValueError(f"{path}: objects and lists lie too deep in one another") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    except (AttributeError, IndexError, KeyError, TypeError):
        # What PyYAML makes of a word that is not of the type that its tag names.
        raise ValueError(f"{path}: a value is not what its tag says, as in '!!int x'; leave tags out") from None


def read_config_file(path: str, parser: Parser) -> list[str]:
    """The flags of a --config file, YAML or JSON: an object of flags' names and
    values. Raises ValueError with the file."""
    try:
        data = read_small(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    values = object_in(data, path) if path.endswith(".json") else _yaml_in(data, path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must be flags' names with their values, such as 'learning_rate: 1e-4'")
    flags: list[str] = []
    known = parser.flags()
    for name, value in values.items():
        flag = f"--{name}"
        if flag not in known or flag == "--config":
            close = difflib.get_close_matches(flag, known, 1)
            raise ValueError(f"{path}: there is no flag '{name}'" + (f"; did you mean '{close[0][2:]}'?" if close else ""))
        if value is None:
            continue
        # Objects and lists within are of no flag, and few bytes of YAML spell many.
        if isinstance(value, dict) or isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            raise ValueError(f"{path}: '{name}' must be one value or a list of values, but is an object or holds some")
        if isinstance(value, list):
            value = ",".join(map(str, value))
        flags.append(f"{flag}={value}")
    return flags
