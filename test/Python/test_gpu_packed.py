# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Batches without padding on GPUs, in emulation: products against NumPy, steps against those with padding and the CPU's."""

import json

import bf16
import nn_reference as reference
import numpy as np
import pytest
from conftest import gpt2_tensors, write_model
from test_digests import MODELS
from test_packed import BATCH, LENGTH, TASKS, batch, compiled, directories, is_packed, lengths, step  # noqa: F401

import pst
from pst import Trainer, _pst

WAYS = {
    "fma": ("f32", 37, 53, {"gpu_arch": "sm_80"}),
    "tf32": ("f32", 68, 72, {"gpu_arch": "sm_80", "precision": "tf32"}),
    "mma": ("bf16", 69, 130, {"gpu_arch": "sm_80"}),
    "wgmma": ("bf16", 136, 72, {"gpu_arch": "sm_90a"}),
}
SEQUENCES, POSITIONS, CAPACITY, WORDS = 4, 50, 150, 31


@pytest.mark.usefixtures("recorded_checks")
@pytest.mark.parametrize("way", WAYS)
def test_products(way):
    """NT, TN and sums of columns; what an earlier batch left beyond the tokens, NaNs, counts for nothing."""
    kind, m, n, options = WAYS[way]

    def packed(columns):
        return f"tensor<{SEQUENCES * POSITIONS}x{columns}x{kind}, #nn.packed<{CAPACITY}>>"

    indices = f"tensor<{SEQUENCES}x{POSITIONS}xi32>"
    embeddings = "\n".join(
        f"%{name} = nn.embedding %ids, %{table} : {indices}, {bf16.tensor((WORDS, columns), kind)} -> {packed(columns)}"
        for name, table, columns in (("x", "a", m), ("y", "b", n))
    )
    body = f"""
      %places, %starts = nn.token_places %mask : {indices} -> tensor<{CAPACITY}xi32>, tensor<{SEQUENCES + 1}xi32>
      {embeddings}
      %g = nn.matmul %x, %y {{transpose_lhs}} : {packed(m)}, {packed(n)} -> {bf16.tensor((m, n), "f32")}
      %s = nn.column_sum %x : {packed(m)} -> tensor<{m}xf32>
      %z = nn.linear %x, %w : {packed(m)}, {bf16.tensor((n, m), kind)} -> {packed(n)}
      %u = nn.unpack_tokens %z : {packed(n)} -> {bf16.tensor((SEQUENCES * POSITIONS, n), kind)}"""
    rng = np.random.default_rng(5)
    ids = np.full((SEQUENCES, POSITIONS), WORDS - 1, np.int32)
    mask = np.zeros_like(ids)
    tables = [reference.random(WORDS, columns, seed=seed) for seed, columns in enumerate((m, n))]
    w = reference.random(n, m, seed=2)
    if way != "fma":
        tables, w = [bf16.rounded(table) for table in tables], bf16.rounded(w)
    for table in tables:
        table[WORDS - 1] = np.nan
    narrow = kind == "bf16"
    arguments = [("ids", ids, False), ("mask", mask, False), ("a", tables[0], narrow), ("b", tables[1], narrow), ("w", w, narrow)]
    results = [("g", (m, n), False), ("s", (m,), False), ("u", (SEQUENCES * POSITIONS, n), narrow)]
    function = pst.compile(bf16.function(body, arguments, results), target="emulated", **options)
    function(ids, (np.arange(POSITIONS) < [[50], [50], [50], [0]]).astype(np.int32), *tables, w)
    for counts in ([1, 0, 0, 0], [50, 1, 0, 37], [0, 50, 50, 50], [9, 9, 9, 9], [0, 0, 0, 0]):
        ids = rng.integers(0, WORDS - 1, ids.shape).astype(np.int32)
        mask = (np.arange(POSITIONS) < np.array(counts)[:, None]).astype(np.int32)
        g, s, u = reference.call(function, ids, mask, *tables, w)
        x, y = (table.astype(np.float64)[ids[mask != 0]] for table in tables)
        reference.close(g, x.T @ y, 2e-6, size=np.abs(x).T @ np.abs(y) + 1e-30)
        reference.close(s, x.sum(0), 2e-6, size=np.abs(x).sum(0) + 1e-30)
        expected = np.zeros(u.shape)
        expected[mask.ravel() != 0] = x @ w.T.astype(np.float64)
        (bf16.close if narrow else reference.close)(u, expected, **({"arithmetic": 1e-5} if narrow else {"rounding": 1e-5}))


GPU = {"target": "emulated", "gpu_arch": "sm_90a"}
BF16 = GPU | {"precision": "bf16", "frozen_type": "bf16"}


def tokens_of(step, rng):
    """Lengths of the examples of a step's batch: from 1 to the longest; of one that is alone; all equal."""
    return lengths(("random", "short", "equal")[step], rng), list(range(BATCH))[: (BATCH, 1, BATCH - 1)[step]]


def test_a_packed_step_is_a_padded_one(directories):  # noqa: F811
    """Three steps with dropout: as the padded program and the CPU's, and with the same bits when it is done again."""
    directory = directories("bert")
    options = {"method": "pst", "weight_rank": 3, "mask_rank": 5}
    models = [compiled(directory, "bert", capacity, **options, **target) for capacity, target in ((131, GPU), (0, GPU), (131, {}))]
    assert [is_packed(model) for model in models] == [131, 0, 131]
    rng = np.random.default_rng(3)
    for at, sparsity in enumerate((0.0, 0.5, 0.9)):
        counts, rows = tokens_of(at, rng)
        data = _pst.Dataset.of(batch(MODELS["bert"][0], "", counts, at))
        found = [step(model, data, rows, sparsity, at) for model in models]
        again = step(models[0], data, rows, sparsity, at)
        assert again[0] == found[0][0] and again[1].tobytes() == found[0][1].tobytes()
        for loss, gradient in found[1:]:
            assert found[0][0] == pytest.approx(loss, rel=3e-6)
            np.testing.assert_allclose(found[0][1], gradient, rtol=3e-4, atol=3e-6 * np.abs(gradient).max())
            assert np.abs(gradient).max() > 0
        norms = [model.apply(1e-2, at + 1, weight_decay=0.1, max_grad_norm=1.0) for model in models]
        assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-4)
    evaluated = [_pst.evaluate(model, data, 0.9)["loss"] for model in models]
    assert evaluated[1:] == pytest.approx([evaluated[0]] * 2, rel=1e-5)


# Each with what is predicted.
OTHERS = [("roberta", ""), ("gpt2", ""), ("gpt2", "regression"), ("bert", "regression"), ("bert", "multi_label_classification"), ("bert", "token_classification")]


@pytest.mark.parametrize(("name", "task"), OTHERS)
def test_a_packed_step_is_the_cpus(directories, name, task):  # noqa: F811
    """Of the other encoder, of a decoder that reads its last token, and of other labels."""
    options = {"method": "pst", "weight_rank": 3, "mask_rank": 5} | TASKS.get(task, {})
    models = [compiled(directories(name), name, 131, **options, **target) for target in (GPU, {})]
    assert [is_packed(model) for model in models] == [131, 131]
    data = _pst.Dataset.of(batch(MODELS[name][0], task, [1, 37, 12, 29, 20], 1))
    compare_step(models, data, 0.5)


def test_a_packed_step_of_a_llama_is_the_cpus(tmp_path):
    """Positions that are turned, and keys that heads share."""
    pytest.importorskip("transformers")
    from test_llama import save_model

    shape = {"num_hidden_layers": 1, "hidden_size": 24, "intermediate_size": 29, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = save_model(tmp_path / "m", **shape).config.to_dict()
    options = {"training": True, "batch_size": BATCH, "sequence_length": LENGTH, "token_capacity": 131, "task": "lm"}
    models = [_pst.Model(_pst.compile_model(str(tmp_path / "m"), options | target), str(tmp_path / "m"), 5) for target in (GPU, {})]
    assert [is_packed(model) for model in models] == [131, 131]
    compare_step(models, _pst.Dataset.of(batch(config, "lm", [2, 37, 11, 29, 18])), 0.5)


def compare_step(models, data, sparsity):
    """The loss, the gradients, and what is predicted after a step of the first model against the second's."""
    (loss, gradient), (expected, right) = (step(model, data, list(range(BATCH)), sparsity, 1) for model in models)
    assert loss == pytest.approx(expected, rel=3e-6)
    np.testing.assert_allclose(gradient, right, rtol=3e-4, atol=3e-6 * np.abs(right).max())
    assert np.abs(right).max() > 0
    norms = [model.apply(1e-2, 1, weight_decay=0.1, max_grad_norm=1.0) for model in models]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    found, evaluated = (_pst.evaluate(model, data, sparsity) for model in models)
    assert found["loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
    np.testing.assert_allclose(found["logits"], evaluated["logits"], rtol=1e-3, atol=1e-4)


def test_a_packed_step_of_bf16_is_a_padded_one(tmp_path):
    """A language model, whose heads and rows the tensor cores take."""
    config = MODELS["gpt2lm"][0] | {"n_positions": 45, "n_embd": 48}
    directory = write_model(tmp_path / "model", config, gpt2_tensors(config))
    packed, padded, cpu = (compiled(directory, "gpt2lm", capacity, **target) for capacity, target in ((131, BF16), (0, BF16), (131, {})))
    rng = np.random.default_rng(3)
    for at, sparsity in enumerate((0.0, 0.5, 0.9)):
        counts, rows = tokens_of(at, rng)
        data = _pst.Dataset.of(batch(config, "lm", counts, at))
        (loss, gradient), (expected, right), (near, _) = (step(model, data, rows, sparsity, at) for model in (packed, padded, cpu))
        assert loss == pytest.approx(expected, rel=1e-5) and loss == pytest.approx(near, rel=2e-2)
        # An activation may be rounded to its other neighbour.
        np.testing.assert_allclose(gradient, right, atol=2e-3 * np.abs(right).max())
        assert np.abs(right).max() > 0


def test_a_batch_that_does_not_fit_goes_in_parts(directories, tmp_path):  # noqa: F811
    """A run of few tokens a batch has the losses of a run on the CPU; without a bundle, a run has no padding here either."""
    rng = np.random.default_rng(0)
    words = ["the", "film", "was", "not", "good", "food"]
    data = [(" ".join(rng.choice(words, 9 if i == 0 else rng.integers(1, 6))), "ab"[rng.integers(2)]) for i in range(16)]
    common = {"method": "pst", "max_steps": 3, "per_device_train_batch_size": 8, "logging_steps": 1, "save_strategy": "no", "report_to": "none"}
    common |= {"sparsity": 0.5, "learning_rate": 1e-3, "max_seq_length": 11}
    settings = {"token_capacity": 13, "batch_size": 8, "sequence_length": 11, "training": True, "num_labels": 2, "method": "pst", "selection": "global"}
    _pst.compile_model(str(directories("bert")), settings | GPU | {"bundle": str(tmp_path / "bundle")})
    losses = []
    for name, options in (("cpu", {}), ("gpu", {"target": "emulated"}), ("parts", {"bundle": str(tmp_path / "bundle")})):
        trainer = Trainer(directories("bert"), data, output_dir=tmp_path / name, **common, **options)
        assert is_packed(trainer.model)
        trainer.train()
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines() if '"train"' in line]
        losses.append([line["loss"] for line in lines])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-4)
