# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What follows a run and may end it: callbacks, metrics of one's own, early stopping as transformers has it."""

import json
import os
import types

import numpy as np
import pytest
from conftest import CONFIG, write_data, write_model

import pst
from pst import callbacks


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("callbacks")
    config = {**CONFIG, "num_hidden_layers": 1}
    return write_model(directory / "m", config), write_data(directory / "train.tsv", 40), write_data(directory / "dev.tsv", 13, 1)


def trainer(files, out, **settings):
    defaults = {"max_steps": 12, "learning_rate": 3e-3, "logging_steps": 3, "eval_steps": 2, "save_strategy": "no", "report_to": "none",
                "sparsity": 0.5, "final_warmup": 1, "initial_warmup": 0, "load_best_model_at_end": False}  # fmt: skip
    model, train, dev = files
    return pst.Trainer(model, train, dev, output_dir=out, **{**defaults, **settings})


class Recorder(pst.Callback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, record):
        self.seen.append(("step", record["step"]))

    def on_log(self, record):
        self.seen.append(("log", record["step"]))

    def on_evaluate(self, record):
        self.seen.append(("evaluate", record["step"]))

    def on_save(self, path):
        self.seen.append(("save", int(path.rpartition("-")[2])))

    def on_train_end(self, result):
        self.seen.append(("end", result["step"]))


def test_hooks_are_called_in_order(files, tmp_path):
    recorder = Recorder()
    trainer(files, tmp_path, max_steps=5, save_steps=3, callbacks=[recorder]).train()
    step = lambda n: ("step", n)  # noqa: E731
    assert recorder.seen == [
        step(1), step(2), ("evaluate", 2), step(3), ("log", 3), ("save", 3), step(4), ("evaluate", 4),
        step(5), ("log", 5), ("evaluate", 5), ("save", 5), ("end", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("name, at", [("on_step_end", 5), ("on_log", 6), ("on_evaluate", 4), ("on_save", 3)])
def test_each_may_end_the_run(files, tmp_path, name, at):
    """Anything with a method of that name is a callback; the run ends as after its last step."""
    ended = []

    def hook(value):
        step = int(value.rpartition("-")[2]) if isinstance(value, str) else value["step"]
        return "stop" if step >= at else None

    callback = types.SimpleNamespace(**{name: hook}, on_train_end=ended.append)
    run = trainer(files, tmp_path / name, save_steps=3, callbacks=[callback])
    result = run.train()
    assert ended == [result]
    # A checkpoint is written after the wish to end was asked for.
    expected = at + 1 if name == "on_save" else at
    assert result["step"] == expected and result["ended_early"] and not result["stopped"]
    assert (tmp_path / name / f"checkpoint-{expected}").is_dir()
    assert run.save()["layers"]


def test_what_is_no_callback(files, tmp_path):
    with pytest.raises(ValueError, match="a callback must have a method on_step_end, .* or on_train_end, but 3 has none"):
        trainer(files, tmp_path, callbacks=[3])

    class Wrong:
        def on_log(self, record):
            return "halt"

    with pytest.raises(TypeError, match="Wrong.on_log must return None or 'stop', but returned 'halt'"):
        trainer(files, tmp_path, callbacks=[Wrong()]).train()


def test_metrics_of_ones_own(files, tmp_path):
    given = []

    def compute_metrics(predictions, labels):
        given.append((predictions, labels))
        wrong = predictions.argmax(1) != labels
        return {"eval_errors": wrong.sum(), "accuracy": -1.0}

    run = trainer(files, tmp_path, compute_metrics=compute_metrics, metric_for_best_model="errors", greater_is_better=False)
    assert run.plan["metric"] == "errors" and not run.plan["greater_is_better"]
    result = run.train()
    dev = pst.read_examples(files[2])
    expected = np.array([label == "yes" for label in dev.labels], np.int32)
    assert all(p.dtype == np.float32 and p.shape == (13, 2) and l.dtype == np.int32 and (l == expected).all() for p, l in given)
    assert [r["metrics"]["errors"] for r in result["history"]] == [(p.argmax(1) != expected).sum() for p, _ in given]
    assert all(r["metrics"]["accuracy"] == -1 and "auc" in r["metrics"] for r in result["history"])
    assert result["best"]["metrics"]["errors"] == min(r["metrics"]["errors"] for r in result["history"])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [l["eval_errors"] for l in lines if l["event"] == "eval"] == [r["metrics"]["errors"] for r in result["history"]]
    # Beside training too, and for longer texts.
    found = run.evaluate()
    assert found["metrics"]["errors"] == (found["logits"].argmax(1) != expected).sum()
    long = run.evaluate([("not " * 30, "yes"), ("good", "no")])
    assert long["metrics"]["errors"] == (long["logits"].argmax(1) != [1, 0]).sum()


@pytest.mark.parametrize("compute, error, told", [
    (lambda p, l: 3.0, TypeError, "compute_metrics must return a dictionary of names and numbers, but returned 3.0"),
    (lambda p, l: {"x": "high"}, TypeError, "compute_metrics must return numbers, but 'x' is 'high'"),
    (lambda p, l: 1 / 0, ZeroDivisionError, "division by zero"),
    (lambda p, l: {"y": 1}, pst.Error, "--metric_for_best_model must be one of loss, accuracy, .*, y, which the evaluation at step 2 gave, but is x"),
])  # fmt: skip
def test_metrics_that_cannot_be(files, tmp_path, compute, error, told):
    with pytest.raises(error, match=told):
        trainer(files, tmp_path, compute_metrics=compute, metric_for_best_model="x").train()


def test_own_metrics_by_name():
    assert callbacks.own_metrics(lambda p, l: {"eval_a": np.float32(0.5), "b": True}, None, None) == {"a": 0.5, "b": 1.0}


def reference(values, patience, threshold, greater):
    """After how many evaluations transformers' trainer would stop, or None."""
    transformers = pytest.importorskip("transformers")
    args = types.SimpleNamespace(metric_for_best_model="x", greater_is_better=greater, save_strategy="epoch")
    state, control = transformers.TrainerState(), transformers.TrainerControl()
    callback = transformers.EarlyStoppingCallback(patience, threshold)
    for count, value in enumerate(values, 1):
        metrics = {"eval_x": value}
        callback.on_evaluate(args, state, control, metrics)
        transformers.Trainer._determine_best_metric(types.SimpleNamespace(args=args, state=state), metrics, None)
        if control.should_training_stop:
            return count
    return None


class Scripted:
    def __init__(self, values):
        self._values = iter(values)

    def __call__(self, predictions, labels):
        return {"x": next(self._values)}


@pytest.mark.parametrize("seed", range(6))
def test_early_stopping_is_that_of_transformers(files, tmp_path, seed):
    rng = np.random.default_rng(seed)
    values = np.round(rng.standard_normal(12), 1).tolist()
    patience, threshold, greater = int(rng.integers(1, 4)), [0.0, 0.3][seed % 2], bool(rng.integers(2))
    settings = {"max_steps": 12, "eval_steps": 1, "metric_for_best_model": "x", "greater_is_better": greater,
                "early_stopping_patience": patience, "early_stopping_threshold": threshold, "final_warmup": 1}  # fmt: skip
    result = trainer(files, tmp_path, compute_metrics=Scripted(values), **settings).train()
    expected = reference(values, patience, threshold, greater)
    assert (result["step"], result["ended_early"]) == ((expected, expected < 12) if expected else (12, False))


def test_a_run_that_has_stalled_goes_on_if_it_may(files, tmp_path, capfd):
    """Only evaluations at the final sparsity count. With more patience the run ends with the bits of one never stopped."""
    values = [9, 0, 0, 3, 2, 1, 0, -1, -2, -3, -4, -5]
    settings = {"max_steps": 12, "eval_steps": 1, "save_steps": 1, "metric_for_best_model": "x", "final_warmup": 0.75, "initial_warmup": 0.2,
                "load_best_model_at_end": True, "early_stopping_patience": 2}  # fmt: skip
    first = trainer(files, tmp_path / "a", compute_metrics=Scripted(values), **settings).train()
    assert [r["eligible"] for r in first["history"]] == [False] * 2 + [True] * 4
    assert first["step"] == 6 and first["ended_early"] and first["best"]["step"] == 4
    assert "no better x in 2 evaluations: the run ends at step 6 of 12" in capfd.readouterr().err
    # The best one is what the model now holds: its sparsity, not the last one's.
    again = trainer(files, tmp_path / "a", resume_from_checkpoint="last", compute_metrics=Scripted([]), **settings).train()
    assert again["step"] == 6 and again["ended_early"] and again["best"]["step"] == 4
    settings["early_stopping_patience"] = 20
    more = trainer(files, tmp_path / "a", resume_from_checkpoint=True, compute_metrics=Scripted(values[6:]), **settings).train()
    whole = trainer(files, tmp_path / "b", compute_metrics=Scripted(values), **settings).train()
    assert more["step"] == whole["step"] == 12 and not more["ended_early"]
    for name in os.listdir(tmp_path / "b" / "checkpoint-12"):
        assert (tmp_path / "a" / "checkpoint-12" / name).read_bytes() == (tmp_path / "b" / "checkpoint-12" / name).read_bytes(), name


def test_early_stopping_needs_evaluations(files, tmp_path):
    model, train, dev = files
    with pytest.raises(ValueError, match="--early_stopping_patience needs evaluation data: --validation_file"):
        pst.Trainer(model, train, output_dir=tmp_path, early_stopping_patience=1)
    with pytest.raises(pst.Error, match="--early_stopping_patience needs evaluation data and an --eval_strategy"):
        pst.Trainer(model, train, dev, output_dir=tmp_path, early_stopping_patience=1, eval_strategy="no").train()
