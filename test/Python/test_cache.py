# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is compiled once is not compiled again."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pst
import pytest
from conftest import CONFIG, bert_tensors, write_model
from pst import _pst

OPTIONS = {"batch_size": 2, "sequence_length": 5, "num_labels": 2}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; its programs."""
    monkeypatch.setenv("PST_CACHE_DIR", str(tmp_path / "cache"))
    return lambda: sorted((tmp_path / "cache").glob("llvmcache-*"))


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model", CONFIG, bert_tensors(CONFIG))


def test_other_weights_are_the_same_program(cache, model, tmp_path):
    first = _pst.compile_model(str(model), OPTIONS)
    (entry,) = cache()
    other = write_model(tmp_path / "other", CONFIG, bert_tensors(CONFIG, seed=9))
    assert _pst.compile_model(str(other), OPTIONS).manifest == first.manifest
    assert cache() == [entry]
    _pst.compile_model(str(model), {**OPTIONS, "batch_size": 3})
    assert len(cache()) == 2


def test_sparsity_rate_and_steps_recompile_nothing(cache, tmp_path, vocabulary):
    model = write_model(tmp_path / "model", CONFIG, bert_tensors(CONFIG))
    for file in vocabulary.iterdir():
        shutil.copy(file, model)
    examples = [("the film was good", "1"), ("not great", "0")] * 2

    def train(name, **options):
        trainer = pst.Trainer(
            model, examples, output_dir=str(tmp_path / name), per_device_train_batch_size=2, max_steps=1, **options
        )
        return trainer.train()

    train("first", sparsity=0.5, learning_rate=1e-4)
    (entry,) = cache()
    written = entry.read_bytes()
    train("second", sparsity=0.8, learning_rate=1e-3, seed=3, gradient_accumulation_steps=2)
    assert cache() == [entry] and entry.read_bytes() == written
    train("third", cache=False, weight_rank=3)
    assert cache() == [entry]


def test_a_program_from_the_cache_computes_the_same(cache):
    text = (
        "func.func @main(%x: tensor<7x5xf32>, %w: tensor<3x5xf32>) -> tensor<7x3xf32> {\n"
        "  %y = nn.linear %x, %w : tensor<7x5xf32>, tensor<3x5xf32> -> tensor<7x3xf32>\n"
        "  return %y : tensor<7x3xf32>\n}\n"
    )
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((7, 5), np.float32), rng.standard_normal((3, 5), np.float32)
    results = [pst.compile(text)(x, w) for _ in range(2)]
    assert len(cache()) == 1
    np.testing.assert_allclose(results[0], x.astype(float) @ w.T.astype(float), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(results[0], results[1])


def test_several_processes_at_once(cache, model, tmp_path):
    script = "import sys; from pst import _pst; _pst.compile_model(sys.argv[1], {'batch_size': 2, 'sequence_length': 5})"
    running = [subprocess.Popen([sys.executable, "-c", script, str(model)], env=os.environ) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(cache()) == 1


def test_a_cache_that_cannot_be_written_is_a_warning(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file")
    monkeypatch.setenv("PST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="was not kept for the next time: .*PST_CACHE_DIR"):
        _pst.compile_model(str(model), OPTIONS)
