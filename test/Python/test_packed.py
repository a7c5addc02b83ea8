# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Batches without padding against the same with it: losses, gradients, masks and predictions."""

import json

import numpy as np
import pytest
from conftest import write_model
from test_cli import run as run_pst
from test_digests import BERT, MODELS

import pst
from pst import Trainer, _pst

BATCH, LENGTH = 5, 37
DROPOUT = {"bert": 0.1, "roberta": 0.2, "gpt2": 0.1, "gpt2lm": 0.1}


def lengths(kind, rng):
    """Tokens of each example of a batch."""
    return {
        "random": np.concatenate([[1, LENGTH], rng.integers(1, LENGTH, BATCH - 2)]),
        "short": rng.integers(1, 4, BATCH),
        "equal": np.full(BATCH, 7),
        "ones": np.full(BATCH, 1),
    }[kind]


def batch(config, task, counts, seed=0):
    rng = np.random.default_rng(seed)
    count = len(counts)
    mask = (np.arange(LENGTH) < np.asarray(counts)[:, None]).astype(np.int32)
    ids = rng.integers(2, config["vocab_size"], (count, LENGTH)).astype(np.int32)
    # What padding holds is nobody's business.
    arrays = {"input_ids": np.where(mask, ids, 1).astype(np.int32), "attention_mask": mask}
    if task == "lm":
        labels = np.where(mask, ids, -100).astype(np.int32)
        labels[:, 5] = -100
        return arrays | {"labels": labels}
    types = rng.integers(0, config.get("type_vocab_size", 1), (count, LENGTH)).astype(np.int32)
    if task == "token_classification":
        labels = np.where(mask & (rng.random((count, LENGTH)) < 0.7), rng.integers(0, 3, (count, LENGTH)), -100).astype(np.int32)
        labels[:, 0] = 1
        return arrays | {"token_type_ids": types, "labels": labels}
    if task == "regression":
        return arrays | {"token_type_ids": types, "labels": rng.standard_normal(count).astype(np.float32)}
    if task == "multi_label_classification":
        return arrays | {"token_type_ids": types, "labels": rng.integers(0, 2, (count, 3)).astype(np.float32)}
    return arrays | {"token_type_ids": types, "labels": rng.integers(0, 3, count).astype(np.int32)}


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """The models, each made once."""
    made = {}

    def directory(name):
        if name not in made:
            config, tensors, _ = MODELS[name]
            config = config | {"max_position_embeddings": 45, "n_positions": 45}
            tensors = tensors()
            rng = np.random.default_rng(7)
            for key in tensors:
                if "position_embeddings" in key or key == "wpe.weight":
                    tensors[key] = (rng.standard_normal((45, tensors[key].shape[1])) * 0.2).astype(np.float32)
            made[name] = write_model(tmp_path_factory.mktemp("packed") / name, config, tensors)
        return made[name]

    return directory


def compiled(directory, name, capacity, **more):
    options = {"training": True, "batch_size": BATCH, "sequence_length": LENGTH, "token_capacity": capacity, "method": "pst"}
    program = _pst.compile_model(str(directory), options | MODELS[name][2] | {"dropout": DROPOUT[name]} | more)
    return _pst.Model(program, str(directory), 5)


def is_packed(model):
    return json.loads(model.manifest).get("token_capacity", 0)


def step(model, data, rows, sparsity, seed):
    model.select(sparsity)
    np.asarray(model.gradient)[:] = 0
    loss = model.forward_backward(data, rows, 1 / BATCH, seed)
    return loss, np.array(model.gradient)


METHODS = {
    "pst": {"weight_rank": 3, "mask_rank": 5},
    "dense": {"method": "dense"},
    "map": {"method": "map", "recompute": "all"},
    "rows": {"selection": "row", "products": "compressed"},
}


# What is predicted, as options of the compiler; of tokens also in a test of its own.
TASKS = {
    "regression": {"regression": True, "num_labels": 1},
    "multi_label_classification": {"task": "multi_label_classification", "num_labels": 3},
    "token_classification": {"task": "token_classification", "num_labels": 3},
}


@pytest.mark.parametrize("task", ["regression", "multi_label_classification"])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_packed_step_of_other_labels(name, task, directories):
    """Of numbers, and of several labels an example."""
    padded, packed = (compiled(directories(name), name, capacity, **TASKS[task]) for capacity in (0, 131))
    rng = np.random.default_rng(4)
    for seed, kind in enumerate(("random", "short", "ones")):
        data = _pst.Dataset.of(batch(MODELS[name][0], task, lengths(kind, rng), seed))
        rows = list(range(BATCH))[: BATCH - seed]
        (loss, gradient), (expected, right) = (step(model, data, rows, 0.5, seed) for model in (packed, padded))
        assert loss == pytest.approx(expected, rel=3e-6)
        np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=2e-6 * np.abs(right).max())
        assert np.abs(right).max() > 0
        found, evaluated = (_pst.evaluate(model, data, 0.5) for model in (packed, padded))
        np.testing.assert_allclose(found["logits"], evaluated["logits"], rtol=1e-5, atol=2e-6)
        assert found["metrics"] == pytest.approx(evaluated["metrics"])


# Each method, and each model's own ops with all weights trained.
CASES = [("bert", method) for method in METHODS] + [("roberta", "dense"), ("gpt2", "pst"), ("gpt2lm", "dense"), ("gpt2lm", "pst")]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_packed_step_is_a_padded_one(name, method, directories):
    """Also of batches of one token each, of empty rows, and where products are sparse."""
    config, directory = MODELS[name][0], directories(name)
    task = "lm" if name == "gpt2lm" else ""
    padded, packed = (compiled(directory, name, capacity, **METHODS[method]) for capacity in (0, 131))
    assert is_packed(packed) == 131 and not is_packed(padded)
    rng = np.random.default_rng(3)
    for seed, kind in enumerate(("random", "short", "equal", "ones")):
        if kind == "ones" and task == "lm":
            continue
        data = _pst.Dataset.of(batch(config, task, lengths(kind, rng), seed))
        sparsity = 0.0 if method == "dense" else (0.0, 0.5, 0.9, 0.9)[seed]
        rows = list(range(BATCH))[: BATCH - seed]
        (loss, gradient), (expected, right) = (step(model, data, rows, sparsity, seed) for model in (packed, padded))
        assert loss == pytest.approx(expected, rel=3e-6)
        np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=2e-6 * np.abs(right).max())
        assert np.abs(right).max() > 0
        found, evaluated = (_pst.evaluate(model, data, sparsity) for model in (packed, padded))
        assert found["loss"] == pytest.approx(evaluated["loss"], rel=3e-6)
        np.testing.assert_allclose(found["logits"], evaluated["logits"], rtol=1e-5, atol=2e-6)


def test_tokens_with_classes(directories):
    """Their logits come back among their padding."""
    padded, packed = (compiled(directories("bert"), "bert", capacity, **TASKS["token_classification"]) for capacity in (0, 111))
    data = _pst.Dataset.of(batch(BERT, "token_classification", [1, 9, 37, 12, 20]))
    (loss, gradient), (expected, right) = (step(model, data, list(range(BATCH)), 0.5, 1) for model in (packed, padded))
    assert loss == pytest.approx(expected, rel=3e-6)
    np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=2e-6 * np.abs(right).max())
    found, evaluated = (_pst.evaluate(model, data, 0.5) for model in (packed, padded))
    there = np.arange(LENGTH) < np.array([1, 9, 37, 12, 20])[:, None]
    logits = found["logits"].reshape(BATCH, LENGTH, 3)
    np.testing.assert_allclose(logits[there], evaluated["logits"].reshape(BATCH, LENGTH, 3)[there], rtol=1e-5, atol=2e-6)
    assert not logits[~there].any()
    assert found["metrics"] == pytest.approx(evaluated["metrics"])


FAMILIES = {
    "Llama": {"num_key_value_heads": 3},
    "Mistral": {"sliding_window": 5, "head_dim": 10},
    "Qwen2": {"tie_word_embeddings": True},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rotary_positions_and_windows(family, tmp_path):
    """Language models whose heads share keys."""
    pytest.importorskip("transformers")
    from test_llama import save_model

    config = save_model(tmp_path / "m", family=family, **FAMILIES[family]).config.to_dict()
    models = []
    for capacity in (0, 97):
        options = {"training": True, "batch_size": BATCH, "sequence_length": LENGTH, "token_capacity": capacity, "task": "lm"}
        models.append(_pst.Model(_pst.compile_model(str(tmp_path / "m"), options | {"dropout": 0.1}), str(tmp_path / "m"), 5))
    data = _pst.Dataset.of(batch(config, "lm", [2, 37, 11, 29, 18]))
    (expected, right), (loss, gradient) = (step(model, data, list(range(BATCH)), 0.5, 2) for model in models)
    assert loss == pytest.approx(expected, rel=3e-6)
    np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=2e-6 * np.abs(right).max())


def test_sequences_of_several_tiles_of_keys(tmp_path):
    """Attention's keys come in tiles of 1024: one that all see, one that some do, and examples that end before it."""
    config, tensors, options = MODELS["gpt2"]
    length = 1100
    tensors = tensors()
    tensors["wpe.weight"] = np.random.default_rng(7).standard_normal((length, tensors["wpe.weight"].shape[1])).astype(np.float32) * 0.2
    directory = write_model(tmp_path / "m", config | {"n_positions": length}, tensors)
    rng = np.random.default_rng(1)
    counts = [1100, 3, 1030]
    mask = (np.arange(length) < np.array(counts)[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(2, config["vocab_size"], mask.shape), 1).astype(np.int32)
    data = _pst.Dataset.of({"input_ids": ids, "attention_mask": mask, "labels": np.array([0, 2, 1], np.int32)})
    found = []
    for capacity in (0, 2500):
        settings = {"training": True, "batch_size": 3, "sequence_length": length, "token_capacity": capacity, "method": "dense"}
        model = _pst.Model(_pst.compile_model(str(directory), settings | options | {"dropout": 0.1}), str(directory), 5)
        found.append((*step(model, data, [0, 1, 2], 0.0, 1), _pst.evaluate(model, data, 0.0)["logits"]))
    (expected, right, answers), (loss, gradient, logits) = found
    assert loss == pytest.approx(expected, rel=3e-6)
    np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=4e-6 * np.abs(right).max())
    np.testing.assert_allclose(logits, answers, rtol=1e-5, atol=2e-6)


def test_a_run_goes_on_with_the_same_bits(directories, tmp_path):
    """After any of its steps, also where a batch goes in parts."""
    rng = np.random.default_rng(0)
    data = [("film " * rng.integers(1, 9), "ab"[n % 2]) for n in range(24)]
    settings = {"token_capacity": 20, "batch_size": 8, "sequence_length": 10, "training": True, "num_labels": 2, "method": "pst", "dropout": 0.1}
    _pst.compile_model(str(directories("bert")), settings | {"bundle": str(tmp_path / "bundle")})

    def run(name, **more):
        trainer = Trainer(
            directories("bert"), data, output_dir=tmp_path / name, bundle=str(tmp_path / "bundle"), max_steps=5, save_steps=1, logging_steps=1,
            per_device_train_batch_size=8, max_seq_length=10, sparsity=0.5, learning_rate=1e-3, report_to="none", **more,
        )  # fmt: skip
        trainer.train()
        trainer.save(tmp_path / name / "m")
        return (tmp_path / name / "m" / "model.safetensors").read_bytes()

    whole = run("run")
    for ended in range(1, 5):
        assert run(f"after {ended}", resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{ended}")) == whole


@pytest.mark.parametrize("products", ["auto", "compressed"])
@pytest.mark.parametrize("name", ["bert", "gpt2lm"])
def test_bits_do_not_depend_on_threads(directories, name, products):
    found = []
    data = _pst.Dataset.of(batch(MODELS[name][0], "lm" if name == "gpt2lm" else "", [30, 1, 37, 13, 20]))
    before = _pst.num_threads()
    try:
        for threads in (1, 2, 3):
            _pst.set_num_threads(threads)
            model = compiled(directories(name), name, 131, products=products)
            loss, gradient = step(model, data, list(range(BATCH)), 0.9, 3)
            evaluated = _pst.evaluate(model, data, 0.9)
            found.append((loss, gradient.tobytes(), evaluated["loss"], evaluated["logits"].tobytes()))
    finally:
        _pst.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_a_batch_that_does_not_fit_goes_in_parts(directories, tmp_path):
    """A run of few tokens a batch has the losses of a run with padding."""
    rng = np.random.default_rng(0)
    words = ["the", "film", "was", "not", "good", "food"]
    # The program without padding is compiled for the longest, of 9 tokens, and the others for 11.
    data = [(" ".join(rng.choice(words, rng.integers(1, 6) if i else 7)), "ab"[rng.integers(2)]) for i in range(40)]
    common = {
        "method": "pst", "max_steps": 6, "per_device_train_batch_size": 8, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "sparsity": 0.5, "learning_rate": 1e-3, "max_seq_length": 11,
    }  # fmt: skip
    losses = []
    for name, options in (("padded", {"pad_to_max_length": True}), ("packed", {}), ("parts", {})):
        if name == "parts":
            # Room for hardly more than one sentence.
            settings = {"token_capacity": 13, "batch_size": 8, "sequence_length": 11, "training": True, "num_labels": 2, "method": "pst", "selection": "global"}
            _pst.compile_model(str(directories("bert")), settings | {"bundle": str(tmp_path / "bundle")})
            options = {"bundle": str(tmp_path / "bundle")}
        trainer = Trainer(directories("bert"), data, output_dir=tmp_path / name, **common, **options)
        assert bool(is_packed(trainer.model)) == (name != "padded")
        trainer.train()
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines() if '"train"' in line]
        losses.append([line["loss"] for line in lines])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-4)


def test_a_text_alone_costs_no_batch(directories, tmp_path):
    """A saved model's program has room for a batch of texts, and no padding; a batch of texts of one length fits, too."""
    trainer = Trainer(directories("bert"), [("film " * n, "ab"[n % 2]) for n in (1, 2, 3, 6)], output_dir=tmp_path / "run", max_steps=1, report_to="none")
    trainer.train()
    trainer.save(tmp_path / "m")
    loaded = pst.load(tmp_path / "m")
    alone = loaded.predict("the film was good")
    (model,) = loaded._kept._models.values()
    assert is_packed(model) == 32 * 6  # with [CLS] and [SEP]
    assert loaded.predict(["the film was good"] * 40) == alone * 40
    padded = pst.load(tmp_path / "m", pad_to_max_length=True).predict("the film was good")
    assert padded[0]["probability"] == pytest.approx(alone[0]["probability"], rel=1e-5)


def test_examples_by_their_tokens(directories, tmp_path):
    data = [("film " * n, "ab"[n % 2]) for n in (1, 2, 3, 6)]  # 3, 4, 5 and 8 tokens
    trainer = Trainer(directories("bert"), data, output_dir=tmp_path / "run", tokens_per_batch=17, max_seq_length=7, report_to="none")
    assert trainer.plan["batch_size"] == round(17 / np.mean([3, 4, 5, 7]))
    with pytest.raises(ValueError, match="--tokens_per_batch has no part with --bundle"):
        Trainer(directories("bert"), data, output_dir=tmp_path / "run", tokens_per_batch=17, bundle="b")


def test_a_plan_tells_the_room_of_a_batch_and_trains_nothing(directories, tmp_path, capsys):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(f"{'film ' * (n % 9 + 1)}\t{n % 2}\n" for n in range(30)))
    status, out, err = run_pst(
        capsys, "train", "--model_name_or_path", directories("bert"), "--train_file", tmp_path / "train.tsv", "--output_dir", tmp_path / "run",
        "--plan_only", "--per_device_train_batch_size", 10, "--num_train_epochs", 2,
    )  # fmt: skip
    assert status == 0, err
    assert "memory plan" in out and "30 examples, 6 steps, batches of 10 x 11 tokens without padding (room for " in out
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_is_told(directories):
    model = compiled(directories("bert"), "bert", 60)
    with pytest.raises(pst.Error, match=r"the 2 rows have more tokens than the 60 that a batch has room for"):
        model.forward_backward(_pst.Dataset.of(batch(BERT, "", [37, 37])), [0, 1], 1.0, 0)
    arrays = batch(BERT, "", [9, 9])
    arrays["attention_mask"] = arrays["attention_mask"][:, ::-1].copy()
    with pytest.raises(pst.Error, match=r'"attention_mask" of example 0 .*padded at their end only'):
        model.forward_backward(_pst.Dataset.of(arrays), [0, 1], 1.0, 0)
    with pytest.raises(pst.CompileError, match=r"room for the 37 tokens of one sequence, but has room for 36"):
        compiled(directories("bert"), "bert", 36)
    # What is called directly has no parts to go in.
    program = pst.compile(directories("bert"), batch_size=2, sequence_length=5, token_capacity=7, num_labels=3, new_head=True)
    ids = np.full((2, 5), 7, np.int32)
    assert np.isfinite(program(ids, np.array([[1] * 5, [1, 1, 0, 0, 0]], np.int32))).all()
    with pytest.raises(pst.Error, match=r"the batch has 8 tokens, but the program has room for 7"):
        program(ids, np.array([[1] * 5, [1, 1, 1, 0, 0]], np.int32))
    # More than there is with padding: nothing is packed.
    assert not is_packed(compiled(directories("bert"), "bert", BATCH * LENGTH + 1))
