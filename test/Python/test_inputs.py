# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs of compiled models: what is converted and padded, what is refused, and
that logits are those of transformers for padding on any side."""

import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, gpt2_tensors, write_model

import pst
from pst import _pst, write_tensors

CLASSES = 3


@pytest.fixture
def bert(tmp_path):
    rng = np.random.default_rng(3)
    tensors = bert_tensors(CONFIG)
    tensors["classifier.weight"] = rng.standard_normal((CLASSES, CONFIG["hidden_size"])).astype(np.float32)
    tensors["classifier.bias"] = rng.standard_normal(CLASSES).astype(np.float32)
    return write_model(tmp_path / "bert", {**CONFIG, "num_labels": CLASSES}, tensors)


def ids_of(rows, length, seed=0, vocabulary=CONFIG["vocab_size"]):
    return np.random.default_rng(seed).integers(0, vocabulary, (rows, length))


def test_whole_numbers_of_any_type_and_any_number_of_rows(bert):
    program = pst.compile(bert, batch_size=3, sequence_length=7)
    ids = ids_of(7, 5)
    mask = (np.arange(5) < np.arange(1, 8)[:, None]).astype(np.int64)
    padded, kept = np.zeros((9, 7), np.int32), np.ones((9, 7), np.int32)
    padded[:7, :5], kept[:7] = ids, 0
    kept[:7, :5] = mask
    expected = np.concatenate([program(padded[i : i + 3], kept[i : i + 3]) for i in (0, 3, 6)])[:7]
    for kind in (np.int64, np.int32, np.uint8):
        np.testing.assert_array_equal(program(ids.astype(kind), mask.astype(kind)), expected)
    np.testing.assert_array_equal(program(ids.tolist(), mask.astype(bool).tolist()), expected)
    np.testing.assert_array_equal(program(np.asfortranarray(ids), attention_mask=mask), expected)
    torch = pytest.importorskip("torch")
    logits = program(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
    assert isinstance(logits, torch.Tensor) and (logits.numpy() == expected).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input_ids": (1, 2, CONFIG["vocab_size"])}, f'"input_ids" of example 1 is {CONFIG["vocab_size"]} at position 2'),
        ({"input_ids": (0, 0, -1)}, '"input_ids" of example 0 is -1 at position 0'),
        ({"token_type_ids": (2, 3, 2)}, '"token_type_ids" of example 2 is 2 at position 3; the model has 2 token types'),
        ({"attention_mask": (0, 1, 2)}, '"attention_mask" of example 0 is 2 at position 1; a mask is 0 or 1'),
        ({"labels": (1, CLASSES)}, '"labels" of example 1 is 3; the model has 3 classes: labels go from 0 to 2'),
    ],
)
def test_what_is_out_of_range_is_an_error(bert, change, message):
    program = pst.compile(bert, batch_size=3, sequence_length=5)
    inputs = {
        "input_ids": ids_of(3, 5).astype(np.int32),
        "attention_mask": np.ones((3, 5), np.int32),
        "token_type_ids": np.zeros((3, 5), np.int32),
        "labels": np.array([0, -100, 2], np.int32),
    }
    forward = program.function("forward")
    forward(**inputs, loss_scale=1.0)
    for name, (*place, value) in change.items():
        inputs[name][tuple(place)] = value
    with pytest.raises(pst.Error) as error:
        forward(**inputs, loss_scale=1.0)
    assert message in str(error.value)
    if "labels" not in change:
        with pytest.raises(pst.Error) as error:
            program(inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"])
        assert message in str(error.value)


LOOK = """
func.func @look(%ids: tensor<2x3xi32>, %table: tensor<5x4xf32>, %small: tensor<3x4xf32>, %other: tensor<2x3xi32>) -> tensor<6x4xf32> {
  %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<5x4xf32> -> tensor<6x4xf32>
  %y = nn.embedding %other, %small : tensor<2x3xi32>, tensor<3x4xf32> -> tensor<6x4xf32>
  %z = nn.add %x, %y : tensor<6x4xf32>
  return %z : tensor<6x4xf32>
}
"""


@pytest.mark.parametrize("kind", ["in memory", "bundle"])
def test_ids_of_a_text_are_rows_of_their_table(tmp_path, kind):
    call = pst.compile(LOOK)
    if kind == "bundle":
        _pst.compile_text(LOOK, {"bundle": str(tmp_path / "b")})
        call = pst.compiled.Function(_pst.Program.load(tmp_path / "b"), "look")
    rng = np.random.default_rng(3)
    table, small = rng.standard_normal((5, 4)).astype(np.float32), rng.standard_normal((3, 4)).astype(np.float32)
    ids, other = np.array([[0, 1, 4], [3, 4, 2]], np.int32), np.array([[2, 1, 0], [0, 0, 2]], np.int32)
    np.testing.assert_array_equal(call(ids, table, small, other), table[ids.ravel()] + small[other.ravel()])
    for name, array, bad, rows in (("ids", ids, 5, 5), ("ids", ids, -1, 5), ("other", other, 3, 3)):
        changed = {"ids": ids, "other": other, name: array.copy()}
        changed[name][1, 2] = bad
        with pytest.raises(pst.Error) as error:
            call(changed["ids"], table, small, changed["other"])
        assert f'"{name}" of example 1 is {bad} at position 2; its table has {rows} rows: ids go from 0 to {rows - 1}' in str(error.value)


def test_shapes_and_types_that_cannot_be(bert):
    program = pst.compile(bert, batch_size=2, sequence_length=5)
    with pytest.raises(ValueError, match=r"input_ids is \[2, 6\], and the program takes rows of 1 to 5 tokens"):
        program(ids_of(2, 6))
    with pytest.raises(ValueError, match=r"attention_mask must be of shape \[rows, tokens\], as input_ids, but is \[2, 4\]"):
        program(ids_of(2, 5), np.ones((2, 4), int))
    with pytest.raises(TypeError, match="input 'input_ids' must hold whole numbers, not float64"):
        program(np.ones((2, 5)))
    with pytest.raises(ValueError, match="holds 4294967296, which does not fit into 32 bits"):
        program(np.full((2, 5), 2**32))


def test_inputs_are_named_as_the_text_names_them():
    text = """func.func @main(%x: tensor<3xf32>,
                 %shift : tensor<3xf32>, %2: tensor<3xf32>) -> tensor<3xf32> {
      %y = arith.addf %x, %shift : tensor<3xf32>
      %z = arith.addf %y, %2 : tensor<3xf32>
      return %z : tensor<3xf32>
    }"""
    function = pst.compile(text).function("main")
    assert [tensor.name for tensor in function.inputs] == ["x", "shift", "arg2"]
    one = np.ones(3, np.float32)
    assert (function(one, shift=2 * one, arg2=3 * one) == 6).all()
    with pytest.raises(TypeError, match="'main' lacks the input shift"):
        function(x=one, arg2=one)


def test_a_language_model_has_no_logits(tmp_path):
    from test_language import CONFIG as GPT2

    model = tmp_path / "m"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(GPT2))
    write_tensors(model / "model.safetensors", gpt2_tensors(GPT2), {"format": "pt"})
    program = pst.compile(model, task="lm", batch_size=2, sequence_length=5)
    with pytest.raises(TypeError, match="has a loss and no logits"):
        program(ids_of(2, 5))


def roberta(directory, padding):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(padding)
    config = transformers.RobertaConfig(
        vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=31, num_labels=CLASSES,
        max_position_embeddings=19, type_vocab_size=1, pad_token_id=padding,
    )  # fmt: skip
    model = transformers.RobertaForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.3 + ("LayerNorm.weight" in name))
    model.save_pretrained(directory)
    return torch, model


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_positions_of_roberta_are_those_of_transformers(tmp_path, padding, side):
    torch, reference = roberta(tmp_path / "m", padding)
    rng = np.random.default_rng(padding)
    # The token that pads stands within texts too.
    ids, mask = rng.integers(0, 61, (5, 13)), np.ones((5, 13), int)
    ids[:, 5] = padding
    for row in range(5):
        count = int(rng.integers(0, 4))
        if side != "right":
            ids[row, :count], mask[row, :count] = padding, 0
        if side != "left":
            ids[row, 13 - count :], mask[row, 13 - count :] = padding, 0
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()
    ours = pst.compile(tmp_path / "m", batch_size=5, sequence_length=13)(ids, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_token_is_that_of_transformers(tmp_path, side):
    """GPT-2, with texts that end with the token that pads them."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=61, n_embd=24, n_layer=2, n_head=2, n_positions=19, num_labels=CLASSES, pad_token_id=7, initializer_range=0.3
    )
    reference = transformers.GPT2ForSequenceClassification(config).eval()
    reference.save_pretrained(tmp_path / "m")
    rng = np.random.default_rng(2)
    ids, mask = rng.integers(0, 61, (5, 11)), np.ones((5, 11), int)
    for row, count in enumerate((0, 1, 3, 5, 2)):
        place = slice(0, count) if side == "left" else slice(11 - count, 11)
        ids[row, place], mask[row, place] = 7, 0
    ids[2, 6:9 if side == "right" else 11] = 7
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()
    ours = pst.compile(tmp_path / "m", batch_size=5, sequence_length=11)(ids, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
