# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `pst`, up to where it compiles: flags, errors, the small commands."""

import json
import shutil

import numpy as np
import pytest
from conftest import CONFIG, WORDS, write_model

from pst import TensorFile, cli, sentences


def run(capsys, *argv):
    """(exit status, standard output, standard error)."""
    try:
        status = cli.main([str(a) for a in argv])
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refuse(capsys, *argv):
    """The message of a refused command: one line, status 1, no traceback."""
    status, out, err = run(capsys, *argv)
    assert status == 1 and out == "", (status, out, err)
    assert err.startswith("pst: error: ") and err.count("\n") == 1, err
    return err.removeprefix("pst: error: ").rstrip("\n")


def train_flags(model, data, out, *more):
    return ["train", "--model_name_or_path", model, "--train_file", data[0], "--output_dir", out, *more]


def test_help_names_all_commands_and_flags(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in ("train", "eval", "export", "inspect", "compile", "prepare", "sentences"):
        assert f"\n    {name}" in out
    status, out, _ = run(capsys, "train", "--help")
    assert status == 0
    for flag in """model_name_or_path task_name train_file validation_file test_file max_seq_length
        per_device_train_batch_size per_device_eval_batch_size learning_rate num_train_epochs max_steps warmup_steps
        warmup_ratio weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm gradient_accumulation_steps seed
        logging_steps eval_steps evaluation_strategy save_steps save_total_limit output_dir overwrite_output_dir
        resume_from_checkpoint metric_for_best_model method sparsity final_sparsity initial_sparsity initial_warmup
        final_warmup weight_rank mask_rank weight_beta mask_alpha1 mask_alpha2 dropout num_threads bundle""".split():
        assert f"--{flag} " in out or f"--{flag}," in out or f"--{flag}\n" in out, flag


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "the following arguments are required: COMMAND"),
        (["fit"], "invalid choice: 'fit'"),
        (["train"], "the following arguments are required: --model_name_or_path, --train_file, --output_dir"),
        (["train", "--max_steps", "ten"], "argument --max_steps: 'ten' is not a whole number"),
        (["train", "--learning_rate", "fast"], "argument --learning_rate: invalid float value: 'fast'"),
        (["train", "--method", "magic"], "argument --method: invalid choice: 'magic'"),
    ],
)
def test_wrong_command_lines(capsys, argv, message):
    status, _, err = run(capsys, *argv)
    assert status == 2 and message in err


def test_no_model_directory(capsys, tmp_path, data):
    message = refuse(capsys, *train_flags(tmp_path / "none", data, tmp_path / "out"))
    assert message == (
        f"{tmp_path / 'none'}: not a model directory: expected config.json, model.safetensors and a tokenizer; nothing is "
        "downloaded: 'hf download google-bert/bert-base-uncased --local-dir none', with the model's own name on the hub, gets one"
    )
    assert not (tmp_path / "out").exists()


def test_malformed_config(capsys, tmp_path, model, data):
    (model / "config.json").write_text('{"model_type": "bert",\n "hidden_size" 12}')
    message = refuse(capsys, *train_flags(model, data, tmp_path / "out"))
    assert message == f"{model}/config.json:2:16: malformed JSON: Expecting ':' delimiter"
    (model / "config.json").write_text("[1, 2]")
    assert refuse(capsys, *train_flags(model, data, tmp_path / "out")).endswith(
        "config.json:1:1: expected a JSON object, found list"
    )


@pytest.mark.parametrize("value", ["1", "1.5", "-0.1", "nan"])
def test_sparsity_out_of_range(capsys, tmp_path, model, data, value):
    message = refuse(capsys, *train_flags(model, data, tmp_path / "out", "--sparsity", value))
    assert message.startswith("--sparsity must be in [0, 1), but is ")


def test_bf16_is_for_gpus(capsys, tmp_path, model, data):
    for precision in (["--precision", "bf16"], ["--bf16"]):
        message = refuse(capsys, *train_flags(model, data, tmp_path / "out", *precision))
        assert message == (
            "--precision bf16 is not for --target cpu, whose kernels compute in f32: leave it out, or take --target cuda or emulated"
        )
    evaluate = ["eval", "--model_name_or_path", model, "--validation_file", data[1], "--bf16"]
    assert "--precision bf16 is not for --target cpu" in refuse(capsys, *evaluate)


def test_compile_makes_bundles_for_gpus(capsys, tmp_path, model):
    command = ["compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--max_seq_length", 8]
    command += ["--num_labels", 2]
    command += ["--target", "cuda", "--gpu_arch", "sm_80", "--bf16", "--frozen_type", "bf16"]
    status, out, err = run(capsys, *command)
    assert status == 0, err
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["triple"] == "nvptx64-nvidia-cuda" and manifest["cpu"] == "sm_80"
    types = {parameter["name"]: parameter["type"] for parameter in manifest["parameters"]}
    assert types["bert.encoder.layer.0.output.dense.weight"] == "bf16[12,20]"
    assert (tmp_path / "b" / "kernels.sm_80.ptx").exists()


def test_compile_keeps_to_the_tokenizer_s_length(capsys, tmp_path, model):
    short = shutil.copytree(model, tmp_path / "m")
    (short / "tokenizer_config.json").write_text('{"model_max_length": 7}')
    status, _, err = run(
        capsys, "compile", "--model_name_or_path", short, "--bundle", tmp_path / "b", "--num_labels", 2, "--target", "cuda"
    )
    assert status == 0, err
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    types = {each["name"]: each["type"] for each in manifest["entry_points"]["forward_backward"]["arguments"] if each["kind"] == "input"}
    assert types["input_ids"] == "i32[8,7]"


def test_data_errors_come_before_anything_is_written(capsys, tmp_path, model, data):
    (tmp_path / "bad.tsv").write_bytes(b"sentence\tlabel\ngood\tyes\nb\xe4d\tno\n")
    message = refuse(capsys, *train_flags(model, (tmp_path / "bad.tsv",), tmp_path / "out"))
    assert message.startswith(f"{tmp_path}/bad.tsv:3: invalid UTF-8: byte 0xe4 at position 25")
    dev = tmp_path / "dev2.tsv"
    dev.write_text("sentence\tlabel\ngood\tyes\nodd\tmaybe\n")
    message = refuse(capsys, *train_flags(model, data, tmp_path / "out", "--validation_file", dev))
    assert message == f"{dev}:3: unknown label 'maybe' in column 'label': the labels are 'no', 'yes'"
    assert not (tmp_path / "out").exists()


def test_sentences_are_written(capsys, tmp_path):
    status, out, _ = run(capsys, "sentences", "--output_dir", tmp_path / "d", "--train", 46, "--held_out", 23, "--seed", 5)
    assert status == 0
    assert out == f"train: {tmp_path}/d/train.tsv\nheld_out: {tmp_path}/d/dev.tsv\n"
    lines = (tmp_path / "d" / "train.tsv").read_text().splitlines()
    assert lines[0] == "sentence\tlabel\ttemplate" and len(lines) == 47
    assert lines[1].split("\t")[0] == sentences.generate(46, 23, 5)[0][0].text
    assert refuse(capsys, "sentences", "--output_dir", tmp_path, "--train", 0) == "--train and --held_out must be at least 1"


def test_the_place_of_an_output_is_known_before_anything_is_read(capsys, tmp_path, model, data):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    command = ["compile", "--model_name_or_path", model, "--max_seq_length", 8, "--bundle"]
    assert refuse(capsys, *command, taken / "b") == f"--bundle {taken / 'b'}: {taken} is a file, not a directory"
    assert "and reads" in refuse(capsys, *command, model)
    command = ["prepare", "--model_name_or_path", model, "--train_file", data[0], "--output_dir"]
    assert refuse(capsys, *command, taken) == f"--output_dir {taken}: {taken} is a file, not a directory"


def test_prepare_writes_what_pst_run_reads(capsys, tmp_path, model, data):
    status, out, _ = run(
        capsys, "prepare", "--model_name_or_path", model, "--train_file", data[0], "--validation_file", data[1],
        "--output_dir", tmp_path / "p",
    )  # fmt: skip
    pairs = dict(line.split(": ") for line in out.splitlines())
    assert status == 0 and pairs["labels"] == "no, yes"
    train, dev = (TensorFile(pairs[name]) for name in ("train", "validation"))
    length = int(pairs["sequence_length"])
    assert train.shape("input_ids") == (48, length) and dev.shape("input_ids") == (21, length)
    assert 8 < length < 14
    ids, labels = np.asarray(train.read("input_ids")), np.asarray(train.read("labels"))
    assert ids.dtype == labels.dtype == np.int32
    assert ((ids == WORDS.index("not")).any(1) == labels).all()
    assert train.read("attention_mask").sum(1).max() == length
    status, *_ = run(
        capsys, "prepare", "--model_name_or_path", model, "--train_file", data[0], "--validation_file", data[1],
        "--output_dir", tmp_path / "few", "--max_train_samples", 5, "--max_eval_samples", 3,
    )  # fmt: skip
    assert status == 0
    for name, count, whole in (("train", 5, ids), ("validation", 3, np.asarray(dev.read("input_ids")))):
        few = np.asarray(TensorFile(tmp_path / "few" / f"{name}.safetensors").read("input_ids"))
        np.testing.assert_array_equal(few, whole[:count, : few.shape[1]])


def test_inspect_prints_and_draws(capsys, tmp_path):
    tensors = {
        "bert.encoder.layer.0.output.dense.weight": np.array([[0, 1, 0], [2, 0, 0]], np.float32),
        "bert.encoder.layer.1.output.dense.weight": np.ones((4, 3), np.float32),
    }
    model = write_model(tmp_path / "m", CONFIG, tensors)
    status, out, _ = run(capsys, "inspect", model)
    assert status == 0
    assert out.splitlines()[1].split() == ["bert.encoder.layer.0.output.dense", "2", "x", "3", "4", "66.6667%"]
    assert out.splitlines()[-1].split() == ["total", "18", "4", "22.2222%"]
    status, out, _ = run(capsys, "inspect", model, "--layer", "layer.0", "--json", "--output_dir", tmp_path / "pics")
    assert json.loads(out)[0]["zeros"] == 4
    assert [p.name for p in (tmp_path / "pics").iterdir()] == ["bert.encoder.layer.0.output.dense.png"]
    status, out, err = run(capsys, "inspect", model, "--layer", "layer.7")
    assert status == 1 and err.startswith("pst: error: there is no layer 'layer.7'; the first ones are: ")


def test_inspect_of_damaged_and_missing_models(capsys, tmp_path, model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "the file is cut short" in refuse(capsys, "inspect", model)
    assert refuse(capsys, "inspect", tmp_path / "none") == (
        f"{tmp_path}/none: no such file or directory"
    )


def test_export_of_what_is_no_checkpoint(capsys, tmp_path):
    message = refuse(capsys, "export", tmp_path / "none", "--output_dir", tmp_path / "m")
    assert message == f"{tmp_path}/none: no such checkpoint, model or adapter"
    (tmp_path / "checkpoint-3").mkdir()
    message = refuse(capsys, "export", tmp_path / "checkpoint-3", "--output_dir", tmp_path / "m")
    assert message == f"{tmp_path}/run.json: not found: {tmp_path}/checkpoint-3 is no checkpoint of 'pst train'"


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(cli.UsageError):
        cli.main(["export", str(tmp_path / "none"), "--output_dir", str(tmp_path / "m"), "--debug"])


def test_a_terminal_of_ascii_does_no_harm(tmp_path, model):
    """In a container or a cron job: no locale, no home, and names that ASCII lacks."""
    import os
    import subprocess
    import sys

    (tmp_path / "dév.tsv").write_text("sentence\tlabel\nthe café\tpösitiv\n", encoding="utf-8")
    command = [sys.executable, "-m", "pst", "prepare", "--model_name_or_path", model, "--train_file", tmp_path / "dév.tsv"]
    keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [*map(str, command), "--output_dir", str(tmp_path / "ö")], capture_output=True, text=True,
        env={**keep, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "every example has the label 'p\\xf6sitiv'" in done.stderr and "d\\xe9v.tsv" in done.stderr
