# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Batches without padding on GPUs, in emulation: products against NumPy, steps against those with padding and the CPU's."""

import json

import bf16
import nn_reference as reference
import numpy as np
import pytest
from test_digests import MODELS
from test_packed import BATCH, LENGTH, batch, compiled, directories, is_packed, lengths, step  # noqa: F401

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
CASES = {
    "bert": ("bert", "pst", {"weight_rank": 3, "mask_rank": 5}),
    "gpt2lm": ("gpt2lm", "pst", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_packed_step_is_a_padded_one(case, directories):  # noqa: F811
    """Three steps, of lengths from 1 to the longest, with dropout: as the padded program and the CPU's."""
    name, method, options = CASES[case]
    config, directory = MODELS[name][0], directories(name)
    task = "lm" if name == "gpt2lm" else ""
    options = options | {"method": method}
    models = [compiled(directory, name, capacity, **options, **target) for capacity, target in ((131, GPU), (0, GPU), (131, {}))]
    assert [is_packed(model) for model in models] == [131, 0, 131]
    rng = np.random.default_rng(3)
    for seed, kind in enumerate(("random", "short", "equal")):
        data = _pst.Dataset.of(batch(config, task, lengths(kind, rng), seed))
        rows = list(range(BATCH))[: (BATCH, 1, BATCH - 1)[seed]]
        found = [step(model, data, rows, (0.0, 0.5, 0.9)[seed], seed) for model in models]
        again = step(models[0], data, rows, (0.0, 0.5, 0.9)[seed], seed)
        assert again[0] == found[0][0] and again[1].tobytes() == found[0][1].tobytes()
        for loss, gradient in found[1:]:
            assert found[0][0] == pytest.approx(loss, rel=3e-6)
            np.testing.assert_allclose(found[0][1], gradient, rtol=3e-4, atol=3e-6 * np.abs(gradient).max())
            assert np.abs(gradient).max() > 0
        norms = [model.apply(1e-2, seed + 1, weight_decay=0.1, max_grad_norm=1.0) for model in models]
        assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-4)
        if seed == 1:
            evaluated = [_pst.evaluate(model, data, 0.5) for model in models]
            for other in evaluated[1:]:
                assert evaluated[0]["loss"] == pytest.approx(other["loss"], rel=1e-5)
