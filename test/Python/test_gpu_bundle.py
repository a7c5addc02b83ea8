# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bundles for GPUs, run by pst-run with a stand-in for NVIDIA's driver.

The stand-in (test/StandIn) runs the kernels on the CPU, as late as the program
allows, and ends the process where the driver is misused or memory forgotten.
"""

import json
import os
import pathlib
import subprocess

import check_bundles
import nn_reference as reference
import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, gpt2_tensors, write_model

import pst
from pst import TensorFile, write_tensors

BUILD = pathlib.Path(os.environ.get("PST_BUILD_DIR", "."))
STANDIN = BUILD / "lib" / "libpst-cuda-standin.so"
ROWS, LENGTH, STEPS = 3, 7, 5

pytestmark = pytest.mark.skipif(not STANDIN.exists(), reason="the stand-in is not built (PST_BUILD_DIR)")


def _tensors(path):
    file = TensorFile(path)
    return {name: np.array(file.read(name)) for name in file.names()}


def _run(*arguments, kernels=None, **environment):
    if kernels:
        environment |= {"PST_CUDA_LIBRARY": STANDIN, "PST_STANDIN_KERNELS": kernels}
    done = subprocess.run(
        [BUILD / "bin" / "pst-run", *map(str, arguments)],
        env=os.environ | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def examples(tmp_path):
    rng = np.random.default_rng(5)
    count = 4 * ROWS + 1
    ids = rng.integers(0, len(WORDS), (count, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH) < rng.integers(2, LENGTH + 1, (count, 1))).astype(np.int32)
    path = tmp_path / "data.safetensors"
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    write_tensors(path, tensors | {"labels": ids[:, 0] % 2})
    return path


def _bundles(tmp_path, model, **options):
    options |= {"batch_size": ROWS, "sequence_length": LENGTH}
    kernels = tmp_path / "kernels.so"
    pst._pst.compile_model(str(model), options | {"bundle": str(tmp_path / "cpu")})
    pst._pst.compile_model(
        str(model),
        options
        | {"bundle": str(tmp_path / "cuda"), "target": "cuda", "gpu_arch": "sm_80", "emulation": str(kernels)},
    )
    return tmp_path / "cpu", tmp_path / "cuda", kernels


def _train(bundle, model, examples, output, *flags, **environment):
    arguments = ["--bundle", bundle, "--model", model, "--train", examples, "--output_dir", output]
    arguments += ["--max_steps", STEPS, "--learning_rate", 5e-3, "--logging_steps", 1, "--seed", 3, *flags]
    _run("train", *arguments, **environment)
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "grad_norm" in line]


def _close(ours, theirs):
    assert len(ours) == STEPS and len(theirs) == STEPS
    for one, other in zip(ours, theirs):
        for name in ("loss", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=2e-4), (one, other)


@pytest.mark.parametrize("method, selection", [("pst", "topk"), ("mvp", "topk"), ("pst", "global")])
def test_layers_add_no_copies(tmp_path, method, selection):
    """Results go to where they belong: thresholds too are no copies of their own for each layer, nor launches."""
    copies, selections = [], []
    for layers in (1, 3):
        config = CONFIG | {"num_hidden_layers": layers}
        model = write_model(tmp_path / f"{layers}", config, bert_tensors(config))
        options = {"target": "cuda", "gpu_arch": "sm_80", "bundle": str(tmp_path / f"b{layers}"), "method": method, "selection": selection}
        pst._pst.compile_model(str(model), options | {"batch_size": ROWS, "sequence_length": LENGTH})
        entries = json.loads((tmp_path / f"b{layers}" / "manifest.json").read_text())["entry_points"]
        selections.append(sum(not line.startswith("copy") for line in entries["select"]["launches"]))
        copies.append({name: sum(line.startswith("copy") for line in entry["launches"]) for name, entry in entries.items()})
    # Of a threshold that layers share each has its copy; each layer of the model is six of linear weights.
    assert [found.pop("select") for found in copies] == ([6, 18] if selection == "global" else [0, 0])
    assert copies[0] == copies[1]
    assert selections[0] == selections[1] > 0


@pytest.mark.parametrize("method", ["pst", "lora"])
def test_a_run_has_the_losses_of_the_cpus(tmp_path, model, examples, method):
    cpu, cuda, kernels = _bundles(tmp_path, model, method=method)
    sparsity = [] if method == "lora" else ["--sparsity", 0.5]
    theirs = _train(cpu, model, examples, tmp_path / "o.cpu", *sparsity)
    ours = _train(cuda, model, examples, tmp_path / "o.cuda", *sparsity, kernels=kernels)
    _close(ours, theirs)


def test_a_bf16_run_on_tensor_cores_has_about_the_losses(tmp_path, examples):
    """sm_90a: products by wgmma over tensor maps; bf16 rounds activations by up to 2^-9 at every op."""
    config = CONFIG | {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 1}
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = write_model(tmp_path / "wide", config, bert_tensors(config))
    cpu, _, _ = _bundles(tmp_path, model)
    kernels, cuda = tmp_path / "bf16.so", tmp_path / "bf16"
    options = {"target": "cuda", "gpu_arch": "sm_90a", "precision": "bf16", "frozen_type": "bf16"}
    options |= {"batch_size": ROWS, "sequence_length": LENGTH, "bundle": str(cuda), "emulation": str(kernels)}
    pst._pst.compile_model(str(model), options)
    assert "map#" in (cuda / "manifest.json").read_text()
    # One rate for all: what bf16 rounds grows with it.
    flags = ("--sparsity", 0.5, "--mask_learning_rate", 5e-3, "--head_learning_rate", 5e-3)
    theirs = _train(cpu, model, examples, tmp_path / "o.cpu", *flags)
    ours = _train(cuda, model, examples, tmp_path / "o.cuda", *flags, kernels=kernels)
    for one, other in zip(ours[:2], theirs[:2]):  # before masks differ
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-2), (one, other)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_language_model_has_the_losses_of_the_cpus(tmp_path, precision):
    """GPT-2: causal attention, tied embeddings, transposed weights that three layers share, a loss over the vocabulary."""
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 61, "n_positions": 40}
    config |= {"n_embd": 24, "n_layer": 2, "n_head": 3} if precision == "f32" else {"n_embd": 64, "n_layer": 1, "n_head": 4}
    config |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.1 if precision == "f32" else 0.0)
    model = tmp_path / "gpt2"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config))
    write_tensors(model / "model.safetensors", gpt2_tensors(config))
    rng = np.random.default_rng(6)
    ids = rng.integers(0, 61, (2 * ROWS, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (2 * ROWS, 1))).astype(np.int32)
    data = tmp_path / "text.safetensors"
    write_tensors(data, {"input_ids": ids, "attention_mask": mask, "labels": np.where(mask, ids, -100).astype(np.int32)})
    options = {"task": "lm", "batch_size": ROWS, "sequence_length": LENGTH}
    kernels = tmp_path / "kernels.so"
    gpu = {"target": "cuda", "emulation": str(kernels), "gpu_arch": "sm_80" if precision == "f32" else "sm_90a"}
    gpu |= {} if precision == "f32" else {"precision": "bf16", "frozen_type": "bf16"}
    pst._pst.compile_model(str(model), options | {"bundle": str(tmp_path / "cpu")})
    pst._pst.compile_model(str(model), options | gpu | {"bundle": str(tmp_path / "cuda")})
    theirs = _train(tmp_path / "cpu", model, data, tmp_path / "o.cpu", "--sparsity", 0.5)
    ours = _train(tmp_path / "cuda", model, data, tmp_path / "o.cuda", "--sparsity", 0.5, kernels=kernels)
    if precision == "f32":
        return _close(ours, theirs)
    for one, other in zip(ours[:2], theirs[:2]):  # before masks differ
        assert one["loss"] == pytest.approx(other["loss"], abs=4e-2), (one, other)


def test_checkpoints_evaluation_and_export(tmp_path, model, examples):
    """A GPU's checkpoint is resumed there, evaluated on both, and exported: the same model."""
    cpu, cuda, kernels = _bundles(tmp_path, model)
    flags = ["--sparsity", 0.5, "--save_strategy", "steps", "--save_steps", 2, "--gradient_accumulation_steps", 2]
    whole = _train(cuda, model, examples, tmp_path / "whole", *flags, kernels=kernels)
    _close(whole, _train(cpu, model, examples, tmp_path / "cpu-run", *flags))
    _run(
        "train", "--bundle", cuda, "--model", model, "--train", examples, "--output_dir", tmp_path / "again",
        "--max_steps", STEPS, "--learning_rate", 5e-3, "--logging_steps", 1, "--seed", 3, *flags,
        "--resume_from_checkpoint", tmp_path / "whole" / "checkpoint-2", kernels=kernels,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "again" / "log.jsonl").read_text().splitlines()]
    again = [line["loss"] for line in lines if "grad_norm" in line]
    assert again == [line["loss"] for line in whole[2:]]

    checkpoint = tmp_path / "whole" / f"checkpoint-{STEPS}"
    results = {}
    for name, bundle, environment in (("cpu", cpu, {}), ("cuda", cuda, {"kernels": kernels})):
        common = ["--bundle", bundle, "--model", model, "--checkpoint", checkpoint]
        predictions = tmp_path / f"{name}.logits"
        _run("eval", *common, "--eval", examples, "--predictions", predictions, **environment)
        _run("export", *common, "--output_dir", tmp_path / f"{name}.model", **environment)
        results[name] = (
            _tensors(predictions)["logits"],
            _tensors(tmp_path / f"{name}.model" / "model.safetensors"),
        )
    np.testing.assert_allclose(results["cuda"][0], results["cpu"][0], rtol=1e-4, atol=1e-5)
    ours, theirs = results["cuda"][1], results["cpu"][1]
    assert ours.keys() == theirs.keys()
    assert any((tensor == 0).mean() >= 0.5 for tensor in ours.values())
    for name in ours:
        assert ours[name].tobytes() == theirs[name].tobytes(), name


def test_a_program_runs_from_python(tmp_path, monkeypatch):
    """In this process, with random values of odd shape; the kernels are those of `emulation`."""
    text = """func.func @main(%x: tensor<7x5xf32>, %s: f32) -> tensor<7x5xf32> {
      %y = nn.activation relu %x : tensor<7x5xf32>
      return %y : tensor<7x5xf32>
    }"""
    kernels = tmp_path / "kernels.so"
    monkeypatch.setenv("PST_CUDA_LIBRARY", str(STANDIN))
    monkeypatch.setenv("PST_STANDIN_KERNELS", str(kernels))
    monkeypatch.setenv("PST_STANDIN", "leaks=0")
    program = pst.compile(text, target="cuda", gpu_arch="sm_80", emulation=str(kernels))
    x = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)
    np.testing.assert_array_equal(program(x, 1.0), np.maximum(x, 0))


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Compiles and calls like the emulated tests; gives the bundle, once what is done to it is done."""

    def record(arch, run):
        monkeypatch.setenv("PST_CHECK_BUNDLES", str(tmp_path))
        monkeypatch.setenv("PST_CHECK_ARCH", arch)
        monkeypatch.setenv("PST_CHECK_EMULATION", "1")
        with monkeypatch.context() as patch:
            compile_and_record, write = check_bundles.record(patch, "case", pst._pst.compile_text, [reference])
            patch.setattr(
                pst._pst, "compile_text", lambda text, options: compile_and_record(text, {**options, "target": "emulated"})
            )
            run()
            write()
        return tmp_path / "case-0"

    return record


def test_recorded_cases_are_checked(tmp_path, recorded):
    """A case of a kernel's test as a bundle: it passes as recorded, and fails where a number is another."""

    def run():
        x = reference.random(13, 37, seed=1)
        (y,) = reference.run(
            """func.func @main(%x: tensor<13x37xf32>) -> tensor<13x37xf32> {
              %y = nn.activation tanh %x : tensor<13x37xf32>
              return %y : tensor<13x37xf32>
            }""",
            x,
        )
        reference.close(y, np.tanh(x.astype(np.float64)))

    bundle = recorded("sm_80", run)
    environment = {"kernels": f"{bundle}.so"}
    assert "all 1 checks passed" in _run("check", bundle, "--time", 3, "--json", tmp_path / "found.json", **environment)
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"] and 0 < found["worst"] < 1 and len(found["launches"]) == 1

    tensors = _tensors(bundle / "check.safetensors")
    (wanted,) = [name for name in tensors if name.startswith("wanted.")]
    tensors[wanted][3, 5] += 1e-5
    write_tensors(bundle / "check.safetensors", tensors, {"entry": "main"})
    with pytest.raises(AssertionError, match=r"FAILED .*\[116\]: .* instead of"):
        _run("check", bundle, **environment)


def test_a_recorded_call_starts_from_its_state(tmp_path, recorded):
    """The third call on a parameter: value, moments and gradients are those that two calls left, and so is what it leaves."""
    size, scalars = 37, ["rate", "beta1", "beta2", "epsilon", "decay", "correction1", "correction2", "most"]
    vector = f"tensor<{size}xf32>"

    def run():
        program = pst.compile(
            f"""pst.parameter @p trainable init<normal 1.0> {{decay, offset = 0 : i64}} : {vector}
            func.func @main(%x: {vector}, {", ".join(f"%{name}: f32" for name in scalars)}) -> tensor<f32> {{
              pst.accumulate %x, @p : {vector}
              %norm = pst.adamw size {size} decayed 11 ({", ".join(f"%{name}" for name in scalars)})
              pst.accumulate %x, @p : {vector}
              return %norm : tensor<f32>
            }}"""
        )
        for step in (1, 2, 3):
            program(reference.random(size, seed=step), 0.1, 0.9, 0.99, 1e-8, 0.1, 1 - 0.9**step, 1 - 0.99**step, 0.0)

    bundle = recorded("sm_80", run)
    check = bundle / "check.safetensors"
    as_recorded = _tensors(check)
    spaces = ("trainable", "gradient", "moment1", "moment2")
    assert {f"before.{space}" for space in spaces} | {f"wanted.{space}/p" for space in spaces} < as_recorded.keys()
    assert "all 1 checks passed" in _run("check", bundle, kernels=f"{bundle}.so")

    # Another state before, and another wanted after, both show.
    for space in spaces:
        tensors = {name: value.copy() for name, value in as_recorded.items()}
        tensors[f"before.{space}"].view(np.float32)[size - 1] += 0.5
        write_tensors(check, tensors, {"entry": "main"})
        with pytest.raises(AssertionError, match=r"FAILED .* instead of"):
            _run("check", bundle, kernels=f"{bundle}.so")
        tensors = as_recorded | {f"wanted.{space}/p": as_recorded[f"wanted.{space}/p"] + 1e-3}
        write_tensors(check, tensors, {"entry": "main"})
        with pytest.raises(AssertionError, match=rf'FAILED .*: {space} of "p"\[\d+\]: .* instead of'):
            _run("check", bundle, kernels=f"{bundle}.so")
    write_tensors(check, as_recorded | {"before.gradient": np.zeros(3, np.uint8)}, {"entry": "main"})
    with pytest.raises(AssertionError, match=r'must hold "before.gradient", of \d+ bytes'):
        _run("check", bundle, kernels=f"{bundle}.so")


def test_a_case_that_is_no_kernel_is_told(recorded):
    """The emulator runs it, a GPU does not: nothing is recorded but why."""

    def run():
        x = reference.random(3, 5, seed=1)
        text = """func.func @main(%x: tensor<3x5xf32>) -> tensor<3x5xf32> {
          %y = arith.addf %x, %x : tensor<3x5xf32>
          return %y : tensor<3x5xf32>
        }"""
        np.testing.assert_array_equal(reference.run(text, x)[0], x + x)

    bundle = recorded("sm_80", run)
    assert not bundle.exists() and "which may only launch kernels" in bundle.with_name("case-0.absent").read_text()


def test_a_case_with_large_inputs_is_told(monkeypatch, recorded):
    monkeypatch.setattr(check_bundles, "INPUT_BYTES", 64)

    def run():
        x = reference.random(3, 5, seed=1)
        activation = """func.func @{0}(%x: tensor<{1}x5xf32>) -> tensor<{1}x5xf32> {{
          %y = nn.activation tanh %x : tensor<{1}x5xf32>
          return %y : tensor<{1}x5xf32>
        }}"""
        program = pst.compile(activation.format("small", 3) + activation.format("large", 4))
        reference.call(program.function("large"), reference.random(4, 5, seed=1))
        reference.call(program.function("small"), x)

    bundle = recorded("sm_80", run)
    assert not bundle.exists() and bundle.with_name("case-0.absent").read_text() == "its inputs take 80 bytes\n"
    assert "all 1 checks passed" in _run("check", f"{bundle}-small", kernels=f"{bundle}.so")


def test_a_step_is_checked_against_the_cpus(tmp_path, examples):
    """Selection, gradient and update are those of the CPU's bundle; a launch that is led astray shows, and where."""
    config = CONFIG | {"num_hidden_layers": 1}
    model = write_model(tmp_path / "small", config, bert_tensors(config))
    cpu, cuda, kernels = _bundles(tmp_path, model, selection="topk")  # a threshold for each layer
    common = ["--against", cpu, "--model", model]
    for more in ([], ["--train", examples, "--sparsity", 0.9]):
        found = tmp_path / "found.json"
        text = _run("check", cuda, *common, *more, "--json", found, kernels=kernels)
        assert f"the step is that of {cpu}" in text
        quantities = {entry["quantity"]: entry for entry in json.loads(found.read_text())}
        assert all(entry["passed"] for entry in quantities.values())
        assert {"thresholds", "masked weights", "loss", "gradient", "updated parameters", "moment2"} < quantities.keys()
        assert 0 < quantities["gradient"]["worst"] < 0.5

    manifest = json.loads((cuda / "manifest.json").read_text())
    offsets = {parameter["name"]: parameter["offset"] for parameter in manifest["parameters"]}
    layer = "bert.encoder.layer.0.attention.self."
    query, key = layer + "query.weight.pst_", layer + "key.weight.pst_"

    def lead_astray(entry, op, space, before, after):
        """Another argument, or place in a space, for launches of an op."""
        spoilt = json.loads(json.dumps(manifest))
        point = spoilt["entry_points"][entry]
        index = next(i for i, argument in enumerate(point["arguments"]) if argument["name"] == space)
        other = next((i for i, argument in enumerate(point["arguments"]) if argument["name"] == after), index)
        old, new = f"#{index}+{offsets.get(before, 0)}", f"#{other}+{offsets.get(after, 0)}"
        changed = 0
        for i, line in enumerate(point["launches"]):
            head, arguments = line.split(" : ")
            words = arguments.split(" ")
            if op in head and old in words:
                point["launches"][i] = head + " : " + " ".join(new if word == old else word for word in words)
                changed += 1
        assert changed
        (tmp_path / "spoilt").mkdir(exist_ok=True)
        for file in cuda.iterdir():
            (tmp_path / "spoilt" / file.name).write_bytes(file.read_bytes())
        (tmp_path / "spoilt" / "manifest.json").write_text(json.dumps(spoilt))

    for arguments, message in (
        (("select", "topk", "state", query + "threshold", key + "threshold"), rf'FAILED  thresholds .*"{layer}(query|key).*threshold"'),
        (("materialize", "", "trainable", query + "R", key + "R"), rf'FAILED  masked weights .*"{layer}query.weight"\[\d+, \d+\]'),
        (("forward_backward", "sum", "gradient", query + "A", key + "A"), rf'FAILED  gradient .*"{layer}(query|key).*A"\[\d+, \d+\]'),
        (("apply", "", "learning_rate", "learning_rate", "beta1"), r'FAILED  updated parameters .*"\['),
    ):
        lead_astray(*arguments)
        with pytest.raises(AssertionError, match=message):
            _run("check", tmp_path / "spoilt", *common, kernels=kernels)

    options = {"bundle": str(tmp_path / "other"), "sequence_length": LENGTH, "training": True, "selection": "topk"}
    for more, message in (
        ({"batch_size": ROWS + 1}, r'the two bundles differ in the input "input_ids": i32\[3, 7\], and i32\[4, 7\]; compile'),
        ({"batch_size": ROWS, "method": "mvp"}, "the two bundles are of different models"),
    ):
        pst._pst.compile_model(str(model), options | more)
        with pytest.raises(AssertionError, match=message):
            _run("check", cuda, "--against", tmp_path / "other", "--model", model, kernels=kernels)


def test_tensor_maps_are_made_by_the_runtime(recorded):
    """A product on sm_90a reads its operands through tensor maps, of sizes that no tile divides."""
    torch = pytest.importorskip("torch")

    def run():
        generator = torch.Generator().manual_seed(2)
        x, w = (torch.randn(rows, 72, generator=generator).bfloat16() for rows in (131, 67))
        program = pst.compile(
            """func.func @main(%x: tensor<131x72xbf16>, %w: tensor<67x72xbf16>) -> tensor<131x67xf32> {
              %y = nn.linear %x, %w : tensor<131x72xbf16>, tensor<67x72xbf16> -> tensor<131x67xf32>
              return %y : tensor<131x67xf32>
            }"""
        )
        y = program(x, w).numpy()
        reference.close(y, x.double() @ w.double().T, 2e-5)

    bundle = recorded("sm_90a", run)
    launches = json.loads((bundle / "manifest.json").read_text())["entry_points"]["main"]["launches"]
    assert any("map#0+0/bf16[131,72]/144/" in launch for launch in launches), launches
    assert "all 1 checks passed" in _run("check", bundle, kernels=f"{bundle}.so")

    # Of so large a result some elements are recorded, the last among them.
    tensors = _tensors(bundle / "check.safetensors")
    (elements,) = [name for name in tensors if name.startswith("elements.")]
    name = elements.removeprefix("elements.")
    assert 1024 <= tensors[elements].size < 1100 and tensors[elements][-1] == 131 * 67 - 1
    tensors[f"wanted.{name}"][-1] += 1e-2
    write_tensors(bundle / "check.safetensors", tensors, {"entry": "main"})
    with pytest.raises(AssertionError, match=r"FAILED .*\[8776\]: .* instead of"):
        _run("check", bundle, kernels=f"{bundle}.so")
    tensors[elements][-1] += 1
    write_tensors(bundle / "check.safetensors", tensors, {"entry": "main"})
    with pytest.raises(AssertionError, match="names element 8777 of 8777"):
        _run("check", bundle, kernels=f"{bundle}.so")
