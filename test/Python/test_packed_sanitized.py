# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs without padding under the address sanitizer: kernels that check their own accesses (--sanitize_address), run
by a pst-run that was built with it (tools/nightly.sh; $PST_SANITIZED_RUN, or build-asan-runtime/bin/pst-run)."""

import os
import pathlib
import subprocess

import numpy as np
import pytest
from conftest import ROOT, gpt2_tensors, write_model
from test_digests import MODELS

from pst import write_tensors

RUN = pathlib.Path(os.environ.get("PST_SANITIZED_RUN", ROOT / "build-asan-runtime" / "bin" / "pst-run"))
COMPILE = pathlib.Path(os.environ.get("PST_BUILD_DIR", ROOT / "build")) / "bin" / "pst-compile"
pytestmark = pytest.mark.skipif(not RUN.exists(), reason=f"{RUN} is not there: tools/nightly.sh builds it")

SETTINGS = os.environ | {"ASAN_OPTIONS": "exitcode=99:detect_stack_use_after_return=1", "OMP_NUM_THREADS": "2"}
# No tile has 53 rows, nor has one 11.
BATCH, LENGTH, CAPACITY = 7, 11, 53
NAMES = ("bert", "roberta", "gpt2", "gpt2lm", "llama")


def model_of(name, directory, zeros=0.0):
    """A model directory, with such a share of zeros in its matrices, and its vocabulary and options."""
    if name == "llama":
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
        from test_llama import save_model

        assert not zeros
        return save_model(directory, num_key_value_heads=3).config.to_dict(), {"task": "lm"}
    config, tensors, options = MODELS[name]
    config, tensors, rng = config | {"max_position_embeddings": 14, "n_positions": 13}, tensors(), np.random.default_rng(7)
    if "gpt2" in name:
        tensors = gpt2_tensors(config)
    for key, value in tensors.items():
        if "position_embeddings" in key:
            tensors[key] = rng.standard_normal((14, value.shape[1])).astype(np.float32)
        elif value.ndim == 2 and ("layer" in key or key.startswith("h.")):
            value[rng.random(value.shape) < zeros] = 0
    width = config.get("hidden_size") or config["n_embd"]
    heads = {"bert": {"classifier": 3}, "roberta": {"classifier.dense": width, "classifier.out_proj": 3}, "gpt2": {"score": 3}}
    for head, rows in heads.get(name, {}).items():
        tensors[head + ".weight"] = rng.standard_normal((rows, width)).astype(np.float32)
        if name != "gpt2":
            tensors[head + ".bias"] = rng.standard_normal(rows).astype(np.float32)
    write_model(directory, config, tensors)
    return config, options


def write_data(path, config, task, counts):
    rng = np.random.default_rng(len(counts))
    mask = (np.arange(LENGTH) < np.array(counts)[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(2, config["vocab_size"], mask.shape), 1).astype(np.int32)
    arrays = {"input_ids": ids, "attention_mask": mask}
    if task == "lm":
        arrays["labels"] = np.where(mask, ids, -100).astype(np.int32)
    else:
        arrays |= {"token_type_ids": np.zeros_like(ids), "labels": rng.integers(0, 3, len(counts)).astype(np.int32)}
    write_tensors(path, arrays)
    return path


# Batches in turn: full to the last token, of one token each, of any length, one that is alone, one that goes in two parts.
COUNTS = [11, 11, 11, 11, 7, 1, 1] + [1] * BATCH + [1, 11, 3, 5, 2, 9, 8] + [11] * BATCH + [4]


def compiled(model, bundle, options, *flags):
    given = {"batch_size": BATCH, "sequence_length": LENGTH, "token_capacity": CAPACITY, **options}
    argv = [COMPILE, model, "-o", bundle, "--sanitize_address", *(f"--{name}={value}" for name, value in given.items()), *flags]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return bundle


def run(command, model, bundle, *flags):
    argv = [RUN, command, "--bundle", bundle, "--model", model, *flags]
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, env=SETTINGS)


def train(folder, model, bundle, data, *flags):
    return run("train", model, bundle, "--train", data, "--output_dir", folder / "run", "--overwrite_output_dir", *flags)


@pytest.mark.parametrize("name", NAMES)
def test_training_touches_nothing_else(tmp_path, name):
    """Steps from 0 to 90 %, and evaluations at both."""
    config, options = model_of(name, tmp_path / "m")
    data = write_data(tmp_path / "data.safetensors", config, options.get("task"), COUNTS)
    full = write_data(tmp_path / "full.safetensors", config, options.get("task"), COUNTS[:BATCH])
    bundle = compiled(tmp_path / "m", tmp_path / "b", {**options, "dropout": 0.1})
    for given, steps in ((data, 5), (full, 2)):
        schedule = ["--max_steps", steps, "--sparsity", 0.9, "--logging_steps", 1, "--eval", data, "--eval_strategy", "epoch"]
        done = train(tmp_path, tmp_path / "m", bundle, given, *schedule)
        assert done.returncode == 0, done.stderr[:3000] + done.stdout
        assert f"finished at step {steps} of {steps}, sparsity 0.9" in done.stdout and "sparsity 0.000" in done.stdout


@pytest.mark.parametrize("name, storage", [*((name, "compressed") for name in ("bert", "roberta", "gpt2", "gpt2lm")), ("gpt2", "bitmask")])
def test_a_saved_sparse_model_touches_nothing_else(tmp_path, name, storage):
    """Of weights whose zeros are left out."""
    config, options = model_of(name, tmp_path / "m", zeros=0.9)
    data = write_data(tmp_path / "data.safetensors", config, options.get("task"), COUNTS)
    bundle = compiled(tmp_path / "m", tmp_path / "b", options, "--inference", f"--weight_storage={storage}", "--method=dense")
    assert ".pst_values" in (bundle / "manifest.json").read_text()
    done = run("eval", tmp_path / "m", bundle, "--eval", data)
    assert done.returncode == 0, done.stderr[:3000] + done.stdout
    assert f"examples {len(COUNTS)}" in done.stdout


@pytest.mark.parametrize("name", ["bert", "gpt2lm"])
def test_a_batch_of_a_row_too_few_is_seen(tmp_path, name):
    """The bundle is told so: kernels read beyond what the runtime has gathered, or write beyond the logits."""
    config, options = model_of(name, tmp_path / "m")
    data = write_data(tmp_path / "data.safetensors", config, options.get("task"), COUNTS)
    bundle = compiled(tmp_path / "m", tmp_path / "b", options)
    text = (bundle / "manifest.json").read_text()
    for shape in (f",{LENGTH}", "", ",3"):
        text = text.replace(f"32[{BATCH}{shape}]", f"32[{BATCH - 1}{shape}]")
    (bundle / "manifest.json").write_text(text)
    done = train(tmp_path, tmp_path / "m", bundle, data, "--max_steps", 1, "--sparsity", 0)
    assert done.returncode == 99 and "AddressSanitizer: heap-buffer-overflow" in done.stderr, done.stderr[:3000] + done.stdout


@pytest.mark.parametrize("tokens", [CAPACITY, CAPACITY + 1])
def test_one_token_too_many_is_seen(tmp_path, tokens):
    """Of a buffer in the arena, by one f32; and nothing where all are its own."""
    (tmp_path / "m.mlir").write_text(f"""
      func.func @main(%x: tensor<{CAPACITY}xf32>) -> (tensor<f32> {{pst.name = "sum"}}) {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %end = arith.constant {tokens} : index
        %zero = arith.constant 0.0 : f32
        %y = arith.addf %x, %x : tensor<{CAPACITY}xf32>
        %sum = scf.for %i = %c0 to %end step %c1 iter_args(%s = %zero) -> f32 {{
          %v = tensor.extract %y[%i] : tensor<{CAPACITY}xf32>
          %t = arith.addf %s, %v : f32
          scf.yield %t : f32
        }}
        %r = tensor.from_elements %sum : tensor<f32>
        return %r : tensor<f32>
      }}""")
    bundle = compiled(tmp_path / "m.mlir", tmp_path / "b", {})
    done = subprocess.run([str(RUN), "bench", "--repetitions", "1", str(bundle)], capture_output=True, text=True, env=SETTINGS)
    assert done.returncode == (0 if tokens == CAPACITY else 99), done.stderr[:3000] + done.stdout
    assert ("AddressSanitizer: use-after-poison" in done.stderr) == (tokens != CAPACITY)
