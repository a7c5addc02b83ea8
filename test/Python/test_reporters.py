# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the numbers of a run go; wandb and trackio are modules of the same interface that write down what they are told."""

import json
import sys

import pytest
from conftest import CONFIG, write_data, write_model

import pst
from pst import cli
from pst.options import Options
from pst.reporters import Reports

RECORD = {"step": 120, "total_steps": 400, "epoch": 0.8, "loss": 0.51, "learning_rate": 3e-4, "sparsity": 0.6, "grad_norm": 1.5,
          "seconds_per_step": 0.25, "tokens_per_second": 1666.4, "memory_bytes": 300 * 2**20, "seconds_left": 70.2}  # fmt: skip
EVALUATION = {"step": 120, "epoch": 0.8, "loss": 0.4, "sparsity": 0.6, "metrics": {"accuracy": 0.875, "f1": 0.8}, "best": True}

# The functions of wandb and trackio that have the same name and meaning in both.
STAND_IN = """
calls = []

def init(project, name=None, config=None):
    calls.append(("init", project, name, config))

def log(data, step=None):
    assert all(isinstance(value, float) for value in data.values()), data
    calls.append(("log", step, data))

def finish():
    calls.append(("finish",))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reporters")
    config = {**CONFIG, "num_hidden_layers": 1}
    return write_model(directory / "m", config), write_data(directory / "train.tsv", 16), write_data(directory / "dev.tsv", 9, 1)


@pytest.fixture
def trackers(tmp_path, monkeypatch):
    """Both packages, freshly imported where they are named."""
    for name in ("wandb", "trackio"):
        (tmp_path / f"{name}.py").write_text(STAND_IN)
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROJECT", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


def train(files, out, **settings):
    model, data, dev = files
    defaults = {"max_steps": 4, "logging_steps": 2, "eval_steps": 2, "method": "lora", "save_strategy": "no"}
    pst.Trainer(model, data, dev, output_dir=out, **{**defaults, **settings}).train()


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_tracker_gets_every_number(files, tmp_path, trackers, kind, monkeypatch):
    train(files, tmp_path / "first", report_to=kind)
    calls = sys.modules[kind].calls
    assert calls[0][:3] == ("init", "pst", "first") and calls[-1] == ("finish",)
    assert calls[0][3]["method"] == "lora" and calls[0][3]["max_steps"] == 4 and calls[0][3]["model"] == str(files[0])
    assert [call[1] for call in calls[1:-1]] == [2, 2, 4, 4]
    lines = [json.loads(line) for line in (tmp_path / "first" / "log.jsonl").read_text().splitlines()]
    for (_, _, values), line in zip(calls[1:-1], lines):
        if line["event"] == "train":
            assert (values["train/loss"], values["train/learning_rate"]) == (line["loss"], line["learning_rate"])
        else:
            assert (values["eval/accuracy"], values["eval/loss"]) == (line["eval_accuracy"], line["eval_loss"])
    assert not (tmp_path / "first" / "tensorboard").exists()
    # The other one was not imported.
    assert ({"wandb", "trackio"} - {kind}).isdisjoint(sys.modules)
    monkeypatch.setenv(f"{kind.upper()}_PROJECT", "mine")
    train(files, tmp_path / "second", report_to=["tensorboard", kind], run_name="run 7")
    assert ("init", "mine", "run 7") in [call[:3] for call in calls]
    assert len(list((tmp_path / "second" / "tensorboard").iterdir())) == 1


def test_one_is_closed_if_the_run_fails(files, tmp_path, trackers):
    class Failing(pst.Callback):
        def on_log(self, record):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train(files, tmp_path / "run", report_to="wandb", callbacks=[Failing()])
    assert [call[0] for call in sys.modules["wandb"].calls] == ["init", "log", "finish"]


def test_a_reporter_of_ones_own(files, tmp_path):
    class Lines:
        def __init__(self):
            self.told = []

        def log(self, step, values):
            self.told.append((step, sorted(values)[0].split("/")[0]))

        def close(self):
            self.told.append("closed")

    lines = Lines()
    train(files, tmp_path, report_to="none", reporters=[lines])
    assert lines.told == [(2, "train"), (2, "eval"), (4, "train"), (4, "eval"), "closed"]


def test_events_lie_in_the_given_directory(tmp_path):
    reports = Reports()
    reports.open(Options.make(output_dir=str(tmp_path), logging_dir=str(tmp_path / "tb")), {})
    assert not (tmp_path / "tb").exists()
    reports.on_log(RECORD)
    reports.on_evaluate(EVALUATION)
    reports.close()
    (path,) = (tmp_path / "tb").iterdir()
    content = path.read_bytes()
    for tag in (b"train/loss", b"train/sparsity", b"train/tokens_per_second", b"eval/accuracy", b"eval/loss"):
        assert tag in content


@pytest.mark.parametrize("given, told", [
    ("wandb", "--report_to wandb needs the package wandb, which is not installed: 'pip install wandb'"),
    ("tensorboard,trackio", "--report_to trackio needs the package trackio, which is not installed: 'pip install trackio'"),
    ("comet", "--report_to must be some of none, tensorboard, wandb, trackio, with commas between them, but is 'comet'"),
    ("none,wandb", "--report_to none leaves no room for others, but is 'none,wandb'"),
])  # fmt: skip
def test_what_cannot_be_had_is_told_before_training(files, tmp_path, capsys, monkeypatch, given, told):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    flags = ["train", "--model_name_or_path", files[0], "--train_file", files[1], "--output_dir", tmp_path / "o", "--report_to", given]
    assert cli.main([str(flag) for flag in flags]) == 1
    assert capsys.readouterr().err == f"pst: error: {told}\n"
    assert not (tmp_path / "o").exists()
