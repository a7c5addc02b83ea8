# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.cache_rows and nn.cached_attention, and of nn.rotary_table at positions."""

import nn_reference as reference
import numpy as np
import pytest

# tokens, sequences, positions of one, heads, heads of keys, their width, window.
SHAPES = [(1, 1, 1, 1, 1, 1, None), (3, 2, 5, 2, 2, 7, None), (9, 4, 37, 6, 2, 18, None), (9, 4, 37, 6, 3, 16, 5), (70, 3, 130, 2, 1, 33, 40)]


def made(tokens, sequences, positions, seed=0):
    """Of each token its sequence and position, and a table of slots in no order, some of them shared."""
    rng = np.random.default_rng(seed)
    slots = rng.permutation(sequences * positions + 3)[: sequences * positions].reshape(sequences, positions)
    if sequences > 1:
        slots[1, : positions // 2] = slots[0, : positions // 2]
    return rng.integers(0, sequences, (tokens, 1)), rng.integers(0, positions, (tokens, 1)), slots, sequences * positions + 3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cpu", reference.cpus())
def test_attention_sees_what_the_table_says(shape, cpu):
    tokens, sequences, positions, heads, key_heads, width, window = shape
    sequence, position, slots, rows = made(tokens, sequences, positions)
    q, c = f"tensor<{tokens}x{heads * width}xf32>", f"tensor<{rows}x{key_heads * width}xf32>"
    t, s = f"tensor<{tokens}x1xi32>", f"tensor<{sequences}x{positions}xi32>"
    compiled = reference.pst.compile(
        f"""func.func @main(%q: {q}, %k: {c}, %v: {c}, %s: {t}, %p: {t}, %t: {s}) -> {q} {{
      %y = nn.cached_attention %q, %k, %v at %s, %p of %t heads {heads} {f"window {window}" if window else ""} : {q}, {c}, {t}, {s}
      return %y : {q}
    }}""",
        cpu=cpu,
    )
    query = reference.random(tokens, heads * width, seed=1, scale=2.0)
    keys, values = (reference.random(rows, key_heads * width, seed=seed) for seed in (2, 3))
    indices = [array.astype(np.int32) for array in (sequence, position, slots)]
    (found,) = reference.call(compiled.function("main"), query, keys, values, *indices)
    exact = np.zeros(query.shape)
    for i, (which, last) in enumerate(zip(sequence[:, 0], position[:, 0])):
        seen = slots[which, max(0, last + 1 - window) if window else 0 : last + 1]
        for head in range(heads):
            own, key = slice(head * width, (head + 1) * width), head // (heads // key_heads)
            of_key = slice(key * width, (key + 1) * width)
            scores = keys[seen, of_key].astype(np.float64) @ query[i, own] / np.sqrt(width)
            weights = np.exp(scores - scores.max())
            exact[i, own] = weights / weights.sum() @ values[seen, of_key]
    reference.close(found, exact, 3e-6)


@pytest.mark.parametrize("target", ["cpu", "emulated"])
def test_rows_go_to_their_slots(target):
    tokens, sequences, positions, columns = 6, 3, 7, 19
    _, _, slots, rows = made(tokens, sequences, positions)
    x, c = f"tensor<{tokens}x{columns}xf32>", f"tensor<{rows}x{columns}xf32>"
    t, s = f"tensor<{tokens}x1xi32>", f"tensor<{sequences}x{positions}xi32>"
    text = f"""func.func @main(%x: {x}, %c: {c}, %s: {t}, %p: {t}, %t: {s}) -> {c} {{
      %d = nn.cache_rows %x, %c at %s, %p of %t : {x}, {c}, {t}, {s}
      return %d : {c}
    }}"""
    rows_in, cache = reference.random(tokens, columns, seed=1), reference.random(rows, columns, seed=2)
    sequence, position = np.array([0, 2, 2, 1, 0, 1]), np.array([6, 0, 1, 4, 5, 6])
    expected = cache.copy()
    expected[slots[sequence, position]] = rows_in
    compiled = reference.pst.compile(text, target=target)
    indices = [array.astype(np.int32) for array in (sequence[:, None], position[:, None], slots)]
    before = cache.copy()
    (found,) = reference.call(compiled.function("main"), rows_in, cache, *indices)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(cache, before)  # an argument is read only


@pytest.mark.parametrize("target", ["cpu", "emulated"])
def test_angles_of_positions_are_rows_of_the_table(target):
    text = """func.func @main(%f: tensor<5xf32>, %p: tensor<4x1xi32>) -> (tensor<41x10xf32>, tensor<4x10xf32>) {
      %t = nn.rotary_table %f scale 1.25 : tensor<5xf32> -> tensor<41x10xf32>
      %u = nn.rotary_table %f at %p scale 1.25 : tensor<5xf32>, tensor<4x1xi32> -> tensor<4x10xf32>
      return %t, %u : tensor<41x10xf32>, tensor<4x10xf32>
    }"""
    positions = np.array([[40], [0], [7], [7]], np.int32)
    frequencies = np.abs(reference.random(5, seed=1))
    compiled = reference.pst.compile(text, target=target)
    table, found = reference.call(compiled.function("main"), frequencies, positions)
    np.testing.assert_array_equal(found, table[positions[:, 0]])
