# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models, compiled, against transformers and against an eager float64
model (eager.py): logits, gradients, training steps, masks, dropout, bits."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import eager  # noqa: E402
import steps  # noqa: E402

import pst  # noqa: E402
from pst import _pst, write_tensors  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


BASE = {
    "vocab_size": 53,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 71,
    "max_position_embeddings": 37,
    "hidden_act": "gelu",
    "num_labels": 3,
}


def save_model(directory, seed=0, **changes):
    """A BERT of random values as transformers writes it; returns it in float64.

    Every tensor is random, those too that start at zero or one, so that
    nothing can be left out unseen; the classifier is large, so that logits are.
    """
    torch.manual_seed(seed)
    reference = transformers.BertForSequenceClassification(transformers.BertConfig(**{**BASE, **changes})).eval()
    with torch.no_grad():
        for name, value in reference.named_parameters():
            scale = 0.5 if "classifier" in name else 0.6 / value.shape[-1] ** 0.5 if value.dim() == 2 else 0.2
            value.copy_(torch.randn_like(value) * scale + ("LayerNorm.weight" in name))
    reference.save_pretrained(directory, safe_serialization=True)
    return reference.double()


def random_batch(rng, rows, length, labels, padding="end", vocabulary=BASE["vocab_size"]):
    """Arrays of a data set, with at least one token in every row."""
    batch = {
        "input_ids": rng.integers(0, vocabulary, (rows, length)),
        "attention_mask": np.ones((rows, length)),
        "token_type_ids": rng.integers(0, 2, (rows, length)),
    }
    for row in batch["attention_mask"]:
        count = rng.integers(0, length)
        if padding == "front":
            row[:count] = 0
        elif padding == "end":
            row[length - count :] = 0
        elif padding == "middle":
            begin = rng.integers(1, length - count + 1)
            row[begin : begin + count] = 0
    batch = {name: np.ascontiguousarray(value, np.int32) for name, value in batch.items()}
    if labels == 1:
        batch["labels"] = rng.standard_normal(rows).astype(np.float32)
    elif labels:
        batch["labels"] = rng.integers(0, labels, rows).astype(np.int32)
    return batch


def take(batch, rows):
    return {name: np.ascontiguousarray(value[rows]) for name, value in batch.items()}


def build(directory, batch_size, length, seed=7, **options):
    """A training program and its model."""
    settings = {"training": True, "batch_size": batch_size, "sequence_length": length, "dropout": 0.0}
    program = _pst.compile_model(str(directory), {**settings, **options})
    return program, _pst.Model(program, str(directory), seed)


def check_counts(weights, sparsity):
    """That exactly as many elements stay as promised, among all layers' together."""
    size = sum(weight.size for weight in weights)
    assert sum(map(np.count_nonzero, weights)) == size - int(size * sparsity)


def trainable(model):
    return [p["name"] for p in json.loads(model.manifest)["parameters"] if p["role"] == "trainable"]


def distance(ours, reference):
    """Relative to the norm of the reference."""
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)


# --- Logits

CONFIGURATIONS = [
    # batch, length, padding, changes
    (5, 7, "end", {"hidden_size": 36, "num_hidden_layers": 1, "intermediate_size": 50, "num_labels": 2}),
    (3, 13, "front", {"hidden_size": 42, "num_attention_heads": 7, "num_hidden_layers": 3, "intermediate_size": 31,
                      "hidden_act": "gelu_new", "num_labels": 5}),
    (1, 17, "middle", {"hidden_size": 33, "num_attention_heads": 11, "intermediate_size": 5, "hidden_act": "relu",
                       "num_labels": 1}),
    (7, 37, "middle", {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 5, "intermediate_size": 97,
                       "layer_norm_eps": 1e-5}),
    (2, 1, "none", {"hidden_size": 7, "num_attention_heads": 7, "num_hidden_layers": 1, "intermediate_size": 1}),
]  # fmt: skip


@pytest.mark.parametrize("batch_size, length, padding, changes", CONFIGURATIONS)
def test_logits_equal_transformers(tmp_path, batch_size, length, padding, changes):
    reference = save_model(tmp_path / "m", length, **changes)
    batch = random_batch(np.random.default_rng(length), batch_size, length, 0, padding)
    with torch.no_grad():
        expected = reference(**{name: torch.from_numpy(value).long() for name, value in batch.items()}).logits.numpy()
    assert np.abs(expected).max() > 0.1, "the logits tell nothing"
    compiled = pst.compile(tmp_path / "m", batch_size=batch_size, sequence_length=length)
    logits = compiled(**batch)
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 1e-4
    # The eager model, against which the rest is measured, is the same too.
    mine = eager.Bert(_pst.Model(compiled.program, str(tmp_path / "m"))).logits(batch).detach().numpy()
    assert np.abs(mine - expected).max() < 1e-9


# --- Gradients

PST = {"method": "pst", "weight_rank": 3, "mask_rank": 5, "weight_beta": 0.75, "mask_alpha1": 0.5, "mask_alpha2": 1.25}
METHODS = {
    "pst": PST,
    "dense": {"method": "dense"},
    "lora": {"method": "lora", "weight_rank": 4, "weight_beta": 1.5},
    "sparse_lora": {"method": "sparse_lora", "weight_rank": 4, "weight_beta": 1.5},
    "map": {"method": "map"},
    "mvp": {"method": "mvp"},
}
VARIANTS = {
    "detached": {**PST, "detach_magnitude": True},
    "without low rank": {**PST, "mask_rank": 0},
    "without structure": {**PST, "mask_alpha2": 0.0},
    "modules to save": {**PST, "modules_to_save": "pooler,embeddings,LayerNorm,layer.1.intermediate"},
}


def randomise(model, seed, scale=0.05):
    """Random values for the factors that start at zero: V, B, R, C, and S of movement pruning."""
    rng = np.random.default_rng(seed)
    for name in trainable(model):
        if name.endswith((".pst_V", ".pst_B", ".pst_R", ".pst_C", ".pst_S")):
            value = model.parameter(name)
            value[:] = rng.standard_normal(value.shape) * scale
    model.invalidate_selection()


@pytest.mark.parametrize(
    "name, labels, activation",
    [(name, 3, "gelu_new") for name in ("pst", "dense")] + [(name, 1, "relu") for name in (*METHODS, *VARIANTS)],
)
def test_gradients_equal_autograd(tmp_path, name, labels, activation):
    save_model(tmp_path / "m", 3, num_labels=labels, hidden_act=activation, hidden_size=39)
    _, model = build(tmp_path / "m", 5, 11, **{**METHODS, **VARIANTS}[name])
    randomise(model, 1)
    reference = eager.Bert(model)
    batch = random_batch(np.random.default_rng(5), 5, 11, labels, "middle")
    model.select(0.6)
    reference.select(0.6)
    expected_loss, expected = reference.gradients(batch)
    data = _pst.Dataset.of(batch)
    loss = model.forward_backward(data, [0, 1, 2, 3, 4], 1 / 5, 0)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    largest = max(g.norm().item() for g in expected.values())
    assert set(expected) == set(trainable(model))
    for name, gradient in expected.items():
        ours = np.array(model.parameter(name, "gradient"), np.float64)
        # The bias of a key shifts all scores of a query alike: its gradient is zero, and ours is rounding.
        error = np.linalg.norm(ours - gradient.numpy())
        assert error < 1e-4 * max(gradient.norm().item(), 1e-4 * largest), name
    # A second micro-batch adds to them: rows repeated, others missing.
    model.forward_backward(data, [4, 2], 0.25, 1)
    _, more = reference.gradients(take(batch, [4, 2]))
    for name in trainable(model):
        total = (expected[name] + 0.5 * more[name]).numpy()
        ours = np.array(model.parameter(name, "gradient"), np.float64)
        assert np.linalg.norm(ours - total) < 1e-4 * max(np.linalg.norm(total), 1e-4 * largest), name


def test_gradients_equal_finite_differences(tmp_path):
    """Of the compiled `forward`, over all parameters at once."""
    save_model(tmp_path / "m", 4, hidden_act="gelu")
    _, model = build(tmp_path / "m", 6, 9, method="dense")
    batch = random_batch(np.random.default_rng(6), 6, 9, 3)
    check_differences(model, batch, lambda data: _pst.evaluate(model, data, 0.0)["loss"], 0)


def check_differences(model, batch, loss, seed):
    """Along random directions, each weighted by the gradient's sign so that the slope stands out of the rounding."""
    data, names = _pst.Dataset.of(batch), trainable(model)
    rows = list(range(len(batch["labels"])))
    model.forward_backward(data, rows, 1 / len(rows), seed)
    gradients = {name: np.array(model.parameter(name, "gradient"), np.float64) for name in names}
    start = {name: np.array(model.parameter(name)) for name in names}
    rng = np.random.default_rng(8)
    for _ in range(4):
        direction = {n: np.abs(rng.standard_normal(g.shape)) * np.sign(g) for n, g in gradients.items()}
        for name in rng.permutation(names)[::2]:
            direction[name] *= -0.25
        slope = sum((gradients[n] * direction[n]).sum() for n in names)
        step = 0.02 / abs(slope)
        values = []
        for side in (-1, 1):
            for name in names:
                model.parameter(name)[...] = start[name] + side * step * direction[name]
            values.append(loss(data))
        assert (values[1] - values[0]) / (2 * step) == pytest.approx(slope, rel=2e-3)


# --- Training

TOTAL, WARMUP, PEAK = 25, 4, 4e-3


@pytest.mark.parametrize("token_capacity, saved", [(0, ""), (57, ""), (0, "pooler,layer.1.output")])
def test_steps_of_pst_follow_the_eager_model(tmp_path, token_capacity, saved):
    """25 steps to 90 %: every loss and norm, every mask, and at the end every factor; without padding, too."""
    save_model(tmp_path / "m", 1)
    _, model = build(tmp_path / "m", 6, 10, token_capacity=token_capacity, modules_to_save=saved, **PST)
    reference = eager.Bert(model)
    assert len(reference.sparse) == (11 if saved else 12)
    examples = random_batch(np.random.default_rng(2), 60, 10, 3)

    def rate(step):
        return eager.learning_rate_at(step, TOTAL, WARMUP, PEAK)

    differing, _ = steps.follow(model, reference, examples, TOTAL, 6, 0.9, rate=rate, decay=0.1, max_norm=1.0)
    # An element more or less moves the gradients a little; without one there is only rounding (measured: 8e-7).
    bound = 1e-3 if differing else 1e-5
    for name in reference.trained:
        change = distance(np.array(model.parameter(name), np.float64), reference.values[name].detach().numpy())
        assert change < bound, name


@pytest.fixture(scope="module")
def fifty_steps(tmp_path_factory):
    """A model large enough for every form of the products, and the eager model's losses over 50 steps to 90 %."""
    directory = tmp_path_factory.mktemp("fifty")
    save_model(directory, 3, hidden_size=96, intermediate_size=192, num_hidden_layers=1)
    rng = np.random.default_rng(8)
    examples = random_batch(rng, 96, 20, 3)
    batches = [rng.choice(96, 24, replace=False) for _ in range(50)]
    _, model = build(directory, 24, 20, **PST)
    reference = eager.Bert(model)
    losses = []
    for step, rows in enumerate(batches):
        reference.select(eager.sparsity_at(step, 50, 0.9))
        loss, gradients = reference.gradients(take(examples, rows))
        reference.apply(gradients, step + 1, eager.learning_rate_at(step, 50, WARMUP, PEAK), max_norm=1.0)
        losses.append(loss)
    return directory, examples, batches, losses


@pytest.mark.parametrize("products", ["packed", "buffer", "compressed", "auto"])
def test_fifty_steps_with_each_form_of_the_products(fifty_steps, products):
    """With auto the products change over to the compressed form on the way."""
    directory, examples, batches, expected = fifty_steps
    _, model = build(directory, 24, 20, products=products, blocks=(0, 0, 32), **PST)
    data = _pst.Dataset.of(examples)
    losses = []
    for step, rows in enumerate(batches):
        model.select(eager.sparsity_at(step, 50, 0.9))
        losses.append(model.forward_backward(data, rows.tolist(), 1 / 24, step))
        model.apply(eager.learning_rate_at(step, 50, WARMUP, PEAK), step + 1, max_grad_norm=1.0)
    assert np.ptp(losses) > 0.1
    np.testing.assert_allclose(losses, expected, rtol=2e-4)


def training_options(output, **changes):
    options = _pst.TrainingOptions()
    settings = {
        "output_dir": str(output), "max_steps": 10, "learning_rate": PEAK, "warmup_steps": 2, "weight_decay": 0.01,
        "max_grad_norm": 1.0, "sparsity": 0.8, "logging_steps": 1, "eval_strategy": "no",
        "save_strategy": "epoch", "seed": 11,
    }  # fmt: skip
    for name, value in {**settings, **changes}.items():
        setattr(options, name, value)
    return options


def test_the_loop_follows_the_eager_model(tmp_path):
    """Schedules, accumulation and the last, shorter micro-batch as the trainer has them: each step sees all examples."""
    save_model(tmp_path / "m", 5, num_labels=2)
    _, model = build(tmp_path / "m", 4, 8, num_labels=2, **PST)
    reference = eager.Bert(model)
    examples = random_batch(np.random.default_rng(9), 14, 8, 2)
    records = []
    options = training_options(tmp_path / "run", gradient_accumulation_steps=4, mask_learning_rate=PEAK, head_learning_rate=PEAK)
    _pst.train(model, options, _pst.Dataset.of(examples), on_step=records.append)
    assert len(records) == 10
    for step, record in enumerate(records):
        sparsity = eager.sparsity_at(step, 10, 0.8)
        rate = eager.learning_rate_at(step, 10, 2, PEAK)
        assert record["sparsity"] == pytest.approx(sparsity, abs=1e-12)
        assert record["learning_rate"] == pytest.approx(rate, abs=1e-12)
        reference.select(sparsity)
        loss, gradients = reference.gradients(examples)
        assert record["loss"] == pytest.approx(loss, rel=1e-4), step
        norm = reference.apply(gradients, step + 1, rate, decay=0.01, max_norm=1.0)
        assert record["grad_norm"] == pytest.approx(norm, rel=1e-3), step


# --- Dropout


def test_dropout_keeps_the_mean():
    """Of one op: the share of zeros, the scale of what stays, and masks of other seeds and sites that are independent."""
    program = pst.compile(
        "func.func @drop(%x: tensor<61x67xf32>, %s: i64) -> (tensor<61x67xf32>, tensor<61x67xf32>) {\n"
        "  %y = nn.dropout %x, %s probability 0.25 site 3 : tensor<61x67xf32>\n"
        "  %z = nn.dropout %x, %s probability 0.25 site 4 : tensor<61x67xf32>\n"
        "  return %y, %z : tensor<61x67xf32>, tensor<61x67xf32>\n}\n"
    )
    x = np.random.default_rng(0).standard_normal((61, 67)).astype(np.float32)
    kept, total, count = [], np.zeros((61, 67)), 300
    for seed in range(count):
        for y in program(x, seed):
            kept.append(y != 0)
            total += y
            np.testing.assert_allclose(y[y != 0], x[y != 0] / np.float32(0.75), rtol=1e-6)
    kept = np.array(kept).reshape(2 * count, -1)
    # Six standard deviations each.
    deviation = (0.25 * 0.75) ** 0.5
    assert abs(kept.mean() - 0.75) < 6 * deviation / kept.size**0.5
    assert np.abs(kept.mean(0) - 0.75).max() < 6 * deviation / len(kept) ** 0.5
    assert np.abs(kept.mean(1) - 0.75).max() < 6 * deviation / kept.shape[1] ** 0.5
    correlation = np.corrcoef(kept[:60].astype(np.float64))
    assert np.abs(correlation - np.eye(60)).max() < 6 / kept.shape[1] ** 0.5
    assert np.abs(total / (2 * count) / x - 1).max() < 6 * (1 / 3 / (2 * count)) ** 0.5


@pytest.fixture(scope="module")
def with_dropout(tmp_path_factory):
    """A dense training program with dropout, and a batch."""
    folder = tmp_path_factory.mktemp("dropout")
    save_model(folder / "m", 6)
    program, _ = build(folder / "m", 6, 9, method="dense", dropout=0.1)
    return folder / "m", program, random_batch(np.random.default_rng(1), 6, 9, 3)


def test_dropout_is_a_function_of_the_seed(with_dropout):
    directory, program, batch = with_dropout
    model = _pst.Model(program, str(directory), 7)
    data, rows = _pst.Dataset.of(batch), list(range(6))

    def run(seed):
        return model.forward_backward(data, rows, 1 / 6, seed)

    losses = {seed: run(seed) for seed in range(200)}
    assert run(3) == losses[3] and run(199) == losses[199]
    assert len(set(losses.values())) > 190
    # Seeds of more than 32 bits are told apart too.
    assert len({run(5 + (high << 32)) for high in range(4)}) == 4
    plain = _pst.evaluate(model, data, 0.0)["loss"]
    values = np.array(list(losses.values()))
    # The loss is no linear function of what is dropped, but at 10 % it nearly is one.
    assert abs(values.mean() - plain) < 6 * values.std() / len(values) ** 0.5 + 0.05 * plain
    assert values.std() > 0.01 * plain


def test_the_gradient_sees_the_same_dropout(with_dropout):
    directory, program, batch = with_dropout
    model = _pst.Model(program, str(directory), 7)
    rows = list(range(6))
    check_differences(model, batch, lambda data: model.forward_backward(data, rows, 1 / 6, 17), 17)


# --- Bits


def test_what_is_recomputed_changes_no_bit(tmp_path):
    """The gradients of a step with dropout, and the memory that each level needs."""
    save_model(tmp_path / "m", 5)
    batch = random_batch(np.random.default_rng(6), 4, 11, 3)
    gradients, arenas = [], []
    for level in ("none", "cheap", "all"):
        program, model = build(tmp_path / "m", 4, 11, recompute=level, **{**PST, "dropout": 0.1})
        model.select(0.5)
        model.forward_backward(_pst.Dataset.of(batch), [0, 1, 2, 3], 1 / 4, 9)
        gradients.append(np.concatenate([np.ravel(model.parameter(name, "gradient")) for name in trainable(model)]))
        arenas.append(json.loads(program.manifest)["memory"]["arena"])
    assert np.abs(gradients[0]).max() > 1e-3
    assert gradients[0].tobytes() == gradients[1].tobytes() == gradients[2].tobytes()
    assert arenas[0] > arenas[1] > arenas[2]


def test_threads_and_bundle_give_the_same_bits(tmp_path):
    """Ten steps: one thread and two, in this process and from the bundle, here and in pst-run."""
    save_model(tmp_path / "m", 8)
    program, _ = build(tmp_path / "m", 8, 16, dropout=0.1, bundle=str(tmp_path / "bundle"), **PST)
    examples = random_batch(np.random.default_rng(3), 37, 16, 3)
    data = _pst.Dataset.of(examples)
    runs = {"one": (program, 1), "two": (program, 2), "bundle": (_pst.Program.load(str(tmp_path / "bundle")), 2)}
    for name, (code, threads) in runs.items():
        model = _pst.Model(code, str(tmp_path / "m"), 11)
        _pst.train(model, training_options(tmp_path / name, num_threads=threads), data)
    files = [(tmp_path / name / "checkpoint-10" / "trainable.safetensors").read_bytes() for name in runs]
    assert files[0] == files[1], "one thread and two differ"
    assert files[0] == files[2], "the JIT and the bundle differ"

    pst_run = pathlib.Path(os.environ.get("PST_BUILD_DIR", ".")) / "bin" / "pst-run"
    if not pst_run.exists():
        return
    write_tensors(tmp_path / "train.safetensors", examples)
    command = [pst_run, "train", "--bundle", tmp_path / "bundle", "--model", tmp_path / "m", "--train",
               tmp_path / "train.safetensors", "--output_dir", tmp_path / "ran"]  # fmt: skip
    flags = {"max_steps": 10, "learning_rate": PEAK, "warmup_steps": 2, "weight_decay": 0.01, "max_grad_norm": 1,
             "sparsity": 0.8, "logging_steps": 1, "seed": 11, "num_threads": 1}  # fmt: skip
    for name, value in flags.items():
        command += ["--" + name, str(value)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran" / "checkpoint-10" / "trainable.safetensors").read_bytes() == files[0]


# --- The exported model


def test_transformers_loads_the_export(tmp_path):
    save_model(tmp_path / "m", 10)
    _, model = build(tmp_path / "m", 5, 11, **PST)
    examples = random_batch(np.random.default_rng(12), 23, 11, 3)
    data = _pst.Dataset.of(examples)
    result = _pst.train(model, training_options(tmp_path / "run", sparsity=0.83), data)
    assert result["sparsity"] == 0.83
    ours = _pst.evaluate(model, data, 0.83)
    exported = _pst.export_model(model, 0.83, str(tmp_path / "exported"))
    assert len(exported["layers"]) == 12

    loaded, loading = transformers.BertForSequenceClassification.from_pretrained(
        tmp_path / "exported", output_loading_info=True
    )
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
    inputs = {name: torch.from_numpy(value).long() for name, value in examples.items() if name != "labels"}
    with torch.no_grad():
        logits = loaded.eval()(**inputs).logits.numpy()
    assert np.ptp(logits) > 0.1
    assert np.abs(logits - ours["logits"]).max() < 1e-4

    # Exactly the promised number stays, and what stays is W + beta UV.
    tensors = loaded.state_dict()
    values = eager.Bert(model)
    check_counts([tensors[layer["weight"]].numpy() for layer in exported["layers"]], 0.83)
    for layer in exported["layers"]:
        weight = tensors[layer["weight"]].numpy()
        merged = values.weight_and_score(layer["weight"])[0].detach().numpy()
        assert np.abs(weight - merged)[weight != 0].max() < 1e-6
    for name in ("classifier.weight", "bert.pooler.dense.weight"):
        assert np.count_nonzero(tensors[name]) == tensors[name].numel()

    # Our own importer reads it as the same model.
    again = pst.compile(tmp_path / "exported", batch_size=23, sequence_length=11)
    batch = {name: value for name, value in examples.items() if name != "labels"}
    assert np.abs(again(**batch) - ours["logits"]).max() < 1e-4
