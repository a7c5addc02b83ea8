# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What happens around a run and must not lose it: signals, streams that nobody reads, directories and files that go away."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from pst import Error, TensorFile, _pst, outputs

RUN = pathlib.Path(os.environ.get("PST_BUILD_DIR", "build-dev")) / "bin" / "pst-run"


@pytest.fixture(autouse=True)
def hang_ups_are_heard():
    """A runner under nohup ignores SIGHUP, and so would all that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def command(model, data, output, *more):
    flags = ["--model_name_or_path", model, "--train_file", data[0], "--output_dir", output, "--per_device_train_batch_size", 8]
    flags += ["--num_train_epochs", 1, "--max_seq_length", 8, "--logging_steps", 1, "--save_strategy", "no", *more]
    return [sys.executable, "-m", "pst", "train", *map(str, flags)]


def shell(words, redirections):
    """The command with a shell's redirections; its status, and what it said."""
    line = " ".join(f"'{word}'" for word in words) + " " + redirections
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def is_trained(output):
    """Whether the run came to its end, with its model and its log."""
    steps = [json.loads(line)["step"] for line in (output / "log.jsonl").read_text().splitlines()]
    return steps == list(range(1, len(steps) + 1)) and "classifier.weight" in TensorFile(output / "model")


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "2> >(exec true)", "<&- 2>&-"])
def test_a_run_goes_on_when_nobody_hears_it(tmp_path, model, data, redirections):
    status, out, _ = shell(command(model, data, tmp_path / "run"), redirections)
    assert status == 0 and is_trained(tmp_path / "run")
    assert f"model: {tmp_path}/run/model" in out


@pytest.mark.parametrize("redirections", [">&- 2>&-", ">&-"])
def test_closed_streams_are_not_taken_by_files(tmp_path, model, data, redirections):
    status, _, _ = shell(command(model, data, tmp_path / "run"), redirections)
    assert status == 0 and is_trained(tmp_path / "run")


def test_standard_output_that_is_full_is_an_error_before_the_training(tmp_path, model, data):
    status, _, err = shell(command(model, data, tmp_path / "run"), ">/dev/full")
    assert status == 1 and "No space left on device" in err and err.count("\n") == 1
    assert not (tmp_path / "run" / "log.jsonl").exists()
    status, _, err = shell([sys.executable, "-m", "pst", "recipe", "pst"], ">/dev/full")
    assert status == 1 and err.count("\n") == 1


def started(words, output, step=3, **more):
    """A run that has come to a step."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    log = output / "log.jsonl"
    until = time.monotonic() + 120
    while not log.exists() or log.read_text().count("\n") < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


LONG = ("--num_train_epochs", 1000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_checkpoint(tmp_path, model, data, number):
    run = tmp_path / "run"
    process = started(command(model, data, run, *LONG), run)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopping after this step, with a checkpoint" in err
    (checkpoint,) = _pst.list_checkpoints(str(run))
    assert f"checkpoint: {checkpoint[1]}" in out


@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_comparison_hands_signals_on_to_its_run(tmp_path, model, data, number, send):
    words = [*command(model, data, tmp_path / "out", *LONG, "--validation_file", data[1]), "--methods", "dense", "--seeds", "1,2"]
    words[words.index("train")] = "compare"
    run = tmp_path / "out" / "dense-1"
    process = started(words, run, start_new_session=True)
    # A terminal sends to all that run in it, and the second signal ends a run at once.
    send(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and err.endswith("stopped; the same command goes on\n"), err
    assert len(_pst.list_checkpoints(str(run))) == 1 and not (tmp_path / "out" / "dense-2").exists()
    assert not (tmp_path / "out" / "compare.json").exists()


def test_nohup_outlives_its_terminal(tmp_path, model, data):
    run = tmp_path / "run"
    process = started(["nohup", *command(model, data, run, *LONG)], run)
    process.send_signal(signal.SIGHUP)
    lines = (run / "log.jsonl").read_text().count("\n")
    until = time.monotonic() + 60
    while (run / "log.jsonl").read_text().count("\n") < lines + 5 and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130 and _pst.list_checkpoints(str(run))


def test_an_output_directory_that_was_removed_is_an_error(tmp_path, model, data):
    run = tmp_path / "run"
    process = started(command(model, data, run, "--num_train_epochs", 30), run)
    shutil.rmtree(run)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    told = err.splitlines()[-1]
    assert told.startswith(f"pst: error: {run}: the output directory was removed, moved or replaced during the run")
    # What there was to save is saved.
    (checkpoint,) = _pst.list_checkpoints(str(run))
    assert f"was saved anew: {checkpoint[1]}" in told


def test_a_directory_in_the_place_of_the_output_is_left_alone(tmp_path, model, data):
    run = tmp_path / "run"
    process = started(command(model, data, run, "--num_train_epochs", 30), run)
    run.rename(tmp_path / "moved")
    run.mkdir()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "what lies there now is left alone" in err.splitlines()[-1]
    assert not list(run.iterdir()) and (tmp_path / "moved" / "log.jsonl").exists()


def test_a_weight_file_that_becomes_shorter_is_told(tmp_path, model, data):
    run = tmp_path / "run"
    process = started(command(model, data, run, *LONG, "--method", "pst"), run)
    os.truncate(model / "model.safetensors", 4096)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    # By whoever notices first: a product that reads it, or the step that ends.
    assert re.match(rf"pst: error: (step \d+: )?{model}/model.safetensors: the file became shorter while it was in use", err.splitlines()[-1])
    assert err.count("became shorter") == 1  # all threads read the file, one tells


@pytest.mark.parametrize("make, told", [
    (lambda place: place.write_text("mine"), "model: exists, and is no directory"),
    (lambda place: (place.mkdir(), (place / "thesis.txt").write_text("mine")), "model: is not an exported model"),
    (lambda place: place.symlink_to(place), "model: exists, and is no directory"),
])  # fmt: skip
def test_the_place_of_the_model_is_checked_at_the_start(tmp_path, model, data, make, told):
    run = tmp_path / "run"
    run.mkdir()
    make(run / "model")
    status, _, err = shell(command(model, data, run), "")
    assert status == 1 and told in err and err.count("\n") == 1
    assert not (run / "log.jsonl").exists()


def test_the_places_of_results_are_checked_at_the_start(tmp_path, model, data):
    (tmp_path / "run" / "train_results.json").mkdir(parents=True)
    status, _, err = shell(command(model, data, tmp_path / "run"), "")
    assert status == 1 and "its train_results.json is a directory" in err


ROWS = [{"line": i, "class": "yes"} for i in range(1000)]
RESULTS = {
    "rows.csv": lambda path: outputs.write_rows(path, ROWS),
    "rows.jsonl": lambda path: outputs.write_rows(path, ROWS),
    "tags.conll": lambda path: outputs.write_conll(path, [{"words": ["a"] * 1000, "tags": ["O"] * 1000}]),
    "results.json": lambda path: outputs.write_json(path, ROWS),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_that_cannot_be_written_leave_what_was_there(tmp_path, name):
    path = tmp_path / name
    path.write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(Error, match=f"{name}: cannot write: File too large"):
            RESULTS[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "before")]
    RESULTS[name](path)
    assert path.read_text().count("yes" if "yes" in path.read_text() else "O") == 1000
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(Error, match=f"{name}: cannot write: No space left on device"):
        RESULTS[name](path)
    assert path.is_char_device()


# ===--------------------------------------------------------------------------=== #
# pst-run
# ===--------------------------------------------------------------------------=== #


@pytest.fixture
def bundle(tmp_path, model, data):
    """Words of a training run of pst-run."""
    prepare = ["prepare", "--model_name_or_path", model, "--train_file", data[0], "--output_dir", tmp_path, "--max_seq_length", 8]
    compile_ = ["compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--max_seq_length", 8, "--num_labels", 2]
    from pst import cli

    assert cli.main(list(map(str, prepare))) == 0 and cli.main(list(map(str, compile_))) == 0
    words = [RUN, "train", "--bundle", tmp_path / "b", "--model", model, "--train", tmp_path / "train.safetensors"]
    return [*map(str, words), "--output_dir", str(tmp_path / "run"), "--logging_steps", "1", "--save_strategy", "no", "--num_train_epochs"]


@pytest.mark.parametrize("redirections", [">&- 2>&-", ">/dev/full", "> >(exec true)"])
def test_pst_run_goes_on_when_nobody_hears_it(tmp_path, bundle, redirections):
    status, _, _ = shell([*bundle, "2"], redirections)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert status == 0 and steps == list(range(1, 2 * 6 + 1))


def test_pst_run_leaves_a_checkpoint_when_its_terminal_hangs_up(tmp_path, bundle):
    process = started([*bundle, "1000"], tmp_path / "run")
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped at step" in out
    assert len(_pst.list_checkpoints(str(tmp_path / "run"))) == 1


def test_pst_run_tells_of_a_weight_file_that_becomes_shorter(tmp_path, model, bundle):
    process = started([*bundle, "1000"], tmp_path / "run")
    os.truncate(model / "model.safetensors", 4096)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.match(rf"pst-run: error: (step \d+: )?{model}/model.safetensors: the file became shorter while it was in use", err)
    assert err.count("\n") == 1
