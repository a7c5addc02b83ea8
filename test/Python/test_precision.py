# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole steps with activations of bf16, emulated, against the float64 model and the CPU's masks."""

import json

import eager
import numpy as np
import pytest
import torch
from bf16 import EPSILON, rounded
from conftest import CONFIG, bert_tensors, write_model
from steps import our_masks
from test_parity import PST, build, random_batch, randomise, trainable

from pst import CompileError, _pst

BATCH, LENGTH = 4, 9
SHAPE = {**CONFIG, "vocab_size": 53, "hidden_size": 48, "intermediate_size": 71, "num_labels": 3}
EMULATED = {"target": "emulated", "precision": "bf16"}
# A step rounds some sixteen times between an embedding and a loss, by at most 2^-8 each, and as often on the way
# back. Were all errors to add up, a gradient would be off by 32 roundings; so far, at most, may it be in its norm.
ROUNDINGS = 32


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A BERT whose matrices are bf16 numbers, and large enough that its gradients are."""
    tensors = {name: rounded(value) if value.ndim == 2 else value for name, value in bert_tensors(SHAPE, 2).items()}
    return write_model(tmp_path_factory.mktemp("model") / "m", SHAPE, tensors)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    config = {**SHAPE, "hidden_size": 24, "intermediate_size": 31, "num_hidden_layers": 1}
    return write_model(tmp_path_factory.mktemp("small") / "m", config, bert_tensors(config, 3))


def copy_parameters(source, target):
    for name in trainable(source):
        target.parameter(name)[...] = source.parameter(name)
    target.invalidate_selection()


def test_steps_against_the_float64_model(directory):
    """Losses and gradients within bf16's rounding; thresholds with the bits of an f32 run on the same factors."""
    _, narrow = build(directory, BATCH, LENGTH, frozen_type="bf16", recompute="all", **EMULATED, **PST)
    _, cpu = build(directory, BATCH, LENGTH, frozen_type="bf16", **PST)
    _, wide = build(directory, BATCH, LENGTH, **PST)
    randomise(narrow, 3)
    rng = np.random.default_rng(5)
    examples = random_batch(rng, BATCH, LENGTH, 3)
    data, rows = _pst.Dataset.of(examples), list(range(BATCH))
    states = [name for layer in json.loads(narrow.manifest)["sparse_layers"] for name in layer["state"]]
    for step in range(2):
        copy_parameters(narrow, cpu)
        copy_parameters(narrow, wide)
        for model in (narrow, cpu, wide):
            model.select(0.6)
        for name in states:
            assert np.array(narrow.parameter(name)).tobytes() == np.array(cpu.parameter(name)).tobytes(), name
        reference = eager.Bert(wide)
        reference.masks = {name: torch.from_numpy(mask).double() for name, mask in our_masks(wide, reference).items()}
        loss, expected = reference.gradients(examples)
        assert narrow.forward_backward(data, rows, 1 / BATCH, step) == pytest.approx(loss, rel=8 * EPSILON)
        largest = max(gradient.norm().item() for gradient in expected.values())
        for name, gradient in expected.items():
            error = np.linalg.norm(np.array(narrow.parameter(name, "gradient"), np.float64) - gradient.numpy())
            # What is zero but for rounding (the bias of a key) errs by that of its summands.
            assert error <= ROUNDINGS * EPSILON * max(gradient.norm().item(), 0.02 * largest), name
        narrow.apply(3e-3, step + 1)


def test_masks_are_those_of_f32(small, tmp_path):
    """Bit for bit what the CPU finds: the exported models prune the same elements."""
    models = [build(small, BATCH, LENGTH, frozen_type="bf16", **PST, **more)[1] for more in (EMULATED, {})]
    randomise(models[0], 4)
    copy_parameters(*models)
    exported = []
    for i, model in enumerate(models):
        model.select(0.7)
        _pst.export_model(model, 0.7, str(tmp_path / str(i)), False, "{}")
        exported.append((tmp_path / str(i) / "model.safetensors").read_bytes())
    assert exported[0] == exported[1]


@pytest.mark.parametrize("method", ["lora", "mvp", "dense"])
def test_other_methods(small, method):
    losses = []
    for more in ({}, EMULATED):
        _, model = build(small, BATCH, LENGTH, method=method, **more)
        data = _pst.Dataset.of(random_batch(np.random.default_rng(6), BATCH, LENGTH, 3))
        if method == "mvp":
            model.select(0.3)
        losses.append(model.forward_backward(data, list(range(BATCH)), 1 / BATCH, 0))
        norms = [np.linalg.norm(model.parameter(name, "gradient")) for name in trainable(model)]
        assert np.isfinite(norms).all() and max(norms) > 0
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=8 * EPSILON)


def test_tf32_rounds_what_is_multiplied(small):
    """The loss is near that of f32, and not the same; thresholds have the bits that the CPU finds."""
    losses, states = [], []
    for more in ({}, {"target": "emulated", "precision": "tf32"}):
        _, model = build(small, BATCH, LENGTH, **PST, **more)
        randomise(model, 3)
        model.select(0.6)
        names = [name for layer in json.loads(model.manifest)["sparse_layers"] for name in layer["state"]]
        states.append([np.array(model.parameter(name)).tobytes() for name in names])
        data = _pst.Dataset.of(random_batch(np.random.default_rng(5), BATCH, LENGTH, 3))
        losses.append(model.forward_backward(data, list(range(BATCH)), 1 / BATCH, 0))
    assert states[0] == states[1]
    assert losses[1] == pytest.approx(losses[0], rel=8 * 2.0**-11)
    assert losses[0] != losses[1]


def test_activations_take_half(small):
    """Among all layers, a selection has a workspace larger than the activations of so small a model."""
    plans = [
        json.loads(build(small, BATCH, LENGTH, target="emulated", precision=kind, selection="topk", **PST)[0].manifest)["memory"]
        for kind in ("f32", "bf16")
    ]
    assert plans[1]["activations"] < 0.6 * plans[0]["activations"]
    assert plans[1]["frozen"] == plans[0]["frozen"]


def test_a_cpu_refuses(small):
    for kind in ("bf16", "tf32"):
        with pytest.raises(CompileError, match=f"--precision {kind} is not for --target cpu, whose kernels compute in f32"):
            build(small, BATCH, LENGTH, precision=kind)


def test_an_unknown_type_is_refused(small):
    with pytest.raises(ValueError, match="--precision must be one of f32, tf32, bf16, but is 'f16'"):
        build(small, BATCH, LENGTH, precision="f16")
