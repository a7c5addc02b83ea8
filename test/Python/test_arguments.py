# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Command lines and options: what Hugging Face's parsers take is taken, converted or explained."""

import json

import numpy as np
import pytest

from pst import cli
from pst.arguments import HUGGING_FACE
from pst.options import Options

NEEDED = ["train", "--model_name_or_path", "m", "--train_file", "t", "--output_dir", "o"]


def parsed(*flags):
    return cli.parse([*NEEDED, *flags])


def refused(capsys, *flags):
    with pytest.raises(SystemExit) as caught:
        parsed(*flags)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 2, "one sentence, and where the flags are listed"
    return told


@pytest.mark.parametrize("text, value", [("True", True), ("true", True), ("1", True), ("yes", True), ("False", False), ("no", False), ("0", False)])
def test_switches_take_values_as_hf_argument_parser_does(text, value):
    transformers = pytest.importorskip("transformers")
    assert transformers.hf_argparser.string_to_bool(text) == value
    for name in ("overwrite_output_dir", "load_best_model_at_end", "bf16"):
        assert getattr(parsed("--" + name, text), name) is value
        assert getattr(parsed(f"--{name}={text}"), name) is value


def test_switches_without_a_value(capsys):
    args = parsed("--overwrite_output_dir", "--no-load_best_model_at_end", "--max_steps", "-1")
    assert args.overwrite_output_dir is True and args.load_best_model_at_end is False and args.max_steps == -1
    assert "'maybe' is neither true nor false" in refused(capsys, "--bf16", "maybe")


def test_flags_that_ask_for_what_is_done_anyway(capsys):
    parsed("--do_train", "--do_eval", "True", "--optim", "adamw_torch", "--fp16", "False", "--lr_scheduler_type=linear", "--logging_strategy", "steps")
    assert capsys.readouterr().err == ""
    parsed("--dataloader_num_workers", "4")
    assert capsys.readouterr().err == "warning: --dataloader_num_workers has no part here: the data are in memory\n"


@pytest.mark.parametrize("flags, told", [
    (("--optim", "sgd"), "argument --optim: 'sgd' is not to be had: the optimizer is AdamW"),
    (("--fp16",), "argument --fp16: is none of ours: half precision is --precision bf16"),
    (("--fsdp", "full_shard"), "argument --fsdp: 'full_shard' is not to be had: ranks of torchrun share the batch, and nothing else"),
    (("--learning_rat", "1"), "there is no flag '--learning_rat' here; did you mean --learning_rate?"),
    (("--learn", "1"), "there is no flag '--learn' here"),
    (("--method", "prune"), "invalid choice: 'prune'"),
    (("--max_steps", "3.5"), "argument --max_steps: '3.5' is not a whole number"),
])  # fmt: skip
def test_what_is_wrong_is_one_sentence(capsys, flags, told):
    assert told in refused(capsys, *flags)


def test_no_flag_of_hugging_face_hides_one_of_ours():
    ours = {item for item in Options.__dataclass_fields__} | {"evaluation_strategy", "final_sparsity"}
    assert not ours & set(HUGGING_FACE)


def test_known_flags_of_training_arguments_are_taken_or_explained():
    """Of the flags that scripts pass most, none is merely unknown."""
    transformers = pytest.importorskip("transformers")
    theirs = set(transformers.TrainingArguments.__dataclass_fields__)
    ours = set(Options.__dataclass_fields__) | {"eval_strategy"}
    common = {
        "output_dir", "do_train", "do_eval", "do_predict", "eval_strategy", "per_device_train_batch_size", "per_device_eval_batch_size",
        "gradient_accumulation_steps", "learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
        "num_train_epochs", "max_steps", "lr_scheduler_type", "warmup_ratio", "warmup_steps", "logging_dir", "logging_strategy",
        "logging_steps", "save_strategy", "save_steps", "save_total_limit", "seed", "bf16", "fp16", "tf32", "dataloader_drop_last",
        "dataloader_num_workers", "disable_tqdm", "remove_unused_columns", "load_best_model_at_end", "metric_for_best_model",
        "greater_is_better", "fsdp", "deepspeed", "label_smoothing_factor", "optim", "report_to", "push_to_hub", "gradient_checkpointing",
        "full_determinism", "torch_compile", "local_rank",
    }  # fmt: skip
    assert not (common & theirs) - ours - set(HUGGING_FACE)


@pytest.mark.parametrize("given, taken", [
    ({"learning_rate": "5e-5"}, 5e-5), ({"learning_rate": np.float32(0.5)}, 0.5), ({"max_steps": 4.0}, 4), ({"seed": "42"}, 42),
    ({"max_seq_length": np.int64(16)}, 16), ({"num_train_epochs": 1}, 1.0), ({"bf16": "False"}, False), ({"skip_bad_rows": np.bool_(True)}, True),
    ({"label_column": None}, ""), ({"sparsity": None}, None),
])  # fmt: skip
def test_options_from_python_are_converted(given, taken):
    ((name, _),) = given.items()
    value = getattr(Options.make(output_dir="o", **given), name)
    assert value == taken and type(value) is type(taken)


@pytest.mark.parametrize("given, wanted", [
    ({"learning_rate": "fast"}, "option 'learning_rate' must be a number, but is 'fast'"),
    ({"max_steps": 2.5}, "option 'max_steps' must be a whole number, but is 2.5"),
    ({"max_steps": True}, "option 'max_steps' must be a whole number, but is True"),
    ({"bf16": "maybe"}, "option 'bf16' must be True or False, but is 'maybe'"),
    ({"label_column": 3}, "option 'label_column' must be a string, but is 3"),
])  # fmt: skip
def test_options_that_cannot_be_converted_are_named(given, wanted):
    with pytest.raises(ValueError) as caught:
        Options.make(output_dir="o", **given)
    assert str(caught.value) == wanted


def test_a_file_of_flags(tmp_path):
    values = {"model_name_or_path": "m", "train_file": "t", "output_dir": "o", "learning_rate": 3e-4, "bf16": False, "max_steps": 7,
              "label_column": None, "target_modules": ["query", "value"]}  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(values))
    args = cli.parse(["train", "--config", str(path), "--max_steps", "9"])
    assert (args.learning_rate, args.bf16, args.max_steps, args.target_modules) == (3e-4, False, 9, "query,value")
    assert not hasattr(args, "label_column")
    yaml = pytest.importorskip("yaml")
    other = tmp_path / "run.yaml"
    other.write_text(yaml.safe_dump(values))
    assert vars(cli.parse(["train", "--config", str(other), "--max_steps", "9"])) == {**vars(args), "config": str(other)}


@pytest.mark.parametrize("text, told", [
    ("max_step: 3", "there is no flag 'max_step'; did you mean 'max_steps'?"),
    ("- 3", "must be flags' names with their values"),
    ("seed: {a: 1}", "'seed' must be one value or a list of values, but is an object or holds some"),
    ("class_weights: [[1]]", "'class_weights' must be one value or a list of values"),
    ("seed: !!timestamp x", "a value is not what its tag says"),
    ("seed: !!int ''", "a value is not what its tag says"),
    ("bf16: !!bool x", "a value is not what its tag says"),
    ("seed: [1", "while parsing a flow sequence"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_of_flags(tmp_path, capsys, text, told):
    pytest.importorskip("yaml")
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert cli.main(["train", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"pst: error: {path}: " in error and told in error and len(error.splitlines()) == 1
