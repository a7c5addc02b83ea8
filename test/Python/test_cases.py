# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Cases that users of this field bring: each folder has its input, and what is right is in the README beside them.

A case is a function under `@case(folder)`, which gets the folder's copy as a Case and asserts."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

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


# --- tokenizers, heads and model directories


def same_as_transformers(model, limit=64):
    """Ids and logits of rows.jsonl, padded, are those of transformers."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    rows = [json.loads(line) for line in read("rows.jsonl").splitlines()]
    texts, pairs = [row["text"] for row in rows], [row["pair"] for row in rows] if "pair" in rows[0] else None
    theirs, ours = transformers.AutoTokenizer.from_pretrained(model), pst.Tokenizer(model)
    if theirs.pad_token is None:
        theirs.pad_token = theirs.eos_token
    encoded = ours.encode(pst.Examples("rows", texts, pairs, None, list(range(len(texts)))), limit)
    tokens = theirs(texts, pairs, truncation=True, max_length=limit, padding=True, return_tensors="pt")
    assert encoded.ids == theirs(texts, pairs, truncation=True, max_length=limit)["input_ids"]
    arrays = encoded.arrays(encoded.longest)
    program = pst.compile(model, batch_size=len(rows), sequence_length=encoded.longest)
    with torch.no_grad():
        reference = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()(**tokens).logits.numpy()
    for inputs in (arrays, {name: tokens[name].numpy() for name in ("input_ids", "attention_mask")}):
        logits = program(inputs["input_ids"], inputs["attention_mask"], arrays["token_type_ids"])
        np.testing.assert_allclose(logits, reference, atol=1e-4)
    return ours


@case("11-added-tokens")
def _(case):
    assert same_as_transformers("model")._impl.encode("[E1][E2]").ids[1:-1] == [122, 123]


@case("13-roberta-slow-files")
def _(case):
    same_as_transformers("model")


@case("48-truncation-side")
def _(case):
    same_as_transformers("model", 8)


@case("15-roberta-pair-types")
def _(case):
    case.train("--train_file", "pairs.tsv", model="model")
    same_as_transformers("model")


@case("55-phobert-files")
def _(case):
    assert "PhobertTokenizer" in case.refused("--train_file", "dev.tsv", model="model")


def gpt2_pads_with(case, token, model):
    case.train("--train_file", "dev.tsv", "--task", "classification", model=model)
    assert config()["pad_token_id"] == token
    same_as_transformers("o1/model")


@case("18-gpt2-pad-added")
def _(case):
    gpt2_pads_with(case, 365, "model")


@case("19-gpt2-default-eos")
def _(case):
    gpt2_pads_with(case, 0, "../models/gpt2-lm-default-eos")
    case.train("--train_file", "lm.jsonl", "--block_size", 16, model="../models/gpt2-lm-default-eos", out="o2")


@case("20-gpt2-text-ends-with-eos")
def _(case):
    gpt2_pads_with(case, 0, "model")


@case("22-eval-without-head")
def _(case):
    message = "it would start from random values"
    for model, more in (("bert-base", ()), ("gpt2-lm", ("--task", "classification"))):
        directory = f"../models/{model}"
        assert message in refuse(
            case.capsys, "eval", "--model_name_or_path", directory, "--validation_file", "dev.tsv", *more
        )
        with pytest.raises(pst.CompileError, match=message):
            pst.compile(directory, task="classification", batch_size=1, sequence_length=8)


@case("42-compile-own-labels")
def _(case):
    case.train("--train_file", "tri.tsv")
    case.run("compile", "--model_name_or_path", "o1/model", "--bundle", "b1", "--method", "dense", "--max_seq_length", 16,
             "--per_device_train_batch_size", 2)  # fmt: skip
    manifest = json.loads(read("b1/manifest.json"))
    arguments = {a["name"]: a.get("type") for a in manifest["entry_points"]["forward"]["arguments"]}
    assert arguments["logits"] == "f32[2,3]"


@case("59-num-labels-only")
def _(case):
    output, _ = case.run("eval", "--model_name_or_path", "three", "--validation_file", "three.tsv")
    assert "accuracy: 1\n" in output
    output, _ = case.run("eval", "--model_name_or_path", "one", "--validation_file", "one.tsv")
    assert "pearson: 1\n" in output


@case("25-stale-index")
def _(case):
    case.run("eval", "--model_name_or_path", "model", "--validation_file", "dev.tsv")
    case.run("inspect", "model")


@case("26-other-head")
def _(case):
    _, err = case.train("--train_file", "dev.tsv", model="../models/bert-qa")
    shutil.copytree("../models/bert-base", "m2")
    changed = json.loads(read("m2/config.json")) | {"architectures": []}
    pathlib.Path("m2/config.json").write_text(json.dumps(changed))
    case.train("--train_file", "dev.tsv", model="m2", out="o2")


# --- faces


@case("33-hf-flags")
def _(case):
    flags = ("--train_file", "dev.tsv", "--validation_file", "dev.tsv", "--num_train_epochs", 1, "--per_device_eval_batch_size", 4)
    theirs = "--do_train --do_eval --max_steps -1 --logging_strategy steps --lr_scheduler_type linear --optim adamw_torch --fp16 False"
    rest = ("--overwrite_output_dir", "--report_to", "none", "--output_dir", "o1", "--sparsity", "0.5")
    model = ("--model_name_or_path", "../models/bert")
    output, err = case.run("train", *model, *flags, *theirs.split(), *rest)
    assert "steps: 1\n" in output and "warning" not in err
    output, _ = case.run("train", *model, *flags, "--load_best_model_at_end", "True", "--pad_to_max_length", "False", *rest)
    assert "steps: 1\n" in output


@case("46-option-types")
def _(case):
    rows = [("the film was good", 1), ("the film was bad", 0)] * 4
    for given in (dict(learning_rate="5e-5"), dict(max_steps=2.0), dict(seed="42"), dict(per_device_train_batch_size=4.0),
                  dict(sparsity="0.5"), dict(max_seq_length="16")):  # fmt: skip
        pst.Trainer("../models/bert", train=rows, output_dir="o1", **{**OPTIONS, **given})
    for given in (dict(seed=-1), dict(sparsity=90), dict(warmup_ratio=6), dict(learning_rate="fast")):
        with pytest.raises(ValueError, match=next(iter(given))):
            pst.Trainer("../models/bert", train=rows, output_dir="o1", **{**OPTIONS, **given})


@case("37-bare-environment")
def _(case):
    command = [sys.executable, "-m", "pst", "train", "--model_name_or_path", "../models/bert", "--train_file", "dev.tsv",
               "--output_dir", "läufe", *QUICK]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PST_CACHE_DIR": os.environ.get("PST_CACHE_DIR", "cache"),
                   "PYTHONIOENCODING": "ascii", "HOME": "."}  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"model: l" in done.stdout and b"Traceback" not in done.stderr
    assert os.path.exists("läufe/model/model.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_case(name, tmp_path, monkeypatch, capsys):
    if not (FOLDER / name).is_dir():
        pytest.skip(f"the case {name} is not there (set PST_DATA: cases lie beside the data)")
    shutil.copytree(FOLDER / name, tmp_path / name, copy_function=shutil.copyfile)
    (tmp_path / name).chmod(0o755)
    (tmp_path / "models").symlink_to((FOLDER / "models").resolve())
    monkeypatch.chdir(tmp_path / name)
    CASES[name](Case(capsys))
