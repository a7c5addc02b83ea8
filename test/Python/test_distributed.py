# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Data-parallel training: `torchrun -m pst train` on two ranks of this machine
against one process with twice the batch. (What ranks do when they differ is
tested on the runtime, in PeersTest.cpp.)"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import write_data, write_model
from test_endtoend import sparse_names, weights

import pst
from pst.distributed import Peers


def train(folder, out, batch, ranks, *more):
    """Runs `pst train` in processes of its own; returns the finished process."""
    pytest.importorskip("torch")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    flags = [
        "--model_name_or_path", folder / "m", "--train_file", folder / "train.tsv", "--validation_file", folder / "dev.tsv",
        "--output_dir", folder / out, "--per_device_train_batch_size", batch, "--gradient_accumulation_steps", 2,
        "--max_steps", 14, "--learning_rate", "3e-3", "--logging_steps", 1, "--sparsity", 0.7, "--dropout", 0, *more,
    ]  # fmt: skip
    command = [sys.executable, *launcher, "-m", "pst", "train", *flags]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def log(directory, event):
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_two_ranks_train_as_one_with_twice_the_batch(tmp_path):
    write_model(tmp_path / "m")
    # 45 examples: the last step of an epoch is short.
    write_data(tmp_path / "train.tsv", 45), write_data(tmp_path / "dev.tsv", 21, 1)
    done = train(tmp_path, "two", 3, 2)
    assert done.returncode == 0, done.stderr
    assert "batches of 3 x 11 tokens on each of 2 ranks" in done.stdout
    assert done.stdout.count("model: ") == 1 and done.stderr.count("step 14/14") == 1
    alone = train(tmp_path, "one", 6, 1)
    assert alone.returncode == 0, alone.stderr
    for event, key in (("train", "loss"), ("train", "grad_norm"), ("eval", "eval_loss"), ("eval", "eval_accuracy")):
        two, one = ([line[key] for line in log(tmp_path / run, event)] for run in ("two", "one"))
        assert len(one) == (14 if event == "train" else 4)
        np.testing.assert_allclose(two, one, rtol=1e-4)
    two, one = weights(tmp_path / "two" / "model"), weights(tmp_path / "one" / "model")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-4, err_msg=name)
    for name in sparse_names(one):
        assert np.array_equal(two[name] == 0, one[name] == 0), name
    # All ranks go on from a checkpoint, to the same bits.
    for step in (8, 12, 14):
        os.rename(tmp_path / "two" / f"checkpoint-{step}", tmp_path / f"first-{step}")
    done = train(tmp_path, "two", 3, 2, "--resume_from_checkpoint", "last")
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr and "after step 4 of 14" in done.stderr
    for name, tensor in weights(tmp_path / "two" / "model").items():
        assert np.array_equal(tensor, two[name]), name
    # One process cannot go on with it: its steps would be of other examples.
    done = train(tmp_path, "two", 3, 1, "--resume_from_checkpoint", "last")
    assert done.returncode == 1
    assert "per_device_train_batch_size: 3 on each of 2 ranks in the checkpoint, 3 now" in done.stderr


def test_the_environment_says_which_rank_this_is(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = Peers.of_environment()
    assert (alone.rank, alone.count, alone.leads, alone.default_threads()) == (0, 1, True, 0)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="MASTER_ADDR and MASTER_PORT is not: start the command with torchrun"):
        Peers.of_environment()
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setenv("RANK", "two")
    with pytest.raises(ValueError, match="RANK must be a whole number, but is 'two'"):
        Peers.of_environment()
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ValueError, match=r"RANK is 2, but must lie in \[0, WORLD_SIZE\), and WORLD_SIZE is 2"):
        Peers.of_environment()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setitem(sys.modules, "torch.distributed", None)
    with pytest.raises(pst.Error, match="one of 2 ranks, .* but PyTorch is not installed: install it"):
        Peers.of_environment()


def test_the_gradient_is_one_array_over_the_models_memory(model, data, tmp_path):
    trainer = pst.Trainer(model, data[0], output_dir=tmp_path / "run", dropout=0.0, cache=False)
    before = trainer.model.gradient
    assert before.dtype == np.float32 and before.ndim == 1 and not before.any()
    trainer.model.select(0.5)
    trainer.model.forward_backward(trainer._train, list(range(8)), 1 / 8, 0)
    assert before.any() and np.shares_memory(before, trainer.model.gradient)
    name = "bert.pooler.dense.bias"
    assert np.shares_memory(before, trainer.model.parameter(name, "gradient"))
    before *= 0
    assert not trainer.model.parameter(name, "gradient").any()
