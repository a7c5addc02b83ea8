# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Predictions: of the whole text, one for each row of the file, and paths that are told before anything runs."""

import csv
import io
import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_data, write_model
from test_cli import refuse, run

import pst

CLASSES = ["bad", "good", "so-so"]
TEXTS = ["the film was good", "awful", "the food was not great and the film was bad , very very awful", "good good", "not"]


def trained_model(directory, classes=3, config=()):
    """A BERT with a head, as if it were trained; large enough that a wrong token shows."""
    names = {str(i): name for i, name in enumerate(CLASSES[:classes])} if classes > 1 else {"0": "LABEL_0"}
    settings = {**CONFIG, "id2label": names, "label2id": {name: int(i) for i, name in names.items()}, **dict(config)}
    if classes == 1:
        settings["problem_type"] = "regression"
    rng = np.random.default_rng(7)
    tensors = {name: 2 * tensor for name, tensor in bert_tensors(settings, 3).items()}
    tensors["classifier.weight"] = rng.standard_normal((classes, settings["hidden_size"])).astype(np.float32)
    tensors["classifier.bias"] = rng.standard_normal(classes).astype(np.float32) / 4
    return write_model(directory, settings, tensors)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return trained_model(tmp_path_factory.mktemp("predict") / "m")


def reference(directory, texts, pairs=None):
    """The probabilities (or values) by transformers, one text at a time."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.BertForSequenceClassification.from_pretrained(directory).eval()
    rows = []
    with torch.no_grad():
        for i, text in enumerate(texts):
            logits = model(**tokenizer(text, pairs[i] if pairs else None, return_tensors="pt")).logits[0]
            rows.append((logits if logits.numel() == 1 else logits.softmax(0)).numpy())
    return np.array(rows)


def test_python_predicts_as_transformers(saved):
    wanted = reference(saved, TEXTS)
    found = pst.load(saved).predict(TEXTS)
    assert [row["class"] for row in found] == [CLASSES[i] for i in wanted.argmax(1)]
    np.testing.assert_allclose([row["probability"] for row in found], wanted.max(1), atol=1e-5)
    assert len({row["class"] for row in found}) > 1


def test_a_longer_text_comes_later(saved):
    model = pst.load(saved)
    short, long = model.predict("awful"), model.predict(TEXTS)
    assert len(short) == 1 and short[0]["class"] == long[1]["class"]
    assert short[0]["probability"] == pytest.approx(long[1]["probability"], abs=1e-6)
    assert [row["class"] for row in model.predict(TEXTS[::-1])] == [row["class"] for row in long[::-1]]


def test_pairs_and_what_else_python_has(saved):
    wanted = reference(saved, TEXTS[:2], TEXTS[1:3])
    pairs = list(zip(TEXTS[:2], TEXTS[1:3]))
    model = pst.load(saved, per_device_eval_batch_size=1)
    for source in (pairs, [{"question": a, "passage": b} for a, b in pairs], {"text1": TEXTS[:2], "text2": TEXTS[1:3]}):
        found = model.predict(source)
        np.testing.assert_allclose([row["probability"] for row in found], wanted.max(1), atol=1e-5)
    assert model.predict([{"text": TEXTS[0], "label": None}]) == model.predict([TEXTS[0]])


def test_a_number_is_predicted(tmp_path):
    directory = trained_model(tmp_path / "m", 1)
    found = pst.load(directory).predict(TEXTS)
    np.testing.assert_allclose([row["value"] for row in found], reference(directory, TEXTS)[:, 0], atol=1e-4)


def test_texts_that_are_cut_are_counted(saved):
    model = pst.load(saved, max_seq_length=5)
    model.predict(TEXTS)
    assert model.warnings == ["the texts: 2 of 5 examples are longer than 5 tokens and were cut"]


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("named", [True, False])
def test_the_number_of_classes_is_the_models(tmp_path, classes, named):
    directory = trained_model(tmp_path / "m", classes)
    config = json.loads((directory / "config.json").read_text())
    for key in ("id2label", "label2id", "problem_type"):
        config.pop(key, None)
    (directory / "config.json").write_text(json.dumps({**config, **({"num_labels": classes} if named else {})}))
    model = pst.load(directory)
    assert model.labels.count == classes and model.labels.regression == (classes == 1)
    rows = [(text, i % 2) for i, text in enumerate(TEXTS)]
    trainer = pst.Trainer(directory, train=rows, output_dir=tmp_path / "o", max_steps=1, sparsity=0.5)
    assert trainer.labels.count == classes
    if classes == 3:
        assert trainer.warnings == [
            "the training data: has 2 of the model's 3 classes; --classes names those of another set"
        ]


def test_language_models_predict_no_classes(tmp_path):
    directory = trained_model(tmp_path / "m", config={"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    with pytest.raises(pst.DataError, match="a language model has no classes to predict"):
        pst.Classifier(directory)


# --- pst predict


def predict(capsys, saved, file, *more):
    status, out, err = run(capsys, "predict", "--model_name_or_path", saved, "--file", file, *more)
    assert status == 0, err
    return out, err


@pytest.mark.parametrize(
    "name, content, lines",
    [
        ("a.csv", "id,body\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS)), [2, 3, 4, 5, 6]),
        ("b.csv", "text,label\n" + "".join(f'"{text}",\n' for text in TEXTS), [2, 3, 4, 5, 6]),
        ("c.tsv", "sentence\n" + "".join(f"{text}\n" for text in TEXTS), [2, 3, 4, 5, 6]),
        ("d.txt", "".join(f"{text}\n" for text in TEXTS), [1, 2, 3, 4, 5]),
        ("e.jsonl", "".join(json.dumps({"what": text}) + "\n" for text in TEXTS), [1, 2, 3, 4, 5]),
        ("f.json", json.dumps([{"text": text, "label": None} for text in TEXTS], indent=0), [2, 6, 10, 14, 18]),
        ("g.tsv", "gj04\t1\t\t" + "\ngj04\t0\t*\t".join(TEXTS) + "\n", [1, 2, 3, 4, 5]),
    ],
)
def test_rows_are_predicted_whatever_the_columns_are_called(capsys, tmp_path, saved, name, content, lines):
    (tmp_path / name).write_text(content)
    wanted = pst.load(saved).predict(TEXTS)
    out, _ = predict(capsys, saved, tmp_path / name)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(int(row["line"]), row["class"]) for row in rows] == list(zip(lines, [row["class"] for row in wanted]))
    np.testing.assert_allclose([float(row["probability"]) for row in rows], [row["probability"] for row in wanted], atol=1e-5)
    predict(capsys, saved, tmp_path / name, "--output_file", tmp_path / "out.jsonl")
    again = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["line"], row["class"]) for row in again] == list(zip(lines, [row["class"] for row in wanted]))


def test_the_columns_of_the_training_are_remembered(capsys, tmp_path, model):
    rows = "".join(f"{'not' if i % 2 else 'the'} film,{'good' * (i % 3)},{i % 2},note {i} of many\n" for i in range(12))
    (tmp_path / "train.csv").write_text("first,second,y,remark\n" + rows)
    flags = ["--text_column", "first", "--text_pair_column", "second", "--label_column", "y", "--max_steps", 2]
    flags += ["--report_to", "none", "--save_strategy", "no", "--output_dir", tmp_path / "o"]
    status, _, err = run(capsys, "train", "--model_name_or_path", model, "--train_file", tmp_path / "train.csv", *flags)
    assert status == 0, err
    saved = tmp_path / "o" / "model"
    assert json.loads((saved / "config.json").read_text())["text_columns"] == ["first", "second"]
    (tmp_path / "new.csv").write_text("remark,second,first\nsome words here,good,the film\n")
    out, _ = predict(capsys, saved, tmp_path / "new.csv")
    wanted = pst.load(saved).predict([("the film", "good")])[0]
    row = next(csv.DictReader(io.StringIO(out)))
    assert row["class"] == wanted["class"]
    assert float(row["probability"]) == pytest.approx(wanted["probability"], abs=1e-5)


def test_rows_that_are_skipped_keep_their_place(capsys, tmp_path, saved):
    (tmp_path / "a.tsv").write_text(f"text\tid\n{TEXTS[0]}\t1\nbroken\n{TEXTS[1]}\t2\n")
    message = refuse(capsys, "predict", "--model_name_or_path", saved, "--file", tmp_path / "a.tsv")
    assert message.startswith(f"{tmp_path}/a.tsv:3: expected 2 columns") and "--skip_bad_rows" in message
    out, err = predict(capsys, saved, tmp_path / "a.tsv", "--skip_bad_rows")
    assert [line.split(",")[0] for line in out.splitlines()] == ["line", "2", "3", "4"]
    assert out.splitlines()[2] == "3,," and "1 of 3 rows are malformed and were skipped" in err


# --- the rows of predictions are those of the file


def test_evaluation_predicts_rows_without_labels_too(capsys, tmp_path, saved):
    labels = ["good", "", "bad", "-", "so-so"]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{label}\n" for t, label in zip(TEXTS, labels)) + "broken\n")
    flags = ["--model_name_or_path", saved, "--validation_file", tmp_path / "a.tsv", "--predictions", tmp_path / "out.tsv"]
    status, out, err = run(capsys, "eval", *flags, "--skip_bad_rows")
    assert status == 0 and out.startswith("examples: 3\n"), err
    wanted = [row["class"] for row in pst.load(saved).predict(TEXTS)]
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert lines == ["index\tprediction", *(f"{i}\t{name}" for i, name in enumerate(wanted)), "5\t"]


def test_all_rows_of_the_test_file_are_predicted(capsys, tmp_path, model, data):
    rows = (tmp_path / "dev.tsv").read_text().splitlines()
    (tmp_path / "test.tsv").write_text("\n".join([*rows[:4], "broken", *rows[4:]]) + "\n")
    flags = ["--test_file", tmp_path / "test.tsv", "--skip_bad_rows", "--max_eval_samples", 2, "--max_steps", 2]
    flags += ["--report_to", "none", "--save_strategy", "no", "--output_dir", tmp_path / "o"]
    status, _, err = run(capsys, "train", "--model_name_or_path", model, "--train_file", data[0], *flags)
    assert status == 0, err
    found = [line.split("\t") for line in (tmp_path / "o" / "predictions.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in found] == [str(i) for i in range(22)]
    texts = [row.split("\t")[0] for row in rows[1:]]
    wanted = [row["class"] for row in pst.load(tmp_path / "o" / "model").predict(texts)]
    assert [row[1] for row in found] == [*wanted[:3], "", *wanted[3:]]


def test_longer_rows_than_those_trained_on_are_read_whole(tmp_path, model):
    write_data(tmp_path / "long.tsv", 9, 5)
    rows = [("film", "yes"), ("not", "no"), ("good", "yes"), ("bad", "no")]
    options = dict(max_steps=1, report_to="none", save_strategy="no", learning_rate=0.5, sparsity=0.4, dropout=0.0, method="map")
    trainer = pst.Trainer(model, train=rows, output_dir=tmp_path / "o", **options)
    trainer.train()
    trainer.save(tmp_path / "saved")
    texts = pst.read_examples(tmp_path / "long.tsv").texts
    evaluation = trainer.evaluate(tmp_path / "long.tsv")
    assert trainer.length == 3 and evaluation["examples"] == 9 and 0 <= evaluation["metrics"]["accuracy"] <= 1
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        saved = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
        wanted = saved(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(evaluation["logits"], wanted, atol=1e-4)


def test_rows_past_max_seq_length_are_cut_by_the_tokenizer(tmp_path, model):
    options = dict(max_steps=1, report_to="none", save_strategy="no", sparsity=0.4, max_seq_length=5)
    trainer = pst.Trainer(model, train=[("film", "yes"), ("not", "no")] * 2, output_dir=tmp_path / "o", **options)
    trainer.evaluate([("the film was good and bad", "yes"), ("film", "no")])
    assert trainer.warnings[-1] == "the data: 1 of 2 examples are longer than 5 tokens and were cut"


# --- told before


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--test_file", "none.tsv"], "none.tsv: cannot be read: No such file or directory"),
        (["--test_file", "numbers.jsonl"], "numbers.jsonl:1: column 'text' must be a string, found int"),
        (["--output_dir", "file.txt"], "--output_dir file.txt: FOLDER/file.txt is a file, not a directory"),
        (["--output_dir", "file.txt/o"], "--output_dir file.txt/o: FOLDER/file.txt is a file, not a directory"),
        (
            ["--output_dir", "o", "--test_file", "o/predictions.tsv"],
            "--output_dir o: this would write o/predictions.tsv, and reads o/predictions.tsv; choose another directory",
        ),
    ],
)
def test_a_training_that_would_fail_at_its_end_does_not_begin(capsys, monkeypatch, tmp_path, model, data, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.jsonl").write_text('{"text": 7}\n')
    (tmp_path / "file.txt").write_text("")
    flags = flags if "--output_dir" in flags else [*flags, "--output_dir", "o"]
    found = refuse(capsys, "train", "--model_name_or_path", model, "--train_file", data[0], *flags)
    assert found == message.replace("FOLDER", str(tmp_path))
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--predictions", "dev.tsv"], "--predictions dev.tsv: is also what is read; choose another path"),
        (["--output_file", "."], "--output_file .: is a directory; expected the path of a file"),
        (["--predictions", "a", "--output_file", "a"], "--predictions a: is also what is read; choose another path"),
    ],
)
def test_an_evaluation_that_would_overwrite_does_not_begin(capsys, monkeypatch, tmp_path, model, data, flags, message):
    monkeypatch.chdir(tmp_path)
    before = data[1].read_bytes()
    assert refuse(capsys, "eval", "--model_name_or_path", model, "--validation_file", "dev.tsv", *flags) == message
    assert data[1].read_bytes() == before


def test_options_of_labels_are_not_for_language_models():
    assert pst.Options.make(task_name="sst2").task == pst.Options.make(label_column="y").implied_task == "classification"
    with pytest.raises(ValueError, match="--label_column is of a task with labels, and --task lm has none"):
        pst.Options.make(label_column="y", task="lm").check()
    assert pst.Options.make(classes="a, b").class_names == ["a", "b"]
    assert pst.Options.make(classes=["a, b", "c"]).class_names == ["a, b", "c"]
    with pytest.raises(ValueError, match="--classes must be at least two different names"):
        pst.Options.make(classes="a,a").check()
