# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Frozen weights in bf16: the bits of a model whose matrices were rounded before."""

import json

import numpy as np
import pst
import pytest
import torch
from conftest import CONFIG, bert_tensors, write_model
from nn_reference import cpus
from pst import TensorFile, _pst

BATCH, LENGTH = 3, 7
PST = {"training": True, "batch_size": BATCH, "sequence_length": LENGTH, "num_labels": 2, "dropout": 0.1}


def rounded(array):
    return torch.from_numpy(array).to(torch.bfloat16).float().numpy()


def is_rounded(name, values):
    """Whether frozen_type is of it: of matrices, but not of the pooler's, which is trained with the head."""
    return values.ndim == 2 and "pooler" not in name


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model, and the same with its frozen matrices rounded to bf16."""
    folder = tmp_path_factory.mktemp("models")
    tensors = bert_tensors(CONFIG, seed=4)
    narrow = {name: rounded(value) if is_rounded(name, value) else value for name, value in tensors.items()}
    assert any((narrow[name] != tensors[name]).any() for name in tensors)
    return write_model(folder / "wide", CONFIG, tensors), write_model(folder / "narrow", CONFIG, narrow)


def batch(rng):
    return {
        "input_ids": rng.integers(5, CONFIG["vocab_size"], (BATCH, LENGTH)).astype(np.int32),
        "attention_mask": np.ones((BATCH, LENGTH), np.int32),
        "token_type_ids": np.zeros((BATCH, LENGTH), np.int32),
        "labels": rng.integers(0, 2, BATCH).astype(np.int32),
    }


def write_bf16(directory, source):
    """A copy of a model whose file is of BF16 throughout."""
    directory.mkdir()
    for file in source.iterdir():
        if file.name != "model.safetensors":
            (directory / file.name).write_bytes(file.read_bytes())
    file = TensorFile(source / "model.safetensors")
    header, data = {}, b""
    for name in file.names():
        values = torch.from_numpy(np.array(file.read(name))).to(torch.bfloat16).view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": file.shape(name), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return directory


def same(found, expected):
    assert found[0] == expected[0] and len(set(found[0])) == 3
    for mine, reference in zip(found[1:3], expected[1:3]):
        assert mine.keys() == reference.keys()
        for name, values in reference.items():
            np.testing.assert_array_equal(mine[name], values, err_msg=name)


def train(directory, output, **options):
    """Three steps at half the weights pruned; losses, trained parameters, and the exported tensors."""
    program = _pst.compile_model(str(directory), {**PST, **options})
    model = _pst.Model(program, str(directory), 5)
    data = _pst.Dataset.of(batch(np.random.default_rng(2)))
    losses = []
    for step in range(3):
        model.select(0.5)
        losses.append(model.forward_backward(data, list(range(BATCH)), 1 / BATCH, step))
        model.apply(1e-2, step + 1)
    names = [p["name"] for p in json.loads(model.manifest)["parameters"] if p["role"] == "trainable"]
    parameters = {name: np.array(model.parameter(name)) for name in names}
    _pst.export_model(model, 0.5, str(output), False, "{}")
    file = TensorFile(output / "model.safetensors")
    return losses, parameters, {name: file.read(name) for name in file.names()}, model


@pytest.mark.parametrize("cpu", cpus())
@pytest.mark.parametrize("products", ["packed", "buffer", "compressed"])
def test_the_bits_of_a_model_rounded_before(models, tmp_path, products, cpu):
    wide, narrow = models
    expected = train(narrow, tmp_path / "expected", products=products, cpu=cpu)
    found = train(wide, tmp_path / "found", products=products, cpu=cpu, frozen_type="bf16")
    same(found, expected)
    assert found[3].num_rounded > 0 and expected[3].num_rounded == 0


def test_a_file_of_bf16_is_used_as_it_is(models, tmp_path):
    directory = write_bf16(tmp_path / "model", models[0])
    expected = train(directory, tmp_path / "expected")
    found = train(directory, tmp_path / "found", frozen_type="bf16")
    same(found, expected)
    assert found[3].num_rounded == 0


def nearest_bf16(values):
    """The bf16 next to what each number is in f32, halves to even, in the arithmetic of float64."""
    fraction, exponent = np.frexp(values.astype(np.float32).astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, 8)), exponent - 8).astype(np.float32)


@pytest.mark.parametrize("kind", [np.float64, np.float16])
def test_files_of_other_types(tmp_path, kind):
    """A file of F64 or F16 is the model whose matrices were rounded by way of f32, and whose vectors are f32."""
    rng = np.random.default_rng(8)
    wide = {
        name: (values * (1 + 1e-9 * rng.standard_normal(values.shape))).astype(kind)
        for name, values in bert_tensors(CONFIG, seed=6).items()
    }
    # Halves between two bf16, and a hair beside: in f64 above the half, in f32 on it.
    odd = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-40, -1 - 2.0**-8, 0.0, 2.0**-20]).astype(kind)
    matrix = next(values for values in wide.values() if values.ndim == 2)
    matrix.ravel()[: len(odd)] = odd
    assert list(nearest_bf16(odd[:4])) == [1, 1 + 2.0**-6, 1, -1]
    narrow = {
        name: nearest_bf16(values) if is_rounded(name, values) else values.astype(np.float32) for name, values in wide.items()
    }
    found = train(write_model(tmp_path / "wide", CONFIG, wide), tmp_path / "found", frozen_type="bf16")
    same(found, train(write_model(tmp_path / "narrow", CONFIG, narrow), tmp_path / "expected"))
    assert found[3].num_rounded > 0


@pytest.mark.parametrize("method", ["lora", "dense", "mvp"])
def test_other_methods(models, tmp_path, method):
    wide, narrow = models
    frozen = method == "lora"  # the others train the layers' weights, and start from what the file has
    program = _pst.compile_model(str(wide), {**PST, "method": method, "frozen_type": "bf16"})
    types = {p["name"]: p["type"] for p in json.loads(program.manifest)["parameters"]}
    assert types["bert.encoder.layer.0.output.dense.weight"].startswith("bf16" if frozen else "f32")
    if frozen:
        losses = []
        for directory, kind in ((narrow, "f32"), (wide, "bf16")):
            program = _pst.compile_model(str(directory), {**PST, "method": method, "frozen_type": kind})
            model = _pst.Model(program, str(directory), 5)
            losses.append(model.forward_backward(_pst.Dataset.of(batch(np.random.default_rng(3))), [0, 1, 2], 1 / 3, 1))
        assert losses[0] == losses[1]


def test_evaluation(models, tmp_path):
    """Where nothing is trained, all matrices are rounded."""
    wide = models[0]
    tensors = bert_tensors(CONFIG, seed=4)
    narrow = {name: rounded(value) if value.ndim == 2 else value for name, value in tensors.items()}
    narrow = write_model(tmp_path / "narrow", CONFIG, narrow)
    inputs = {name: value for name, value in batch(np.random.default_rng(6)).items() if name != "labels"}
    shape = {"batch_size": BATCH, "sequence_length": LENGTH, "new_head": True}
    expected = pst.compile(narrow, **shape)(**inputs)
    np.testing.assert_array_equal(pst.compile(wide, frozen_type="bf16", **shape)(**inputs), expected)
    assert (pst.compile(wide, **shape)(**inputs) != expected).any()


def test_the_plan_has_half_of_the_matrices(models):
    plans = [
        json.loads(_pst.compile_model(str(models[0]), {**PST, "frozen_type": kind}).manifest) for kind in ("f32", "bf16")
    ]
    matrices = sum(
        np.prod([int(size) for size in p["type"][len("bf16[") : -1].split(",")]) * 2
        for p in plans[1]["parameters"]
        if p["type"].startswith("bf16")
    )
    assert matrices > 0
    assert plans[0]["memory"]["frozen"] - plans[1]["memory"]["frozen"] == matrices
    assert all(p["type"].startswith("f32") or p["role"] == "frozen" for p in plans[1]["parameters"] if "pst_" not in p["name"])


def test_an_unknown_type_is_refused(models):
    with pytest.raises(ValueError, match="--frozen_type must be one of f32, bf16, int8, but is 'f16'"):
        _pst.compile_model(str(models[0]), {**PST, "frozen_type": "f16"})
