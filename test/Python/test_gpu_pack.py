# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What test/GPU carries to a machine with a GPU: its verdicts, and that a stage that fails stops no other.

The whole of run.sh runs against the stand-in as test/GPU/pack.sh says."""

import importlib.util
import json
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "GPU"


def _module(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report():
    return _module("report")


@pytest.fixture
def run(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "report", report)
    return _module("run")


def test_kernels_are_set_against_their_bars(report):
    ours = {"nt": [2.0, 9.0, 2.0], "nn": [4.0], "tn": [1.0], "weight": [2e-3], "threshold": [3e-5], "gradient": [1.5], "layer": [5.0]}
    ours |= {"copy rate": [1000.0], "bytes": {"weight": 1.8}}
    theirs = {"nt": [1.9], "nn": [2.0], "tn": [1.0, 1.0], "kthvalue": [1e-3]}
    rows = {row["measure"]: row for row in report.kernel_rows({"ours": ours, "rivals": theirs, "flops": 1e12})}
    found = {measure: (round(row["value"], 6), row["holds"]) for measure, row in rows.items()}
    assert list(found.values()) == [
        (0.95, True), (0.5, False), (1.0, True),  # the median is 2 s, cuBLAS takes 1.9
        (0.9, True),  # 1.8 bytes in 2 ms, where a copy would move 2
        (30.0, False),  # microseconds
        (1.5, False),
        (round(5 / 4.9, 6), True),
    ]  # fmt: skip
    assert rows["threshold, microseconds"]["detail"] == "PyTorch: kthvalue 1000"


def test_what_is_absent_has_no_verdict(report):
    rows = list(report.kernel_rows({"ours": {"nt": [1.0]}, "rivals": {}, "flops": 1.0}))
    assert len(rows) == 7 and all(row["value"] is None and row["holds"] is None for row in rows)
    assert report.table(rows)[2] == "| product NT: speed against cuBLAS | absent | at least 0.9 |  |  |"


def test_steps_are_set_against_their_bars(report):
    plan = {"frozen": 60, "trainable": 10, "gradients": 10, "optimizer": 20, "state": 0, "activations": 300, "workspace": 5, "peak": 400}
    found = {
        "ours": [{"wall_seconds": {"median": 0.1}, "memory": plan, "entries": {"step": {"seconds": {"median": 0.08}}}}] * 2,
        "rivals": {"published": [1.1, 0.9, 1.2], "mvp": [0.2]},
        "memory": {"mvp": {"bytes": 4000, "held": 2100}, "published": {"bytes": 2000, "held": 100}},
        "absent": {"published, compiled": "was not ready in time"},
    }
    rows = {row["measure"].split(": ", 1)[1]: row for row in report.step_rows(found, "step")}
    assert rows["eager as published / ours"]["value"] == pytest.approx(11) and rows["eager as published / ours"]["holds"]
    assert rows["eager as published / ours"]["detail"] == "ours 100.00 ms, 80.00 of them on the GPU"
    assert rows["movement pruning eager / ours"]["holds"] is False
    compiled = rows["compiled by PyTorch, as published / ours"]
    assert compiled["value"] is None and compiled["detail"] == "was not ready in time"
    assert rows["peak memory, movement pruning eager / ours"]["value"] == pytest.approx(10)
    memory = rows["memory without activations over movement pruning's"]
    assert memory["value"] == pytest.approx(105 / 2100) and memory["holds"]


def test_losses_agree_closely_at_first(report, tmp_path):
    def log(name, losses):
        (tmp_path / name).mkdir()
        lines = [{"loss": loss, "grad_norm": 1.0} for loss in losses] + [{"eval_loss": 3.0}]
        (tmp_path / name / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / name

    wanted = [1.0 / (i + 1) for i in range(50)]
    recorded = log("recorded", wanted)
    assert report.compare_losses(recorded, log("same", wanted), "f32")["agree"]
    assert report.compare_losses(recorded, log("late", wanted[:40] + [loss + 0.01 for loss in wanted[40:]]), "f32")["agree"]
    early = log("early", [1.001] + wanted[1:])
    assert not report.compare_losses(recorded, early, "f32")["agree"] and report.compare_losses(recorded, early, "bf16")["agree"]
    assert not report.compare_losses(recorded, log("short", wanted[:49]), "f32")["agree"]
    assert not report.compare_losses(recorded, log("broken", [float("nan")] * 50), "bf16")["agree"]


def _pst_run(folder, text):
    program = folder / "pst-run"
    program.write_text(f"#!/bin/bash\n{text}\n")
    program.chmod(0o755)
    return folder


def test_a_stage_that_fails_is_told_and_stops_no_other(run, tmp_path):
    stages = run.Stages(_pst_run(tmp_path, "sleep 30"), tmp_path)
    stages.run("broken", lambda: 1 / 0)
    stages.run("late", lambda: stages.pst_run("late", "check", limit=0.2))
    assert stages.found["failures"] == ["broken: division by zero"] and stages.found["late"] == -1
    assert stages.last_line("late").startswith("stopped after") and stages.found["seconds"]["late"] < 10


def test_cases_that_fail_run_again_by_themselves(run, tmp_path):
    """An error of one kernel lets all that follow in its process fail."""
    for name in ("a", "b", "c", "d", "e"):
        (tmp_path / "checks" / name).mkdir(parents=True)
        (tmp_path / "checks" / name / "check.safetensors").touch()
    # c fails always, the others if they are not alone; d ends the process when it is alone.
    body = f"""shift; names=(); while [[ $1 != --json ]]; do names+=($(basename $1)); shift; done
[[ ${{names[*]}} == d ]] && exit 139
status=true; [[ ${{#names[@]}} -gt 1 || ${{names[0]}} == c ]] && status=false
for name in ${{names[@]}}; do list+="${{list:+,}}{{\\"bundle\\": \\"{tmp_path}/checks/$name\\", \\"passed\\": $status}}"; done
echo "[$list]" > $2"""
    stages = run.Stages(_pst_run(tmp_path, body), tmp_path)
    found = stages.checks()
    assert found["cases"] == 5 and found["failed"] == ["c", "d"]
    assert stages.found["failures"] == ["checks: 2 of 5 failed, such as ['c', 'd']"]


def test_without_pytorch_nothing_is_compared(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rivals", None)
    started, reason = run.rivals_of(run.Stages(tmp_path, tmp_path), {"model": {}, "step": {}, "layer": {}, "tiny": True})
    assert started == {} and reason.startswith("absent: ")
    assert run.take(started, "operation", 0.1) == ({}, {})
