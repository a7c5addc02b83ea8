# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models under every selection, on CPUs and under the GPUs' emulator: gradients and 25 steps against the eager
float64 model, whose masks NumPy finds (selections.py); checkpoint, resume and export."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import eager  # noqa: E402
import selections  # noqa: E402
from conftest import write_data, write_model  # noqa: E402
from test_parity import METHODS, build, distance, random_batch, randomise, save_model, take, training_options  # noqa: E402

from safetensors.numpy import load_file  # noqa: E402

import pst  # noqa: E402
from pst import _pst  # noqa: E402

# As users spell them, and as the manifest does.
SELECTIONS = {
    "row": "topk row",
    "global": "topk global",
    "2:4": "nm 2:4",
    "4:8": "nm 4:8",
    "block:16x16": "block 16x16 mean",
    "rows": "rows mean",
}
TARGETS = ["cpu", "emulated"]
# Every layer's columns are whole groups of 8; blocks of 16 do not divide the rows.
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 3, "hidden_act": "relu"}
TOTAL, WARMUP, PEAK = 25, 3, 2e-3


pytestmark = pytest.mark.usefixtures("one_thread")


def final(text):
    return selections.final_sparsity(SELECTIONS[text], 0.7)


def start(tmp_path, method, selection, target, **changes):
    save_model(tmp_path / "m", 2, **{**SHAPE, **changes})
    _, model = build(tmp_path / "m", 4, 8, **METHODS[method], selection=selection, target=target)
    randomise(model, 3)
    return model, eager.Bert(model)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["pst", "map", "mvp"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_gradients_equal_autograd(tmp_path, selection, method, target):
    model, reference = start(tmp_path, method, selection, target)
    assert reference.selection == SELECTIONS[selection]
    batch = random_batch(np.random.default_rng(5), 4, 8, 3, "middle")
    model.select(final(selection))
    reference.select(final(selection))
    expected_loss, expected = reference.gradients(batch)
    loss = model.forward_backward(_pst.Dataset.of(batch), [0, 1, 2, 3], 1 / 4, 0)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    largest = max(g.norm().item() for g in expected.values())
    for name, gradient in expected.items():
        error = np.linalg.norm(np.array(model.parameter(name, "gradient"), np.float64) - gradient.numpy())
        assert error < 1e-4 * max(gradient.norm().item(), 1e-4 * largest), name


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["pst", "map", "mvp"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_steps_follow_the_eager_model(tmp_path, selection, method, target):
    """25 steps to the final sparsity: every loss and norm, and at the end every trained parameter."""
    model, reference = start(tmp_path, method, selection, target)
    rng = np.random.default_rng(4)
    examples = random_batch(rng, 20, 8, 3)
    data = _pst.Dataset.of(examples)
    for step in range(TOTAL):
        sparsity = eager.sparsity_at(step, TOTAL, final(selection))
        rate = eager.learning_rate_at(step, TOTAL, WARMUP, PEAK)
        rows = rng.choice(20, 4, replace=False)
        model.select(sparsity)
        reference.select(sparsity)
        expected_loss, gradients = reference.gradients(take(examples, rows))
        assert model.forward_backward(data, rows.tolist(), 1 / 4, step) == pytest.approx(expected_loss, rel=2e-4), step
        # With a large epsilon Adam does not blow up the rounding of gradients that are zero.
        expected_norm = reference.apply(gradients, step + 1, rate, epsilon=1e-4, decay=0.1, max_norm=0.5)
        norm = model.apply(rate, step + 1, epsilon=1e-4, weight_decay=0.1, max_grad_norm=0.5)
        assert norm == pytest.approx(expected_norm, rel=2e-4), step
    assert sparsity == final(selection)
    for name in reference.trained:
        change = distance(np.array(model.parameter(name), np.float64), reference.values[name].detach().numpy())
        assert change < 1e-4, name


@pytest.mark.parametrize("method, target", [("pst", "cpu"), ("pst", "emulated"), ("map", "cpu"), ("mvp", "emulated")])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_run_is_resumed_and_exported(tmp_path, selection, method, target):
    """A run that stopped ends with the bits of one that did not, and its export has the zeros of the selection."""
    save_model(tmp_path / "m", 2, **SHAPE)
    data = _pst.Dataset.of(random_batch(np.random.default_rng(9), 12, 8, 3))

    def run(name, resume_from_checkpoint="", **callbacks):
        _, model = build(tmp_path / "m", 4, 8, **METHODS[method], selection=selection, target=target)
        options = training_options(
            tmp_path / name, sparsity=final(selection), save_strategy="steps", save_steps=3,
            resume_from_checkpoint=resume_from_checkpoint,
        )  # fmt: skip
        _pst.train(model, options, data, **callbacks)
        return model

    whole = run("whole")
    steps = []
    run("broken", on_step=steps.append, should_stop=lambda: len(steps) == 5)
    resumed = run("broken", resume_from_checkpoint="last")
    manifest = json.loads(whole.manifest)
    for parameter in manifest["parameters"]:
        if parameter["role"] != "frozen":
            name = parameter["name"]
            assert np.array(whole.parameter(name)).tobytes() == np.array(resumed.parameter(name)).tobytes(), name
    _pst.export_model(resumed, final(selection), str(tmp_path / "out"), False, "{}")
    layers = [layer["weight"] for layer in manifest["sparse_layers"]]
    exported = load_file(tmp_path / "out" / "model.safetensors")
    check_zeros(SELECTIONS[selection], [exported[name] != 0 for name in layers], final(selection))


def check_zeros(selection, kept, sparsity):
    """Counts, for masks whose scores are not known."""
    if selection == "topk global":
        total = sum(mask.size for mask in kept)
        assert sum(mask.sum() for mask in kept) == total - int(total * sparsity)
        return
    for mask in kept:
        rows, columns = mask.shape
        if selection == "topk row":
            assert (mask.sum(1) == columns - int(columns * sparsity)).all()
        elif selection.startswith("nm "):
            number, size = map(int, selection[3:].split(":"))
            assert (mask.reshape(-1, size).sum(1) == number).all()
        else:
            blocks = [block for row in selections.blocks(selection, rows, columns) for block in row]
            stays = [mask[block].any() for block in blocks]
            assert all(mask[block].all() == stay for block, stay in zip(blocks, stays))
            assert sum(stays) == len(blocks) - int(len(blocks) * sparsity)


def test_the_emulated_masks_are_the_cpus(tmp_path):
    save_model(tmp_path / "m", 2, **SHAPE)
    for selection in SELECTIONS:
        states = []
        for target in TARGETS:
            _, model = build(tmp_path / "m", 4, 8, **METHODS["pst"], selection=selection, target=target)
            randomise(model, 3)
            model.select(final(selection))
            manifest = json.loads(model.manifest)
            names = [p["name"] for p in manifest["parameters"] if p["role"] == "state"]
            states.append({name: np.array(model.parameter(name)).tobytes() for name in names})
        assert states[0] == states[1], selection


@pytest.mark.parametrize("sparsity, message", [(0.9, "ends at 0.5"), (0.25, "ends at 0.5")])
def test_a_sparsity_that_groups_cannot_have_is_refused(tmp_path, sparsity, message):
    save_model(tmp_path / "m", 2, **SHAPE)
    _, model = build(tmp_path / "m", 4, 8, **METHODS["pst"], selection="2:4")
    data = _pst.Dataset.of(random_batch(np.random.default_rng(9), 12, 8, 3))
    with pytest.raises(_pst.Error, match=message):
        _pst.train(model, training_options(tmp_path / "run", sparsity=sparsity), data)


@pytest.mark.parametrize(
    "given, expected",
    [({}, "topk global"), ({"selection": "topk"}, "topk layer"), ({"method": "map"}, "topk global"), ({"method": "mvp"}, "topk layer"), ({"reference_exact": True}, "topk layer")],
)
def test_what_selects_by_default(tmp_path, given, expected):
    """Of a run: among all layers where the recipe says so and nothing else is said."""
    trainer = pst.Trainer(write_model(tmp_path / "m"), write_data(tmp_path / "t.tsv", 8), output_dir=tmp_path / "run", **given)
    assert {layer["selection"] for layer in json.loads(trainer.model.manifest)["sparse_layers"]} == {expected}
