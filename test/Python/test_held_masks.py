# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--mask_interval` and `--mask_freeze`: masks that stay between steps, against the eager model in float64."""

import json

import eager
import numpy as np
import pytest
import selections
from conftest import CONFIG, write_data, write_model
from test_parity import METHODS, PEAK, build, check_counts, distance, random_batch, randomise, save_model, trainable, training_options
from test_selections import SELECTIONS, TARGETS

import pst
from pst import TensorFile, _pst, cli

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# Columns of 24 and 37 are no whole words of a mask, and 37 no whole vectors.
SHAPE = {"hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 3}
STEPS, SPARSITY = 25, 0.7
SCHEDULE = {"mask_interval": 3, "mask_freeze": 0.5, "final_warmup": 0.6}
# Of 25 steps, and the first that are frozen: half of 25, rounded up.
SELECTS, FROZEN = [0, 3, 6, 9, 12], 13
# A large one: Adam does not blow up the rounding of gradients that are zero.
EPSILON = 1e-4
OF_SCORES = (".pst_A", ".pst_B", ".pst_R", ".pst_C", ".pst_S")


pytestmark = pytest.mark.usefixtures("one_thread")


class Held(eager.Bert):
    """The eager model, whose mask is a constant once it is frozen: scores get no gradient, and what they alone are made of stays."""

    frozen = False

    def weight_and_score(self, name):
        weight, score = super().weight_and_score(name)
        return weight, score.detach() if self.frozen else score

    def apply(self, *args, **settings):
        stays = {name: self.values[name].detach().clone() for name in self.trained if self.frozen and name.endswith(OF_SCORES)}
        norm = super().apply(*args, **settings)
        with torch.no_grad():
            for name, value in stays.items():
                self.values[name].copy_(value)
        return norm


def held(model):
    """The mask of each layer, from its words."""
    masks = {}
    for layer in json.loads(model.manifest)["sparse_layers"]:
        words = np.array(model.parameter(layer["weight"] + ".pst_mask")).view(np.uint32)
        assert words.shape == (layer["rows"], -(-layer["columns"] // 32))
        bits = np.stack([(words[:, j // 32] >> (j % 32)) & 1 for j in range(32 * words.shape[1])], 1).astype(bool)
        masks[layer["weight"]], rest = np.split(bits, [layer["columns"]], 1)
        assert not rest.any()
    return masks


def state_of(model):
    """All that a step may change, as bytes."""
    parameters = json.loads(model.manifest)["parameters"]
    return {p["name"]: np.array(model.parameter(p["name"])).tobytes() for p in parameters if p["role"] != "frozen"}


def options_for(output, **changes):
    return training_options(
        output, max_steps=STEPS, sparsity=SPARSITY, head_learning_rate=PEAK, adam_epsilon=EPSILON,
        **{"save_strategy": "no", **SCHEDULE, **changes},
    )  # fmt: skip


@pytest.mark.parametrize("method, target, settings", [
    ("pst", "cpu", {}), ("pst", "cpu", {"token_capacity": 20}), ("mvp", "cpu", {}), ("map", "cpu", {}),
    ("pst", "emulated", {"token_capacity": 20}),
])  # fmt: skip
def test_steps_follow_the_eager_model(tmp_path, method, target, settings):
    """Losses and norms of all steps, when masks change, and at the end every parameter."""
    save_model(tmp_path / "m", 5, **SHAPE)
    _, model = build(tmp_path / "m", 4, 8, target=target, hold_mask=True, **settings, **METHODS[method])
    randomise(model, 3)
    reference = Held(model)
    examples = random_batch(np.random.default_rng(9), 4, 8, 3)
    records, masks, values = [], [], []

    def on_step(record):
        records.append(record)
        masks.append(held(model))
        values.append({name: np.array(model.parameter(name)) for name in trainable(model)})

    rate = {} if method == "map" else {"mask_learning_rate": PEAK}
    _pst.train(model, options_for(tmp_path / "run", **rate), _pst.Dataset.of(examples), on_step=on_step)
    assert len(records) == STEPS
    for step, record in enumerate(records):
        last = max(s for s in SELECTS if s <= step)
        sparsity = eager.sparsity_at(last, STEPS, SPARSITY, cooldown=SCHEDULE["final_warmup"])
        assert record["sparsity"] == sparsity, step
        reference.frozen = step >= FROZEN
        if step == last:
            reference.select(sparsity)
        for name, mask in masks[step].items():
            assert (mask == reference.masks[name].numpy().astype(bool)).all(), (step, name)
        loss, gradients = reference.gradients(examples)
        assert record["loss"] == pytest.approx(loss, rel=1e-4), step
        norm = reference.apply(gradients, step + 1, eager.learning_rate_at(step, STEPS, 2, PEAK), epsilon=EPSILON, decay=0.01, max_norm=1.0)
        assert record["grad_norm"] == pytest.approx(norm, rel=1e-3), step
    assert sparsity == SPARSITY
    for name in reference.trained:
        assert distance(values[-1][name].astype(np.float64), reference.values[name].detach().numpy()) < 1e-3, name
        moved = (values[FROZEN - 1][name] != values[-1][name]).any()
        if not name.endswith("key.bias"):  # which softmax does not see
            assert moved == (not name.endswith(OF_SCORES)), name
    # An evaluation uses the mask that stays, which is not what the scores would select now.
    evaluated = _pst.evaluate(model, _pst.Dataset.of(examples), SPARSITY)
    assert evaluated["loss"] == pytest.approx(reference.loss(examples).item(), rel=1e-4)
    if method == "pst":
        frozen = dict(reference.masks)
        reference.select(SPARSITY)
        assert any((frozen[name] != reference.masks[name]).any() for name in frozen)


@pytest.mark.parametrize("target", TARGETS)
def test_a_run_is_resumed_and_exported(tmp_path, target):
    """Between selections, where the mask freezes, and after that; at the end the file has the zeros of the frozen mask."""
    save_model(tmp_path / "m", 5, **SHAPE)
    data = _pst.Dataset.of(random_batch(np.random.default_rng(9), 12, 8, 3))
    program, _ = build(tmp_path / "m", 4, 8, target=target, hold_mask=True, **METHODS["pst"])

    def run(name, stop=STEPS, resume=""):
        model, steps = _pst.Model(program, str(tmp_path / "m"), 7), []
        options = options_for(tmp_path / name, save_strategy="steps", save_steps=100, resume_from_checkpoint=resume)
        _pst.train(model, options, data, on_step=steps.append, should_stop=lambda: bool(steps) and steps[-1]["step"] == stop)
        return model

    whole = state_of(run("whole"))
    for stop in (5, FROZEN - 1, FROZEN, 20):
        run("broken", stop, "last")
    resumed = run("broken", resume="last")
    assert state_of(resumed) == whole
    _pst.export_model(resumed, SPARSITY, str(tmp_path / "out"), False, "{}")
    exported = TensorFile(tmp_path / "out" / "model.safetensors")
    check_counts(list(held(resumed).values()), SPARSITY)
    for name, mask in held(resumed).items():
        assert ((np.array(exported.read(name)) != 0) == mask).all()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_selection_leaves_its_mask(tmp_path, selection):
    """On both targets the one that NumPy finds, as bits; 40 columns begin a second word."""
    save_model(tmp_path / "m", 2, **{**SHAPE, "intermediate_size": 40})
    sparsity = selections.final_sparsity(SELECTIONS[selection], SPARSITY)
    found = []
    for target in TARGETS:
        _, model = build(tmp_path / "m", 4, 8, target=target, hold_mask=True, selection=selection, **METHODS["pst"])
        randomise(model, 3)
        reference = eager.Bert(model)
        model.select(sparsity)
        found.append(held(model))
        scores = [reference.weight_and_score(name)[1].detach().numpy() for name in reference.sparse]
        for name, mask in zip(reference.sparse, selections.masks(SELECTIONS[selection], scores, sparsity)):
            assert (found[-1][name] == mask).all(), (target, name)


@pytest.mark.parametrize("settings", [{"target": "cpu"}, {"target": "cpu", "vector_width": 64}, {"target": "emulated", "precision": "bf16", "gpu_arch": "sm_90a"}])
def test_what_was_just_selected_gives_the_bits_of_the_usual_program(tmp_path, settings):
    """Loss and gradients, those too that tensor cores fold."""
    # Of vectors wider than a word of the mask, rows hold one and a part.
    hidden = 96 if "vector_width" in settings else 48
    save_model(tmp_path / "m", 2, **{**SHAPE, "hidden_size": hidden, "intermediate_size": 40})
    examples = random_batch(np.random.default_rng(9), 4, 8, 3)
    data, found = _pst.Dataset.of(examples), []
    for hold in (False, True):
        _, model = build(tmp_path / "m", 4, 8, hold_mask=hold, **settings, **METHODS["pst"])
        randomise(model, 3)
        model.select(SPARSITY)
        loss = model.forward_backward(data, [0, 1, 2, 3], 1 / 4, 0)
        found.append((loss, {name: np.array(model.parameter(name, "gradient")).tobytes() for name in trainable(model)}))
    assert any(name.endswith(".pst_A") and any(gradient) for name, gradient in found[1][1].items())
    assert found[0] == found[1]


def test_flags_of_a_run(tmp_path):
    """The program is compiled for them, and a run without them has no mask to keep. An adapter holds the mask, which its
    factors would not select again."""
    model = write_model(tmp_path / "m", {**CONFIG, "num_hidden_layers": 1})
    data = write_data(tmp_path / "train.tsv", 32)

    def trainer(name, **settings):
        return pst.Trainer(model, data, output_dir=tmp_path / name, max_steps=6, sparsity=0.5, learning_rate=1e-2, eval_strategy="no", **settings)

    runs = {}
    for name, settings in (
        ("usual", {}), ("interval", {"mask_interval": 2, "final_warmup": 0.5}), ("freeze", {"mask_freeze": 0.6, "final_warmup": 0.6}),
    ):  # fmt: skip
        one = trainer(name, **settings)
        one.train()
        runs[name] = [p["name"] for p in json.loads(one.model.manifest)["parameters"] if p["name"].endswith(".pst_mask")]
    assert not runs["usual"] and len(runs["interval"]) == 6 and runs["interval"] == runs["freeze"]
    masks = held(one.model)
    for form, *source in (("dense", "freeze"), ("adapter", "freeze"), ("dense", "adapter", "--base", str(model))):
        output = tmp_path / ("of_adapter" if source[1:] else form)
        assert cli.main(["export", str(tmp_path / source[0]), *source[1:], "--output_dir", str(output), "--format", form]) == 0
    assert (tmp_path / "of_adapter" / "model.safetensors").read_bytes() == (tmp_path / "dense" / "model.safetensors").read_bytes()
    exported = TensorFile(tmp_path / "dense")
    assert all(((np.array(exported.read(name)) != 0) == mask).all() for name, mask in masks.items())
    one.model.invalidate_selection()
    one.model.select(0.5)
    assert any((masks[name] != mask).any() for name, mask in held(one.model).items()), "the factors say the same"
    with pytest.raises(pst.Error, match="selected for the last time after 0 of 6 steps, where --final_warmup 0.3 has the sparsity 0 and not yet 0.5"):
        trainer("late", mask_interval=10)
    with pytest.raises(pst.CompileError, match="has no score, and so no mask that could be kept for --mask_interval or --mask_freeze"):
        pst.Trainer(model, data, output_dir=tmp_path / "dense_run", method="dense", mask_interval=2)


def test_a_program_without_masks_is_refused(tmp_path):
    save_model(tmp_path / "m", 5, **SHAPE)
    _, model = build(tmp_path / "m", 4, 8, **METHODS["map"])
    data = _pst.Dataset.of(random_batch(np.random.default_rng(9), 12, 8, 3))
    with pytest.raises(_pst.Error, match="--mask_freeze is given, but the program keeps no masks: compile it with --hold_mask"):
        _pst.train(model, training_options(tmp_path / "run", mask_freeze=0.5), data)
