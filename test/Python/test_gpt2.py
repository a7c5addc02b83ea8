# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GPT-2 and RoBERTa, compiled, against transformers and against an eager
float64 model: losses, logits, gradients, training steps, masks, exports."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import steps  # noqa: E402
import test_parity as parity  # noqa: E402
from eager import Roberta  # noqa: E402
from eager_gpt2 import Gpt2  # noqa: E402

import pst  # noqa: E402
from pst import _pst  # noqa: E402

BASE = {
    "vocab_size": 61,
    "n_embd": 42,
    "n_layer": 2,
    "n_head": 3,
    "n_positions": 41,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def save_model(directory, seed=0, kind="GPT2LMHeadModel", **changes):
    """A GPT-2 of random values, none of them zero or one, as transformers writes it; returns it in float64."""
    torch.manual_seed(seed)
    reference = getattr(transformers, kind)(transformers.GPT2Config(**{**BASE, **changes})).eval()
    with torch.no_grad():
        for name, value in reference.named_parameters():
            scale = 0.6 / value.shape[-1] ** 0.5 if value.dim() == 2 else 0.2
            value.copy_(torch.randn_like(value) * scale + ("ln_" in name and "weight" in name))
    reference.save_pretrained(directory, safe_serialization=True)
    return reference.double()


def text_batch(rng, rows, length, vocabulary=BASE["vocab_size"]):
    """Tokens with padding at the end, and labels: -100 for padding and for some tokens."""
    batch = {
        "input_ids": rng.integers(0, vocabulary, (rows, length)),
        "attention_mask": np.ones((rows, length)),
    }
    for row in batch["attention_mask"]:
        row[length - rng.integers(0, length // 2 + 1) :] = 0
    batch["attention_mask"][0] = 1
    keep = (batch["attention_mask"] != 0) & (rng.random((rows, length)) < 0.8)
    batch["labels"] = np.where(keep, batch["input_ids"], -100)
    return {name: np.ascontiguousarray(value, np.int32) for name, value in batch.items()}


def tensors(batch):
    return {name: torch.from_numpy(value).long() for name, value in batch.items()}


def targets(batch, rows=slice(None)):
    return int((batch["labels"][rows, 1:] != -100).sum())


@pytest.mark.parametrize(
    "batch_size, length, changes",
    [
        (3, 17, {}),
        (1, 41, {"n_layer": 1, "n_head": 7, "n_inner": 19, "activation_function": "relu"}),
        (5, 2, {"n_embd": 33, "n_head": 1, "vocab_size": 131}),
        (4, 13, {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-3}),
    ],
)
def test_the_loss_is_that_of_transformers(tmp_path, batch_size, length, changes):
    reference = save_model(tmp_path / "m", length, **changes)
    batch = text_batch(np.random.default_rng(length), batch_size, length, changes.get("vocab_size", BASE["vocab_size"]))
    with torch.no_grad():
        result = reference(**tensors(batch))
    # Of their logits in float64: their own loss is rounded to f32.
    logits, labels = result.logits[:, :-1], tensors(batch)["labels"][:, 1:]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()
    assert expected == pytest.approx(result.loss.item(), rel=1e-6)
    _, model = parity.build(tmp_path / "m", batch_size, length, method="dense")
    found = _pst.evaluate(model, _pst.Dataset.of(batch), 0.0)
    assert found["loss"] == pytest.approx(expected, rel=2e-6)
    assert found["metrics"]["perplexity"] == pytest.approx(np.exp(expected), rel=2e-5)
    if "tie_word_embeddings" not in changes:  # the model against which the rest is measured
        assert Gpt2(model).loss(batch).item() == pytest.approx(expected, rel=1e-9)


def test_files_of_the_bare_model_are_read(tmp_path):
    """GPT2Model writes names without "transformer."."""
    reference = save_model(tmp_path / "m", 4)
    reference.float().transformer.save_pretrained(tmp_path / "bare", safe_serialization=True)
    assert b'"h.0.attn.c_attn.weight"' in (tmp_path / "bare" / "model.safetensors").read_bytes()
    batch = text_batch(np.random.default_rng(1), 3, 12)
    losses = []
    for directory in ("m", "bare"):
        _, model = parity.build(tmp_path / directory, 3, 12, **parity.PST)
        losses.append(model.forward_backward(_pst.Dataset.of(batch), [0, 1, 2], 0.1, 0))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("labels", [1, 4])
def test_logits_of_a_classifier_equal_transformers(tmp_path, labels):
    reference = save_model(tmp_path / "m", 2, "GPT2ForSequenceClassification", num_labels=labels, pad_token_id=60)
    batch = text_batch(np.random.default_rng(3), 5, 14, 60)
    del batch["labels"]
    batch["input_ids"][batch["attention_mask"] == 0] = 60
    with torch.no_grad():
        expected = reference(**tensors(batch)).logits.numpy()
    compiled = pst.compile(tmp_path / "m", batch_size=5, sequence_length=14)
    assert np.abs(compiled(**batch) - expected).max() < 2e-5
    assert np.abs(expected).max() > 0.1
    eagerly = Gpt2(_pst.Model(compiled.program, str(tmp_path / "m"))).logits(batch).detach().numpy()
    assert np.abs(eagerly - expected).max() < 1e-9


METHODS = {**parity.METHODS, "without low rank": parity.VARIANTS["without low rank"]}


@pytest.mark.parametrize(
    "name, kind", [(name, "lm") for name in METHODS] + [("pst", "classifier"), ("dense", "classifier")]
)
def test_gradients_equal_autograd(tmp_path, name, kind):
    if kind == "lm":
        save_model(tmp_path / "m", 3)
    else:
        save_model(tmp_path / "m", 3, "GPT2ForSequenceClassification", num_labels=3)
    _, model = parity.build(tmp_path / "m", 4, 11, **METHODS[name])
    parity.randomise(model, 1)
    reference = Gpt2(model)
    assert len(reference.sparse) == (0 if name == "dense" else 12)
    batch = text_batch(np.random.default_rng(5), 4, 11)
    if kind != "lm":
        batch["labels"] = np.array([2, 0, 1, 1], np.int32)
    model.select(0.6)
    reference.select(0.6)
    expected_loss, expected = reference.gradients(batch)
    count = targets(batch) if kind == "lm" else 4
    loss = model.forward_backward(_pst.Dataset.of(batch), [0, 1, 2, 3], 1 / count, 0)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert set(expected) == set(parity.trainable(model))
    largest = max(g.norm().item() for g in expected.values())
    for parameter, gradient in expected.items():
        ours = np.array(model.parameter(parameter, "gradient"), np.float64)
        error = np.linalg.norm(ours - gradient.numpy())
        assert error < 1e-4 * max(gradient.norm().item(), 1e-4 * largest), parameter


def check_steps(tmp_path, total, examples=None, **options):
    save_model(tmp_path / "m", 1)
    examples = examples or text_batch(np.random.default_rng(2), 40, 10)
    _, model = parity.build(tmp_path / "m", 6, examples["labels"].shape[1], **options, **parity.PST)
    steps.follow(model, Gpt2(model), examples, total, 6, 0.9, tolerance=3e-5, max_norm=1.0)


@pytest.mark.parametrize("products", ["packed", "compressed"])
def test_steps_of_pst_follow_the_eager_model(tmp_path, products):
    check_steps(tmp_path, 25, products=products)


def losses_of(path):
    lines = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "train"]


def test_the_mean_is_over_tokens_however_they_are_batched(tmp_path):
    """Micro-batches of 2 give the steps of one batch of 6, though their texts differ in length."""
    save_model(tmp_path / "m", 5)
    data = _pst.Dataset.of(text_batch(np.random.default_rng(6), 20, 9))
    runs = []
    for batch, accumulation in ((6, 1), (2, 3)):
        _, model = parity.build(tmp_path / "m", batch, 9, **parity.PST)
        out = tmp_path / f"run{batch}"
        options = parity.training_options(out, sparsity=0.5, gradient_accumulation_steps=accumulation, logging_steps=1)
        _pst.train(model, options, data)
        runs.append(losses_of(out))
    assert len(runs[0]) == len(runs[1]) > 3 and np.ptp(runs[0]) > 0.01
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5)


@pytest.mark.parametrize("method", ["pst", "dense"])
def test_transformers_loads_the_export(tmp_path, method):
    save_model(tmp_path / "m", 10)
    _, model = parity.build(tmp_path / "m", 5, 11, **parity.METHODS[method])
    examples = text_batch(np.random.default_rng(12), 23, 11)
    data = _pst.Dataset.of(examples)
    sparsity = 0.83 if method == "pst" else 0.0
    _pst.train(model, parity.training_options(tmp_path / "run", sparsity=sparsity), data)
    ours = _pst.evaluate(model, data, sparsity)["loss"]
    exported = _pst.export_model(model, sparsity, str(tmp_path / "exported"))
    loaded, loading = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
    with torch.no_grad():
        assert loaded.double().eval()(**tensors(examples)).loss.item() == pytest.approx(ours, rel=1e-5)
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"] and "id2label" not in config
    if method == "dense":
        return
    assert len(exported["layers"]) == 12
    values, width, weights = Gpt2(model), BASE["n_embd"], []
    for layer in exported["layers"]:
        name, _, part = layer["weight"].partition(":")
        weight = loaded.state_dict()[name].numpy()
        if part:
            first = ("query", "key", "value").index(part) * width
            weight = weight[:, first : first + width]
        assert np.count_nonzero(weight == 0) == layer["zeros"]
        weights.append(weight)
        merged = values.weight_and_score(layer["weight"])[0].detach().numpy()
        assert np.abs(weight - merged)[weight != 0].max() < 1e-6
    parity.check_counts(weights, 0.83)
    again = pst._pst.Model(parity.build(tmp_path / "exported", 5, 11, method="dense")[0], str(tmp_path / "exported"), 0)
    assert _pst.evaluate(again, data, 0.0)["loss"] == pytest.approx(ours, rel=1e-6)


def save_roberta(directory):
    """Of random values; returns it and its configuration."""
    torch.manual_seed(1)
    sizes = {key: value for key, value in parity.BASE.items() if key != "num_labels"}
    config = transformers.RobertaConfig(**{**sizes, "type_vocab_size": 1, "num_labels": 3, "pad_token_id": 1})
    reference = transformers.RobertaForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, value in reference.named_parameters():
            value.copy_(torch.randn_like(value) * 0.2 + ("LayerNorm.weight" in name))
    reference.save_pretrained(directory, safe_serialization=True)
    return reference, config


def roberta_batch(rng, rows, length, config):
    batch = text_batch(rng, rows, length, config.vocab_size - 2)
    batch["input_ids"] += 2
    batch["input_ids"][batch["attention_mask"] == 0] = 1
    del batch["labels"]
    return batch


def test_roberta_equals_transformers(tmp_path):
    """Positions begin after the padding's id, and the head is another one than BERT's."""
    reference, config = save_roberta(tmp_path / "m")
    batch = roberta_batch(np.random.default_rng(2), 4, 13, config)
    with torch.no_grad():
        expected = reference.double()(**tensors(batch)).logits.numpy()
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    compiled = pst.compile(tmp_path / "m", batch_size=4, sequence_length=13)
    assert np.abs(expected).max() > 0.1 and np.abs(compiled(**batch) - expected).max() < 2e-5
    eagerly = Roberta(_pst.Model(compiled.program, str(tmp_path / "m"))).logits(batch).detach().numpy()
    assert np.abs(eagerly - expected).max() < 1e-9


def test_what_cannot_be_imported_is_told(tmp_path):
    save_model(tmp_path / "m", scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(pst.CompileError, match="scale_attn_by_inverse_layer_idx.* is true, but only scores of the same"):
        parity.build(tmp_path / "m", 2, 5)
    save_model(tmp_path / "n")
    with pytest.raises(pst.CompileError, match='"n_positions" is 41, too few for the length 42'):
        parity.build(tmp_path / "n", 2, 42)
    parity.save_model(tmp_path / "b")
    with pytest.raises(pst.CompileError, match='"bert" cannot be imported to predict tokens; those that can are: gpt2'):
        parity.build(tmp_path / "b", 2, 5, task="lm")
    _, model = parity.build(tmp_path / "n", 2, 5)
    batch = text_batch(np.random.default_rng(1), 4, 5)
    batch["labels"][2, 3] = BASE["vocab_size"]
    with pytest.raises(pst.Error, match='"labels" of example 2 is 61 at position 3; the vocabulary has 61 entries'):
        _pst.train(model, parity.training_options(tmp_path / "run"), _pst.Dataset.of(batch))
