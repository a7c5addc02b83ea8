# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Model directories as people have them: heads that are there, of another task
or not at all; classes, shards and element types."""

import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_model

import pst
from pst import TensorFile, inspection, write_tensors
from pst.cli import main
from pst.trainer import read_config


def head(rows, seed=5):
    rng = np.random.default_rng(seed)
    return {
        "classifier.weight": rng.standard_normal((rows, CONFIG["hidden_size"])).astype(np.float32),
        "classifier.bias": rng.standard_normal(rows).astype(np.float32),
    }


def write(directory, rows=None, **changes):
    config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
    return write_model(directory, config, bert_tensors(CONFIG) | (head(rows) if rows else {}))


def run(capsys, *arguments):
    status = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return status, out, err


def logits(directory, **options):
    ids = np.arange(5, 13, dtype=np.int32).reshape(2, 4)
    return pst.compile(directory, batch_size=2, sequence_length=4, **options)(ids)


def rewrite(directory, change):
    """The same weights in another file."""
    file = directory / "model.safetensors"
    held = TensorFile(directory)
    tensors = {name: np.array(held.read(name)) for name in held.names()}
    write_tensors(file, change(tensors), {"format": "pt"})
    return directory


@pytest.mark.parametrize("changes", [{}, {"architectures": ["BertModel"]}, {"architectures": ["BertForMultipleChoice"]}])
def test_a_head_that_is_not_there_is_refused_where_nothing_is_trained(capsys, tmp_path, changes):
    # Of the last one there is a head, of another task.
    model = write(tmp_path / "m", 2 if "Choice" in str(changes) else None, **changes)
    message = '"classifier.weight" is not in the files: it would start from random values'
    rows = tmp_path / "rows.tsv"
    rows.write_text("sentence\tlabel\nthe film\t0\nnot good\t1\n")
    commands = (
        ("eval", "--model_name_or_path", model, "--validation_file", rows),
        ("compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--max_seq_length", 8),
    )
    for command in commands:
        status, out, err = run(capsys, *command)
        assert status == 1 and message in err and str(model) in err and not out
    with pytest.raises(pst.CompileError, match="is not in the files"):
        logits(model)
    assert logits(model, new_head=True).shape == (2, 2)


def test_a_head_that_is_not_there_is_told_where_it_is_trained(capsys, tmp_path, data):
    model = write(tmp_path / "m", architectures=["BertModel"])
    remark = 'the files have no "classifier": it starts from random values and is trained'
    trainer = pst.Trainer(model, data[0], output_dir=tmp_path / "out", max_steps=1, report_to="none")
    assert remark in trainer.warnings
    status, _, err = run(
        capsys, "compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--max_seq_length", 8, "--num_labels", 3
    )
    assert status == 0 and f"warning: {remark}" in err


@pytest.mark.parametrize(
    "changes, kind",
    [
        ({"num_labels": 3}, "f32[2,3]"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "f32[2,3]"),
        ({}, "f32[2,3]"),  # as many rows as the head has
        ({"num_labels": 1}, "f32[2,1]"),
    ],
)
def test_the_number_of_classes_is_the_models(capsys, tmp_path, changes, kind):
    model = write(tmp_path / "m", 1 if changes.get("num_labels") == 1 else 3, **changes)
    flags = ("--method", "dense", "--max_seq_length", 8, "--per_device_train_batch_size", 2)
    status, _, err = run(capsys, "compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", *flags)
    assert status == 0 and "random" not in err, err
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    arguments = {a["name"]: a.get("type") for a in manifest["entry_points"]["forward"]["arguments"]}
    assert arguments["logits"] == kind
    assert arguments["labels"] == ("f32[2]" if kind.endswith(",1]") else "i32[2]")
    assert f"f32{list(logits(model).shape)}".replace(" ", "") == kind
    if not changes:
        assert read_config(model)["num_labels"] == 3


@pytest.mark.parametrize("classes", [["BertForQuestionAnswering"], ["BertForMultipleChoice"], [], None])
def test_any_class_of_the_type_holds_the_encoder(tmp_path, data, classes):
    model = write(tmp_path / "m", architectures=classes)
    trainer = pst.Trainer(model, data[0], output_dir=tmp_path / "out", max_steps=1, report_to="none")
    trainer.train()
    saved = json.loads((tmp_path / "saved" / "config.json").read_text()) if trainer.save(tmp_path / "saved") else {}
    assert saved["architectures"] == ["BertForSequenceClassification"]


def test_an_index_beside_the_one_file_is_left_over(tmp_path):
    model = write(tmp_path / "m", 2)
    expected = logits(model)
    index = {"metadata": {}, "weight_map": {"bert.pooler.dense.bias": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(logits(model, cache=False), expected)
    assert len(inspection.layers(model)) == 12


def test_f64_weights_are_rounded_to_f32(tmp_path):
    model = write(tmp_path / "m", 2)
    expected = logits(model)
    rewrite(model, lambda tensors: {name: value.astype(np.float64) for name, value in tensors.items()})
    np.testing.assert_array_equal(logits(model, cache=False), expected)


def test_f16_weights_and_old_names(tmp_path):
    model = rewrite(write(tmp_path / "m", 2), lambda t: {n: v.astype(np.float16).astype(np.float32) for n, v in t.items()})
    expected = logits(model)

    def older(tensors):
        names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        return {
            next((n.replace(new, old) for new, old in names.items() if new in n), n): v.astype(np.float16)
            for n, v in tensors.items()
        }

    np.testing.assert_array_equal(logits(rewrite(model, older), cache=False), expected)
