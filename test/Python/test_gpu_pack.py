# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What test/GPU carries to a machine with a GPU: its verdicts, and that a stage that fails stops no other.

The whole of run.sh runs against the stand-in as test/GPU/pack.sh says."""

import importlib
import json
import pathlib
import sys

import numpy as np
import pytest

from pst import bench_worker

FOLDER = pathlib.Path(__file__).parents[1] / "GPU"
MODULES = ("report", "stages", "times", "sweep", "run")
PRODUCTS = {name: {"operation": name, "tokens": 5, "rows": 100, "columns": 1000} for name in ("nt", "nn", "tn")}


@pytest.fixture
def harness(monkeypatch):
    """The modules of test/GPU, by name, as a folder that pack.sh made has them."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


@pytest.fixture
def report(harness):
    return harness["report"]


def test_kernels_are_set_against_their_bars(report):
    ours = {"nt": [2.0, 9.0, 2.0], "nn": [4.0], "tn": [1.0], "weight": [2e-3], "gradient": [1.5], "layer": [5.0]}
    ours |= {"threshold": [3e-5], "threshold, equal scores": [6.1e-5]}
    ours |= {"copy rate": [1000.0], "bytes": {"weight": 1.8}}
    theirs = {"nt": [1.9], "nn": [2.0], "tn": [1.0, 1.0], "kthvalue": [1e-3]}
    rows = list(report.kernel_rows({"ours": ours, "rivals": theirs, "products": PRODUCTS}))
    found = [(round(row["value"], 6), row["holds"]) for row in rows]
    assert found == [
        (0.95, True), (0.5, False), (1.0, True),  # the median is 2 s, cuBLAS takes 1.9
        (0.9, True),  # 1.8 bytes in 2 ms, where a copy would move 2
        (30.0, True), (61.0, False),  # microseconds
        (1.5, False),
        (round(5 / 4.9, 6), True),
    ]  # fmt: skip
    assert rows[0]["measure"] == "product NT, 5 x 100 x 1000: speed against cuBLAS"
    assert "distinct" in rows[4]["measure"] and "zero" in rows[5]["measure"]
    assert rows[4]["detail"] == "PyTorch's kthvalue 1000.0 us"
    reached, short = report.verdict(rows)
    assert reached == "5 of 8 bars are reached." and "cuBLAS (0.5, at least 0.9); threshold" in short


def test_what_is_absent_has_no_verdict(report):
    rows = list(report.kernel_rows({"ours": {"nt": [1.0]}, "rivals": {}, "products": PRODUCTS}))
    assert len(rows) == 8 and all(row["value"] is None and row["holds"] is None for row in rows)
    lines = report.table(rows, ["a card"])
    assert lines[0] == "| measure, on a card | value | bar | holds | |"
    assert lines[2] == "| product NT, 5 x 100 x 1000: speed against cuBLAS | absent | at least 0.9 |  |  |"
    assert list(report.verdict(rows))[1].startswith("Not measured: product NT, ")


def test_steps_are_set_against_their_bars(report):
    plan = {"frozen": 60, "trainable": 10, "gradients": 10, "optimizer": 20, "state": 0, "activations": 300, "workspace": 5, "peak": 400}
    found = {
        "ours": [{"wall_seconds": {"median": 0.1}, "memory": plan, "entries": {"step": {"seconds": {"median": 0.08}}}}] * 2,
        "packed": [{"entries": {"step": {"seconds": {"median": 0.044}}}}],
        "rivals": {"published": [1.1, 0.9, 1.2], "mvp": [0.2]},
        "memory": {"mvp": {"bytes": 4000, "held": 2100}, "published": {"bytes": 2000, "held": 100}},
        "absent": {"published, compiled": "was not ready in time"},
    }
    whole, *rest = report.step_rows(found, "step")
    assert whole["value"] == pytest.approx(100) and whole["detail"] == "ours 100.00 ms, 80.00 of them on the GPU"
    rows = {row["measure"].split(": ", 1)[1]: row for row in rest}
    assert rows["without padding, half of the tokens / all"]["value"] == pytest.approx(0.55)
    assert rows["eager as published / ours"]["value"] == pytest.approx(11) and rows["eager as published / ours"]["holds"]
    assert rows["eager as published / ours"]["detail"] == "1100.00 ms"
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


def test_a_stage_that_fails_is_told_and_stops_no_other(harness, tmp_path):
    stages = harness["stages"].Stages(_pst_run(tmp_path, "sleep 30"), tmp_path)
    stages.run("broken", lambda: 1 / 0)
    stages.run("late", lambda: stages.pst_run("late", "check", limit=0.2))
    assert stages.found["failures"] == ["broken: division by zero"] and stages.found["late"] == -1
    assert stages.last_line("late").startswith("stopped after") and stages.found["seconds"]["late"] < 10


def test_cases_that_fail_run_again_by_themselves(harness, tmp_path):
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
    stages = harness["stages"].Stages(_pst_run(tmp_path, body), tmp_path)
    found = stages.checks()
    assert found["cases"] == 5 and found["failed"] == ["c", "d"]
    assert stages.found["failures"] == ["checks: 2 of 5 failed, such as ['c', 'd']"]


def test_without_pytorch_nothing_is_compared(harness, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rivals", None)
    times = harness["times"]
    started, reason = times.rivals_of(harness["stages"].Stages(tmp_path, tmp_path), {}, PRODUCTS, True)
    assert started == {} and reason.startswith("absent: ")
    assert times.take(started, "operation", 0.1) == ({}, {})


def test_stages_can_be_chosen(harness, capsys):
    parse = harness["run"].parse
    assert parse([]).stages == ["checks", "training", "parity", "sanitizer", "kernels", "steps"]
    chosen = parse(["results", "--only", "kernels,checks"])
    assert chosen.stages == ["kernels", "checks"] and str(chosen.results) == "results"
    assert parse(["--sweep"]).sweep and not parse(["--sweep"]).stages
    with pytest.raises(SystemExit):
        parse(["--only", "checks,speed"])
    assert "there is no stage 'speed': there are checks, training, " in capsys.readouterr().err


class RecordedWorker:
    """A rival that trains whenever it is timed, as it does."""

    def __init__(self, settings, timeout):
        self.settings, self.trained = settings, 0

    def check(self, sparsity):
        return {"logits": [sparsity, self.trained]}

    def run(self, sparsity, seconds):
        self.trained += 3
        return 1.0


def test_rivals_tell_their_logits_before_they_train(harness, tmp_path, monkeypatch):
    rivals = tmp_path / "rivals"
    rivals.mkdir()
    (rivals / "__init__.py").touch()
    for name in ("bench_inputs", "bench_worker"):
        source = pathlib.Path(bench_worker.__file__).with_name(f"{name}.py")
        (rivals / f"{name}.py").write_text(source.read_text())
    (rivals / "_pst.py").write_text((FOLDER / "tensors.py").read_text())
    monkeypatch.syspath_prepend(tmp_path)
    worker = importlib.import_module("rivals.bench_worker")
    monkeypatch.setattr(worker, "Worker", RecordedWorker)
    model = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 9, "max_position_embeddings": 8}
    model |= {"type_vocab_size": 2, "initializer_range": 0.02}
    times = harness["times"]
    settings = {"model": model, "step": {"batch": 2, "length": 3}}
    started, absent = times.rivals_of(harness["stages"].Stages(tmp_path, tmp_path), settings, {}, True)
    ready, reasons = times.take(started, "step", 10)
    assert not absent and not reasons and {"published, compiled", "lora", "lora, compiled", "mvp"} < ready.keys()
    assert all(one.logits == {"logits": [0.0, 0]} and one.trained == 3 for one in ready.values())
    for name in [name for name in sys.modules if name.split(".")[0] == "rivals"]:
        del sys.modules[name]


def test_the_bound_of_logits_is_that_of_bf16(harness):
    """Wide enough for the rounding of 24 layers, and not for a model that trained, or has another mask."""
    bound = harness["times"].rounding_bound
    assert 0.02 < bound(24) < 0.1 and bound(1) == pytest.approx(bound(4) / 2)
    length = 139.6
    assert not bench_worker.differ({"logits": [length, -36.4]}, {"logits": [length * 1.02, -36.6]}, bound(24))
    assert bench_worker.differ({"logits": [length, -36.4]}, {"logits": [269.5, -4.6]}, bound(24))


def test_a_product_of_the_sweep_is_checked(harness, tmp_path, monkeypatch):
    """Elements that were computed here are those of the operands, which are bf16."""
    monkeypatch.syspath_prepend(FOLDER)
    tensors = importlib.import_module("tensors")
    monkeypatch.setitem(sys.modules, "rivals", type(sys)("rivals"))
    monkeypatch.setitem(sys.modules, "rivals._pst", tensors)
    sizes = {"tokens": 13, "rows": 7, "columns": 11}
    shapes = {"nt": ((13, 11), (7, 11)), "nn": ((13, 7), (7, 11)), "tn": ((13, 7), (13, 11))}
    for operation, (left, right) in shapes.items():
        path = tmp_path / f"{operation}.safetensors"
        harness["sweep"].write_check(path, {"operation": operation} | sizes)
        file = tensors.TensorFile(path)
        a, b = ((file.read(f"input.{name}").astype(np.uint32) << 16).view(np.float32).astype(np.float64) for name in "ab")
        assert a.shape == left and b.shape == right
        product = {"nt": lambda a, b: a @ b.T, "nn": lambda a, b: a @ b, "tn": lambda a, b: a.T @ b}[operation](a, b)
        elements = file.read("elements.result0")
        np.testing.assert_allclose(file.read("wanted.result0"), product.ravel()[elements], rtol=0, atol=1e-12)
        assert elements[-1] == product.size - 1 and (np.diff(elements) > 0).all()
        assert (file.read("allowed.result0") < 0.1).all()


def test_a_variant_that_does_not_compile_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    make = importlib.import_module("make_sweep")
    monkeypatch.setattr(sys, "argv", ["make_sweep.py", str(tmp_path / "sweep"), "sm_90a"])
    monkeypatch.setattr(make, "groups", lambda tiny, groups=make.groups: {name: groups(True)[name] for name in ("nt", "weight")})
    variants = [("*", "as planned", {}), ("nt", "rounded", {"precision": "tf32"}), ("nt", "wrong", {"precision": "f8"})]
    monkeypatch.setattr(make, "VARIANTS", variants)
    make.main()
    settings = json.loads((tmp_path / "sweep" / "settings.json").read_text())
    assert [(one["group"], one["name"], one["options"]) for one in settings["variants"]] == [
        ("nt", "as planned", ""),
        ("weight", "as planned", ""),
        ("nt", "rounded", "precision=tf32"),
    ]
    assert settings["groups"] == {"nt": {"product": make.groups(True)["nt"]["product"]}, "weight": {}}
    assert all((tmp_path / "sweep" / one["bundle"] / "manifest.json").exists() for one in settings["variants"])
    assert "make_sweep.py: nt, wrong: " in capsys.readouterr().err


def test_variants_are_ranked(report):
    variants = [
        {"name": "slow", "options": "", "seconds": [2e-3, 3e-3], "flops": 1e9, "bytes": 1e6, "error": ""},
        {"name": "fast", "options": "tile=1", "seconds": [1e-3, 1e-3], "flops": 1e9, "bytes": 1e6, "error": ""},
        {"name": "wrong", "options": "tile=2", "seconds": [], "flops": 0, "bytes": 0, "error": "output [3]: 1 instead of 2"},
    ]
    lines = list(report.sweep_tables({"groups": {"nt": {"rivals": {"cuBLAS": [5e-4]}, "variants": variants}}}))
    assert lines[1] == "nt: cuBLAS 500.0 us"
    assert lines[5] == "| fast | 1000.0 | 1000.0 to 1000.0 | 1 | 1 | 0.500 | tile=1 |"
    assert lines[6].startswith("| slow | 2500.0 | 2000.0 to 3000.0 |")
    assert lines[7].startswith("| wrong | FAILED: output [3]")
