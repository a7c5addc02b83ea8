# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst bench`: its rows, its verdicts, and that wrong results are not timed. Nothing here asserts a time."""

import importlib.util
import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_model

from pst import bench, bench_rows, bench_worker, cli, programs


def rows_of(**changes):
    context = bench_rows.Context(bench_rows.Sizes(), (1, 2), 3, 1, 0.001, progress=lambda line: None, **changes)
    return bench_rows.all_rows(context)


def test_every_row_of_the_table_is_there():
    rows = rows_of()
    assert len({row.name for row in rows}) == len(rows)
    bars = {(row.bar, row.kind) for row in rows if row.bar is not None}
    least = {1.0, 0.95, 100.0, 45.0, 2.2, 3.5, 6.0, 3.0, 1.2, 0.7}
    assert bars == {(bar, "at least") for bar in least} | {(bar, "at most") for bar in (1.03, 1.15, 0.15)}
    # The five shapes, with one thread and two.
    assert sum(row.name.startswith("gemm") for row in rows) == 10


def test_rows_are_chosen_by_pattern():
    names = [row.name for row in rows_of()]
    chosen = [name for name in names if bench.matches(name, "!torch.compile")]
    assert 0 < len(chosen) < len(names) and not any("torch.compile" in name for name in chosen)
    assert bench.matches("gemm 1x2x3", "gemm*") and bench.matches("a gemm", "gemm") and not bench.matches("a gemm", "gemm*")


def test_bars_are_for_the_standard_sizes(tmp_path):
    assert all(row.bar is None for row in rows_of(model=str(tmp_path)) if "step, 32" in row.name)
    assert any(row.bar for row in rows_of(model=str(tmp_path)))


def measured(value, bar, kind):
    row = bench_rows.Row("row", lambda: {"value": value, "spread": [value, value]}, bar, kind)
    return bench.run(row)["holds"]


def test_verdicts():
    assert measured(1.0, 1.0, "at least") is True
    assert measured(0.99, 1.0, "at least") is False
    assert measured(1.03, 1.03, "at most") is True
    assert measured(1.04, 1.03, "at most") is False
    assert measured(7.0, None, "at least") is None
    undecided = bench_rows.Row("row", lambda: {"value": 2.0, "spread": [2, 2], "undecided": "no rival"}, 1.0)
    assert bench.run(undecided)["holds"] is None


def raising(error):
    def measure():
        raise error

    return bench_rows.Row("the row", measure, 1.0)


def test_what_is_missing_is_counted_and_told():
    absent = bench.run(raising(bench_rows.Absent("no library")))
    failed = bench.run(raising(bench_worker.WorkerError("results differ")))
    good = bench.run(bench_rows.Row("slow", lambda: {"value": 0.5, "spread": [0.4, 0.6]}, 1.0))
    assert (absent["status"], failed["status"], good["status"]) == ("absent", "failed", "measured")
    results = {"command": "c", "date": "2000-01-01T00:00", "machine": bench.machine(), "versions": bench.versions()}
    text = bench.table({**results, "rows": [absent, failed, good]})
    assert "| the row | absent: no library |  | at least 1 |  |" in text
    assert "| the row | failed: results differ |" in text
    assert "| slow | 0.5 | 0.4 to 0.6 | at least 1 | **no** |" in text
    assert "0 of 3 bars hold, 1 are missed, 2 were not decided." in text


class Fixed:
    """A contestant that gives one result."""

    def __init__(self, result, seconds=0.1):
        self.result, self.seconds = result, seconds

    def check(self, sparsity):
        return bench_worker.summarize({"y": self.result})

    def run(self, sparsity, seconds):
        return self.seconds


def test_a_wrong_result_is_not_timed():
    context = bench_rows.Context(bench_rows.Sizes(), (1,), 3, 1, 0.001, progress=lambda line: None)
    right = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    wrong = right.copy()
    wrong[3, 2] += 1
    result = bench_rows.take_turns(context, Fixed(right), Fixed(right + 1e-6, 0.3), [0.9, 0.9], 3)
    assert result["value"] == pytest.approx(3.0) and len(result["samples"]["ours"]) == 3
    with pytest.raises(bench_worker.WorkerError, match="the results differ, so nothing was timed: y"):
        bench_rows.take_turns(context, Fixed(right), Fixed(wrong), [0.9, 0.9], 3)
    with pytest.raises(bench_worker.WorkerError, match="the results differ"):
        bench_rows.take_turns(context, Fixed(right), Fixed(right * np.nan), [0.9, 0.9], 3)


def test_a_worker_that_dies_says_why():
    settings = {"side": "ours", "task": "Nothing", "threads": 1, "rows": 2, "columns": 2, "rank": 1, "tokens": 1}
    with pytest.raises(bench_worker.WorkerError, match="AttributeError.*Nothing"):
        bench_worker.Worker(settings)


def test_missing_packages_and_programs_are_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bench_rows.Absent, match="torch is not installed"):
        bench_rows.need("torch")
    monkeypatch.setattr(programs, "find", lambda name: "")
    row = bench.run(next(row for row in rows_of() if row.name.startswith("gemm")))
    assert row["status"] == "absent" and "pst-bench was not found" in row["reason"]


def test_no_row_of_that_name(capsys):
    assert cli.main(["bench", "--rows", "nonsense"]) == 1
    assert "no row matches 'nonsense'; --list prints them" in capsys.readouterr().err
    assert cli.main(["bench", "--threads", "two"]) == 1
    assert "--threads must be numbers of threads" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["gemm*", "compressed dX at 80 %*", "exact threshold, warm*", "layer step*40 tokens*"])
def test_kernels_at_tiny_sizes(pattern, tmp_path):
    if pattern.startswith(("exact", "layer")):
        pytest.importorskip("torch")
    elif not programs.find("pst-bench"):
        pytest.skip("pst-bench was not built")
    output = tmp_path / "results.json"
    assert cli.main(["bench", "--tiny", "--threads", "1", "--rows", pattern, "--json", str(output)]) == 0
    results = json.loads(output.read_text())
    (row,) = results["rows"]
    if row["status"] == "absent":
        pytest.skip(row["reason"])
    assert row["status"] == "measured", row
    assert row["value"] > 0 and row["spread"][0] <= row["value"] <= row["spread"][1]
    assert results["machine"]["cores"] >= 1 and results["versions"]["numpy"]


def test_steps_at_tiny_sizes(tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    config = {**CONFIG, "num_labels": 2}
    model = write_model(tmp_path / "model", config, bert_tensors(config))
    output = tmp_path / "results.json"
    command = ["bench", "--tiny", "--threads", "1", "--model", str(model), "--json", str(output)]
    # Eager rivals with and without a mask; the row of the plan.
    for pattern in ("*: eager with kthvalue*", "*90 %: dense LoRA eager*", "*beyond activations*"):
        assert cli.main([*command, "--rows", pattern]) == 0
        (row,) = json.loads(output.read_text())["rows"]
        assert row["status"] == "measured" and row["value"] > 0, row
    assert row["value"] == sum(
        row["memory_plan"][kind] for kind in ("frozen", "trainable", "gradients", "optimizer", "state", "workspace")
    ) / row["memory_plan"]["frozen"]
    capsys.readouterr()
    assert cli.main(["bench", "--table", str(output)]) == 0
    assert "beyond activations" in capsys.readouterr().out
    # Without padding against a batch as long as its longest: both are checked for equal logits.
    command = [word for word in command if word != "--tiny"]
    command += ["--quick", "--batch_size", "5", "--sequence_length", "11", "--lengths", "3,1,9"]
    assert cli.main([*command, "--rows", "*: eager with kthvalue*"]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert row["name"].startswith("step, 5 x 11 of real lengths") and row["status"] == "measured" and row["value"] > 0, row
    # Batches of a file's examples, in turn; the last command that asks for more than there are.
    data = tmp_path / "data.tsv"
    data.write_text("sentence\tlabel\n" + "".join("film " * (1 + i % 7) + f"\t{i % 2}\n" for i in range(11)))
    of_data = [*command[:-2], "--data", str(data), "--batches", "2"]
    assert cli.main([*of_data, "--rows", "*: eager with kthvalue*"]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert row["name"].startswith("step, 5 x 11 of real lengths, 2 batches in turn") and row["status"] == "measured" and row["value"] > 0, row
    assert cli.main([*of_data[:-1], "3"]) == 1
    assert f"--batches 3 of 5 examples are 15, but {data} has 11" in capsys.readouterr().err
    assert cli.main([*command[:-1], "3,12", "--rows", "*LoRA*"]) == 1
    assert "--lengths must be numbers from 1 to --sequence_length (11), but is '3,12'" in capsys.readouterr().err


def test_saved_models_at_tiny_sizes(tmp_path):
    pytest.importorskip("torch")
    output = tmp_path / "results.json"
    command = ["bench", "--suite", "inference", "--tiny", "--threads", "1", "--json", str(output)]
    assert cli.main([*command, "--rows", "MiniLM, 90 %, 1 x 8: *"]) == 0
    rows = json.loads(output.read_text())["rows"]
    rivals = [row["name"].split(": ")[1].split(" / ")[0] for row in rows]
    assert rivals == ["ours dense", "PyTorch eager", "ONNX Runtime"]
    for row in rows:
        # ONNX Runtime is seldom there.
        assert row["status"] == "measured" or (row["status"] == "absent" and "onnx" in row["reason"]), row
    assert rows[0]["value"] > 0 and rows[0]["compressed_weights"] > 0
    pytest.importorskip("transformers")
    assert cli.main([*command, "--rows", "GPT-2, 90 %, one token after 8, weights of int8: *"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["status"] for row in rows] == ["measured"] * 2 and all(row["value"] > 0 for row in rows), rows
    assert cli.main([*command, "--rows", "SmolLM2, 80 %*"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["status"] for row in rows] == ["measured"] * 2 and all(row["value"] > 0 for row in rows), rows
    assert "peak memory" in rows[1]["name"] and min(rows[1]["peak_bytes"].values()) > 2**20


def test_rivals_of_a_gpu(tmp_path):
    """Here on the CPU: bf16 by autocast is about f32, which is compared with ours above; what is trained stays f32."""
    torch = pytest.importorskip("torch")
    from pst import bench_eager, bench_inputs

    bench_inputs.write_random_bert(tmp_path, {**CONFIG, "initializer_range": 0.3})
    settings = {"model": str(tmp_path), "batch": 3, "length": 8, "rank": 2, "learning_rate": 1e-2}
    settings |= {"attention": "sdpa", "compiled": False}
    batch = bench_inputs.random_batch(settings)
    for method in bench_eager.METHODS:
        wide, narrow = (
            bench_eager.Step(settings | {"method": method, "precision": precision}, batch) for precision in ("f32", "bf16")
        )
        expected, found = wide.check(0.5)["logits"], narrow.check(0.5)["logits"]
        size = np.abs(expected).max()
        assert size > 1 and 0 < np.abs(found - expected).max() < 0.1 * size, method
        assert {parameter.dtype for parameter in narrow.trained} == {torch.float32}
        narrow.call(0.5)
        narrow.wait()
        assert narrow.memory()["bytes"] > 0
        assert np.abs(narrow.check(0.5)["logits"] - found).max() > 0  # it has learnt something


def test_operations_of_a_gpu():
    """As a process of their own, which is how test/GPU/run.py times them."""
    pytest.importorskip("torch")
    settings = {"side": "eager", "task": "Operation", "threads": 1, "device": "cpu", "rows": 6, "columns": 4, "tokens": 5}
    settings |= {"copy_elements": 10, "sparsity": 0.5, "operation": "nt"}
    with bench_worker.Worker(settings) as worker:
        assert worker.run(0.5, 0.001) > 0 and worker.memory()["bytes"] > 0
