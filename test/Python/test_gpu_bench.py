# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst-run bench`, on the CPU and with the stand-in for NVIDIA's driver, and the work that it sets times against."""

import itertools
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

import pst
from pst import write_tensors

BUILD = pathlib.Path(os.environ.get("PST_BUILD_DIR", "."))
STANDIN = BUILD / "lib" / "libpst-cuda-standin.so"
STEP = pathlib.Path(__file__).parents[1] / "Pipeline" / "layer.mlir"
TOKENS, ROWS, COLUMNS, RANK = 3, 7, 5, 2

pytestmark = pytest.mark.skipif(not STANDIN.exists(), reason="the stand-in is not built (PST_BUILD_DIR)")

CRITERION = """pst.criterion @pst(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  %s = math.absf %v : f32
  pst.yield weight %v score %s
}
"""


def _launches(tmp_path, text):
    """The launches of @main, each (op or empty, flops, bytes)."""
    pst._pst.compile_text(text, {"target": "cuda", "gpu_arch": "sm_80", "bundle": str(tmp_path / "bundle")})
    found = []
    for line in json.loads((tmp_path / "bundle" / "manifest.json").read_text())["entry_points"]["main"]["launches"]:
        words = line.split(" : ")[0].split()
        value = {word: words[words.index(word) + 1] if word in words else 0 for word in ("for", "flops", "bytes")}
        found.append((value["for"] or "", int(value["flops"]), int(value["bytes"])))
    return found


def _work(tmp_path, text):
    """The work of the only op of @main."""
    first, *rest = _launches(tmp_path, text)
    assert all(launch == ("", 0, 0) for launch in rest), rest
    return first


@pytest.mark.parametrize("precision, size", [("f32", 4), ("bf16", 2)])
def test_products_are_counted(tmp_path, precision, size):
    t, n, m = 6, 5, 7
    text = f"""func.func @main(%x: tensor<{t}x{m}x{precision}>, %w: tensor<{n}x{m}x{precision}>, %b: tensor<{n}xf32>) -> tensor<{t}x{n}x{precision}> {{
      %y = nn.linear %x, %w bias(%b : tensor<{n}xf32>) : tensor<{t}x{m}x{precision}>, tensor<{n}x{m}x{precision}> -> tensor<{t}x{n}x{precision}>
      return %y : tensor<{t}x{n}x{precision}>
    }}"""
    flops = sum(2 for _ in itertools.product(range(t), range(n), range(m)))
    assert _work(tmp_path, text) == ("nn.linear", flops, size * (t * m + n * m + t * n) + 4 * n)


@pytest.mark.parametrize("causal, key_heads, window", [(False, 6, 0), (True, 6, 0), (True, 2, 3), (True, 3, 9)])
def test_attention_counts_the_pairs_that_are_seen(tmp_path, causal, key_heads, window):
    batch, length, heads, width = 2, 5, 6, 4
    x, k = (f"tensor<{batch * length}x{count * width}xf32>" for count in (heads, key_heads))
    mask = f"tensor<{batch}x{length}xi32>"
    flag = ("causal " if causal else "") + (f"window {window}" if window else "")
    pairs = sum((j <= i or not causal) and (not window or j > i - window) for i in range(length) for j in range(length))
    one = 2 * batch * heads * pairs * width
    query, key = (4 * batch * length * count * width for count in (heads, key_heads))
    forward = f"""func.func @main(%q: {x}, %k: {k}, %v: {k}, %m: {mask}) -> {x} {{
      %y = nn.attention %q, %k, %v, %m heads {heads} {flag} : {x}, {k}, {mask}
      return %y : {x}
    }}"""
    assert _work(tmp_path, forward) == ("nn.attention", 2 * one, 2 * query + 2 * key + 4 * batch * length)
    backward = f"""func.func @main(%q: {x}, %k: {k}, %v: {k}, %m: {mask}, %dy: {x}) -> ({x}, {k}, {k}) {{
      %a, %b, %c = nn.attention_backward %q, %k, %v, %m, %dy heads {heads} {flag} : {x}, {k}, {mask}
      return %a, %b, %c : {x}, {k}, {k}
    }}"""
    assert _work(tmp_path, backward) == ("nn.attention_backward", 5 * one, 3 * query + 4 * key + 4 * batch * length)


def test_a_table_is_read_where_it_is_looked_up(tmp_path):
    text = """func.func @main(%i: tensor<2x3xi32>, %t: tensor<1000x8xf32>) -> tensor<6x8xf32> {
      %y = nn.embedding %i, %t : tensor<2x3xi32>, tensor<1000x8xf32> -> tensor<6x8xf32>
      return %y : tensor<6x8xf32>
    }"""
    assert _work(tmp_path, text) == ("nn.embedding", 0, 4 * (6 + 2 * 6 * 8))


def test_a_masked_product_is_two_ops(tmp_path):
    """Its weight is written once, and read by the product in the type that it multiplies."""
    factors = f"tensor<{ROWS}x{COLUMNS}xbf16>, tensor<{ROWS}x{RANK}xf32>, tensor<{RANK}x{COLUMNS}xf32>"
    text = CRITERION + f"""func.func @main(%x: tensor<{TOKENS}x{COLUMNS}xbf16>, %w: tensor<{ROWS}x{COLUMNS}xbf16>,
        %u: tensor<{ROWS}x{RANK}xf32>, %v: tensor<{RANK}x{COLUMNS}xf32>, %t: tensor<f32>, %c: tensor<i64>) -> tensor<{TOKENS}x{ROWS}xbf16> {{
      %y = pst.masked_matmul %x, @pst(%w, %u, %v) threshold(%t, %c)
        : tensor<{TOKENS}x{COLUMNS}xbf16>, ({factors}) -> tensor<{TOKENS}x{ROWS}xbf16>
      return %y : tensor<{TOKENS}x{ROWS}xbf16>
    }}"""
    weight, low_rank = 2 * ROWS * COLUMNS, 4 * RANK * (ROWS + COLUMNS)
    assert _launches(tmp_path, text) == [
        ("pst.masked_weight", 0, 2 * weight + low_rank + 4 + 8),
        ("pst.masked_matmul", 2 * TOKENS * ROWS * COLUMNS, weight + 2 * TOKENS * (ROWS + COLUMNS)),
    ]


def test_gradients_are_folded_within_one_op(tmp_path):
    factors = f"tensor<{ROWS}x{COLUMNS}xf32>, tensor<{ROWS}x{RANK}xf32>, tensor<{RANK}x{COLUMNS}xf32>"
    text = CRITERION + f"""func.func @main(%dy: tensor<{TOKENS}x{ROWS}xf32>, %x: tensor<{TOKENS}x{COLUMNS}xf32>, %w: tensor<{ROWS}x{COLUMNS}xf32>,
        %u: tensor<{ROWS}x{RANK}xf32>, %v: tensor<{RANK}x{COLUMNS}xf32>, %t: tensor<f32>, %c: tensor<i64>)
        -> (tensor<{ROWS}x{RANK}xf32>, tensor<{RANK}x{COLUMNS}xf32>) {{
      %du, %dv = pst.lowrank_accumulate %dy, %x, @pst(%w, %u, %v) threshold(%t, %c) wrt [1, 2]
        : tensor<{TOKENS}x{ROWS}xf32>, tensor<{TOKENS}x{COLUMNS}xf32>, ({factors}) -> tensor<{ROWS}x{RANK}xf32>, tensor<{RANK}x{COLUMNS}xf32>
      return %du, %dv : tensor<{ROWS}x{RANK}xf32>, tensor<{RANK}x{COLUMNS}xf32>
    }}"""
    low_rank = RANK * (ROWS + COLUMNS)
    elements = TOKENS * (ROWS + COLUMNS) + ROWS * COLUMNS + 2 * low_rank
    assert _work(tmp_path, text) == ("pst.lowrank_accumulate", 2 * TOKENS * ROWS * COLUMNS, 4 * elements + 4 + 8)


def _bench(*arguments, kernels=None):
    environment = {"PST_CUDA_LIBRARY": str(STANDIN), "PST_STANDIN_KERNELS": str(kernels)} if kernels is not None else {}
    return subprocess.run(
        [BUILD / "bin" / "pst-run", "bench", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def step(tmp_path):
    """A training step of one layer: bundles for both, kernels, and a model."""
    text = STEP.read_text()
    pst._pst.compile_text(text, {"bundle": str(tmp_path / "cpu")})
    kernels = tmp_path / "kernels.so"
    pst._pst.compile_text(
        text, {"bundle": str(tmp_path / "cuda"), "target": "cuda", "gpu_arch": "sm_80", "emulation": str(kernels)}
    )
    (tmp_path / "model").mkdir()
    w = np.random.default_rng(1).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    write_tensors(tmp_path / "model" / "model.safetensors", {"w": w})
    return tmp_path


def test_a_training_step_is_measured(step):
    """The stand-in's clock says 1 ms of everything."""
    results = {}
    for name, kernels in (("cpu", None), ("cuda", step / "kernels.so")):
        file = step / f"{name}.json"
        flags = ["--model", step / "model", "--repetitions", 3, "--copy-bytes", 4096, "--matrix-ceiling", 1e6, "--json", file]
        done = _bench(step / name, *flags, kernels=kernels)
        assert done.returncode == 0, done.stdout + done.stderr
        (results[name],) = json.loads(file.read_text())
        assert "forward_backward" in done.stdout
    cpu, cuda = results["cpu"], results["cuda"]
    assert list(cpu["entries"]) == ["select", "forward_backward", "apply"]
    assert list(cuda["entries"]) == ["step", "select", "forward_backward", "apply"]
    assert cuda["loss"] == pytest.approx(cpu["loss"], rel=1e-5) and cuda["loss"] > 0
    assert cuda["copy_bytes_per_second"] == pytest.approx(2 * 4096 / 1e-3)
    for name, entry in list(cuda["entries"].items())[1:]:
        launches = json.loads((step / "cuda" / "manifest.json").read_text())["entry_points"][name]["launches"]
        assert sum(op["seconds"] for op in entry["ops"]) == pytest.approx(1e-3 * len(launches))
        assert sum(kernel["launches"] for op in entry["ops"] for kernel in op["kernels"]) == len(launches)
    ops = {op["op"]: op for op in cuda["entries"]["forward_backward"]["ops"]}
    product, dropout = ops["pst.masked_matmul"], ops["nn.dropout"]
    assert product["flops"] == 2 * TOKENS * ROWS * COLUMNS
    # The slower of products and copies, at the ceilings.
    assert product["floor_seconds"] == pytest.approx(max(product["flops"] / 1e6, product["bytes"] / (2 * 4096 / 1e-3)))
    assert dropout["count"] == 1 and dropout["bytes"] == 2 * 4 * TOKENS * COLUMNS
    assert dropout["floor_seconds"] == pytest.approx(dropout["bytes"] / (2 * 4096 / 1e-3))


def test_one_entry_point_takes_random_inputs(tmp_path):
    text = """func.func @main(%x: tensor<64x96xbf16>, %w: tensor<32x96xbf16>) -> tensor<64x32xf32> {
      %y = nn.linear %x, %w : tensor<64x96xbf16>, tensor<32x96xbf16> -> tensor<64x32xf32>
      return %y : tensor<64x32xf32>
    }"""
    kernels = tmp_path / "kernels.so"
    options = {"target": "cuda", "gpu_arch": "sm_90a", "bundle": str(tmp_path / "bundle"), "emulation": str(kernels)}
    pst._pst.compile_text(text, options)
    done = _bench(tmp_path / "bundle", "--copy-bytes", 100, "--repetitions", 2, "--json", tmp_path / "j", kernels=kernels)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "j").read_text())
    (op,) = found["entries"]["main"]["ops"]
    # Nobody knows how fast products can be.
    assert op["flops"] == 2 * 64 * 32 * 96 and op["floor_seconds"] == 0 and "wall_seconds" not in found


def test_inputs_can_be_zero(step):
    """Of a layer without a bias nothing is left but the loss of seven classes that are equal."""
    losses = []
    for more in ([], ["--zero", "x"]):
        done = _bench(step / "cpu", "--model", step / "model", "--repetitions", 1, "--json", step / "j", *more)
        assert done.returncode == 0, done.stdout + done.stderr
        losses.append(json.loads((step / "j").read_text())[0]["loss"])
    assert losses[1] == pytest.approx(np.log(ROWS), rel=1e-6) and abs(losses[0] - losses[1]) > 1e-3
    unknown = _bench(step / "cpu", "--model", step / "model", "--zero", "z")
    assert 'no entry point that is measured has an input "z", which was to be zero' in unknown.stdout


def test_large_outputs_stay_where_they_are(tmp_path):
    """Of more than 64 MiB, which have memory during a call only; the stand-in ends the process where they are missed."""
    text = """func.func @main(%x: tensor<4097x4096xf32>) -> tensor<4097x4096xf32> {
      %y = nn.activation relu %x : tensor<4097x4096xf32>
      return %y : tensor<4097x4096xf32>
    }"""
    pst._pst.compile_text(text, {"target": "cuda", "gpu_arch": "sm_80", "bundle": str(tmp_path / "bundle")})
    done = _bench(tmp_path / "bundle", "--copy-bytes", 100, "--repetitions", 2, kernels="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nn.activation" in done.stdout


def test_what_cannot_be_measured_is_said(step):
    missing = _bench(step / "cpu", step / "nothing")
    assert missing.returncode == 1
    assert 'takes "w" from a model\'s files: name its directory (--model)' in missing.stdout
    assert "nothing: not a bundle" in missing.stdout and "2 of 2 bundles could not be measured" in missing.stderr
    unknown = _bench(step / "cpu", "--model", step / "model", "--entry", "forwards")
    assert 'no entry point "forwards" (it has: apply, forward, ' in unknown.stdout
    assert _bench(step / "cpu", "--repetitions", 0).returncode != 0
