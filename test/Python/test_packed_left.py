# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose tokenizer pads at the left: without padding there is no side, and a text's positions begin at 0."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

import test_gpt2  # noqa: E402
import test_llama  # noqa: E402
import test_parity as parity  # noqa: E402
from test_cli import run as run_pst  # noqa: E402

import pst  # noqa: E402
from pst import Trainer, _pst  # noqa: E402

LABELS, PADDING, LENGTH = 3, 60, 23
MODELS = ("gpt2", "llama", "mistral")


def write_model(directory, name):
    """A classifier whose tokens are the words w0 to w59; returns it in float64."""
    more = {"num_labels": LABELS, "pad_token_id": PADDING}
    if name == "gpt2":
        reference = test_gpt2.save_model(directory, 4, "GPT2ForSequenceClassification", **more)
    else:
        changes = {"sliding_window": 5} if name == "mistral" else {}
        reference = test_llama.save_model(directory, 4, name.capitalize(), "ForSequenceClassification", **more, **changes)
    words = {f"w{i}": i for i in range(PADDING)} | {"<pad>": PADDING}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return reference


def texts_of(counts, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{i}" for i in rng.integers(0, PADDING, count)) for count in counts]


def lengths(kind):
    rng = np.random.default_rng(5)
    return {
        "random": [1, LENGTH, *rng.integers(1, LENGTH // 2, 30)],
        "equal": [7] * 9,
        "alone": [LENGTH],
        "one token": [1] * 5,
    }[kind]


@pytest.mark.parametrize("kind", ["random", "equal", "alone", "one token"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(tmp_path, name, kind):
    """Of each text alone; and as it pads them, where positions are relative."""
    reference = write_model(tmp_path / "m", name)
    texts = texts_of(lengths(kind))
    loaded = pst.load(tmp_path / "m", per_device_eval_batch_size=7)
    examples = pst.Examples("texts", texts, None, None, list(range(len(texts))))
    found = loaded.evaluate(examples)["logits"]
    (model,) = loaded._kept._models.values()
    assert json.loads(model.manifest)["token_capacity"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer.padding_side == "left"
    with torch.no_grad():
        alone = [reference(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
        padded = reference(**tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(found, alone, atol=1e-4)
    assert np.abs(alone).max() > 0.1
    with_padding = pst.load(tmp_path / "m", per_device_eval_batch_size=7, pad_to_max_length=True, max_seq_length=LENGTH)
    logits = with_padding.evaluate(examples)["logits"]
    if name != "gpt2":
        np.testing.assert_allclose(found, padded, atol=1e-4)
        np.testing.assert_allclose(logits, padded, atol=1e-4)
    elif kind == "random":
        # Its positions count the padding: what is said of a text depends on it.
        assert np.abs(padded - alone).max() > 0.01
    assert len(loaded.predict(texts)) == len(texts)


@pytest.mark.parametrize("name", ["mistral"])
def test_a_packed_step_is_one_padded_at_the_left(tmp_path, name):
    write_model(tmp_path / "m", name)
    rng = np.random.default_rng(1)
    counts = [1, LENGTH, *rng.integers(1, LENGTH, 4)]
    models, data = [], []
    for side, capacity in (("left", 0), ("right", 91)):
        _, model = parity.build(tmp_path / "m", 6, LENGTH, token_capacity=capacity, **parity.PST)
        models.append(model)
        encoded = pst.Tokenizer(tmp_path / "m").encode(pst.Examples("x", texts_of(counts), None, None, list(range(6))), LENGTH)
        assert encoded.side == "left"
        encoded.side = side
        labels = rng.permutation([0, 1, 2, 0, 1, 2]).astype(np.int32) if not data else labels
        data.append(_pst.Dataset.of(encoded.arrays(LENGTH) | {"labels": labels}))
    found = []
    for model, given in zip(models, data):
        parity.randomise(model, 1)
        model.select(0.7)
        loss = model.forward_backward(given, list(range(6)), 1 / 6, 0)
        found.append((loss, np.array(model.gradient)))
    (expected, right), (loss, gradient) = found
    assert loss == pytest.approx(expected, rel=3e-6)
    np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=4e-6 * np.abs(right).max())
    assert np.abs(right).max() > 0


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_run_is_packed(tmp_path, name, capsys):
    """Its losses are those with padding, of GPT-2 at the end; what it saves, transformers reads."""
    write_model(tmp_path / "m", name)
    rng = np.random.default_rng(2)
    counts = [LENGTH, *rng.integers(1, 9, 59)]
    texts = texts_of(counts)
    data = [(text, "abc"[int(text.split()[-1][1:]) % 3]) for text in texts]
    common = {
        "method": "pst", "max_steps": 8, "per_device_train_batch_size": 8, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "sparsity": 0.5, "learning_rate": 1e-3, "max_seq_length": LENGTH,
    }  # fmt: skip
    losses = []
    for out, options in (("padded", {"pad_to_max_length": True}), ("packed", {})):
        if out == "padded" and name == "gpt2":
            settings = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
            (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "right"}))
        trainer = Trainer(tmp_path / "m", data, output_dir=tmp_path / out, **common, **options)
        assert bool(trainer.token_capacity) == (out == "packed")
        trainer.train()
        lines = [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines() if '"train"' in line]
        losses.append([line["loss"] for line in lines])
        if out == "padded" and name == "gpt2":
            (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps(settings))
    assert np.ptp(losses[0]) > 0.01
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    trainer.save(tmp_path / "saved")
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        expected = [torch.softmax(loaded(**tokenizer(text, return_tensors="pt")).logits[0], 0).max().item() for text in texts]
    found = [row["probability"] for row in pst.load(tmp_path / "saved").predict(texts)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in data))
    status, out, err = run_pst(capsys, "eval", "--model_name_or_path", tmp_path / "saved", "--validation_file", tmp_path / "dev.jsonl")
    assert status == 0, err
    assert f"loss: {trainer.evaluate(data)['loss']:.4f}"[:10] in out
