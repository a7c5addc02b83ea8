# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.rms_norm, nn.rotary_table, nn.rotary and nn.gated_activation."""

import nn_reference as reference
import numpy as np
import pytest
import torch

# One row, one column, primes, more rows than a chunk of the backward (64).
SHAPES = [(1, 2), (3, 1), (5, 7), (16, 64), (131, 37), (203, 129)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cpu", reference.cpus())
def test_rms_norm(shape, cpu):
    rows, columns = shape
    m, v = f"tensor<{rows}x{columns}xf32>", f"tensor<{columns}xf32>"
    compiled = reference.pst.compile(
        f"""
    func.func @forward(%x: {m}, %scale: {v}) -> {m} {{
      %y = nn.rms_norm %x, %scale epsilon 1.0e-5 : {m}, {v}
      return %y : {m}
    }}
    func.func @backward(%x: {m}, %scale: {v}, %dy: {m}) -> ({m}, {v}) {{
      %dx, %dscale = nn.rms_norm_backward %x, %scale, %dy epsilon 1.0e-5 : {m}, {v}
      return %dx, %dscale : {m}, {v}
    }}""",
        cpu=cpu,
    )
    x = reference.random(rows, columns, seed=1, scale=2.0) + np.float32(0.5)
    scale, dy = 1 + reference.random(columns, seed=2, scale=0.3), reference.random(rows, columns, seed=3)
    inputs = reference.double(x, scale)
    exact = reference.rms_norm(*inputs, 1e-5)
    (y,) = reference.call(compiled.function("forward"), x, scale)
    reference.close(y, exact, 2e-6)
    dx, dscale = reference.call(compiled.function("backward"), x, scale, dy)
    expected = reference.gradients(exact, inputs, dy)
    # One divided by the root mean square, which is least for a single column.
    size = np.abs(dy * scale) / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True)) + 1.0
    reference.close(dx, expected[0], 4e-6, size=np.broadcast_to(size.max(1, keepdims=True), dx.shape))
    reference.close(dscale, expected[1], 2e-6, size=np.abs(dy * x).sum(0) + 1.0)


def test_rms_norm_of_zeros_is_zero():
    m, v = "tensor<3x5xf32>", "tensor<5xf32>"
    text = f"""func.func @main(%x: {m}, %scale: {v}) -> {m} {{
      %y = nn.rms_norm %x, %scale epsilon 1.0e-6 : {m}, {v}
      return %y : {m}
    }}"""
    x = reference.random(3, 5)
    x[1] = 0
    (y,) = reference.run(text, x, reference.random(5, seed=1))
    assert (y[1] == 0).all() and (y[[0, 2]] != 0).all()


# batch, length, heads, width of a head: halves of one column, below, at and above a vector.
ROTARY = [(1, 1, 1, 2), (3, 5, 2, 6), (2, 37, 3, 22), (1, 64, 2, 64), (2, 9, 1, 32), (1, 130, 5, 70)]


@pytest.mark.parametrize("shape", ROTARY)
@pytest.mark.parametrize("scale", [1.0, 1.25])
@pytest.mark.parametrize("cpu", reference.cpus())
def test_rotary(shape, scale, cpu):
    batch, length, heads, width = shape
    m, t, f = f"tensor<{batch * length}x{heads * width}xf32>", f"tensor<{length}x{width}xf32>", f"tensor<{width // 2}xf32>"
    compiled = reference.pst.compile(
        f"""
    func.func @table(%f: {f}) -> {t} {{
      %t = nn.rotary_table %f scale {scale:e} : {f} -> {t}
      return %t : {t}
    }}
    func.func @turn(%x: {m}, %t: {t}) -> {m} {{
      %y = nn.rotary %x, %t : {m}, {t}
      return %y : {m}
    }}
    func.func @back(%x: {m}, %t: {t}) -> {m} {{
      %y = nn.rotary %x, %t transposed : {m}, {t}
      return %y : {m}
    }}""",
        cpu=cpu,
    )
    frequencies = (10000.0 ** (-np.arange(0, width, 2) / width)).astype(np.float32)
    (table,) = reference.call(compiled.function("table"), frequencies)
    # An angle is rounded to f32 before its cosine is taken.
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    exact = scale * np.concatenate([np.cos(angles.astype(np.float64)), np.sin(angles.astype(np.float64))], 1)
    reference.close(table, exact, 2e-7)
    x, g = reference.random(batch * length, heads * width, seed=1), reference.random(batch * length, heads * width, seed=2)
    (wide,), wide_table = reference.double(x), torch.tensor(table, dtype=torch.float64)
    turned = reference.rotary(wide, wide_table)
    (y,) = reference.call(compiled.function("turn"), x, table)
    reference.close(y, turned, 2e-6)
    (d,) = reference.call(compiled.function("back"), g, table)
    reference.close(d, reference.gradients(turned, [wide], g)[0], 2e-6)
    reference.close(d, reference.rotary(torch.tensor(g, dtype=torch.float64), wide_table, transposed=True), 2e-6)


def test_angles_of_many_turns():
    length = 100003
    text = f"""func.func @main(%f: tensor<3xf32>) -> tensor<{length}x6xf32> {{
      %t = nn.rotary_table %f scale 1.0 : tensor<3xf32> -> tensor<{length}x6xf32>
      return %t : tensor<{length}x6xf32>
    }}"""
    frequencies = np.array([1.0, -7.3, 0.1], np.float32)
    (table,) = reference.run(text, frequencies)
    angles = (np.arange(length, dtype=np.float32)[:, None] * frequencies).astype(np.float64)
    assert np.abs(table - np.concatenate([np.cos(angles), np.sin(angles)], 1)).max() < 1e-7


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (37, 129), (1, 16384)])
@pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize("cpu", reference.cpus())
def test_gated_activation(shape, kind, cpu):
    m = "tensor<{}x{}xf32>".format(*shape)
    compiled = reference.pst.compile(
        f"""
    func.func @forward(%gate: {m}, %value: {m}) -> {m} {{
      %y = nn.gated_activation {kind} %gate, %value : {m}
      return %y : {m}
    }}
    func.func @backward(%gate: {m}, %value: {m}, %dy: {m}) -> ({m}, {m}) {{
      %dgate = nn.gated_activation_backward {kind} %gate, %value, %dy : {m}
      %dvalue = nn.gated_activation {kind} %gate, %dy : {m}
      return %dgate, %dvalue : {m}, {m}
    }}""",
        cpu=cpu,
    )
    gate, value, dy = (reference.random(*shape, seed=seed, scale=2.0) for seed in (1, 2, 3))
    inputs = reference.double(gate, value)
    exact = reference.activation(kind, inputs[0]) * inputs[1]
    (y,) = reference.call(compiled.function("forward"), gate, value)
    reference.close(y, exact, 2e-6)
    results = reference.call(compiled.function("backward"), gate, value, dy)
    for actual, expected, other in zip(results, reference.gradients(exact, inputs, dy), (value, gate)):
        reference.close(actual, expected, 2e-6, size=np.maximum(np.abs(dy * other), 1.0) * 2)
