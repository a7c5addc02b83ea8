# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Layers that keep different shares of their elements: no module, whatever its text says, ends the process."""

import json
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model

from pst import TensorFile, write_tensors

BIN = pathlib.Path(os.environ.get("PST_BUILD_DIR", ".")) / "bin"
ROWS, LENGTH, STEPS = 4, 64, 3

# Large enough that a product of a few kept elements is worth its compressing.
WIDE = CONFIG | {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 384, "num_hidden_layers": 1}
WIDE |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": LENGTH}

pytestmark = pytest.mark.skipif(not (BIN / "pst-run").exists(), reason="the tools are not built (PST_BUILD_DIR)")

SELECTION = re.compile(r"(?m)^(.* = pst\.topk_threshold @\w+\(.*?\)), (%\w+)(.*)$")


def _run(tool, *arguments):
    done = subprocess.run([BIN / tool, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _text(model):
    flags = ["--batch-size", ROWS, "--sequence-length", LENGTH, "--weight-rank", 2, "--mask-rank", 2, "--selection", "topk"]
    text = _run("pst-compile", model, "--emit=sparsify", *flags)
    assert len(SELECTION.findall(text)) == 6
    return text


def _scaled(text, factors):
    """Each layer's selection with a share of the sparsity, as a user would write it by hand."""
    factors = iter(factors)

    def scale(match):
        i = scale.count = scale.count + 1
        head, sparsity, tail = match.groups()
        return (
            f"    %part{i} = arith.constant {next(factors):.6e} : f64\n"
            f"    %own{i} = arith.mulf {sparsity}, %part{i} : f64\n{head}, %own{i}{tail}"
        )

    scale.count = 0
    return SELECTION.sub(scale, text)


def _losses(folder, name, text, model, examples, sparsity, products="auto"):
    (folder / f"{name}.mlir").write_text(text)
    _run("pst-compile", folder / f"{name}.mlir", "-o", folder / name, f"--products={products}")
    flags = ["--model", model, "--train", examples, "--output_dir", folder / f"{name}.out", "--max_steps", STEPS]
    flags += ["--learning_rate", 1e-3, "--logging_steps", 1, "--sparsity", sparsity, "--initial_warmup", 0]
    flags += ["--final_warmup", 0, "--initial_sparsity", sparsity]
    _run("pst-run", "train", "--bundle", folder / name, *flags)
    lines = [json.loads(line) for line in (folder / f"{name}.out" / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "grad_norm" in line]


@pytest.fixture
def wide(tmp_path):
    return write_model(tmp_path / "wide", WIDE, bert_tensors(WIDE))


@pytest.fixture
def examples(tmp_path):
    rng = np.random.default_rng(2)
    ids = rng.integers(0, len(WORDS), (3 * ROWS + 1, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH) < rng.integers(2, LENGTH + 1, (len(ids), 1))).astype(np.int32)
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    path = tmp_path / "data.safetensors"
    write_tensors(path, tensors | {"labels": ids[:, 0] % 2})
    return path


FACTORS = {
    "one halved": [1.0, 0.5, 1.0, 1.0, 1.0, 1.0],
    "none of one": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    "any": list(np.random.default_rng(9).uniform(0.0, 1.0, 6)),
    "around the limit": list(np.random.default_rng(10).uniform(0.75, 0.95, 6)),
}


@pytest.mark.parametrize("name", FACTORS)
def test_each_layer_is_pruned_by_its_own_share(tmp_path, wide, examples, name):
    """Each product takes the form of its own layer; the losses are those of the packed form, but for rounding."""
    text = _scaled(_text(wide), FACTORS[name])
    adaptive = _losses(tmp_path, "adaptive", text, wide, examples, 0.97)
    packed = _losses(tmp_path, "packed", text, wide, examples, 0.97, "packed")
    assert len(packed) == STEPS and np.isfinite(packed).all()
    np.testing.assert_allclose(adaptive, packed, rtol=1e-4)


def test_an_export_has_the_zeros_of_each_layer(tmp_path, wide, examples):
    """Each layer's own count, which the selection leaves, is what the file is held against."""
    factors = FACTORS["any"]
    text = _scaled(_text(wide), factors)
    _losses(tmp_path, "any", text, wide, examples, 0.97)
    checkpoints = sorted((tmp_path / "any.out").glob("checkpoint-*"))
    flags = ["--model", wide, "--checkpoint", checkpoints[-1], "--output_dir", tmp_path / "exported"]
    _run("pst-run", "export", "--bundle", tmp_path / "any", *flags)
    file = TensorFile(tmp_path / "exported" / "model.safetensors")
    layers = re.findall(r'pst\.parameter @"?([\w.]+)"? frozen.*pst\.layer', text)
    assert len(layers) == 6
    for name, factor in zip(layers, factors):
        weight = np.array(file.read(name))
        # As text, a factor has seven digits.
        assert (weight == 0).sum() == int(weight.size * (0.97 * float(f"{factor:.6e}")))


def test_what_a_module_says_of_its_masks_is_not_believed(tmp_path, wide, examples):
    """A module that stores another layer's count trains all the same."""
    text = _scaled(_text(wide), FACTORS["one halved"])
    counts = re.findall(r"pst\.store (%\w+), (@\"?[\w.]+\.pst_pruned\"?)", text)
    assert len(counts) == 6
    (_, halved), (other, _) = counts[1], counts[0]
    wrong = text.replace(f"pst.store {counts[1][0]}, {halved}", f"pst.store {other}, {halved}")
    assert wrong != text
    right = _losses(tmp_path, "right", text, wide, examples, 0.97, "packed")
    np.testing.assert_allclose(_losses(tmp_path, "wrong", wrong, wide, examples, 0.97), right, rtol=1e-4)
