# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--method sparse_lora`: a sparse model is fine-tuned, and its zeros stay where they are."""

import json

import numpy as np
import pytest
from conftest import CONFIG, gpt2_tensors, write_data, write_model
from test_cli import run
from test_digests import GPT2
from test_inference import prune, write_sparse

import pst
from pst import TensorFile

SETTINGS = {"method": "sparse_lora", "weight_rank": 3, "max_steps": 5, "learning_rate": 1e-2, "report_to": "none", "save_strategy": "no", "logging_steps": 1}
DATA = [("the film was good", "a"), ("the food was awful", "b"), ("not bad", "a"), ("very bad", "c")] * 3


def matrices(directory):
    file = TensorFile(directory)
    return {name: np.array(file.read(name)) for name in file.names() if len(file.shape(name)) == 2}


def changed_under_zeros(before, after):
    """How many matrices have zeros; theirs are where they were, and all that is left has moved."""
    sparse = 0
    for name, matrix in before.items():
        if (matrix == 0).any() and "embeddings" not in name and name not in ("wte.weight", "wpe.weight"):
            np.testing.assert_array_equal(after[name] == 0, matrix == 0, err_msg=name)
            kept = matrix != 0
            assert not kept.any() or (after[name][kept] != matrix[kept]).mean() > 0.9, name
            sparse += 1
    return sparse


def test_zeros_stay_where_they_are(tmp_path, capsys):
    """Of layers of different shares, two of them wholly zero and two without a zero; whether an element is 0 or -0 is all one."""
    directory = write_sparse(tmp_path / "m")
    trainer = pst.Trainer(directory, DATA, output_dir=tmp_path / "run", **{**SETTINGS, "save_strategy": "epoch"})
    assert trainer.options.layer_sparsity == "zeros"
    before = matrices(directory)
    trainer.train()
    trainer.save(tmp_path / "out")
    assert changed_under_zeros(before, matrices(tmp_path / "out")) == 10
    for source, flags in (("run", ["--format", "adapter"]), ("adapter", ["--base", directory])):
        target = {"run": "adapter", "adapter": "back"}[source]
        status, _, err = run(capsys, "export", tmp_path / source, "--output_dir", tmp_path / target, *flags)
        assert status == 0, err
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert trainer.trainable_parameters < sum(matrix.size for matrix in before.values()) / 3


def test_a_bundle_begins_under_the_zeros_too(tmp_path, capsys):
    """What `pst compile` makes trains as `pst train` does, without a word on sparsities, here and there."""
    directory = write_sparse(tmp_path / "m")
    trainer = pst.Trainer(directory, DATA, output_dir=tmp_path / "run", **SETTINGS)
    trainer.train()
    shape = ["--num_labels", 3, "--max_seq_length", trainer.length, "--per_device_train_batch_size", 8]
    status, _, err = run(
        capsys, "compile", "--model_name_or_path", directory, "--method", "sparse_lora", "--weight_rank", 3, "--bundle", tmp_path / "bundle", *shape
    )
    assert status == 0, err
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["one_shot"] is True and manifest["final_sparsity"] == 0.9
    other = pst.Trainer(directory, DATA, output_dir=tmp_path / "other", bundle=tmp_path / "bundle", **SETTINGS)
    other.train()
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("run", "other")]
    assert [line["sparsity"] for line in logs[1] if line["event"] == "train"] == [0.9] * 5
    losses = [[line["loss"] for line in log if line["event"] == "train"] for log in logs]
    assert len(losses[0]) == 5
    # One is without padding.
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_parts_of_one_matrix(tmp_path):
    """GPT-2's query, key and value lie in one, which is transposed; each is as sparse as it is."""
    tensors = prune({"." + name: tensor for name, tensor in gpt2_tensors(GPT2).items()}, shares=[0.3, 0.8, 0.55])
    tensors = {name[1:]: tensor for name, tensor in tensors.items()}
    fused = tensors["h.0.attn.c_attn.weight"]
    fused[:, : fused.shape[0]] = np.where(np.abs(fused[:, : fused.shape[0]]) > 0.02, fused[:, : fused.shape[0]], 0)
    directory = write_model(tmp_path / "m", GPT2 | {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 3}, tensors)
    trainer = pst.Trainer(directory, DATA, output_dir=tmp_path / "run", **SETTINGS)
    trainer.train()
    trainer.save(tmp_path / "out")
    before = {name.removeprefix("transformer."): matrix for name, matrix in matrices(directory).items()}
    after = {name.removeprefix("transformer."): matrix for name, matrix in matrices(tmp_path / "out").items()}
    assert changed_under_zeros(before, after) >= 4


def test_a_dense_model_is_pruned_by_its_magnitude(tmp_path, capsys):
    directory = write_model(tmp_path / "m", {**CONFIG, "num_labels": 3})
    with pytest.raises(pst.CompileError, match="layer_sparsity is 'zeros', but no linear layer of the model has one"):
        pst.Trainer(directory, DATA, output_dir=tmp_path / "run", **SETTINGS)
    train = write_data(tmp_path / "train.tsv", 12)
    flags = [part for key, value in SETTINGS.items() for part in (f"--{key}", value)]
    status, _, err = run(capsys, "train", "--model_name_or_path", directory, "--train_file", train, "--output_dir", tmp_path / "run", "--sparsity", 0.5, *flags)
    assert status == 0, err
    before, after = matrices(directory), matrices(tmp_path / "run" / "model")
    for name, matrix in before.items():
        if "encoder" in name:
            order = np.argsort(np.abs(matrix), axis=None, kind="stable")
            pruned = np.zeros(matrix.size, bool)
            pruned[order[: int(matrix.size * 0.5)]] = True
            np.testing.assert_array_equal(after[name].ravel() == 0, pruned, err_msg=name)
