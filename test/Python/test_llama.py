# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama, Mistral and Qwen2, compiled, against transformers and against an
eager float64 model: logits, losses, gradients, training steps, exports."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import steps  # noqa: E402
import test_parity as parity  # noqa: E402
from eager_llama import Llama  # noqa: E402
from test_gpt2 import targets, tensors, text_batch  # noqa: E402

import pst  # noqa: E402
from pst import _pst  # noqa: E402

BASE = {
    "vocab_size": 61,
    "hidden_size": 42,
    "intermediate_size": 53,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 41,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 60,
}

# Scalings are told apart by their positions: the tests' sequences are longer
# than what the model has seen, and the waves of a few columns stand between.
LINEAR = {"rope_type": "linear", "factor": 2.5, "rope_theta": 10000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16, "rope_theta": 500.0}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 300.0, "beta_fast": 2.0, "beta_slow": 0.5}

# name: class, batch, length, changes
CONFIGURATIONS = {
    "llama": ("Llama", 3, 17, {}),
    "one head of keys for six": ("Llama", 1, 41, {"hidden_size": 36, "num_attention_heads": 6, "num_hidden_layers": 1}),
    "wide heads, biases": ("Llama", 5, 7, {"hidden_size": 30, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 22,
                                            "vocab_size": 131, "attention_bias": True, "mlp_bias": True}),
    "linear": ("Llama", 2, 29, {"rope_parameters": LINEAR, "rms_norm_eps": 1e-3}),
    "dynamic": ("Llama", 2, 31, {"rope_parameters": DYNAMIC, "max_position_embeddings": 13}),
    "dynamic, short": ("Llama", 3, 9, {"rope_parameters": DYNAMIC, "max_position_embeddings": 13}),
    "llama3": ("Llama", 2, 37, {"rope_parameters": LLAMA3, "num_key_value_heads": 3}),
    "yarn": ("Llama", 2, 37, {"rope_parameters": YARN, "tie_word_embeddings": True}),
    "mistral": ("Mistral", 3, 19, {"sliding_window": 5}),
    "mistral without window": ("Mistral", 2, 11, {"sliding_window": None, "head_dim": 10}),
    "qwen2": ("Qwen2", 4, 13, {"tie_word_embeddings": True}),
    "qwen2 with windows": ("Qwen2", 2, 40, {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1}),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def save_model(directory, seed=0, family="Llama", kind="ForCausalLM", **changes):
    """A model of random values, none of them zero or one, as transformers writes it; returns it in float64."""
    torch.manual_seed(seed)
    config = getattr(transformers, family + "Config")(**{**BASE, **changes})
    reference = getattr(transformers, family + kind)(config).eval()
    with torch.no_grad():
        for name, value in reference.named_parameters():
            scale = 1.2 / value.shape[-1] ** 0.5 if value.dim() == 2 else 0.2
            value.copy_(torch.randn_like(value) * scale + ("norm" in name))
    reference.save_pretrained(directory, safe_serialization=True)
    return reference.double()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logits_equal_transformers(tmp_path, name):
    """Of classifiers with as many labels as a vocabulary has tokens, by the last token that is no padding."""
    family, batch_size, length, changes = CONFIGURATIONS[name]
    reference = save_model(tmp_path / "m", length, family, "ForSequenceClassification", num_labels=59, **changes)
    batch = text_batch(np.random.default_rng(length), batch_size, length, 60)
    del batch["labels"]
    batch["input_ids"][batch["attention_mask"] == 0] = 60
    with torch.no_grad():
        expected = reference(**tensors(batch)).logits.numpy()
    compiled = pst.compile(tmp_path / "m", batch_size=batch_size, sequence_length=length)
    assert np.abs(expected).max() > 1
    assert np.abs(compiled(**batch) - expected).max() < 1e-4
    eagerly = Llama(_pst.Model(compiled.program, str(tmp_path / "m"))).logits(batch).detach().numpy()
    # transformers rounds the frequencies of f32 in between.
    assert np.abs(eagerly - expected).max() < 5e-5


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_loss_is_that_of_transformers(tmp_path, name):
    family, batch_size, length, changes = CONFIGURATIONS[name]
    reference = save_model(tmp_path / "m", length, family, **changes)
    batch = text_batch(np.random.default_rng(length), batch_size, length, changes.get("vocab_size", BASE["vocab_size"]))
    with torch.no_grad():
        logits, labels = reference(**tensors(batch)).logits[:, :-1], tensors(batch)["labels"][:, 1:]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()
    _, model = parity.build(tmp_path / "m", batch_size, length, method="dense")
    found = _pst.evaluate(model, _pst.Dataset.of(batch), 0.0)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert Llama(model).loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_older_files_name_the_scaling_otherwise(tmp_path):
    """rope_theta and rope_scaling beside each other, and "type" for "rope_type"."""
    save_model(tmp_path / "m", 2, rope_parameters=LLAMA3)
    batch = text_batch(np.random.default_rng(2), 3, 23)
    losses = []
    for _ in range(2):
        _, model = parity.build(tmp_path / "m", 3, 23, method="dense")
        losses.append(_pst.evaluate(model, _pst.Dataset.of(batch), 0.0)["loss"])
        config = json.loads((tmp_path / "m" / "config.json").read_text())
        rope = config.pop("rope_parameters", {})
        config["rope_theta"] = rope.pop("rope_theta", None)
        config["rope_scaling"] = {"type" if key == "rope_type" else key: value for key, value in rope.items()}
        (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assert losses[0] == losses[1]


def test_files_of_the_bare_model_and_of_bf16_are_read(tmp_path):
    """LlamaModel writes names without "model."; weights of bf16 are widened."""
    reference = save_model(tmp_path / "m", 4, tie_word_embeddings=True).bfloat16()
    reference.float().save_pretrained(tmp_path / "rounded")
    reference.bfloat16().save_pretrained(tmp_path / "narrow")
    reference.model.save_pretrained(tmp_path / "bare")
    assert b'"layers.0.self_attn.q_proj.weight":{"dtype":"BF16"' in (tmp_path / "bare" / "model.safetensors").read_bytes()
    batch = text_batch(np.random.default_rng(1), 3, 12)
    losses = []
    for directory in ("rounded", "narrow", "bare"):
        _, model = parity.build(tmp_path / directory, 3, 12, task="lm", **parity.PST)
        losses.append(model.forward_backward(_pst.Dataset.of(batch), [0, 1, 2], 0.1, 0))
    assert losses[0] == losses[1] == losses[2]


METHODS = {**parity.METHODS, "without low rank": parity.VARIANTS["without low rank"]}
FAMILIES = {
    "llama3": ("Llama", {"rope_parameters": LLAMA3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}),
    "mistral": ("Mistral", {"sliding_window": 4}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
}


def check_gradients(tmp_path, family, kind, method, tolerance=1e-4, **options):
    which, changes = FAMILIES[family]
    more = {} if kind == "ForCausalLM" else {"num_labels": 3}
    save_model(tmp_path / "m", 3, which, kind, **changes, **more)
    _, model = parity.build(tmp_path / "m", 4, 11, **METHODS[method], **options)
    parity.randomise(model, 1)
    reference = Llama(model)
    assert len(reference.sparse) == (0 if method == "dense" else 14)
    batch = text_batch(np.random.default_rng(5), 4, 11)
    if more:
        batch["labels"] = np.array([2, 0, 1, 1], np.int32)
    model.select(0.6)
    reference.select(0.6)
    expected_loss, expected = reference.gradients(batch)
    count = 4 if more else targets(batch)
    loss = model.forward_backward(_pst.Dataset.of(batch), [0, 1, 2, 3], 1 / count, 0)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert set(expected) == set(parity.trainable(model))
    largest = max(g.norm().item() for g in expected.values())
    for parameter, gradient in expected.items():
        ours = np.array(model.parameter(parameter, "gradient"), np.float64)
        error = np.linalg.norm(ours - gradient.numpy())
        assert error < tolerance * max(gradient.norm().item(), 1e-4 * largest), parameter


@pytest.mark.parametrize(
    "family, kind, method",
    [("llama3", "ForCausalLM", method) for method in METHODS]
    + [("llama3", "ForSequenceClassification", "pst"), ("mistral", "ForCausalLM", "pst"), ("mistral", "ForCausalLM", "dense")]
    + [("qwen2", "ForCausalLM", "pst"), ("qwen2", "ForSequenceClassification", "dense")],
)
def test_gradients_equal_autograd(tmp_path, family, kind, method):
    check_gradients(tmp_path, family, kind, method)


@pytest.mark.parametrize("family, method", [("llama3", "pst"), ("mistral", "dense"), ("qwen2", "lora")])
def test_gradients_of_the_gpus_kernels(tmp_path, family, method):
    check_gradients(tmp_path, family, "ForCausalLM", method, target="emulated")


def check_steps(tmp_path, family, total, examples=None, **options):
    which, changes = FAMILIES[family]
    save_model(tmp_path / "m", 1, which, **changes)
    examples = examples or text_batch(np.random.default_rng(2), 40, 10)
    _, model = parity.build(tmp_path / "m", 6, examples["labels"].shape[1], **options, **parity.PST)
    steps.follow(model, Llama(model), examples, total, 6, 0.9, max_norm=1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_25_steps_of_pst_follow_the_eager_model(tmp_path, family):
    check_steps(tmp_path, family, 25)


def test_steps_of_the_gpus_kernels_follow_the_eager_model(tmp_path):
    check_steps(tmp_path, "llama3", 25, target="emulated")


@pytest.mark.parametrize(
    "family, method, changes",
    [("Llama", "pst", {}), ("Llama", "dense", {"tie_word_embeddings": True}), ("Mistral", "pst", {"sliding_window": 4}),
     ("Qwen2", "pst", {"tie_word_embeddings": True})],
)  # fmt: skip
def test_transformers_loads_the_export(tmp_path, family, method, changes):
    save_model(tmp_path / "m", 10, family, **changes)
    _, model = parity.build(tmp_path / "m", 5, 11, **parity.METHODS[method])
    examples = text_batch(np.random.default_rng(12), 23, 11)
    data = _pst.Dataset.of(examples)
    sparsity = 0.83 if method == "pst" else 0.0
    _pst.train(model, parity.training_options(tmp_path / "run", sparsity=sparsity), data)
    ours = _pst.evaluate(model, data, sparsity)["loss"]
    exported = _pst.export_model(model, sparsity, str(tmp_path / "exported"))
    kind = getattr(transformers, family + "ForCausalLM")
    loaded, loading = kind.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
    with torch.no_grad():
        assert loaded.double().eval()(**tensors(examples)).loss.item() == pytest.approx(ours, rel=1e-5)
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["architectures"] == [family + "ForCausalLM"]
    weights = [loaded.state_dict()[layer["weight"]].numpy() for layer in exported["layers"]]
    parity.check_counts(weights, 0.83)
    assert [np.count_nonzero(weight == 0) for weight in weights] == [layer["zeros"] for layer in exported["layers"]]
    assert len(exported["layers"]) == (14 if method == "pst" else 0)
    again = pst._pst.Model(parity.build(tmp_path / "exported", 5, 11, method="dense")[0], str(tmp_path / "exported"), 0)
    assert _pst.evaluate(again, data, 0.0)["loss"] == pytest.approx(ours, rel=1e-6)


def test_a_classifier_is_loaded_by_transformers(tmp_path):
    save_model(tmp_path / "m", 11)
    _, model = parity.build(tmp_path / "m", 4, 9, num_labels=3, **parity.PST)
    batch = text_batch(np.random.default_rng(3), 4, 9, 60)
    batch["labels"] = np.array([2, 0, 1, 1], np.int32)
    batch["input_ids"][batch["attention_mask"] == 0] = 60
    data = _pst.Dataset.of(batch)
    # A head that learns slowly leaves a loss that can be compared.
    _pst.train(model, parity.training_options(tmp_path / "run", sparsity=0.5, head_learning_rate=parity.PEAK), data)
    ours = _pst.evaluate(model, data, 0.5)["loss"]
    _pst.export_model(model, 0.5, str(tmp_path / "exported"))
    loaded = transformers.LlamaForSequenceClassification.from_pretrained(tmp_path / "exported", num_labels=3)
    with torch.no_grad():
        assert loaded.double().eval()(**tensors(batch)).loss.item() == pytest.approx(ours, rel=1e-5)
