# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Class weights and label smoothing: the losses of a run against PyTorch's on transformers' model."""

import json

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model
from test_cli import run as command

import pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = ["a", "b", "c"]


def rows(count, seed):
    """Sentences of unequal classes."""
    rng = np.random.default_rng(seed)
    return [
        (" ".join(WORDS[i] for i in rng.integers(5, 16, rng.integers(1, 9))), CLASSES[rng.choice(3, p=[0.6, 0.3, 0.1])])
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """With a head of three classes, and without dropout."""
    config = {
        **CONFIG, "num_hidden_layers": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)},
    }  # fmt: skip
    rng = np.random.default_rng(7)
    tensors = {**bert_tensors(config, 3), "classifier.weight": rng.standard_normal((3, 12)).astype(np.float32),
               "classifier.bias": rng.standard_normal(3).astype(np.float32)}  # fmt: skip
    return write_model(tmp_path_factory.mktemp("weighted") / "m", config, tensors)


def expected_loss(model, data, weights, smoothing):
    """PyTorch's mean over the whole data, in float64, of the model as it is."""
    reference = transformers.BertForSequenceClassification.from_pretrained(model).double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    with torch.no_grad():
        logits = reference(**tokenizer([text for text, _ in data], padding=True, return_tensors="pt")).logits
    labels = torch.tensor([CLASSES.index(label) for _, label in data])
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    return float(torch.nn.functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing))


SETTINGS = {"method": "lora", "max_steps": 1, "learning_rate": 0.0, "logging_steps": 1, "save_strategy": "no", "report_to": "none"}


# One step of all examples, in micro-batches of which the last is not full.
@pytest.mark.parametrize("weights, smoothing", [
    ([1.0, 2.5, 0.25], 0.0), (None, 0.1), ([0.5, 1.0, 4.0], 0.3), ([1.0, 1.0, 0.0], 0.2),
])  # fmt: skip
def test_losses_are_pytorchs(model, tmp_path, weights, smoothing):
    data, dev = rows(29, 0), rows(17, 1)
    trainer = pst.Trainer(
        model, data, dev, output_dir=tmp_path, **SETTINGS, per_device_train_batch_size=8, gradient_accumulation_steps=4,
        class_weights=weights, label_smoothing_factor=smoothing,
    )  # fmt: skip
    result = trainer.train()
    (line,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"train"' in line]
    assert line["loss"] == pytest.approx(expected_loss(model, data, weights, smoothing), rel=2e-6)
    # As in transformers, an evaluation has the loss that is trained; the saved model knows nothing of it.
    assert result["history"][-1]["loss"] == pytest.approx(expected_loss(model, dev, weights, smoothing), rel=2e-6)
    trainer.save(tmp_path / "saved")
    plain = pst.load(tmp_path / "saved").evaluate(pst.Examples.of(dev))["loss"]
    assert plain == pytest.approx(expected_loss(model, dev, None, 0.0), rel=2e-6)


def test_balanced_weights_are_scikit_learns(model, tmp_path):
    class_weight = pytest.importorskip("sklearn.utils.class_weight")
    data = rows(40, 2)
    names = [label for _, label in data]
    assert set(names) == set(CLASSES)
    expected = class_weight.compute_class_weight("balanced", classes=np.array(CLASSES), y=names)
    trainer = pst.Trainer(model, data, output_dir=tmp_path, **SETTINGS, class_weights="balanced", per_device_train_batch_size=40)
    trainer.train()
    (line,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert line["loss"] == pytest.approx(expected_loss(model, data, expected, 0.0), rel=2e-6)
    with pytest.raises(pst.DataError, match="--class_weights balanced: the training data have no example of the class 'c'"):
        pst.Trainer(model, [row for row in data if row[1] != "c"], output_dir=tmp_path / "b", **SETTINGS, class_weights="balanced")


def test_a_run_is_continued_with_the_same_weights_only(model, tmp_path):
    data = rows(24, 3)
    settings = {**SETTINGS, "max_steps": 4, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 2, "class_weights": "1,2,3",
                "label_smoothing_factor": 0.1}  # fmt: skip
    pst.Trainer(model, data, output_dir=tmp_path / "whole", **settings).train()
    pst.Trainer(model, data, output_dir=tmp_path / "parts", **settings).train()
    again = {"output_dir": tmp_path / "parts", "resume_from_checkpoint": tmp_path / "parts" / "checkpoint-2"}
    for change, told in (({"class_weights": "1,2,4"}, "class_weights: 1,2,3 in the checkpoint, 1,2,4 now"),
                         ({"label_smoothing_factor": 0.2}, "label_smoothing_factor: 0.1 in the checkpoint, 0.2 now"),
                         ({"class_weights": ""}, "class_weights: 1,2,3 in the checkpoint")):  # fmt: skip
        with pytest.raises(pst.Error, match=told):
            pst.Trainer(model, data, **again, **{**settings, **change}).train()
    pst.Trainer(model, data, **again, **settings).train()
    for name in ("trainable.safetensors", "optimizer.safetensors", "trainer_state.json"):
        whole, parts = (tmp_path / run / "checkpoint-4" / name for run in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


def test_bundles_take_them_if_compiled_for_it(model, tmp_path, capsys):
    flags = ["compile", "--model_name_or_path", model, "--method", "lora", "--max_seq_length", 24, "--per_device_train_batch_size", 8]
    assert command(capsys, *flags, "--bundle", tmp_path / "plain")[0] == 0
    assert command(capsys, *flags, "--bundle", tmp_path / "weighted", "--weighted_loss")[0] == 0
    data = rows(16, 4)
    with pytest.raises(pst.Error, match="--class_weights is given, but the program was compiled without a weighted loss: compile it with --weighted_loss"):
        pst.Trainer(model, data, output_dir=tmp_path / "o", **SETTINGS, bundle=tmp_path / "plain", class_weights="1,2,3")
    trainer = pst.Trainer(model, data, output_dir=tmp_path / "o", **SETTINGS, bundle=tmp_path / "weighted", class_weights="1,2,3", gradient_accumulation_steps=2)
    trainer.train()
    (line,) = [json.loads(line) for line in (tmp_path / "o" / "log.jsonl").read_text().splitlines()]
    assert line["loss"] == pytest.approx(expected_loss(model, data, [1.0, 2.0, 3.0], 0.0), rel=2e-6)


@pytest.mark.parametrize("given, told", [
    ("1,2", "--class_weights must be one number for each of the 3 classes, but is '1,2'"),
    ("1,x,2", "--class_weights must be numbers that are not negative, with commas between them, but is '1,x,2'"),
    ("1,-1,2", "--class_weights must be numbers that are not negative, with commas between them, but is '1,-1,2'"),
    ("0,0,0", "--class_weights must not all be 0"),
])  # fmt: skip
def test_weights_that_cannot_be(model, tmp_path, given, told):
    with pytest.raises(pst.Error, match=told):
        pst.Trainer(model, rows(8, 5), output_dir=tmp_path, **SETTINGS, class_weights=given)


def test_only_classes_have_weights(model, tmp_path):
    numbers = [("good", 0.5), ("bad", 1.5), ("the film", 2.25)]
    other = write_model(tmp_path / "m", {**CONFIG, "num_hidden_layers": 1})
    with pytest.raises(ValueError, match="--label_smoothing_factor is of classes, but the labels are numbers"):
        pst.Trainer(other, numbers, output_dir=tmp_path / "o", label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match=r"--label_smoothing_factor must be in \[0, 1\), but is 1"):
        pst.Trainer(model, rows(8, 5), output_dir=tmp_path / "o", label_smoothing_factor=1)
