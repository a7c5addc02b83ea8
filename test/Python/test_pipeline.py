# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A saved model as PyTorch's users call one: with arrays and tensors, and in a pipeline, against transformers."""

import numpy as np
import pytest
from test_predict import TEXTS, trained_model

import pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return trained_model(tmp_path_factory.mktemp("pipeline") / "m")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """The same weights, whose head gives each token one of three tags."""
    directory = trained_model(
        tmp_path_factory.mktemp("tagger") / "m", config={"architectures": ["BertForTokenClassification"]}.items()
    )
    config = transformers.AutoConfig.from_pretrained(directory)
    assert config.architectures == ["BertForTokenClassification"]
    return directory


@pytest.fixture(scope="module")
def model(saved):
    return pst.load(saved, per_device_eval_batch_size=2)


@pytest.fixture(scope="module")
def batch(saved):
    """Texts of different lengths, padded by transformers' tokenizer."""
    return transformers.AutoTokenizer.from_pretrained(saved)(TEXTS, padding=True, return_tensors="pt")


def wanted(directory, batch):
    family = transformers.AutoConfig.from_pretrained(directory).architectures[0]
    with torch.no_grad():
        return getattr(transformers, family).from_pretrained(directory).eval().double()(**batch).logits.numpy()


def same(found, logits):
    """To some roundings of f32 of the largest: the reference is float64."""
    np.testing.assert_allclose(found, logits, rtol=0, atol=5e-6 * max(np.abs(logits).max(), 1))


def test_token_ids_give_the_logits_of_transformers(saved, model, batch):
    logits = wanted(saved, batch)
    assert len({len(row) - int(row.sum()) for row in batch["attention_mask"]}) > 1, "nothing is padded"
    found = model(**batch)
    assert torch.is_tensor(found)
    same(found.numpy(), logits)
    arrays = {name: tensor.numpy().astype(np.uint16) for name, tensor in batch.items()}
    found = model(**arrays)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    same(found, logits)
    # Without a mask the padding is text.
    rows = batch["input_ids"].tolist()
    same(model(rows), wanted(saved, {"input_ids": batch["input_ids"]}))
    assert model(TEXTS) == model.predict(TEXTS)


def test_tags_of_token_ids(tagger, batch):
    logits, mask = wanted(tagger, batch), batch["attention_mask"].numpy()
    found = pst.load(tagger)(**batch).numpy()
    assert found.shape == logits.shape
    same(found[mask == 1], logits[mask == 1])
    assert (found[mask == 0] == 0).all() and (mask == 0).any()


@pytest.mark.parametrize(
    "inputs, error, message",
    [
        ({}, TypeError, "call it with texts, or with input_ids"),
        ({"texts": "a", "attention_mask": np.ones((1, 1))}, TypeError, "belong to input_ids"),
        ({"input_ids": np.ones((2, 3))}, TypeError, "must hold whole numbers, not float64"),
        ({"input_ids": np.ones((2, 0), int)}, ValueError, "there is no token in it"),
        ({"input_ids": np.ones((1, 3), int), "attention_mask": np.array([[0, 1, 1]])}, ValueError, "row 0 of attention_mask"),
        ({"input_ids": np.ones((2, 3), int), "attention_mask": np.array([[1, 1, 1], [1, 0, 1]])}, ValueError, "row 1 of"),
        ({"input_ids": np.ones((2, 3), int), "attention_mask": np.array([[1, 1, 1], [0, 0, 0]])}, ValueError, "row 1 of"),
        ({"input_ids": np.ones((2, 3), int), "token_type_ids": np.ones((2, 4), int)}, ValueError, r"token_type_ids must be of shape"),
        ({"input_ids": np.full((1, 3), 10**6)}, pst.Error, "1000000"),
    ],
)
def test_what_cannot_be_read_is_told(model, inputs, error, message):
    with pytest.raises(error, match=message):
        model(**inputs)


@pytest.mark.parametrize("task", ["text-classification", "sentiment-analysis"])
def test_texts_in_a_pipeline(saved, task):
    ours, theirs = pst.pipeline(task, saved), transformers.pipeline(task, model=str(saved), device="cpu")
    for texts, options in ((TEXTS[0], {}), (TEXTS, {"batch_size": 2}), (TEXTS, {"top_k": None})):
        found, expected = ours(texts, **options), theirs(texts, **options)
        found, expected = (sum(rows, []) if isinstance(rows[0], list) else rows for rows in (found, expected))
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=1e-5)


def test_tags_in_a_pipeline(tagger):
    ours, theirs = pst.pipeline("ner", tagger), transformers.pipeline("ner", model=str(tagger), device="cpu")
    found, expected = ours(TEXTS), theirs(TEXTS)
    assert [[(row["word"], row["entity"]) for row in rows] for rows in found] == [
        [(row["word"], row["entity"]) for row in rows] for rows in expected
    ]
    assert sum(map(len, found)) > 5


def test_another_pipeline_is_told(saved, tagger):
    with pytest.raises(ValueError, match="expected one of text-classification"):
        pst.pipeline("summarization", saved)
    with pytest.raises(ValueError, match="is for the pipeline 'token-classification', not for 'text-classification'"):
        pst.pipeline("text-classification", tagger)
