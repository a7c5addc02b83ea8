# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Learning rates of a run, step by step, against transformers' get_scheduler."""

import json

import pytest
from conftest import CONFIG, write_data, write_model

import pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PEAK = 2e-3


def rates(kind, warmup, steps, **more):
    """What transformers' training loop would use at each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = transformers.get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=steps, **more)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("schedules")
    return write_model(directory / "m", {**CONFIG, "num_hidden_layers": 1}), write_data(directory / "train.tsv", 16)


def logged(run):
    return [json.loads(line)["learning_rate"] for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind, warmup", [
    ("linear", 3), ("cosine", 0), ("cosine", 3), ("constant", 0), ("constant_with_warmup", 4),
])  # fmt: skip
def test_rates_are_those_of_transformers(files, tmp_path, kind, warmup):
    model, data = files
    settings = {"output_dir": tmp_path, "max_steps": 7, "learning_rate": PEAK, "logging_steps": 1, "method": "lora", "save_strategy": "no"}
    pst.Trainer(model, data, lr_scheduler_type=kind, warmup_steps=warmup, **settings).train()
    assert logged(tmp_path) == pytest.approx(rates(kind, warmup, 7), rel=1e-14, abs=1e-19)


@pytest.mark.parametrize("final_warmup, decay", [(0.4, 4), (0.9, 8), (0.0, 0)])
def test_a_stable_rate_falls_when_the_sparsity_is_final(files, tmp_path, final_warmup, decay):
    """It is that of transformers with so many steps of decay, of which warm-up takes none."""
    model, data = files
    settings = {"output_dir": tmp_path, "max_steps": 10, "learning_rate": PEAK, "logging_steps": 1, "method": "pst", "save_strategy": "no",
                "sparsity": 0.5, "initial_warmup": 0.0, "final_warmup": final_warmup, "warmup_steps": 2}  # fmt: skip
    pst.Trainer(model, data, lr_scheduler_type="warmup_stable_decay", **settings).train()
    falls = {"scheduler_specific_kwargs": {"num_decay_steps": decay, "decay_type": "linear"}}
    assert logged(tmp_path) == pytest.approx(rates("warmup_stable_decay", 2, 10, **falls), rel=1e-14, abs=1e-19)


def test_a_share_of_warm_up_and_a_run_that_goes_on(files, tmp_path):
    model, data = files
    settings = {"output_dir": tmp_path, "max_steps": 9, "learning_rate": PEAK, "logging_steps": 1, "method": "lora",
                "lr_scheduler_type": "cosine", "warmup_ratio": 0.4, "save_steps": 4}  # fmt: skip
    first = pst.Trainer(model, data, **settings)
    assert first.plan["warmup_steps"] == 4
    first.train()
    again = pst.Trainer(model, data, **settings, resume_from_checkpoint=tmp_path / "checkpoint-4")
    again.train()
    assert logged(tmp_path) == pytest.approx(rates("cosine", 4, 9), rel=1e-14, abs=1e-19)
    other = {**settings, "lr_scheduler_type": "linear"}
    with pytest.raises(pst.Error, match="lr_scheduler_type: cosine in the checkpoint, linear now"):
        pst.Trainer(model, data, **other, resume_from_checkpoint=tmp_path / "checkpoint-4").train()


def test_what_cannot_be(files, tmp_path):
    model, data = files
    with pytest.raises(ValueError, match="--lr_scheduler_type must be one of linear, cosine, constant, constant_with_warmup, warmup_stable_decay, but is 'polynomial'"):
        pst.Trainer(model, data, output_dir=tmp_path, lr_scheduler_type="polynomial")
    with pytest.raises(pst.Error, match="--lr_scheduler_type constant has no warm-up, but 2 steps of it are asked for"):
        pst.Trainer(model, data, output_dir=tmp_path, max_steps=7, method="lora", lr_scheduler_type="constant", warmup_steps=2)
