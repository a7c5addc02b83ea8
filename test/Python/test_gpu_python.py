# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Python package with programs for GPUs, on the stand-in for NVIDIA's driver (test_gpu_bundle.py)."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import CONFIG, write_data, write_model
from test_gpu_bundle import STANDIN, _tensors

from pst import _pst
from pst import torch as arrays
from pst.data import Labels, read_examples
from pst.options import Options
from pst.packing import token_capacity
from pst.tokenizer import Tokenizer
from pst.settings import compiler_options

LENGTH, BATCH = 12, 4

pytestmark = pytest.mark.skipif(not STANDIN.exists(), reason="the stand-in is not built (PST_BUILD_DIR)")


def pst(*arguments, kernels=None, **environment):
    """Runs the command in a process of its own; returns its `key: value` lines."""
    if kernels:
        environment |= {"PST_CUDA_LIBRARY": STANDIN, "PST_STANDIN_KERNELS": kernels, "PST_STANDIN": "leaks=0"}
    done = subprocess.run(
        [sys.executable, "-m", "pst", *map(str, arguments)],
        env=os.environ | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def test_the_command_trains_evaluates_and_exports(tmp_path):
    """`--target cuda` gives the losses of `--target cpu`; a run of a GPU is exported without one, to the same bytes."""
    model = write_model(tmp_path / "pretrained", {**CONFIG, "num_hidden_layers": 1})
    train, dev = write_data(tmp_path / "train.tsv", 21), write_data(tmp_path / "dev.tsv", 9, 1)
    gpu = ["--target", "cuda", "--gpu_arch", "sm_80"]
    options = Options(per_device_train_batch_size=BATCH, target="cuda", gpu_arch="sm_80", dropout=0.0).of_method()
    labels = Labels(["no", "yes"], False)
    settings = compiler_options(options, labels, LENGTH, True)
    encoded = Tokenizer(str(model)).encode(read_examples(str(dev)), LENGTH)
    evaluation = {**settings, "training": False, "method": "dense", "batch_size": 5, "sequence_length": LENGTH}
    evaluation["token_capacity"] = token_capacity(encoded.counts(LENGTH), 5, LENGTH, options, partly=True)
    for name in ("weight_rank", "weight_beta", "mask_rank", "mask_alpha1", "mask_alpha2", "detach_magnitude", "dropout", "selection"):
        del evaluation[name]
    _pst.compile_model(str(model), {**settings, "emulation": str(tmp_path / "train.so")})
    results = {}
    for name, where, kernels in (("cuda", gpu, tmp_path / "train.so"), ("cpu", [], None)):
        results[name] = pst(
            "train", "--model_name_or_path", model, "--train_file", train, "--validation_file", dev, *where,
            "--output_dir", tmp_path / name, "--per_device_train_batch_size", BATCH, "--max_steps", 4, "--dropout", 0,
            "--learning_rate", "3e-3", "--sparsity", 0.6, "--max_seq_length", LENGTH, "--pad_to_max_length",
            "--logging_steps", 1, "--report_to", "none", kernels=kernels,
        )  # fmt: skip
    logs = {}
    for name in results:
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        logs[name] = [line.get("loss", line.get("eval_loss")) for line in lines]
        assert len(logs[name]) == 5
    np.testing.assert_allclose(logs["cuda"], logs["cpu"], rtol=2e-4)

    saved = tmp_path / "cuda" / "model"
    exported = tmp_path / "exported"
    pst("export", tmp_path / "cuda" / "checkpoint-4", "--output_dir", exported, "--target", "cpu")
    ours, theirs = _tensors(saved / "model.safetensors"), _tensors(exported / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].tobytes() == theirs[name].tobytes(), name

    _pst.compile_model(str(saved), {**evaluation, "emulation": str(tmp_path / "eval.so")})
    common = ["eval", "--model_name_or_path", saved, "--validation_file", dev, "--max_seq_length", LENGTH]
    common += ["--per_device_eval_batch_size", 5]
    here = pst(*common)
    there = pst(*common, *gpu, kernels=tmp_path / "eval.so")
    assert float(there["loss"]) == pytest.approx(float(here["loss"]), rel=1e-4)
    assert float(there["loss"]) == pytest.approx(float(results["cuda"]["eval_loss"]), rel=1e-4)


def test_ranks_sum_the_gradient_where_it_lies(tmp_path):
    """Two ranks, each on a GPU, whose gradient an engine sums through DLPack, train as one with twice the batch."""
    model = write_model(tmp_path / "pretrained", {**CONFIG, "num_hidden_layers": 1})
    data = write_data(tmp_path / "train.tsv", 45)
    script = pathlib.Path(__file__).with_name("gpu_ranks.py")
    runs = {}
    for ranks, batch in ((2, 2), (1, 4)):
        options = Options(per_device_train_batch_size=batch, target="cuda", gpu_arch="sm_80", dropout=0.0, cache=False).of_method()
        settings = compiler_options(options, Labels(["no", "yes"], False), LENGTH, True)
        kernels, output = tmp_path / f"{ranks}.so", tmp_path / f"{ranks}"
        _pst.compile_model(str(model), {**settings, "emulation": str(kernels)})
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
        environment = {"PST_CUDA_LIBRARY": STANDIN, "PST_STANDIN_KERNELS": kernels, "PST_STANDIN": "leaks=0 devices=2"}
        done = subprocess.run(
            list(map(str, [sys.executable, *launcher, script, STANDIN, model, data, output, batch])),
            env=os.environ | {name: str(value) for name, value in environment.items()},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        runs[ranks] = [(line["loss"], line["grad_norm"]) for line in lines], _tensors(output / "model" / "model.safetensors")
    (two, ours), (one, theirs) = runs[2], runs[1]
    assert len(one) == 5
    np.testing.assert_allclose(two, one, rtol=1e-4)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4, err_msg=name)
        assert np.array_equal(ours[name] == 0, theirs[name] == 0), name


def test_functions_take_arrays_of_the_gpu(tmp_path):
    """Inputs and outputs in the GPU's memory, in the order of the caller's stream, without waiting."""
    kernels = tmp_path / "kernels.so"
    environment = {"PST_CUDA_LIBRARY": STANDIN, "PST_STANDIN_KERNELS": kernels, "PST_STANDIN": "leaks=0"}
    done = subprocess.run(
        list(map(str, [sys.executable, pathlib.Path(__file__).with_name("gpu_arrays.py"), STANDIN, kernels])),
        env=os.environ | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_results_for_tensors_on_a_gpu_are_tensors_there():
    """What PyTorch is asked for; it has no GPU here."""
    torch = pytest.importorskip("torch")
    made = arrays.empty((3, 5), "bf16", torch.device("meta"))
    assert (made.shape, made.dtype, made.device.type) == ((3, 5), torch.bfloat16, "meta")
    assert arrays.gpu_of([torch.ones(2), np.ones(2)]) is None
    with pytest.raises(ValueError, match=r"x lies on meta, and the program runs on the CPU: pass .cpu\(\) of it"):
        arrays.check(made, "x")
