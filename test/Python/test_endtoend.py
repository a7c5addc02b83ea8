# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The main job as a user does it: compile, train, stop, resume, export, load."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_data, write_model
from test_cli import run

import pst
from pst import TensorFile

STEPS = ("--max_steps", 14, "--per_device_train_batch_size", 8, "--learning_rate", "3e-3", "--logging_steps", 5)


def train_flags(model, data, out, *more):
    return [
        "train", "--model_name_or_path", model, "--train_file", data[0], "--validation_file", data[1],
        "--output_dir", out, *STEPS, *more,
    ]  # fmt: skip


def weights(directory):
    file = TensorFile(directory / "model.safetensors")
    return {name: np.array(file.read(name)) for name in file.names()}


def sparse_names(tensors):
    return [n for n in tensors if ".encoder.layer." in n and n.endswith(".weight") and "LayerNorm" not in n]


def torch_logits(directory, examples, length=None):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model, loading = transformers.BertForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["mismatched_keys"], loading
    batch = tokenizer(examples.texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits.numpy()


# --- pst.compile

SCALE = """
func.func @scale(%x: tensor<3x5xf32>, %s: f32) -> tensor<3x5xf32> {
  %t = tensor.splat %s : tensor<3x5xf32>
  %y = arith.mulf %x, %t : tensor<3x5xf32>
  return %y : tensor<3x5xf32>
}
"""


def test_text_becomes_a_callable_on_numpy_arrays():
    program = pst.compile(SCALE)
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    before = x.copy()
    assert (program(x, 2.5) == before * np.float32(2.5)).all()
    assert (x == before).all()
    function = program.function("scale")
    assert [(t.element, t.shape) for t in function.inputs] == [("f32", (3, 5)), ("f32", ())]
    out = np.zeros((3, 5), np.float32)
    assert function(x, -1.0, out=[out]) is out and (out == -x).all()


def test_read_only_inputs_are_used_in_place():
    x = np.ones((3, 5), np.float32)
    x.flags.writeable = False
    assert (pst.compile(SCALE)(x, 3.0) == 3).all()
    assert (x == 1).all()


def test_torch_tensors_by_dlpack():
    torch = pytest.importorskip("torch")
    program = pst.compile(SCALE)
    x = torch.arange(15, dtype=torch.float32).reshape(3, 5)
    y = program(x, 2.0)
    assert isinstance(y, torch.Tensor)
    assert y.flatten().tolist() == [2.0 * i for i in range(15)]
    out = torch.zeros(3, 5)
    program(x, 4.0, out=[out])
    assert out.flatten().tolist() == [4.0 * i for i in range(15)]
    with pytest.raises(ValueError, match="requires a gradient, and the program records none: pass .*detach()"):
        program(x.clone().requires_grad_(), 1.0)


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda x: x.astype(np.float64), "must have elements of type f32, but has f64"),
        (lambda x: x[:2], r"must have the shape \[3, 5\], but has \[2, 5\]"),
        (lambda x: np.asfortranarray(x), "must be contiguous in row-major order"),
    ],
)
def test_arrays_that_cannot_be_shared(change, error):
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    with pytest.raises(pst.Error, match=error):
        pst.compile(SCALE)(change(x), 1.0)


def test_wrong_arguments():
    program = pst.compile(SCALE)
    x = np.ones((3, 5), np.float32)
    with pytest.raises(TypeError, match="'scale' lacks the input"):
        program(x)
    with pytest.raises(TypeError, match="'scale' has 2 inputs .*, but 3 were given"):
        program(x, 1.0, 2.0)
    with pytest.raises(TypeError, match="must be an array or a tensor .*, not list"):
        program([1, 2], 1.0)
    with pytest.raises(ValueError, match="the program has no function 'forward'; it has scale"):
        program.function("forward")
    with pytest.raises(TypeError, match="there is no compiler option 'speed'"):
        pst.compile(SCALE, speed="high")
    with pytest.raises(ValueError, match="sanitize_address is of a bundle.* compile it with 'pst-compile --sanitize_address"):
        pst.compile(SCALE, sanitize_address=True)


def test_errors_show_the_line_and_a_caret(tmp_path):
    broken = SCALE.replace("arith.mulf %x, %t", "arith.mulf %x, %u")
    with pytest.raises(pst.CompileError) as caught:
        pst.compile(broken)
    assert (caught.value.line, caught.value.column) == (4, 23)
    assert caught.value.source_line == "  %y = arith.mulf %x, %u : tensor<3x5xf32>"
    assert str(caught.value).splitlines()[-1] == " " * 22 + "^"
    (tmp_path / "broken.mlir").write_text(broken)
    with pytest.raises(pst.CompileError) as caught:
        pst.compile(tmp_path / "broken.mlir")
    assert caught.value.file == str(tmp_path / "broken.mlir")


@pytest.mark.parametrize("batch, length", [(1, 9), (3, 13)])
def test_a_models_logits_equal_transformers(tmp_path, batch, length):
    rng = np.random.default_rng(batch)
    tensors = bert_tensors(CONFIG, batch)
    tensors["classifier.weight"] = rng.standard_normal((3, 12)).astype(np.float32)
    tensors["classifier.bias"] = rng.standard_normal(3).astype(np.float32)
    config = {**CONFIG, "id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    model = write_model(tmp_path / "m", config, tensors)
    program = pst.compile(model, batch_size=batch, sequence_length=length)
    ids = rng.integers(0, CONFIG["vocab_size"], (batch, length)).astype(np.int32)
    mask = (np.arange(length) < rng.integers(1, length + 1, (batch, 1))).astype(np.int32)
    types = rng.integers(0, 2, (batch, length)).astype(np.int32)
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    reference = transformers.BertForSequenceClassification.from_pretrained(model).eval()
    for inputs in ((ids,), (ids, mask), (ids, mask, types)):
        names = ("input_ids", "attention_mask", "token_type_ids")
        with torch.no_grad():
            expected = reference(**{n: torch.from_numpy(v).long() for n, v in zip(names, inputs)}).logits.numpy()
        np.testing.assert_allclose(program(*inputs), expected, atol=1e-4)
    logits = program(torch.from_numpy(ids), torch.from_numpy(mask))
    assert isinstance(logits, torch.Tensor) and logits.shape == (batch, 3)


# --- pst train and what follows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run: its folder, the pretrained model, the data, the output."""
    folder = tmp_path_factory.mktemp("trained")
    model = write_model(folder / "pretrained")
    data = write_data(folder / "train.tsv"), write_data(folder / "dev.tsv", 21, 1)
    command = [sys.executable, "-m", "pst.cli", *map(str, train_flags(model, data, folder / "run", "--sparsity", 0.7))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, model, data, done


@pytest.fixture(scope="module")
def bundle(trained):
    """The program of that run ahead of time: tests that start many processes
    do not compile in each."""
    folder, model, _, _ = trained
    flags = ["--num_labels", "2", "--max_seq_length", "12", "--per_device_train_batch_size", "8", "--dropout", "0.1"]
    command = [sys.executable, "-m", "pst.cli", "compile", "--model_name_or_path", model, "--bundle", folder / "b", *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "b"


def test_a_run_reports_and_leaves_its_files(trained):
    folder, _, _, done = trained
    pairs = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    for key in ("accuracy", "sparsity", "trainable_parameters", "peak_memory_mib", "seconds_per_step", "model"):
        assert key in pairs, done.stdout
    assert "step 5/14  loss" in done.stderr and "evaluation at step 14" in done.stderr
    run = folder / "run"
    assert {"checkpoint-14", "log.jsonl", "model", "run.json", "tensorboard", "train_results.json"} <= {
        p.name for p in run.iterdir()
    }
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert lines
    (events,) = (run / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes() and b"eval/accuracy" in events.read_bytes()
    results = json.loads((run / "train_results.json").read_text())
    layers = 2 * (4 * ((12 + 12) * 16 + 24) + 2 * ((12 + 20) * 16 + 32))
    assert results["trainable_parameters"] >= layers + 2 * 12 + 2


def test_exactly_the_promised_number_of_weights_is_zero(trained):
    tensors = weights(trained[0] / "run" / "model")
    names = sparse_names(tensors)
    assert len(names) == 12
    # Of all layers together, which differ.
    sizes, kept = [[count(tensors[name]) for name in names] for count in (np.size, np.count_nonzero)]
    assert sum(sizes) - sum(kept) == int(sum(sizes) * 0.7)
    assert len({size - left for size, left in zip(sizes, kept) if size == sizes[0]}) > 1
    assert np.count_nonzero(tensors["classifier.weight"])


def test_what_is_frozen_stays_as_it_was(trained):
    before = weights(trained[1])
    after = weights(trained[0] / "run" / "model")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert set(sparse_names(before)) <= changed
    assert changed <= set(sparse_names(before)) | {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_transformers_predicts_the_same_from_the_saved_model(trained, capsys):
    folder, _, data, done = trained
    model = folder / "run" / "model"
    status, out, _ = run(
        capsys, "eval", "--model_name_or_path", model, "--validation_file", data[1], "--predictions", folder / "p.tsv",
        "--output_file", folder / "e.json",
    )  # fmt: skip
    assert status == 0
    results = json.loads((folder / "e.json").read_text())
    trained_results = json.loads((folder / "run" / "train_results.json").read_text())
    assert results["accuracy"] == trained_results["accuracy"]
    assert results["loss"] == pytest.approx(trained_results["eval_loss"], rel=1e-4)
    examples = pst.read_examples(data[1])
    logits = torch_logits(model, examples)
    labels = np.array(examples.labels) == "yes"
    assert (logits.argmax(1) == labels).mean() == pytest.approx(results["accuracy"])
    rows = [line.split("\t")[1] for line in (folder / "p.tsv").read_text().splitlines()[1:]]
    assert rows == [("no", "yes")[i] for i in logits.argmax(1)]


def test_checkpoints_are_exported_and_the_best_one_is_the_model(trained, capsys):
    folder = trained[0]
    evaluations = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    best = [e["step"] for e in evaluations if e["event"] == "eval" and e["best"]][-1]

    def exported(source):
        status, out, _ = run(capsys, "export", source, "--output_dir", folder / "e", "--overwrite_output_dir")
        assert status == 0
        return out, weights(folder / "e")

    out, tensors = exported(folder / "run" / f"checkpoint-{best}")
    assert f"step: {best}\n" in out
    saved = weights(folder / "run" / "model")
    assert tensors.keys() == saved.keys()
    for name in saved:
        assert np.array_equal(tensors[name], saved[name]), name
    configs = [json.loads((d / "config.json").read_text()) for d in (folder / "e", folder / "run" / "model")]
    assert configs[0] == configs[1] and configs[0]["id2label"] == {"0": "no", "1": "yes"}
    assert "checkpoint-14\n" in exported(folder / "run")[0]


def test_a_directory_that_holds_a_run_is_not_touched(trained, capsys):
    folder, model, data, _ = trained
    before = sorted((p, p.stat().st_mtime_ns) for p in (folder / "run").rglob("*"))
    status, _, err = run(capsys, *train_flags(model, data, folder / "run"))
    assert status == 1 and "already holds a run" in err and "--overwrite_output_dir" in err
    assert sorted((p, p.stat().st_mtime_ns) for p in (folder / "run").rglob("*")) == before


def test_ctrl_c_leaves_a_checkpoint_and_resuming_gives_the_same_bits(trained, bundle, tmp_path):
    folder, model, data, _ = trained
    more = ("--max_steps", 600, "--bundle", bundle)
    flags = list(map(str, train_flags(model, data, tmp_path / "run", *more)))
    command = [sys.executable, "-u", "-m", "pst.cli", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 40/"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, (out, err)
    assert "stopping after this step" in err and "continue with --resume_from_checkpoint last" in out
    stopped = int(out.split("stopped at step ")[1].split()[0])
    assert 40 <= stopped < 600 and (tmp_path / "run" / f"checkpoint-{stopped}").is_dir()
    done = subprocess.run([*command, "--resume_from_checkpoint", "last"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole = list(map(str, train_flags(model, data, tmp_path / "whole", *more)))
    done = subprocess.run([sys.executable, "-m", "pst.cli", *whole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resumed, straight = weights(tmp_path / "run" / "model"), weights(tmp_path / "whole" / "model")
    assert resumed.keys() == straight.keys()
    for name in straight:
        assert np.array_equal(resumed[name], straight[name]), name


def test_threads_do_not_change_a_bit(trained, tmp_path, capsys):
    _, model, data, _ = trained
    for threads in (1, 2):
        status, _, err = run(capsys, *train_flags(model, data, tmp_path / str(threads), "--num_threads", threads))
        assert status == 0, err
    one, two = weights(tmp_path / "1" / "model"), weights(tmp_path / "2" / "model")
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_bundle_trains_as_the_compiler_in_memory_does(trained, tmp_path, capsys):
    _, model, data, _ = trained
    flags = ("--pad_to_max_length", "--max_seq_length", 16)
    status, _, err = run(capsys, *train_flags(model, data, tmp_path / "jit", *flags))
    assert status == 0, err
    status, _, err = run(
        capsys, "compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--max_seq_length", 16,
        "--per_device_train_batch_size", 8, "--num_labels", 2,
    )  # fmt: skip
    assert status == 0, err
    status, _, err = run(capsys, *train_flags(model, data, tmp_path / "aot", *flags, "--bundle", tmp_path / "b"))
    assert status == 0, err
    jit, aot = weights(tmp_path / "jit" / "model"), weights(tmp_path / "aot" / "model")
    assert all(np.array_equal(jit[name], aot[name]) for name in jit)


def test_the_trainer_in_python_on_rows_and_pairs(model, tmp_path):
    rng = np.random.default_rng(0)
    words = "the film was good bad great awful food".split()
    rows = [(" ".join(rng.choice(words, 3)), " ".join(rng.choice(words, 2)), int(i % 3)) for i in range(30)]
    trainer = pst.Trainer(
        model, rows, rows[:7], output_dir=tmp_path / "run", sparsity=0.5, max_steps=6, report_to="none",
        per_device_train_batch_size=4, gradient_accumulation_steps=2,
    )  # fmt: skip
    result = trainer.train()
    assert (result["step"], result["stopped"], result["sparsity"]) == (6, False, 0.5)
    evaluation = trainer.evaluate(rows[:5])
    assert evaluation["logits"].shape == (5, 3) and evaluation["examples"] == 5
    saved = trainer.save()
    assert saved["zero_share"] == pytest.approx(0.5, abs=1e-3)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "0", "1": "1", "2": "2"}
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_head_of_random_values_is_not_saved(model, data, tmp_path):
    trainer = pst.Trainer(model, data[0], output_dir=tmp_path / "run", max_steps=1, report_to="none")
    with pytest.raises(ValueError, match="its head starts from random values: train\\(\\) before save\\(\\)"):
        trainer.save()
    assert not (tmp_path / "run").exists()
    trainer.train()
    assert trainer.save()["layers"]


def test_regression(model, tmp_path, capsys):
    rows = ["sentence\tscore"] + [f"{'very ' * (i % 5)}good\t{i % 5 / 2}" for i in range(40)]
    path = tmp_path / "r.tsv"
    path.write_text("\n".join(rows) + "\n")
    status, out, err = run(capsys, *train_flags(model, (path, path), tmp_path / "run"))
    assert status == 0, err
    assert "pearson: " in out and "spearman: " in out
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["problem_type"] == "regression"
    status, out, _ = run(capsys, "eval", "--model_name_or_path", tmp_path / "run" / "model", "--validation_file", path)
    assert status == 0 and "mse: " in out
    examples = pst.read_examples(path)
    logits = torch_logits(tmp_path / "run" / "model", examples)
    mse = float(((logits[:, 0] - np.array(examples.labels, float)) ** 2).mean())
    assert float(out.split("mse: ")[1].split()[0]) == pytest.approx(mse, rel=1e-3)


@pytest.mark.parametrize("method", ["dense", "lora", "map", "mvp"])
def test_the_other_methods_train(model, data, tmp_path, capsys, method):
    more = ("--sparsity", 0.5) if method in ("map", "mvp") else ()
    status, out, err = run(capsys, *train_flags(model, data, tmp_path / "run", "--method", method, *more))
    assert status == 0, err
    tensors = weights(tmp_path / "run" / "model")
    sizes = {name: tensors[name].size for name in sparse_names(tensors)}
    zeros = {name: size - np.count_nonzero(tensors[name]) for name, size in sizes.items()}
    if method == "map":  # of all layers together
        assert sum(zeros.values()) == sum(sizes.values()) // 2
    else:
        assert zeros == {name: size // 2 if more else 0 for name, size in sizes.items()}


# --- bad input


def test_bad_models_are_refused(tmp_path, data, capsys):
    def message(name, config=CONFIG, change=None):
        tensors = bert_tensors(CONFIG)
        if change:
            change(tensors)
        model = write_model(tmp_path / name, config, tensors)
        text = err_of(capsys, *train_flags(model, data, tmp_path / "out"))
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
        return text

    def err_of(capsys, *argv):
        status, _, err = run(capsys, *argv)
        assert status == 1 and err.startswith("pst: error: ") and "Traceback" not in err, err
        return err

    assert "GPT9" in message("a", {**CONFIG, "architectures": ["GPT9"], "model_type": "gpt9"})
    text = message("b", {**CONFIG, "num_attention_heads": 5})
    assert "num_attention_heads" in text and "5" in text and "12" in text
    assert "hidden_size" in message("c", {**CONFIG, "hidden_size": "wide"})
    name = "bert.encoder.layer.1.output.dense.weight"
    assert name in message("d", change=lambda t: t.pop(name))
    assert name in message("e", change=lambda t: t.update({name: t[name].T.copy()}))

    def poison(tensors):
        tensors[name][3, 4] = np.nan

    text = message("f", change=poison)
    assert name in text and "nan" in text.lower()


def test_factors_that_diverge_name_their_layer(capsys, model, data, tmp_path):
    """Low-rank sums of infinities: scores that no threshold can separate."""
    flags = train_flags(model, data, tmp_path / "out", "--sparsity", 0.5, "--learning_rate", "3e38")
    status, _, err = run(capsys, *flags)
    assert status == 1 and "Traceback" not in err
    assert re.search(r'step 2: a score of layer "bert\.encoder\.layer\.\d\..*\.weight" is NaN: .*--learning_rate', err), err
    assert "No checkpoint was written yet" in err


def test_weights_cut_short(model, data, tmp_path, capsys):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    status, _, err = run(capsys, *train_flags(model, data, tmp_path / "out"))
    assert status == 1 and "model.safetensors" in err and "cut short" in err


def test_a_read_only_output_directory(model, data, tmp_path):
    if os.getuid() == 0:
        target = "/proc/pst"  # nobody may write there
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        target = tmp_path / "locked" / "run"
    done = subprocess.run(
        [sys.executable, "-m", "pst.cli", *map(str, train_flags(model, data, target))], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(f"pst: error: {target}"), done.stderr


def test_a_checkpoint_of_another_model(trained, tmp_path, capsys):
    folder, _, data, _ = trained
    other = write_model(tmp_path / "other", {**CONFIG, "num_hidden_layers": 1})
    flags = train_flags(other, data, tmp_path / "run", "--resume_from_checkpoint", folder / "run" / "checkpoint-14")
    status, _, err = run(capsys, *flags)
    assert status == 1 and "checkpoint-14" in err and "model" in err


def test_killed_at_any_moment_it_resumes(trained, bundle, tmp_path):
    """SIGKILL a few times, then finish: the bits of an undisturbed run."""
    _, model, data, _ = trained
    more = ("--max_steps", 300, "--save_steps", 7, "--save_total_limit", 2, "--eval_strategy", "no", "--bundle", bundle)
    command = lambda out: [sys.executable, "-m", "pst.cli", *map(str, train_flags(model, data, out, *more))]
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    resume = [*command(tmp_path / "run"), "--resume_from_checkpoint", "last"]
    rng = np.random.default_rng(int(os.environ.get("PST_TEST_SEED", "0")))
    for _ in range(4):
        process = subprocess.Popen(resume, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("step "):
                break
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
        process.stderr.close()
    done = subprocess.run(resume, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "whole" / "model"), weights(tmp_path / "run" / "model")
    assert all(np.array_equal(one[name], two[name]) for name in one)
