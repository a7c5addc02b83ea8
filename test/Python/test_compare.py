# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst compare`: which runs there are, what goes on, and what the table says."""

import json
import shutil

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_data, write_model
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
    """Stands in for the processes of `pst train`, each of which takes as many minutes as its seed says."""

    def __init__(self, monkeypatch, statuses=(), metrics=()):
        self.commands, self.statuses, self.metrics, self.now = [], dict(statuses), dict(metrics), 0.0
        monkeypatch.setattr(comparing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(comparing.Process, "__call__", lambda _, command, out: self.run(command, out))

    def run(self, command, out):
        flags = dict(zip(command[4::2], command[5::2]))
        self.commands.append(command)
        self.now += 60 * int(flags["--seed"])
        status = self.statuses.pop(flags["--seed"], 0)
        directory = comparing.Path(flags["--output_dir"])
        (directory / "model").mkdir(parents=True, exist_ok=True)
        (directory / "model" / "model.safetensors").write_bytes(bytes(2**20))
        if status == 0:
            value = 0.5 + 0.1 * int(flags["--seed"]) + (flags["--method"] == "pst") * 0.01
            sparsity = float(flags.get("--sparsity", 0))
            result = {"accuracy": value, "auc": None, "sparsity": sparsity, "seconds_per_step": 1.5, "trainable_parameters": 1234, "model": "m", **self.metrics}
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


def test_a_run_goes_on_at_its_checkpoint(inputs, tmp_path, capsys):
    """What a comparison leaves that is stopped within a run: a checkpoint, and no result."""
    def command(name):
        out = tmp_path / name
        command = ["compare", *inputs, "--output_dir", out, "--methods", "pst", "--sparsities", "0.5", "--seeds", "7", "--max_steps", "6"]
        assert run(capsys, *command, "--save_steps", "2", "--logging_steps", "1", "--report_to", "none")[0] == 0
        return out / "pst-0.5-7"

    whole = command("whole")
    broken = tmp_path / "broken" / whole.name
    broken.mkdir(parents=True)
    shutil.copytree(whole / "checkpoint-2", broken / "checkpoint-2")
    lines = (whole / "log.jsonl").read_text().splitlines(keepends=True)
    (broken / "log.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 2))
    assert command("broken") == broken
    # Its checkpoint is left as it was, and the steps after it are those of the whole run.
    assert (broken / "checkpoint-2").stat().st_mtime_ns == (whole / "checkpoint-2").stat().st_mtime_ns
    losses = [[(line["step"], line["loss"]) for line in map(json.loads, (out / "log.jsonl").open()) if line["event"] == "train"] for out in (whole, broken)]
    assert losses[0] == losses[1] and [step for step, _ in losses[0]] == [1, 2, 3, 4, 5, 6]
    for name in ("model/model.safetensors", "checkpoint-6/trainable.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def test_the_time_left_is_told(inputs, tmp_path, capsys, monkeypatch):
    """By the mean of the runs of this call: a known one took none of its time."""
    Runs(monkeypatch)
    command = ["compare", *inputs, "--output_dir", tmp_path / "out", "--methods", "dense", "--seeds"]
    assert "run 1 of 1: dense, seed 50: accuracy 5.5000; about 0 min left\n" in run(capsys, *command, "50")[2]
    err = run(capsys, *command, "50,4,8,3")[2]
    assert [line.split(": ", 1) for line in err.splitlines() if line.endswith("left")] == [
        ["run 2 of 4", "dense, seed 4: accuracy 0.9000; about 8 min left"],
        ["run 3 of 4", "dense, seed 8: accuracy 1.3000; about 6 min left"],
        ["run 4 of 4", "dense, seed 3: accuracy 0.8000; about 0 min left"],
    ]


# As GLUE's own table has them; of other data the first of those that there are.
JUDGED = {"cola": "matthews", "MRPC": "f1", "qqp": "f1", "STS-B": "pearson", "sst2": "accuracy", "mnli": "accuracy", "": "accuracy"}


@pytest.mark.parametrize("task", JUDGED)
def test_a_task_is_judged_by_its_own_metric(inputs, tmp_path, capsys, monkeypatch, task):
    """In what each run says, in the table, in the picture and in compare.json."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure.axes[0]))
    values = {"pearson": 0.66} if JUDGED[task] == "pearson" else {"accuracy": 0.91, "matthews": 0.22, "macro_f1": 0.33, "f1": 0.44}
    Runs(monkeypatch, metrics=values)
    command = ["compare", *inputs, "--output_dir", tmp_path / "out", "--methods", "pst", "--seeds", "1", *(["--task_name", task] if task else [])]
    status, out, err = run(capsys, *command)
    name, value = JUDGED[task], values[JUDGED[task]]
    assert status == 0 and f"pst at 50 %, seed 1: {name} {value:.4f}; " in err
    assert f"| method | sparsity | {name} |" in out and f"| pst | 50 % | {value:.4f} |" in out
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["metric"] == name
    assert drawn[0].get_ylabel() == name and list(drawn[0].lines[0].get_ydata()) == [value, value]
    # A wish goes before it, and where the data have other classes than the task there is another.
    assert run(capsys, *command, "--metric", "seconds_per_step")[1].startswith("| method | sparsity | seconds_per_step |")
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["metric"] == drawn[1].get_ylabel() == "seconds_per_step"


def test_a_metric_that_the_runs_lack(inputs, tmp_path, capsys, monkeypatch):
    """MRPC's columns with three classes have no F1."""
    Runs(monkeypatch)
    command = ["compare", *inputs, "--output_dir", tmp_path / "out", "--methods", "dense", "--seeds", "1", "--task_name", "mrpc"]
    assert run(capsys, *command)[1].startswith("| method | sparsity | accuracy |")


def test_runs_have_the_metric_of_their_task(inputs, tmp_path, capsys):
    """CoLA's, whose files have no header."""
    rng = np.random.default_rng(1)
    rows = [f"gj04\t{i % 2}\t*\t{' '.join(rng.choice(WORDS[5:], 4))} {'not' if i % 2 else 'the'}" for i in range(40)]
    (tmp_path / "c.tsv").write_text("\n".join(rows) + "\n")
    command = ["compare", *inputs[:2], "--train_file", tmp_path / "c.tsv", "--validation_file", tmp_path / "c.tsv", "--output_dir", tmp_path / "out"]
    command += ["--methods", "dense", "--seeds", "1", "--max_steps", "40", "--learning_rate", "3e-3", "--dropout", "0", "--report_to", "none", "--task_name", "CoLA"]
    status, out, err = run(capsys, *command)
    assert status == 0, err
    result = json.loads((tmp_path / "out" / "compare.json").read_text())["runs"]["dense-1"]
    assert 0 != result["matthews"] != result["accuracy"]
    assert f"| dense |  | {result['matthews']:.4f} | 1 |" in out and "| method | sparsity | matthews |" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "pst,magnitude"], "--methods has 'magnitude', which is none; there are pst, pst_wanda, dense"),
        (["--seeds", "1,x"], "--seeds must be whole numbers, all different, with commas between them, but is '1,x'"),
        (["--sparsities", "0.5,0.5"], "--sparsities must be numbers, all different"),
        (["--sparsities", "1.5"], "sparsity"),
        (["--seed=3"], "--seed is what pst compare gives each run"),
        (["--no_such_flag"], "--no_such_flag"),
        (["--task_name", "squad"], "unknown task 'squad': expected one of cola"),
    ],
)
def test_what_is_wrong_is_told_before_the_first_run(inputs, tmp_path, capsys, monkeypatch, flags, message):
    runs = Runs(monkeypatch)
    try:
        status, _, err = run(capsys, "compare", *inputs, "--output_dir", tmp_path / "out", *flags)
    except SystemExit as exit_:
        status, err = exit_.code, capsys.readouterr().err
    assert status != 0 and message in err and not runs.commands
