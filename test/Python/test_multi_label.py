# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that give several labels an example, from training to predictions, against transformers."""

import csv
import io
import json

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, first_loss, write_model
from test_cli import refuse, run

import pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMES = ["bad", "good", "food"]


def rows(count, seed=0):
    """Sentences, and which of the names stand in them."""
    rng = np.random.default_rng(seed)
    words = [word for word in WORDS[5:20] if word.isalpha()]
    texts = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(count)]
    return [(text, [name for name in NAMES if name in text.split()]) for text in texts]


def bits(data, names=NAMES):
    return np.array([[name in labels for name in names] for _, labels in data], np.float32)


def jsonl(path, data):
    path.write_text("".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in data))
    return path


def table(path, data):
    lines = [f"{text.replace(',', '')},{','.join(str(int(name in labels)) for name in NAMES)}\n" for text, labels in data]
    path.write_text("text," + ",".join(NAMES) + "\n" + "".join(lines))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = {**CONFIG, "num_hidden_layers": 1}
    return write_model(tmp_path_factory.mktemp("many") / "m", config, bert_tensors(config, 3))


def reference(directory, data, names):
    """Logits and loss as transformers has them, in float64."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    found, loading = transformers.AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["mismatched_keys"], loading
    batch = tokenizer([text for text, _ in data], padding=True, return_tensors="pt")
    with torch.no_grad():
        output = found.double().eval()(**batch, labels=torch.tensor(bits(data, names), dtype=torch.float64))
    return output.logits.numpy(), float(output.loss)


def trainer_of(model, data, dev, folder, **more):
    rates = {"learning_rate": 2e-2, "head_learning_rate": 2e-2}
    settings = {"max_steps": 80, "sparsity": 0.3, "eval_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}
    return pst.Trainer(model, data, dev, output_dir=folder, **rates, **settings, **more)


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data, dev = rows(64), rows(37, 1)
    trainer = trainer_of(model, jsonl(folder / "train.jsonl", data), jsonl(folder / "dev.jsonl", dev), folder / "run")
    trainer.train()
    evaluation = trainer.evaluate()
    trainer.save(folder / "model")
    return folder, dev, evaluation


def test_the_saved_model_is_transformers(trained):
    folder, dev, evaluation = trained
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and config["architectures"] == ["BertForSequenceClassification"]
    names = [config["id2label"][str(i)] for i in range(3)]
    assert names == sorted(NAMES)
    logits, loss = reference(folder / "model", dev, names)
    np.testing.assert_allclose(evaluation["logits"], logits, rtol=1e-4, atol=1e-5)
    assert evaluation["loss"] == pytest.approx(loss, rel=1e-5)
    assert set(evaluation["metrics"]) == {"micro_f1", "macro_f1", "subset_accuracy"}
    assert 0 < evaluation["metrics"]["micro_f1"] <= 1


def test_the_loss_of_a_step_is_transformers(model, tmp_path):
    """Of all examples, in micro-batches of which the last is not full; without dropout."""
    tensors = {**bert_tensors({**CONFIG, "num_hidden_layers": 1}, 5)}
    rng = np.random.default_rng(1)
    tensors["classifier.weight"] = rng.standard_normal((3, 12)).astype(np.float32)
    tensors["classifier.bias"] = rng.standard_normal(3).astype(np.float32)
    config = {
        **CONFIG, "num_hidden_layers": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "id2label": dict(enumerate(NAMES)), "problem_type": "multi_label_classification",
    }  # fmt: skip
    directory, data = write_model(tmp_path / "m", config, tensors), rows(21)
    assert first_loss(directory, data, tmp_path / "run") == pytest.approx(reference(directory, data, NAMES)[1], rel=2e-6)


def test_training_learns_and_is_reproducible(trained, model, tmp_path):
    folder, _, _ = trained
    again = trainer_of(model, rows(64), rows(37, 1), tmp_path / "run", num_threads=1)
    again.train()
    again.save(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (folder / "model" / "model.safetensors").read_bytes()


def test_eval_predict_and_load(trained, tmp_path, capsys):
    folder, dev, evaluation = trained
    directory, names = folder / "model", sorted(NAMES)
    # From lists, and from the columns that the model's labels are.
    for file in (folder / "dev.jsonl", table(tmp_path / "dev.csv", dev)):
        status, out, err = run(capsys, "eval", "--model_name_or_path", directory, "--validation_file", file, "--predictions", tmp_path / "p.tsv")
        assert status == 0, err
        for name in ("micro_f1", "macro_f1", "subset_accuracy"):
            if file.suffix == ".jsonl":
                assert float(out.split(f"{name}: ")[1].split()[0]) == pytest.approx(evaluation["metrics"][name], rel=1e-5)
    shares = 1 / (1 + np.exp(-evaluation["logits"].astype(np.float64)))
    found = pst.load(directory).predict([text for text, _ in dev])
    for row, share, logits in zip(found, shares, evaluation["logits"]):
        assert row["classes"] == [name for name, x in zip(names, logits) if x > 0]
        assert list(row["probabilities"]) == names
        assert list(row["probabilities"].values()) == pytest.approx(share.tolist(), abs=1e-5)
    status, out, err = run(capsys, "predict", "--model_name_or_path", directory, "--file", folder / "dev.jsonl")
    assert status == 0, err
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [json.loads(line["classes"]) for line in lines] == [row["classes"] for row in found]
    assert json.loads(lines[0]["probabilities"]) == pytest.approx(found[0]["probabilities"], abs=1e-6)
    run(capsys, "predict", "--model_name_or_path", directory, "--file", folder / "dev.jsonl", "--output_file", tmp_path / "p.jsonl")
    first = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert first["line"] == 1 and first["classes"] == found[0]["classes"]


def test_columns_train_and_a_checkpoint_is_exported(model, tmp_path, capsys):
    train, dev = table(tmp_path / "t.csv", rows(24)), table(tmp_path / "d.csv", rows(9, 1))
    status, out, err = run(
        capsys, "train", "--model_name_or_path", model, "--train_file", train, "--validation_file", dev, "--test_file", dev,
        "--output_dir", tmp_path / "run", "--label_columns", ",".join(NAMES), "--max_steps", 3, "--metric_for_best_model", "f1_macro",
    )  # fmt: skip
    assert status == 0, err
    assert "subset_accuracy: " in out
    lines = (tmp_path / "run" / "predictions.tsv").read_text().splitlines()[1:]
    assert len(lines) == 9 and all(set(json.loads(line.split("\t")[1])) <= set(NAMES) for line in lines)
    status, out, err = run(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "exported")
    assert status == 0, err
    for directory in (tmp_path / "run" / "model", tmp_path / "exported"):
        config = json.loads((directory / "config.json").read_text())
        assert config["problem_type"] == "multi_label_classification"
        assert config["id2label"] == {str(i): name for i, name in enumerate(NAMES)}
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()


def test_a_bundle_and_prepared_data(model, tmp_path, capsys):
    train = jsonl(tmp_path / "t.jsonl", rows(24))
    status, _, err = run(
        capsys, "compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--num_labels", 3,
        "--task", "multi_label_classification", "--max_seq_length", 12, "--per_device_train_batch_size", 4,
    )  # fmt: skip
    assert status == 0, err
    settings = {"bundle": tmp_path / "b", "max_steps": 2, "report_to": "none"}
    pst.Trainer(model, train, output_dir=tmp_path / "run", **settings).train()
    with pytest.raises(pst.DataError, match="compiled for the task multi_label_classification, but that of the data is classification"):
        pst.Trainer(model, [("a", "x"), ("b", "y"), ("a", "z")], output_dir=tmp_path / "other", **settings)
    status, out, err = run(capsys, "prepare", "--model_name_or_path", model, "--train_file", train, "--output_dir", tmp_path / "data")
    assert status == 0 and "labels: bad, food, good" in out, err
    labels = pst.TensorFile(tmp_path / "data" / "train.safetensors").read("labels")
    np.testing.assert_array_equal(np.array(labels), bits(rows(24), sorted(NAMES)))


# As numbers, and as what each class lacks.
@pytest.mark.parametrize("given, weights", [([0.5, 3.0, 1.25], [0.5, 3.0, 1.25]), ("balanced", None)])
def test_class_weights_are_pytorchs_pos_weight(trained, tmp_path, given, weights):
    """One step of all examples, in micro-batches of which the last is not full."""
    directory, data, dev = trained[0] / "model", rows(29, 3), rows(17, 4)
    trainer = pst.Trainer(
        directory, data, dev, output_dir=tmp_path, method="lora", dropout=0.0, max_steps=1, learning_rate=0.0, logging_steps=1,
        per_device_train_batch_size=8, gradient_accumulation_steps=4, save_strategy="no", report_to="none", class_weights=given,
    )  # fmt: skip
    names = trainer.labels.names
    if weights is None:
        having = bits(data, names).sum(0)
        weights = (len(data) - having) / having
    result = trainer.train()

    def expected(examples):
        logits = torch.tensor(reference(directory, examples, names)[0])
        labels = torch.tensor(bits(examples, names), dtype=torch.float64)
        weight = torch.tensor(weights, dtype=torch.float64)
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight))

    (line,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"train"' in line]
    assert line["loss"] == pytest.approx(expected(data), rel=2e-6)
    assert result["history"][-1]["loss"] == pytest.approx(expected(dev), rel=2e-6)


def test_a_class_that_nobody_has_cannot_be_balanced(model, tmp_path):
    settings = {"label_columns": ",".join(NAMES), "class_weights": "balanced", "report_to": "none"}
    data = [(text, [name for name in labels if name != "food"]) for text, labels in rows(24)]
    with pytest.raises(pst.DataError, match="--class_weights balanced: the training data have no example of the class 'food'"):
        pst.Trainer(model, table(tmp_path / "without.csv", data), output_dir=tmp_path / "b", **settings)
    pst.Trainer(model, table(tmp_path / "with.csv", [*data, ("food", ["food"])]), output_dir=tmp_path / "a", **settings)


def test_own_metrics_get_the_bits(model, tmp_path):
    dev = rows(11, 1)

    def compute(logits, labels):
        assert logits.shape == labels.shape == (11, 3) and labels.dtype == np.float32
        np.testing.assert_array_equal(labels, bits(dev, sorted(NAMES)))
        return {"right": float(((logits > 0) == labels).mean())}

    trainer = pst.Trainer(model, rows(24), dev, output_dir=tmp_path, max_steps=1, report_to="none", compute_metrics=compute)
    trainer.train()
    assert 0 <= trainer.evaluate()["metrics"]["right"] <= 1


def test_what_is_refused(model, tmp_path, capsys):
    train = jsonl(tmp_path / "t.jsonl", rows(24))
    flags = ("train", "--model_name_or_path", model, "--train_file", train, "--output_dir", tmp_path / "run", "--max_steps", 1)
    told = refuse(capsys, *flags, "--label_smoothing_factor", 0.1)
    assert told == "--label_smoothing_factor is of models that give one label, but the examples have several"
    told = refuse(capsys, *flags, "--label_columns", "a,b", "--label_column", "c")
    assert told == "--label_column and --label_columns are both given: leave one of them out"
    told = refuse(capsys, *flags, "--label_columns", "a,b", "--task", "classification")
    assert told == "--label_columns is of --task multi_label_classification, but the task is classification"
    told = refuse(capsys, *flags, "--label_columns", "a,a")
    assert told == "--label_columns must be different names, with commas between them, but is 'a,a'"
    single = tmp_path / "s.tsv"
    single.write_text("text\tlabel\na\tpos\nb\tneg\n")
    told = refuse(capsys, *flags[:4], single, *flags[5:], "--task", "multi_label_classification")
    assert told.startswith(f"{single}:2: column 'label' is 'pos'; expected a list")
