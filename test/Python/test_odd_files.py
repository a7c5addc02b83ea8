# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Pipes, devices, links and odd JSON in the place of files: each ends in a sentence, and soon."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pst
import pytest
from conftest import CONFIG, gpt2_tensors, write_data
from pst import _pst, cli, exporting, files
from pst.command import UsageError

BUILD = pathlib.Path(os.environ.get("PST_BUILD_DIR", "build-dev")) / "bin"


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path.name)


def folder(path):
    path.mkdir()


ODD = {"a pipe": fifo, "a device": device, "a link to itself": loop, "a directory": folder}


def ended(*words, **environment):
    """The error that a process tells; it must end by itself."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, encoding="utf-8", errors="replace", timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode in (1, 2), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr and "PLEASE submit a bug report" not in done.stderr, done.stderr
    return next(line for line in done.stderr.splitlines() if "error: " in line)


def pst_command(*words, statuses=(1,)):
    """The same of `pst`, in this process; a hang is the test's."""
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard):
        status = cli.main(list(map(str, words)))
    assert status in statuses, (status, heard.getvalue())
    return next((line for line in heard.getvalue().splitlines() if "error: " in line), "")


def train(model, rows, output, **more):
    """One step, with what lies in the output directory replaced."""
    flags = ["--output_dir", output, "--overwrite_output_dir", "--max_steps", 1, "--max_seq_length", 8]
    return pst_command("train", "--model_name_or_path", model, "--train_file", rows, *flags, **more)


def replace(path, make):
    if path.exists():
        path.unlink()
    make(path)


@pytest.fixture
def gpt2(tmp_path):
    """A model whose tokenizer is vocab.json and merges.txt."""
    directory = tmp_path / "gpt2"
    directory.mkdir()
    config = {
        "architectures": ["GPT2ForSequenceClassification"], "model_type": "gpt2", "vocab_size": 30, "n_embd": 12, "n_layer": 1,
        "n_head": 3, "n_positions": 20, "num_labels": 2,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    pst.write_tensors(directory / "model.safetensors", gpt2_tensors(config))
    (directory / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate("abcdefghijklmnopqrstuvwxyz")}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    return directory


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", [
    "config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",
])  # fmt: skip
def test_files_of_a_model_directory(tmp_path, model, name, kind):
    replace(model / name, ODD[kind])
    rows = write_data(tmp_path / "rows.tsv")
    # A directory and a link to itself in the place of what may be missing is as if it were missing.
    if name == "tokenizer.json" and kind == "a link to itself":
        train(model, rows, tmp_path / "run", statuses=(0,))
        return
    told = train(model, rows, tmp_path / "run")
    assert str(model) in told, told
    if name == "config.json" or name == "model.safetensors":
        told = ended(BUILD / "pst-compile", model, "--emit=import", PST_CACHE_DIR=str(tmp_path / "cache"))
        assert str(model) in told, told


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_vocabularies_of_byte_pairs(tmp_path, gpt2, name, kind):
    replace(gpt2 / name, ODD[kind])
    assert "not a regular file" in pst_command("predict", "--model_name_or_path", gpt2, "--file", write_data(tmp_path / "rows.tsv"))


@pytest.mark.parametrize("kind", ODD)
def test_an_index(tmp_path, model, kind):
    (model / "model.safetensors").unlink()
    replace(model / "model.safetensors.index.json", ODD[kind])
    for told in (pst_command("inspect", model), ended(BUILD / "pst-compile", model, "--emit=import")):
        assert "model.safetensors.index.json" in told, told


@pytest.mark.parametrize("kind", ODD)
def test_entries_of_the_cache_are_compiled_anew(tmp_path, model, kind, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("PST_CACHE_DIR", str(cache))
    options = {"num_labels": 2, "batch_size": 1, "sequence_length": 4}
    whole = _pst.compile_model(str(model), options).manifest
    (entry,) = cache.glob("llvmcache-*")
    replace(entry, ODD[kind])
    script = "import sys, json; from pst import _pst; print(_pst.compile_model(sys.argv[1], json.loads(sys.argv[2])).manifest)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(model), json.dumps(options)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == whole.strip(), done.stderr


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("option", ["criterion", "layer_sparsity"])
def test_files_that_options_name(tmp_path, model, option, kind):
    ODD[kind](tmp_path / "file")
    with pytest.raises(pst.CompileError, match=f"{tmp_path}/file: .*(cannot read|not a regular file)"):
        _pst.compile_model(str(model), {"num_labels": 2, "batch_size": 1, "sequence_length": 4, "training": True, option: str(tmp_path / "file")})


@pytest.mark.parametrize("kind", ODD)
def test_files_of_a_bundle_and_of_a_run(tmp_path, model, kind):
    rows = write_data(tmp_path / "rows.tsv")
    run = tmp_path / "run"
    train = ["train", "--model_name_or_path", model, "--train_file", rows, "--output_dir", run, "--max_steps", 1]
    assert cli.main(list(map(str, [*train, "--save_steps", 1]))) == 0
    for name, words in (
        ("run.json", ["export", run / "checkpoint-1", "--output_dir", tmp_path / "out"]),
        ("checkpoint-1/trainer_state.json", ["export", run / "checkpoint-1", "--output_dir", tmp_path / "out"]),
        ("checkpoint-1/trainable.safetensors", ["export", run / "checkpoint-1", "--output_dir", tmp_path / "out"]),
        ("log.jsonl", [*train, "--resume_from_checkpoint", "last"]),
    ):
        kept = tmp_path / "kept"
        (run / name).rename(kept)
        ODD[kind](run / name)
        told = pst_command(*words)
        assert str(run) in told, told
        (run / name).rmdir() if kind == "a directory" else (run / name).unlink()
        kept.rename(run / name)
    bundle = tmp_path / "bundle"
    assert cli.main(["compile", "--model_name_or_path", str(model), "--bundle", str(bundle), "--num_labels", "2", "--max_seq_length", "8"]) == 0
    replace(bundle / "manifest.json", ODD[kind])
    assert str(bundle) in ended(BUILD / "pst-run", "info", "--bundle", bundle)


@pytest.mark.parametrize("kind", ODD)
def test_a_card_that_is_no_file_is_written_anew(tmp_path, model, kind):
    ODD[kind](model / "README.md")
    pst_command("export", model, "--format", "compressed", "--output_dir", tmp_path / "out", statuses=(0,))
    assert "# pretrained\n" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("kind", ODD)
def test_results_of_other_commands(tmp_path, model, kind):
    rows, out = write_data(tmp_path / "rows.tsv"), tmp_path / "out"
    out.mkdir()
    ODD[kind](out / "compare.json")
    told = pst_command("compare", "--model_name_or_path", model, "--train_file", rows, "--validation_file", rows, "--output_dir", out)
    assert "compare.json: cannot be read: " in told, told
    assert "compare.json: cannot be read: " in pst_command("bench", "--table", out / "compare.json")


@pytest.mark.parametrize("kind", ["a device", "a directory"])
def test_data_of_a_device(tmp_path, model, kind):
    ODD[kind](tmp_path / "rows.tsv")
    told = pst_command("train", "--model_name_or_path", model, "--train_file", tmp_path / "rows.tsv", "--output_dir", tmp_path / "run")
    assert told.startswith(f"pst: error: {tmp_path}/rows.tsv: cannot be read: "), told


def test_data_may_come_by_a_pipe(tmp_path, model):
    rows = write_data(tmp_path / "rows.tsv")
    line = f"{sys.executable} -m pst train --model_name_or_path {model} --train_file <(cat {rows}) --output_dir {tmp_path}/run --max_steps 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "48 examples" in done.stdout, done.stderr


def test_files_of_settings_have_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps({"a": "b" * 80}))
    assert files.read_object(str(tmp_path / "a.json")) == {"a": "b" * 80}
    (tmp_path / "a.json").write_text(json.dumps({"a": "b" * 100}))
    with pytest.raises(pst.DataError, match="has more than the 100 bytes that are read of such a file"):
        files.read_object(str(tmp_path / "a.json"))


def test_a_file_of_holes_is_not_read(model):
    os.truncate(model / "config.json", 1 << 40)
    told = ended(BUILD / "pst-compile", model, "--emit=import")
    assert "has more than the 268435456 bytes that are read of such a file" in told
    with pytest.raises(pst.DataError, match="has more than the 268435456 bytes"):
        pst.trainer.read_config(model)


# ===--------------------------------------------------------------------------=== #
# JSON
# ===--------------------------------------------------------------------------=== #

TEXT = json.dumps(CONFIG)


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbf" + TEXT.encode(),
    b" \r\n\t" + TEXT.encode() + b"\n\n",
])  # fmt: skip
def test_both_readers_take_a_config(model, tmp_path, content):
    (model / "config.json").write_bytes(content)
    assert pst.trainer.read_config(model)["hidden_size"] == CONFIG["hidden_size"]
    done = subprocess.run([BUILD / "pst-compile", model, "--emit=import", "--sequence-length=8", "-o", tmp_path / "m.mlir"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


NESTED = '{"a": ' * 5000 + "1" + "}" * 5000


@pytest.mark.parametrize("content, told", [
    (TEXT.encode() + b"\0", "malformed JSON"),
    (TEXT.encode() + b"\0\0\0\0", "malformed JSON"),
    (TEXT.encode() + b"{}", "malformed JSON"),
    (TEXT.encode()[:-1] + b",}", "malformed JSON"),
    (TEXT.encode()[:-1] + b', "a": NaN}', "malformed JSON: NaN is no number of JSON's"),
    (TEXT.encode()[:-1] + b', "a": -Infinity}', "malformed JSON"),
    (TEXT.encode()[:-1] + b', "a": "\xff"}', "invalid UTF-8"),
    (TEXT.encode("utf-16"), "invalid UTF-8"),
    (b"", "malformed JSON"),
    (b"[]", "expected a JSON object"),
    (NESTED.encode(), "objects and lists lie more than 100 deep in one another"),
    (("[" * 100000).encode(), "malformed JSON"),
    ((TEXT[:-1] + ', "a": ' + "[" * 100 + "]" * 100 + "}").encode(), "objects and lists lie more than 100 deep in one another"),
])  # fmt: skip
def test_both_readers_refuse_a_config(model, content, told):
    (model / "config.json").write_bytes(content)
    with pytest.raises(pst.DataError, match=told):
        pst.trainer.read_config(model)
    last = ended(BUILD / "pst-compile", model, "--emit=import")
    assert "config.json" in last and "error: " in last, last


@pytest.mark.parametrize("values", [
    {"architectures": 5}, {"architectures": {}}, {"architectures": []}, {"id2label": 3}, {"id2label": ["a"]}, {"num_labels": "two"},
    {"num_labels": 2**70}, {"pad_token_id": 2**31}, {"pad_token_id": -(2**70)}, {"vocab_size": 2**40}, {"model_type": 3},
    {"text_columns": 3}, {"problem_type": 3}, {"max_position_embeddings": 2**62},
])  # fmt: skip
def test_odd_values_of_a_config_are_no_traceback(tmp_path, model, values):
    (model / "config.json").write_text(json.dumps({**CONFIG, **values}))
    # What main does not tell in a sentence, it raises.
    train(model, write_data(tmp_path / "rows.tsv"), tmp_path / "run", statuses=(0, 1))


@pytest.mark.parametrize("number", [2**31, 2**32, 2**63, 2**70, -1, -(2**31)])
def test_ids_that_do_not_fit(tmp_path, model, gpt2, number):
    rows = write_data(tmp_path / "rows.tsv")
    program = pst.compile(model, batch_size=1, sequence_length=4, new_head=True)
    with pytest.raises((ValueError, TypeError, pst.Error), match="input_ids|whole numbers"):
        program([[5, number, 6, 7]])
    for directory, name, content in (
        (model, "added_tokens.json", {"film": number}),
        (model, "tokenizer_config.json", {"added_tokens_decoder": {str(number): {"content": "film"}}}),
        (gpt2, "vocab.json", {**{word: i for i, word in enumerate("abcdefghijklmnopqrstuvwxyz")}, "good": number}),
    ):
        (directory / name).write_text(json.dumps(content))
        train(directory, rows, tmp_path / "run", statuses=(0, 1))
        (directory / name).unlink()


@pytest.mark.parametrize("line", [
    '{"step": "1"}', '{"step": null}', '{"step": 1.5}', '{"step": [1]}', '{"step": 1e300}', '{"step": -3}', '{"step": 18446744073709551615}',
    "[]", "{", "\0\0\0", '"step"', "\ud800".encode("utf-8", "surrogatepass"), '{"a":' * 5000,
])  # fmt: skip
def test_odd_lines_of_a_log_are_left_out(tmp_path, model, line):
    run = tmp_path / "run"
    examples = [("the film was good", "1"), ("not great", "0")] * 2
    settings = {"output_dir": str(run), "per_device_train_batch_size": 2, "max_steps": 4, "save_steps": 1, "logging_steps": 1}
    pst.Trainer(model, examples, **settings).train()
    whole = (run / "log.jsonl").read_bytes().splitlines()
    for checkpoint in ("checkpoint-3", "checkpoint-4"):
        shutil.rmtree(run / checkpoint)
    odd = line.encode() if isinstance(line, str) else line
    (run / "log.jsonl").write_bytes(b"\n".join([whole[0], odd, *whole[1:]]) + b"\n")
    pst.Trainer(model, examples, resume_from_checkpoint="last", **settings).train()
    found = (run / "log.jsonl").read_bytes().splitlines()
    assert found[:2] == whole[:2] and [json.loads(found_line)["step"] for found_line in found] == [1, 2, 3, 4]


def test_the_largest_seed(tmp_path, model):
    flags = ["--seed", 2**64 - 1, "--save_steps", 1]
    words = ["train", "--model_name_or_path", model, "--train_file", write_data(tmp_path / "rows.tsv"), "--output_dir", tmp_path / "run"]
    pst_command(*words, "--max_steps", 1, *flags, statuses=(0,))
    pst_command("export", tmp_path / "run", "--output_dir", tmp_path / "out", statuses=(0,))


def places_in(value, place=()):
    """The keys that lead to each value in an object."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places_in(below, (*place, key))


# How many files are tried; docs/Robustness.md says of how many nothing came.
RUNS = int(os.environ.get("PST_FUZZ_RUNS", "1000"))


ODD_VALUES = ["null", "true", "-1", str(2**63), str(2**70), "1.5", '""', '"x"', r'"\ud800"', "[]", "[1]", '["a"]', "{}", '{"a": 1}', "[[]]"]


def changed(text, random):
    """The JSON text of an object with up to three odd things in it."""
    value = json.loads(text)
    for _ in range(1 + random.integers(3)):
        places = list(places_in(value))
        *way, last = places[random.integers(len(places))]
        at = value
        for key in way:
            at = at[key]
        at[last] = json.loads(ODD_VALUES[random.integers(len(ODD_VALUES))])
        if random.integers(5) == 0:
            del at[last]
        if not value:
            break
    return json.dumps(value).encode()


def test_a_run_file_with_anything_in_it(tmp_path, model):
    run = tmp_path / "run"
    train = ["train", "--model_name_or_path", model, "--train_file", write_data(tmp_path / "rows.tsv"), "--output_dir", run]
    assert cli.main(list(map(str, [*train, "--max_steps", 1, "--save_steps", 1]))) == 0
    text = (run / "run.json").read_text()
    random = np.random.default_rng(5)
    exported, left = 0, 40 if RUNS < 10_000 else 1500
    for _ in range(RUNS):
        data = changed(text, random)
        try:
            # As run.json is read, but for the file.
            exporting._bring_up_to_date(files.object_in(data, "run.json"), "run.json")
        except (UsageError, pst.DataError):
            if random.integers(RUNS // 10 + 1):
                continue
        # What is taken, and some of what is not, goes the whole way; what is no sentence is raised.
        if exported < left:
            exported += 1
            (run / "run.json").write_bytes(data)
            pst_command("export", run / "checkpoint-1", "--output_dir", tmp_path / "out", "--overwrite_output_dir", statuses=(0, 1))
    assert exported >= min(left, 10)


def export_of_run(tmp_path, capsys, changes):
    """What 'pst export' says of a run whose run.json is that of one, changed."""
    whole = {"model": "m", "bundle": "", "compiler_options": {"target": "cpu"}, "labels": None, "options": {"method": "pst", "seed": 1}}
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({**whole, **changes}))
    assert cli.main(["export", str(tmp_path / "checkpoint-1"), "--output_dir", str(tmp_path / "out")]) == 1
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize("changes", [
    {"model": 3}, {"compiler_options": []}, {"compiler_options": {"target": "cpu", "tile": 3}}, {"labels": [1]}, {"labels": {}}, {"bundle": 0},
    {"options": {"method": "pst", "seed": "x"}}, {"options": {"method": "pst", "seed": -1}}, {"options": {"method": "pst", "seed": 2**64}},
    {"options": {"seed": 1}}, {"options": {"method": "pst", "seed": 1, "sparsity": {}}}, {"text_columns": 3}, {"trainable": "1"}, {"data": {"train": 1}},
])  # fmt: skip
def test_a_damaged_run_file(tmp_path, capsys, changes):
    expected = "damaged: expected the JSON object that 'pst train' writes"
    assert export_of_run(tmp_path, capsys, changes).endswith(f"run.json: {expected}")


@pytest.mark.parametrize("number", [3, 0, "2", None, True])
def test_a_run_file_of_another_format(tmp_path, capsys, number):
    expected = f"a run of format {number!r}; this release reads formats 1 to 2"
    assert export_of_run(tmp_path, capsys, {"format": number}).endswith(f"run.json: {expected}")


# ===--------------------------------------------------------------------------=== #
# Sentences
# ===--------------------------------------------------------------------------=== #


@pytest.mark.parametrize("content", ["a" * 300_000, "a\x1b[2J\x07b", "[" * 100_000], ids=["long", "escapes", "deep"])
def test_a_sentence_quotes_little_of_a_file(tmp_path, model, content):
    (tmp_path / "rows.txt").write_text(content)
    words = ["prepare", "--model_name_or_path", model, "--task", "token_classification", "--train_file", tmp_path / "rows.txt"]
    told = pst_command(*words, "--output_dir", tmp_path / "out")
    assert "rows.txt:1: expected a word and its tag" in told and len(told) < 3100 and told.isprintable()
    (tmp_path / "c.mlir").write_text(content)
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard):
        assert cli.main(["train", "--model_name_or_path", str(model), "--train_file", str(write_data(tmp_path / "rows.tsv")),
                         "--output_dir", str(tmp_path / "run"), "--criterion", str(tmp_path / "c.mlir")]) == 1  # fmt: skip
    assert "c.mlir:1:" in heard.getvalue() and len(heard.getvalue()) < 3100


@pytest.mark.parametrize("name", ["classes", "label_columns"])
@pytest.mark.parametrize("text", ["a\rb", 'a"b\nc', "x" * 200_000], ids=["return", "quote", "long"])
def test_names_that_are_no_list(tmp_path, model, name, text):
    words = ["train", "--model_name_or_path", model, "--train_file", write_data(tmp_path / "rows.tsv"), "--output_dir", tmp_path / "run"]
    assert f"--{name} must be names in one line" in pst_command(*words, f"--{name}", text)


@pytest.mark.parametrize("number", [2**31, 2**40, 2**63 - 1, 2**63, 10**30])
def test_numbers_that_do_not_fit(tmp_path, model, number):
    """Each in a sentence, and without its memory."""
    rows = write_data(tmp_path / "rows.tsv")
    compile_ = ["compile", "--model_name_or_path", model, "--bundle", tmp_path / "b"]
    for name in ("num_labels", "max_seq_length", "per_device_train_batch_size"):
        assert str(number) in pst_command(*compile_, f"--{name}", number)
    for name in ("num_threads", "per_device_train_batch_size", "seed", "max_steps", "weight_rank"):
        words = ["train", "--model_name_or_path", model, "--train_file", rows, "--output_dir", tmp_path / "run", "--plan_only"]
        fits = number < {"seed": 2**64, "max_steps": 2**63}.get(name, 0)
        pst_command(*words, f"--{name}", number, statuses=(0, 1) if fits else (1,))


# ===--------------------------------------------------------------------------=== #
# The environment
# ===--------------------------------------------------------------------------=== #


@pytest.mark.parametrize("name, value, told", [
    ("OMP_NUM_THREADS", "garbage", 'OMP_NUM_THREADS is "garbage", but must be a number of threads from 1 to 1024'),
    ("OMP_NUM_THREADS", "-1", 'OMP_NUM_THREADS is "-1"'),
    ("OMP_NUM_THREADS", "", 'OMP_NUM_THREADS is ""'),
    ("OMP_NUM_THREADS", "2,x", 'OMP_NUM_THREADS is "2,x"'),
    ("OMP_NUM_THREADS", "1000000", 'OMP_NUM_THREADS is "1000000"'),
    ("OMP_NUM_THREADS", " 2 , 1", None),
    ("OMP_STACKSIZE", "1000G", "the system makes no 3 threads with stacks of 1048576000 KiB"),
])  # fmt: skip
def test_threads_that_cannot_be(model, name, value, told):
    script = "import sys, pst; pst.compile(sys.argv[1], batch_size=1, sequence_length=4, new_head=True)([[5, 6, 7, 8]])"
    words = [sys.executable, "-W", "ignore", "-c", script, str(model)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "3", name: value})
    if told is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and told in done.stderr.splitlines()[-1], done.stderr


def test_a_compiled_file_that_cannot_be_written(tmp_path, model):
    words = [BUILD / "pst-compile", model, "--emit=import", "--sequence-length=8", "-o"]
    assert "No space left on device" in ended(*words, "/dev/full")
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "_", *words, tmp_path / "m.mlir"]
    assert "File too large" in ended(*limited)
    # A linker that cannot write tells it in a dump of its stack; its sentence is what is told.
    words = [BUILD / "pst-compile", model, "--sequence-length=8", "-o", tmp_path / "bundle"]
    told = ended("bash", "-c", 'ulimit -f 64; exec "$@"', "_", *words, PST_CACHE_DIR=str(tmp_path / "cache"))
    assert "failed with status 1: " in told and "File too large" in told, told
    assert not list(tmp_path.glob("bundle*"))
