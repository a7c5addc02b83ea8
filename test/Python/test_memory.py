# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The memory plan holds: what a run needs is what was printed before it."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_model
from pst import compiled, write_tensors

BATCH, LENGTH, STEPS = 24, 96, 2
# Large enough that the plan is not lost beside the libraries.
LARGE = {
    **CONFIG,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": LENGTH,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model, its bundle, and a few batches of random tokens."""
    folder = tmp_path_factory.mktemp("memory")
    model = write_model(folder / "model", LARGE, bert_tensors(LARGE))
    rng = np.random.default_rng(5)
    shape = (BATCH * STEPS, LENGTH)
    arrays = {
        "input_ids": rng.integers(5, CONFIG["vocab_size"], shape).astype(np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "labels": rng.integers(0, 2, shape[0]).astype(np.int32),
    }
    write_tensors(folder / "train.safetensors", arrays)
    script = (
        "import json, sys\n"
        "from pst import _pst\n"
        f"options = {{'batch_size': {BATCH}, 'sequence_length': {LENGTH}, 'num_labels': 2, 'bundle': sys.argv[2]}}\n"
        "program = _pst.compile_model(sys.argv[1], options)\n"
        "model = _pst.Model(program, sys.argv[1], 1)\n"
        "options = _pst.TrainingOptions()\n"
        "options.output_dir, options.num_train_epochs, options.learning_rate = sys.argv[4], 1, 1e-4\n"
        "_pst.train(model, options, _pst.Dataset.load(sys.argv[3]), None)\n"
        "print(json.dumps(_pst.peak_resident_bytes()))\n"
    )
    arguments = [model, folder / "bundle", folder / "train.safetensors", folder / "in-process"]
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, int(done.stdout.splitlines()[-1])


def plan_of(folder):
    memory = json.loads((folder / "bundle" / "manifest.json").read_text())["memory"]
    kinds = ("frozen", "trainable", "gradients", "optimizer", "state", "arena")
    return sum(memory[kind] for kind in kinds)


def test_a_run_in_process_needs_its_plan(run):
    folder, peak = run
    plan = plan_of(folder)
    assert plan > 80 * 2**20
    assert 0.9 * plan < peak < 1.1 * plan + compiled.LIBRARY_BYTES


def test_a_run_of_a_bundle_needs_its_plan(run):
    folder, _ = run
    pst_run = pathlib.Path(os.environ.get("PST_BUILD_DIR", ".")) / "bin" / "pst-run"
    if not pst_run.exists():
        pytest.skip("pst-run is not built (PST_BUILD_DIR)")
    command = [pst_run, "train", "--bundle", folder / "bundle", "--model", folder / "model", "--train",
               folder / "train.safetensors", "--output_dir", folder / "run", "--num_train_epochs", 1]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    peak = float(re.search(r"peak memory ([\d.]+) MiB", text)[1]) * 2**20
    libraries = float(re.search(r"libraries +([\d.]+) MiB", text)[1]) * 2**20
    plan = plan_of(folder)
    assert 0.9 * plan < peak < 1.1 * plan + libraries
