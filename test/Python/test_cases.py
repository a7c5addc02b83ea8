# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Cases that users of this field bring: each folder has its input, and what is right is in the README beside them.

A case is a function under `@case(folder)`, which gets the folder's copy as a Case and asserts."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from conftest import ROOT
from test_cli import refuse, run

import pst

FOLDER = pathlib.Path(os.environ.get("PST_DATA", ROOT / ".." / "shared" / "data")).parent / "cases"
CASES = {}
QUICK = (
    "--dropout 0 --max_steps 2 --per_device_train_batch_size 4 --save_strategy no --eval_strategy no "
    "--report_to none --num_threads 1 --sparsity 0.5 --weight_rank 2 --mask_rank 2"
).split()
OPTIONS = dict(
    dropout=0.0,
    max_steps=1,
    per_device_train_batch_size=4,
    save_strategy="no",
    eval_strategy="no",
    report_to="none",
    sparsity=0.5,
)


def case(name):
    def register(check):
        CASES[name] = check
        return check

    return register


class Case:
    """The current directory is the case's; the models are in ../models."""

    def __init__(self, capsys):
        self.capsys = capsys

    def train(self, *more, model="../models/bert", out="o1"):
        """Standard output and error of a training that works."""
        status, output, err = run(self.capsys, "train", "--model_name_or_path", model, "--output_dir", out, *QUICK, *more)
        assert status == 0, err
        return output, err

    def refused(self, *more, model="../models/bert", out="o1"):
        """The sentence by which a training is refused, before it begins."""
        message = refuse(self.capsys, "train", "--model_name_or_path", model, "--output_dir", out, *QUICK, *more)
        assert not os.path.exists(os.path.join(out, "log.jsonl"))
        return message

    def run(self, *argv):
        status, output, err = run(self.capsys, *argv)
        assert status == 0, err
        return output, err


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def config(out="o1"):
    return json.loads(read(f"{out}/model/config.json"))


def predictions(path="o1/predictions.tsv"):
    """The second column, whose rows are those of the file."""
    rows = [line.split("\t") for line in read(path).splitlines()[1:]]
    assert [row[0] for row in rows] == [str(i) for i in range(len(rows))]
    return [row[1] for row in rows]


def examples_of(output):
    """How many rows a training says that it has read."""
    return int(next(line for line in output.splitlines() if " examples, " in line).split()[0])


# --- lengths


@case("41-test-longer-than-train")
def _(case):
    flags = ["--train_file", "short.tsv", "--test_file", "long.tsv", "--max_seq_length", 64, "--initial_sparsity", 0]
    case.train(*flags, "--sparsity", 0, "--learning_rate", 1e-12, model="model")
    output, _ = case.run("eval", "--model_name_or_path", "o1/model", "--validation_file", "long.tsv", "--max_seq_length", 64,
                         "--predictions", "eval.tsv")  # fmt: skip
    texts, labels = zip(*(line.split("\t") for line in read("long.tsv").splitlines()[1:]))
    assert "accuracy: 1\n" in output
    assert predictions() == predictions("eval.tsv") == list(labels)
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    trainer = pst.Trainer("model", train="short.tsv", output_dir="o2", max_seq_length=64, **OPTIONS)
    logits = trainer.evaluate([(text, "0") for text in texts], sparsity=0.0)["logits"]
    tokens = transformers.AutoTokenizer.from_pretrained("model")(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        reference = transformers.BertForSequenceClassification.from_pretrained("model").eval()(**tokens).logits.numpy()
    np.testing.assert_allclose(logits, reference, atol=1e-4)
    assert trainer.length == 4 and not trainer.warnings


@case("50-bundle-shorter")
def _(case):
    case.run("compile", "--model_name_or_path", "../models/bert", "--bundle", "b1", "--max_seq_length", 8,
             "--per_device_train_batch_size", 4)  # fmt: skip
    options = {**OPTIONS, "per_device_train_batch_size": 8}
    trainer = pst.Trainer("../models/bert", train="long.tsv", output_dir="o1", bundle="b1", **options)
    assert trainer.length == 8
    encoded = trainer._encode(pst.read_examples("long.tsv"))
    words = read("../models/bert/vocab.txt").split("\n")
    rows = [[words[i] for i in row] for row in encoded.ids]
    assert max(map(len, rows)) == 8 and all(row[-1] == "[SEP]" for row in rows)
    assert trainer.warnings[0] == "long.tsv: 3 of 4 examples are longer than 8 tokens and were cut"


# --- labels


@case("02-snli-no-gold")
def _(case):
    for file, column, label in (("ids.jsonl", "label", "-1"), ("words.jsonl", "gold_label", "-")):
        message = case.refused("--train_file", file)
        assert message.startswith(f"{file}:7: column '{column}' has no label: '{label}' stands for a missing one"), message
        shutil.rmtree("o1", ignore_errors=True)
        _, err = case.train("--train_file", file, "--skip_bad_rows")
        assert "have no label and were skipped" in err
        assert len(config()["id2label"]) == 3
        shutil.rmtree("o1")


@case("04-nan-label")
def _(case):
    assert case.refused("--train_file", "nan.csv").startswith("nan.csv:10: column 'label' has no label")
    assert case.refused("--train_file", "nan.jsonl").startswith("nan.jsonl:9: column 'label' has no label")
    output, err = case.train("--train_file", "nan.jsonl", "--skip_bad_rows")
    assert "nan.jsonl: 1 of 9 rows have no label and were skipped" in err
    assert examples_of(output) == 8 and config()["id2label"] == {"0": "0", "1": "1"}


@case("34-python-rows")
def _(case):
    texts, labels = ["the film was good", "the film was bad", "i liked it", "boring"], [1, 0, 1, 0]
    for rows in (
        [{"text": text, "label": label} for text, label in zip(texts, labels)],
        list(zip(texts, np.array(labels))),
        list(zip(texts, np.array(labels, float))),
        list(zip(texts, np.array(labels, bool))),
        [[text, label] for text, label in zip(texts, labels)],
        list(zip(np.array(texts), labels)),
        ((text, label) for text, label in zip(texts, labels)),
    ):
        assert pst.Trainer("../models/bert", train=rows, output_dir="o1", **OPTIONS).labels.names == ["0", "1"]
    for missing in (None, float("nan")):
        with pytest.raises(pst.DataError, match="^the training data:3: column 'label' has no label"):
            pst.Trainer("../models/bert", train=list(zip(texts, [1, 0, missing, 0])), output_dir="o1", **OPTIONS)
    with pytest.raises(pst.DataError, match="^the training data: no examples$"):
        pst.Trainer("../models/bert", train=[], output_dir="o1", **OPTIONS)


@case("51-gpt2-glue-task")
def _(case):
    for flag, value in (("--task_name", "sst2"), ("--label_column", "label")):
        output, _ = case.train("--train_file", "dev.tsv", flag, value, model="../models/gpt2-lm")
        assert config()["architectures"] == ["GPT2ForSequenceClassification"]
        assert config()["id2label"] == {"0": "0", "1": "1"}
        assert examples_of(output) == 8
        shutil.rmtree("o1")


# --- files


@case("01-cola-header")
def _(case):
    case.train("--task_name", "cola", "--train_file", "train.tsv", "--validation_file", "dev.tsv", "--test_file", "test.tsv")
    assert len(predictions()) == 8 and set(predictions()) <= {"0", "1"}
    for out, file in (("o2", "hf.csv"), ("o3", "four.csv")):
        output, _ = case.train("--task_name", "cola", "--train_file", file, out=out)
        assert examples_of(output) == 8
        assert config(out)["id2label"] == {"0": "0", "1": "1"}


@case("05-long-csv-field")
def _(case):
    for file in ("long.jsonl", "long.csv"):
        output, err = case.train("--train_file", file, "--max_seq_length", 16)
        assert examples_of(output) == 9
        assert f"warning: {file}: 1 of 9 examples are longer than 16 tokens and were cut" in err
        shutil.rmtree("o1")


@case("06-lone-surrogate")
def _(case):
    assert case.refused("--train_file", "tweets.jsonl").startswith(
        "tweets.jsonl:9: column 'text' holds half of a surrogate pair, \\ud83d"
    )
    output, _ = case.train("--train_file", "tweets.jsonl", "--skip_bad_rows")
    assert examples_of(output) == 8


@case("07-json-array")
def _(case):
    for file in ("flat.json", "pretty.json"):
        wanted = json.loads(read(file))
        examples = pst.read_examples(file)
        assert examples.texts == [row["text"] for row in wanted] and examples.labels == [row["label"] for row in wanted]
    case.train("--train_file", "pretty.json")


@case("08-utf16")
def _(case):
    rows = [line.split("\t") for line in pathlib.Path("excel.txt").read_text(encoding="utf-16").splitlines()[1:]]
    assert pst.read_examples("excel.txt").texts == [row[0] for row in rows]
    output, _ = case.train("--train_file", "excel.txt")
    assert examples_of(output) == len(rows)


@case("09-test-blank-labels")
def _(case):
    for file in ("blank.tsv", "dash.tsv", "minus.tsv", "null.jsonl"):
        case.train("--train_file", "dev.tsv", "--test_file", file)
        assert len(predictions()) == 8 and set(predictions()) <= {"0", "1"}
        shutil.rmtree("o1")


@case("21-gpt2-empty-text")
def _(case):
    for model in ("gpt2", "bert", "roberta"):
        output, _ = case.train("--train_file", "dev.tsv", model=f"../models/{model}")
        assert examples_of(output) == 9
        shutil.rmtree("o1")


@case("58-qqp-broken-rows")
def _(case):
    flags = ("--task_name", "qqp", "--train_file", "train.tsv")
    message = case.refused(*flags)
    assert message.startswith("train.tsv:10: expected 6 columns, as the header has, found 4") and "--skip_bad_rows" in message
    output, err = case.train(*flags, "--skip_bad_rows")
    assert "warning: train.tsv: 2 of 10 rows are malformed and were skipped" in err
    assert examples_of(output) == 8


# --- results


@case("29-single-example-eval")
def _(case):
    case.train("--task_name", "stsb", "--train_file", "reg.tsv", "--validation_file", "one.tsv", "--eval_strategy", "epoch")

    def refuse_constant(name):
        raise AssertionError(f"not JSON: {name}")

    results = json.loads(read("o1/train_results.json"), parse_constant=refuse_constant)
    assert results["pearson"] is None and results["mse"] > 0
    for line in read("o1/log.jsonl").splitlines():
        json.loads(line, parse_constant=refuse_constant)
    case.train("--train_file", "two.tsv", "--num_train_epochs", 0.5, "--per_device_train_batch_size", 8, out="o2")


@case("39-predictions-nowhere")
def _(case):
    flags = ("eval", "--model_name_or_path", "../models/bert", "--validation_file", "dev.tsv")
    for flag in ("--predictions", "--output_file"):
        message = refuse(case.capsys, *flags, flag, "no/such/out.tsv")
        assert message == f"{flag} no/such/out.tsv: there is no directory no/such; make it first"


@case("43-output-is-input")
def _(case):
    case.train("--train_file", "dev.tsv")
    before = pathlib.Path("o1/model/model.safetensors").read_bytes()
    message = refuse(case.capsys, "train", "--model_name_or_path", "o1/model", "--output_dir", "o1", "--overwrite_output_dir",
                     "--train_file", "dev.tsv", *QUICK)  # fmt: skip
    assert message == "--output_dir o1: this would write o1/model, and reads o1/model; choose another directory"
    assert pathlib.Path("o1/model/model.safetensors").read_bytes() == before
    shutil.copytree("../models/bert", "m1")
    case.train("--train_file", "dev.tsv", model="m1", out="m1")
    assert pst.load("m1/model").labels.names == ["0", "1"]


@pytest.mark.parametrize("name", CASES)
def test_case(name, tmp_path, monkeypatch, capsys):
    if not (FOLDER / name).is_dir():
        pytest.skip(f"the case {name} is not there (set PST_DATA: cases lie beside the data)")
    shutil.copytree(FOLDER / name, tmp_path / name, copy_function=shutil.copyfile)
    (tmp_path / name).chmod(0o755)
    (tmp_path / "models").symlink_to((FOLDER / "models").resolve())
    monkeypatch.chdir(tmp_path / name)
    CASES[name](Case(capsys))
