# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--reference_exact`: a run follows the published layers (bench_eager.py, from the paper's formulas) in PyTorch, trained as
the published code does: one rate for the factors, a head of random values that stays, no clipping."""

import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_model
from eager import sparsity_at

import pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

STEPS, RATE, SPARSITY = 25, 2e-3, 0.75
TEXTS = ["the film", "not a good film", "bad", "a film not good the", "good good", "the bad film not", "a", "not bad the film a"]
SETTINGS = {
    "max_steps": STEPS, "sparsity": SPARSITY, "dropout": 0.0, "seed": 5, "logging_steps": 1, "save_strategy": "no",
    "report_to": "none", "per_device_train_batch_size": len(TEXTS),
}  # fmt: skip


def published(directory, trainer, labels):
    """The model in float64, with the published layers and the trainer's first values."""
    from pst.bench_eager import make_layer
    from pst.bench_eager_bert import Bert, Layer

    model = Bert(directory, fused=False, labels=labels).requires_grad_(False)
    first = {name: torch.from_numpy(np.array(trainer.model.parameter(name)).astype(np.float64)) for name in trained(trainer)}
    sparse = []
    for i, block in enumerate(model.encoder):
        for ours, theirs in Layer.NAMES.items():
            parent, _, child = ours.rpartition(".")
            linear = block.get_submodule(ours)
            if not isinstance(linear, torch.nn.Linear):
                continue
            layer = make_layer("published", linear.weight, linear.bias, 8)
            setattr(block.get_submodule(parent), child, layer)
            sparse.append((f"bert.encoder.layer.{i}.{theirs}.weight", layer))
    model = model.double().eval()
    with torch.no_grad():
        for name, layer in sparse:
            for factor in ("U", "V", "A", "B", "R", "C"):
                getattr(layer, factor).copy_(first[f"{name}.pst_{factor}"].view_as(getattr(layer, factor)))
        for kind, parameter in model.classifier.named_parameters():
            parameter.copy_(first[f"classifier.{kind}"])
    return model, sparse


def trained(trainer):
    return [one["name"] for one in json.loads(trainer.model.manifest)["parameters"] if one["role"] == "trainable"]


@pytest.mark.parametrize("regression", [False, True])
def test_a_run_follows_the_published_layers(tmp_path, regression):
    config = {**CONFIG, "num_hidden_layers": 1, "hidden_size": 24, "intermediate_size": 37}
    directory = write_model(tmp_path / "m", config, bert_tensors(config, 3))
    labels = np.array([0.5, -1.25, 3.0, 0.75, 2.5, 1.0, -0.5, 4.25]) if regression else np.arange(8) % 2
    trainer = pst.Trainer(
        directory, list(zip(TEXTS, labels.tolist())), output_dir=tmp_path / "run", learning_rate=RATE, reference_exact=True, **SETTINGS
    )
    assert any(f"--reference_exact means --learning_rate {RATE:g} --mask_learning_rate {RATE:g} --head_learning_rate 0 --max_grad_norm 0" in told
               for told in trainer.warnings)  # fmt: skip
    model, sparse = published(directory, trainer, 1 if regression else 2)
    head = {name: np.array(trainer.model.parameter(name)) for name in trained(trainer) if name.startswith("classifier")}
    assert head["classifier.weight"].any()
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "train"]
    assert len(losses) == STEPS
    tokens = transformers.AutoTokenizer.from_pretrained(directory)(TEXTS, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], RATE, weight_decay=0.0)
    target = torch.from_numpy(labels)
    for step, loss in enumerate(losses):
        for _, layer in sparse:
            layer.sparsity = sparsity_at(step, STEPS, SPARSITY)
        optimizer.param_groups[0]["lr"] = RATE * (STEPS - step) / STEPS
        optimizer.zero_grad()
        logits = model(**tokens)
        expected = ((logits[:, 0] - target) ** 2).mean() if regression else torch.nn.functional.cross_entropy(logits, target)
        assert loss == pytest.approx(expected.item(), rel=1e-4), step
        expected.backward()
        optimizer.step()
    for name, layer in sparse:
        for factor in ("U", "V", "A", "B", "R", "C"):
            ours = np.array(trainer.model.parameter(f"{name}.pst_{factor}"), np.float64).ravel()
            theirs = getattr(layer, factor).detach().numpy().ravel()
            assert np.linalg.norm(ours - theirs) < 2e-3 * np.linalg.norm(theirs), (name, factor)
    for name, value in head.items():
        assert (np.array(trainer.model.parameter(name)) == value).all(), name


@pytest.mark.parametrize("name, value, implied", [
    ("max_grad_norm", 0.5, "--max_grad_norm 0"), ("max_grad_norm", 1.0, "--max_grad_norm 0"), ("head_learning_rate", 1e-3, "--head_learning_rate 0"), ("method", "map", "--method pst"),
    ("mask_learning_rate", 1e-3, "--mask_learning_rate 3e-05"), ("init_scale", 0.5, "--init_scale 1"), ("selection", "row", "--selection topk"),
    ("gradient_accumulation_steps", 4, "--gradient_accumulation_steps 1"),
])  # fmt: skip
def test_what_it_does_not_go_with_is_refused(name, value, implied):
    with pytest.raises(ValueError, match=f"--{name} {value} is given, but --reference_exact has {implied}: leave one of them out"):
        pst.Options.make(reference_exact=True, **{name: value})


def test_what_it_implies():
    options = pst.Options.make(reference_exact=True)
    assert (options.learning_rate, options.mask_learning_rate, options.head_learning_rate, options.max_grad_norm) == (3e-5, 3e-5, 0.0, 0.0)
