# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Learning rates of weights, of the mask and of the head, and where a regression's head begins."""

import json

import numpy as np
import pytest
from conftest import CONFIG, write_data, write_model

import pst

SETTINGS = {"logging_steps": 1, "eval_strategy": "no", "save_strategy": "no", "dropout": 0.0, "seed": 5}
# Names of what a first step moves, by whose rate it has: where V and B are zero, U and A have no gradient.
MOVES = {"learning_rate": {"pst_V"}, "mask_learning_rate": {"pst_B", "pst_R", "pst_C"}, "head_learning_rate": {"weight", "bias"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rates")
    return write_model(directory / "m", {**CONFIG, "num_hidden_layers": 1}), write_data(directory / "train.tsv", 32)


def values(trainer):
    """By name, of all that is trained."""
    trained = [one["name"] for one in json.loads(trainer.model.manifest)["parameters"] if one["role"] == "trainable"]
    return {name: np.array(trainer.model.parameter(name)) for name in trained}


def trained(files, output, steps=1, **settings):
    model, data = files
    trainer = pst.Trainer(model, data, output_dir=output, max_steps=steps, **{**SETTINGS, "sparsity": 0.5, **settings})
    before = values(trainer)
    trainer.train()
    return before, values(trainer)


@pytest.mark.parametrize("rate", MOVES)
def test_each_has_its_own(files, tmp_path, rate):
    before, after = trained(files, tmp_path / "run", **{**dict.fromkeys(MOVES, 0.0), rate: 1e-2})
    moved = {name.rpartition(".")[2] for name in before if (before[name] != after[name]).any()}
    assert moved == MOVES[rate]
    # Adam's first step moves by the rate, but where a gradient is next to nothing.
    largest = max(np.abs(after[name] - before[name]).max() for name in before)
    assert largest == pytest.approx(1e-2, rel=1e-3)


@pytest.mark.parametrize("method, rates", [("pst", (1e-4, 1e-3, 2e-3)), ("map", (3e-4, None, 9e-4)), ("lora", (1e-4, None, 2e-3)), ("dense", (5e-5, None, 5e-5))])
def test_a_method_has_rates(files, tmp_path, method, rates):
    more = {} if method in ("dense", "lora") else {"sparsity": 0.5}
    model, data = files
    runs = []
    for name, given in (("own", {}), ("given", {flag: rate for flag, rate in zip(MOVES, rates) if rate})):
        trainer = pst.Trainer(model, data, output_dir=tmp_path / name, max_steps=3, method=method, **more, **given, **SETTINGS)
        trainer.train()
        runs.append({name: value.tobytes() for name, value in values(trainer).items()})
    assert runs[0] == runs[1]


def test_a_criterion_says_its_own(files, tmp_path):
    """What a file's criterion does not name follows, as where the method has none."""
    model, data = files
    criterion = tmp_path / "own.mlir"
    text = """pst.criterion @own(%w: dense, %r: row(R init<zeros>)) trains_model {rates} {{
      %score = arith.addf %w, %r : f32
      pst.yield weight %w score %score
    }}"""
    criterion.write_text(
        text.format(rates="attributes {pst.rates = {weights = 2.0e-3, mask = 3.0}, pst.selection = #pst.selection<topk row>}")
    )
    plain = tmp_path / "plain.mlir"
    plain.write_text(text.format(rates=""))
    runs = []
    for name, settings in (
        ("own", {"criterion": criterion}),
        ("given", {"criterion": plain, "learning_rate": 2e-3, "mask_learning_rate": 6e-3, "head_learning_rate": 2e-3, "selection": "row"}),
    ):  # fmt: skip
        trainer = pst.Trainer(model, data, output_dir=tmp_path / name, max_steps=3, sparsity=0.5, **settings, **SETTINGS)
        trainer.train()
        runs.append({name: value.tobytes() for name, value in values(trainer).items()})
    assert runs[0] == runs[1]


def test_the_others_follow_the_first(files, tmp_path):
    _, one = trained(files, tmp_path / "one", 3, learning_rate=2e-4)
    _, other = trained(files, tmp_path / "other", 3, learning_rate=2e-4, mask_learning_rate=2e-3, head_learning_rate=4e-3)
    assert all((one[name] == other[name]).all() for name in one)


def test_no_mask_no_rate(files, tmp_path):
    model, data = files
    with pytest.raises(pst.Error, match="--mask_learning_rate is the rate of tensors of which scores alone are made, but the program trains none"):
        pst.Trainer(model, data, output_dir=tmp_path / "run", method="dense", mask_learning_rate=1e-3).train()


def test_a_regression_begins_at_the_mean(files, tmp_path):
    model, _ = files
    labels = [float(value) for value in np.random.default_rng(3).normal(2.7, 1.0, 24).round(3)]
    data = [(" ".join(["good"] * (1 + i % 5)), label) for i, label in enumerate(labels)]
    for rate, bias in ((1e-12, np.mean(labels)), (0.0, 0.0)):  # one that is not trained stays as it is
        rates = {**dict.fromkeys(MOVES, 0.0), "head_learning_rate": rate}
        trainer = pst.Trainer(model, data, output_dir=tmp_path / f"run{rate}", max_steps=1, **rates, **SETTINGS)
        trainer.train()
        assert trainer.model.parameter("classifier.bias")[0] == pytest.approx(bias, rel=1e-6)
