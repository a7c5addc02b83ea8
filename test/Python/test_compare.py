# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst compare`: which runs there are, what goes on, and what the table says."""

import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_data, write_model
from test_cli import run

from pst import comparing


@pytest.fixture
def inputs(tmp_path):
    config = {**CONFIG, "num_hidden_layers": 1}
    model = write_model(tmp_path / "model", config, bert_tensors(config))
    return ["--model_name_or_path", model, "--train_file", write_data(tmp_path / "t.tsv"), "--validation_file", write_data(tmp_path / "d.tsv", 21, 1)]


def test_each_run_is_one_of_pst_train(inputs, tmp_path, capsys):
    command = ["compare", *inputs, "--output_dir", tmp_path / "out", "--methods", "dense,pst", "--sparsities", "0.5", "--seeds", "7"]
    command += ["--max_steps", "2", "--report_to", "none"]
    status, out, err = run(capsys, *command)
    assert status == 0, err
    results = json.loads((tmp_path / "out" / "compare.json").read_text())["runs"]
    assert list(results) == ["dense-7", "pst-0.5-7"]
    assert results["pst-0.5-7"]["zeros"] == pytest.approx(0.5, abs=0.01) and results["dense-7"]["zeros"] == 0
    assert results["pst-0.5-7"]["trainable_parameters"] != results["dense-7"]["trainable_parameters"]
    assert results["pst-0.5-7"]["file_mib"] > 0 and results["pst-0.5-7"]["steps"] == 2
    assert "| pst | 50 % |" in out and (tmp_path / "out" / "compare.md").read_text() in out
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
    # The same command has nothing left to run; another seed is one more.
    before = (tmp_path / "out" / "dense-7" / "log.jsonl").stat().st_mtime_ns
    assert run(capsys, *command)[1].endswith(out)
    assert (tmp_path / "out" / "dense-7" / "log.jsonl").stat().st_mtime_ns == before
    status, _, err = run(capsys, *command[:-4], "--max_steps", "3")
    assert status == 1 and "holds runs with other flags" in err


class Runs:
    """Stands in for the processes of `pst train`."""

    def __init__(self, monkeypatch, statuses=()):
        self.commands, self.statuses = [], dict(statuses)
        monkeypatch.setattr(comparing.Process, "__call__", lambda _, command, out: self.run(command, out))

    def run(self, command, out):
        flags = dict(zip(command[4::2], command[5::2]))
        self.commands.append(command)
        status = self.statuses.pop(flags["--seed"], 0)
        directory = comparing.Path(flags["--output_dir"])
        (directory / "model").mkdir(parents=True, exist_ok=True)
        (directory / "model" / "model.safetensors").write_bytes(bytes(2**20))
        if status == 0:
            value = 0.5 + 0.1 * int(flags["--seed"]) + (flags["--method"] == "pst") * 0.01
            sparsity = float(flags.get("--sparsity", 0))
            result = {"accuracy": value, "auc": None, "sparsity": sparsity, "seconds_per_step": 1.5, "trainable_parameters": 1234, "model": "m"}
            (directory / "train_results.json").write_text(json.dumps(result))
        else:
            out.write("a line\nthe last line\n")
        return status


def test_what_failed_is_told_and_tried_again(inputs, tmp_path, capsys, monkeypatch):
    runs = Runs(monkeypatch, {"2": 1})
    command = ["compare", *inputs, "--output_dir", tmp_path / "out", "--methods", "pst,lora", "--sparsities", "0.5,0.9", "--seeds", "1,2,3"]
    status, out, err = run(capsys, *command)
    assert status == 1 and len(runs.commands) == 9
    assert "run 4 of 9: pst at 50 %, seed 2: the last line" in err
    assert "| pst | 50 % | 0.7100 ± 0.1414 | 2 (1 failed) | 50.00% | 1,234 | 1.5 |  | 1.0 |" in out
    status, out, err = run(capsys, *command)
    assert status == 0 and len(runs.commands) == 10
    spread = np.std([0.61, 0.71, 0.81], ddof=1)
    assert f"| pst | 50 % | 0.7100 ± {spread:.4f} | 3 |" in out and "| lora |  | 0.7000 ± 0.1000 | 3 |" in out
    # What it was told begins anew: there was no checkpoint.
    assert "--overwrite_output_dir" in runs.commands[-1]
    status, out, err = run(capsys, *command, "--metric", "auc")
    assert status == 0 and "| pst | 50 % | undefined | 3 |" in out
    assert run(capsys, *command, "--metric", "mcc")[0] == 1


def test_an_interrupted_comparison_goes_on(inputs, tmp_path, capsys, monkeypatch):
    runs = Runs(monkeypatch, {"2": 130})
    command = ["compare", *inputs, "--output_dir", tmp_path / "out", "--methods", "dense", "--seeds", "1,2,3"]
    status, _, err = run(capsys, *command)
    assert status == 130 and "the same command goes on" in err and len(runs.commands) == 2
    assert run(capsys, *command)[0] == 0 and len(runs.commands) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "pst,magnitude"], "--methods has 'magnitude', which is none; there are pst, pst_wanda, dense"),
        (["--seeds", "1,x"], "--seeds must be whole numbers, all different, with commas between them, but is '1,x'"),
        (["--sparsities", "0.5,0.5"], "--sparsities must be numbers, all different"),
        (["--sparsities", "1.5"], "sparsity"),
        (["--seed=3"], "--seed is what pst compare gives each run"),
        (["--no_such_flag"], "--no_such_flag"),
    ],
)
def test_what_is_wrong_is_told_before_the_first_run(inputs, tmp_path, capsys, monkeypatch, flags, message):
    runs = Runs(monkeypatch)
    try:
        status, _, err = run(capsys, "compare", *inputs, "--output_dir", tmp_path / "out", *flags)
    except SystemExit as exit_:
        status, err = exit_.code, capsys.readouterr().err
    assert status != 0 and message in err and not runs.commands
