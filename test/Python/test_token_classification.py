# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that give each word a tag, from training to predictions, against transformers."""

import json

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, first_loss, write_model
from test_cli import refuse, run

import pst
from pst.entities import entity_metrics
from pst.tagged import Tagged

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMES = ["B-FOOD", "B-JUDGE", "I-JUDGE", "O"]


def sentences(count, seed=0):
    """Words, some of several tokens, whose tags follow from them."""
    rng = np.random.default_rng(seed)
    choices = ["the", "film", "films", "was", "good", "goods", "bad", "not", "great", "very", "food", "and"]
    rows = []
    for _ in range(count):
        words = [str(word) for word in rng.choice(choices, rng.integers(1, 9))]
        tags, inside = [], False
        for word in words:
            judges = word in ("good", "goods", "bad", "great", "very")
            tags.append("B-FOOD" if word == "food" else ("I-JUDGE" if inside else "B-JUDGE") if judges else "O")
            inside = judges
        rows.append((words, tags))
    return rows


def conll(path, rows):
    path.write_text("\n".join("".join(f"{w} {t}\n" for w, t in zip(*row)) for row in rows))
    return path


def jsonl(path, rows):
    path.write_text("".join(json.dumps({"tokens": words, "ner_tags": tags}) + "\n" for words, tags in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bare encoder: the head is new."""
    config = {**CONFIG, "num_hidden_layers": 1, "architectures": ["BertModel"]}
    return write_model(tmp_path_factory.mktemp("tokens") / "m", config, bert_tensors(config, 3))


def reference(directory, rows, names):
    """Per sentence the logits of its words' first tokens, and the loss, by transformers in float64."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, add_prefix_space=True)
    found, loading = transformers.AutoModelForTokenClassification.from_pretrained(directory, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["mismatched_keys"], loading
    batch = tokenizer([words for words, _ in rows], is_split_into_words=True, padding=True, return_tensors="pt")
    labels = torch.full(batch["input_ids"].shape, -100)
    places = []
    for i, (words, tags) in enumerate(rows):
        ids = batch.word_ids(i)
        places.append([ids.index(w) for w in range(len(words))])
        labels[i, places[-1]] = torch.tensor([names.index(tag) for tag in tags])
    with torch.no_grad():
        output = found.double().eval()(**batch, labels=labels)
    return [output.logits[i, at].numpy() for i, at in enumerate(places)], float(output.loss)


def metrics_of(logits, rows, names):
    """Of words side by side, -100 after the last."""
    width = max(len(words) for words, _ in rows)
    labels = np.full((len(rows), width), -100, np.int32)
    scores = np.zeros((len(rows), width, len(names)))
    for i, (row, (_, tags)) in enumerate(zip(logits, rows)):
        labels[i, : len(tags)], scores[i, : len(tags)] = [names.index(tag) for tag in tags], row
    right = (scores.argmax(-1) == labels)[labels >= 0].mean()
    return {**entity_metrics(names, scores, labels), "accuracy": right}


SETTINGS = {"report_to": "none", "max_steps": 120, "learning_rate": 2e-2, "sparsity": 0.3, "eval_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    train, dev = sentences(64), sentences(37, 1)
    trainer = pst.Trainer(
        model, conll(folder / "train.conll", train), jsonl(folder / "dev.jsonl", dev), task="token_classification",
        output_dir=folder / "run", **SETTINGS,
    )  # fmt: skip
    trainer.train()
    evaluation = trainer.evaluate()
    trainer.save(folder / "model")
    return folder, dev, evaluation, trainer


def test_the_saved_model_is_transformers(trained):
    folder, dev, evaluation, trainer = trained
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"] and "problem_type" not in config
    assert [config["id2label"][str(i)] for i in range(4)] == NAMES
    logits, loss = reference(folder / "model", dev, NAMES)
    assert evaluation["logits"].shape == (37, trainer.length, 4)
    assert evaluation["loss"] == pytest.approx(loss, rel=1e-5)
    assert evaluation["metrics"] == pytest.approx(metrics_of(logits, dev, NAMES), rel=1e-9)
    assert evaluation["metrics"]["f1"] > 0.5
    # Longer sentences than those of training, by the saved model; the same numbers.
    long = [(words * 3, tags * 3) for words, tags in dev]
    assert max(len(words) for words, _ in long) + 2 > trainer.length
    found = trainer.evaluate(long)
    logits, loss = reference(folder / "model", long, NAMES)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["metrics"] == pytest.approx(metrics_of(logits, long, NAMES), rel=1e-9)


def test_words_that_are_cut_off_have_no_tag(trained):
    folder, dev, _, _ = trained
    long = dev[0][0] * 12
    (found,) = pst.load(folder / "model", max_seq_length=12).tag([long])
    cut = found["tags"].index(None)
    assert 4 < cut < len(long) and set(found["tags"][cut:]) == {None} and found["probabilities"][cut:] == [None] * (len(long) - cut)


def test_eval_predict_and_load(trained, tmp_path, capsys):
    folder, dev, evaluation, _ = trained
    directory = folder / "model"
    logits, loss = reference(directory, dev, NAMES)
    tags = [[NAMES[i] for i in row.argmax(-1)] for row in logits]
    for file in (folder / "dev.jsonl", conll(tmp_path / "dev.txt", dev)):
        status, out, err = run(capsys, "eval", "--model_name_or_path", directory, "--validation_file", file, "--predictions", tmp_path / "p.conll")
        assert status == 0, err
        for name in ("precision", "recall", "f1", "accuracy"):
            assert float(out.split(f"{name}: ")[1].split()[0]) == pytest.approx(evaluation["metrics"][name], rel=1e-5)
        assert float(out.split("loss: ")[1].split()[0]) == pytest.approx(loss, rel=1e-5)
        written = Tagged.of(tmp_path / "p.conll")
        assert written.words == [words for words, _ in dev] and written.tags == tags
    found = pst.load(directory).predict([words for words, _ in dev])
    assert [row["tags"] for row in found] == tags
    shares = torch.softmax(torch.tensor(logits[0]), -1).max(-1).values.numpy()
    assert found[0]["probabilities"] == pytest.approx(shares, rel=1e-4)
    assert pst.load(directory).tag(" ".join(dev[0][0])) == found[:1]
    status, out, err = run(capsys, "predict", "--model_name_or_path", directory, "--file", folder / "dev.jsonl")
    assert status == 0 and out == (tmp_path / "p.conll").read_text(), err
    run(capsys, "predict", "--model_name_or_path", directory, "--file", tmp_path / "dev.txt", "--output_file", tmp_path / "p.jsonl")
    first = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert first["line"] == 1 and first["words"] == dev[0][0] and first["tags"] == tags[0]


def test_an_existing_checkpoint_goes_on(trained, tmp_path, capsys):
    """Without --task, and with the names of its labels in their order."""
    folder, dev, _, _ = trained
    rows = [(words, [tag.replace("B-FOOD", "O") for tag in tags]) for words, tags in dev]
    status, out, err = run(
        capsys, "train", "--model_name_or_path", folder / "model", "--train_file", jsonl(tmp_path / "t.jsonl", rows),
        "--validation_file", jsonl(tmp_path / "d.jsonl", rows[:9]), "--test_file", folder / "dev.jsonl", "--output_dir", tmp_path / "run",
        "--label_column", "ner_tags", "--max_steps", 3, "--per_device_train_batch_size", 4,
    )  # fmt: skip
    assert status == 0, err
    assert "has 3 of the model's 4 classes" in err and "starts from random" not in err
    assert "f1: " in out and "accuracy: " in out
    assert Tagged.of(tmp_path / "run" / "predictions.tsv").words == [words for words, _ in dev]
    status, _, err = run(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "exported")
    assert status == 0, err
    for directory in (tmp_path / "run" / "model", tmp_path / "exported"):
        config = json.loads((directory / "config.json").read_text())
        assert config["architectures"] == ["BertForTokenClassification"]
        assert [config["id2label"][str(i)] for i in range(4)] == NAMES
        assert "pipeline_tag: token-classification" in (directory / "README.md").read_text()
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_logits_of_existing_checkpoints(tmp_path, kind):
    classes = {"bert": (transformers.BertConfig, transformers.BertForTokenClassification),
               "roberta": (transformers.RobertaConfig, transformers.RobertaForTokenClassification)}  # fmt: skip
    torch.manual_seed(3)
    config = classes[kind][0](
        vocab_size=41, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, max_position_embeddings=30,
        type_vocab_size=2, num_labels=5, pad_token_id=1,
    )  # fmt: skip
    theirs = classes[kind][1](config).eval()
    theirs.save_pretrained(tmp_path / "m")
    program = pst.compile(tmp_path / "m", batch_size=3, sequence_length=13)
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 41, (7, 11))
    mask = np.ones_like(ids)
    ids[2, 6:], mask[2, 6:] = 1, 0
    ours = program(ids, attention_mask=mask)
    with torch.no_grad():
        expected = theirs.double()(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    assert ours.shape == (7, 11, 5)
    np.testing.assert_allclose(ours[mask == 1], expected[mask == 1], rtol=2e-5, atol=2e-6)


def test_the_loss_of_a_step_is_transformers(tmp_path):
    """The mean over the words of a step, however its micro-batches divide them; without dropout."""
    config = {
        **CONFIG, "num_hidden_layers": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "architectures": ["BertForTokenClassification"], "id2label": dict(enumerate(NAMES)),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    tensors = {**bert_tensors(config, 5), "classifier.weight": rng.standard_normal((4, 12)).astype(np.float32),
               "classifier.bias": rng.standard_normal(4).astype(np.float32)}  # fmt: skip
    directory, data = write_model(tmp_path / "m", config, tensors), sentences(21)
    assert first_loss(directory, data, tmp_path / "run") == pytest.approx(reference(directory, data, NAMES)[1], rel=2e-6)


def test_tags_without_entities_have_an_accuracy(model, tmp_path):
    rows = [(words, ["NOUN" if word in ("film", "food") else "X" for word in words]) for words, _ in sentences(20)]
    trainer = pst.Trainer(model, rows, rows[:5], task="token_classification", output_dir=tmp_path, report_to="none", max_steps=2)
    assert trainer.plan["metric"] == "accuracy"
    trainer.train()
    assert set(trainer.evaluate()["metrics"]) == {"accuracy"}


def test_own_metrics_and_the_best_model(model, tmp_path):
    rows = sentences(20)

    def compute(logits, labels):
        assert logits.shape == (*labels.shape, 4) and (labels >= 0).sum() == sum(len(words) for words, _ in rows[:5])
        return {"words": float((labels >= 0).sum())}

    settings = {"task": "token_classification", "report_to": "none", "max_steps": 2}
    trainer = pst.Trainer(model, rows, rows[:5], output_dir=tmp_path, compute_metrics=compute, **settings)
    assert trainer.plan["metric"] == "f1" and trainer.plan["greater_is_better"]
    trainer.train()
    assert set(trainer.evaluate()["metrics"]) == {"precision", "recall", "f1", "accuracy", "words"}


def test_a_bundle_and_prepared_data(model, tmp_path, capsys):
    train = conll(tmp_path / "t.conll", sentences(24))
    task = ("--task", "token_classification")
    status, _, err = run(
        capsys, "compile", "--model_name_or_path", model, "--bundle", tmp_path / "b", "--num_labels", 4, *task,
        "--max_seq_length", 14, "--per_device_train_batch_size", 4,
    )  # fmt: skip
    assert status == 0, err
    pst.Trainer(model, train, task=task[1], output_dir=tmp_path / "run", bundle=tmp_path / "b", max_steps=2, report_to="none").train()
    status, out, err = run(capsys, "prepare", "--model_name_or_path", model, "--train_file", train, "--output_dir", tmp_path / "data", *task)
    assert status == 0 and "labels: B-FOOD, B-JUDGE, I-JUDGE, O" in out, err
    labels = np.array(pst.TensorFile(tmp_path / "data" / "train.safetensors").read("labels"))
    for row, (_, tags) in zip(labels, sentences(24)):
        assert [NAMES[i] for i in row if i >= 0] == tags


def test_what_is_refused(model, tmp_path, capsys):
    train = conll(tmp_path / "t.conll", sentences(9))
    flags = ("train", "--model_name_or_path", model, "--train_file", train, "--output_dir", tmp_path / "run", "--task", "token_classification")
    for option, value in (("class_weights", "balanced"), ("label_smoothing_factor", 0.1)):
        assert refuse(capsys, *flags, f"--{option}", value) == (
            f"--{option} is of models that classify texts, but this one classifies their words"
        )
    told = refuse(capsys, *flags, "--task_name", "sst2")
    assert told == "--task_name is of sentences, and --task token_classification of their words: leave one of them out"
    with pytest.raises(pst.CompileError, match='cannot be imported to classify tokens; those that can are: bert, roberta'):
        config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
        pst.compile(write_model(tmp_path / "g", config, {"wte.weight": np.zeros((2, 2), np.float32)}), task="token_classification")
