# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--distill_from`: a run that is drawn towards a teacher, against PyTorch in float64."""

import json
import subprocess

import eager
import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model
from test_cli import refuse
from test_cli import run as command
from test_gpu_bundle import BUILD
from test_parity import PEAK, PST, build, random_batch, randomise, save_model, training_options

import pst
from pst import TensorFile, _pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
functional = torch.nn.functional


# --- The loss

def divergence(logits, teacher, temperature):
    """As in Hinton et al. 2015 and in DistilBERT; of a number the squared difference."""
    teacher = torch.tensor(teacher, dtype=torch.float64)
    if teacher.dim() == 1:
        return ((logits[:, 0] - teacher) ** 2).mean()
    p, q = (torch.log_softmax(x / temperature, -1) for x in (teacher, logits))
    return temperature**2 * functional.kl_div(q, p, reduction="batchmean", log_target=True)


class Distilled(eager.Bert):
    share, temperature = 0.3, 3.0

    def loss(self, batch):
        return (1 - self.share) * super().loss(batch) + self.share * divergence(self.logits(batch), batch["teacher_logits"], self.temperature)


def batch_with_teacher(rng, rows, length, labels):
    teacher = rng.standard_normal((rows, labels) if labels > 1 else rows).astype(np.float32) * 2
    return random_batch(rng, rows, length, labels) | {"teacher_logits": teacher}


@pytest.mark.parametrize("labels, target, precision, close", [
    (3, "cpu", "f32", 1), (1, "cpu", "f32", 1), (3, "emulated", "f32", 1), (3, "emulated", "bf16", 20),
])  # fmt: skip
def test_the_loop_follows_the_eager_model(tmp_path, labels, target, precision, close):
    """Steps of all examples, in micro-batches of which the last is not full."""
    steps = 25 if target == "cpu" else 3
    save_model(tmp_path / "m", 5, num_labels=labels, num_hidden_layers=1, hidden_size=24, intermediate_size=37)
    # The emulated program also has no padding.
    settings = {"token_capacity": 20, "precision": precision, "gpu_arch": "sm_90a"} if target == "emulated" else {}
    _, model = build(tmp_path / "m", 4, 8, num_labels=labels, regression=labels == 1, distillation=True, target=target, **settings, **PST)
    randomise(model, 3)
    reference = Distilled(model)
    examples = batch_with_teacher(np.random.default_rng(9), 14, 8, labels)
    records = []
    options = training_options(
        tmp_path / "run", max_steps=steps, gradient_accumulation_steps=4, mask_learning_rate=PEAK, head_learning_rate=PEAK, distill_share=0.3,
        **({"distill_temperature": 3.0} if labels > 1 else {}),
    )  # fmt: skip
    _pst.train(model, options, _pst.Dataset.of(examples), on_step=records.append)
    assert len(records) == steps
    for step, record in enumerate(records):
        reference.select(eager.sparsity_at(step, steps, 0.8))
        loss, gradients = reference.gradients(examples)
        assert record["loss"] == pytest.approx(loss, rel=1e-4 * close), step
        norm = reference.apply(gradients, step + 1, eager.learning_rate_at(step, steps, 2, PEAK), decay=0.01, max_norm=1.0)
        assert record["grad_norm"] == pytest.approx(norm, rel=1e-3 * close), step
    # An evaluation has the task's loss, and needs no teacher.
    plain = {name: values for name, values in examples.items() if name != "teacher_logits"}
    reference.select(0.8)
    expected = eager.Bert.loss(reference, plain).item()
    for data in (plain, examples):
        assert _pst.evaluate(model, _pst.Dataset.of(data), 0.8)["loss"] == pytest.approx(expected, rel=1e-4 * close)


def test_several_labels_an_example(tmp_path):
    save_model(tmp_path / "m", 5, num_labels=3, num_hidden_layers=1, hidden_size=24, intermediate_size=37)
    _, model = build(tmp_path / "m", 6, 8, num_labels=3, task="multi_label_classification", distillation=True, method="lora")
    rng = np.random.default_rng(4)
    examples = batch_with_teacher(rng, 6, 8, 3) | {"labels": rng.integers(0, 2, (6, 3)).astype(np.float32)}
    reference = eager.Bert(model)
    logits, teacher = reference.logits(examples), torch.tensor(examples["teacher_logits"], dtype=torch.float64)
    (p, q), (none, other) = ((torch.sigmoid(x / 2) for x in (sign * teacher, sign * logits)) for sign in (1, -1))
    away = 4 * (p * (p / q).log() + none * (none / other).log()).mean()
    loss = 0.5 * functional.binary_cross_entropy_with_logits(logits, torch.tensor(examples["labels"], dtype=torch.float64)) + 0.5 * away
    records = []
    _pst.train(
        model, training_options(tmp_path / "run", max_steps=1, warmup_steps=0, sparsity=None), _pst.Dataset.of(examples), on_step=records.append
    )
    gradients = torch.autograd.grad(loss, [reference.values[name] for name in reference.trained])
    assert records[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert records[0]["grad_norm"] == pytest.approx(float(sum((g**2).sum() for g in gradients) ** 0.5), rel=1e-4)


# --- From a teacher's directory

CLASSES = ["a", "b", "c"]
SETTINGS = {"method": "lora", "max_steps": 1, "learning_rate": 0.0, "logging_steps": 1, "save_strategy": "no", "report_to": "none"}
TINY = {**CONFIG, "num_hidden_layers": 1, "id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}


def made(directory, seed, **changes):
    """Of three classes; dropout is the teacher's own affair, so it has some."""
    config = {**TINY, **changes}
    rng = np.random.default_rng(seed)
    count = len(config["id2label"])
    head = {"classifier.weight": rng.standard_normal((count, 12)).astype(np.float32), "classifier.bias": rng.standard_normal(count).astype(np.float32)}
    return write_model(directory, config, {**bert_tensors(config, seed), **head})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A student without dropout, a teacher with it, and of two layers."""
    folder = tmp_path_factory.mktemp("distilled")
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return made(folder / "student", 3, **dropout), made(folder / "teacher", 4, num_hidden_layers=2)


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return [(" ".join(WORDS[i] for i in rng.integers(5, 16, rng.integers(1, 9))), CLASSES[rng.integers(3)]) for _ in range(count)]


def write_rows(path, data):
    path.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in data))
    return path


def logits_of(directory, data):
    reference = transformers.BertForSequenceClassification.from_pretrained(directory).double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    with torch.no_grad():
        return reference(**tokenizer([text for text, _ in data], padding=True, return_tensors="pt")).logits


def losses(models, data, share, temperature, weights=None):
    """The mixed loss of all of the data, and the task's, of the models as they are."""
    student, teacher = (logits_of(directory, data) for directory in models)
    labels = torch.tensor([CLASSES.index(label) for _, label in data])
    weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    task = functional.cross_entropy(student, labels, weight=weights)
    return float((1 - share) * task + share * divergence(student, teacher.numpy(), temperature)), float(task)


def first_loss(output):
    return json.loads((output / "log.jsonl").read_text().splitlines()[0])["loss"]


@pytest.mark.parametrize("options, share, temperature", [
    ({}, 0.5, 2.0), ({"distill_share": 0.25, "distill_temperature": 1.5, "class_weights": [0.5, 1.0, 4.0]}, 0.25, 1.5),
])  # fmt: skip
def test_the_loss_of_a_trainer(models, tmp_path, options, share, temperature):
    """Micro-batches of which the last is not full; weights of classes are of the task's loss, whose evaluation is as before."""
    data, dev = rows(29, 0), rows(17, 1)
    trainer = pst.Trainer(
        models[0], data, dev, output_dir=tmp_path, **SETTINGS, per_device_train_batch_size=8, gradient_accumulation_steps=4,
        distill_from=models[1], **options,
    )  # fmt: skip
    result = trainer.train()
    weights = options.get("class_weights")
    expected, task = losses(models, data, share, temperature, weights)
    assert first_loss(tmp_path) == pytest.approx(expected, rel=2e-6)
    assert abs(expected - task) > 0.01 * task, "the teacher says nothing"
    assert result["history"][-1]["loss"] == pytest.approx(losses(models, dev, share, temperature, weights)[1], rel=2e-6)


def test_from_the_command_line(models, tmp_path, capsys):
    """`pst prepare` and `pst-run`, without Python beside it, train with the loss of `pst train`."""
    data = rows(21, 2)
    student, teacher = models
    train = write_rows(tmp_path / "train.tsv", data)
    flags = ["--model_name_or_path", student, "--train_file", train, "--distill_from", teacher]
    method = ["--method", "lora", "--per_device_train_batch_size", 8]
    run = ["--max_steps", 1, "--learning_rate", 0, "--gradient_accumulation_steps", 3, "--logging_steps", 1, "--distill_temperature", 4]
    status, _, err = command(capsys, "train", *flags, *method, *run, "--output_dir", tmp_path / "run")
    assert status == 0, err
    expected, _ = losses(models, data, 0.5, 4.0)
    assert first_loss(tmp_path / "run") == pytest.approx(expected, rel=2e-6)
    assert f"--distill_from {teacher}" in (tmp_path / "run" / "model" / "README.md").read_text()

    status, out, err = command(capsys, "prepare", *flags, "--output_dir", tmp_path / "data")
    assert status == 0, err
    pairs = dict(line.split(": ") for line in out.splitlines())
    column = np.array(TensorFile(pairs["train"]).read("teacher_logits"))
    np.testing.assert_allclose(column, logits_of(teacher, data).numpy(), atol=1e-5)
    compiled = ["compile", "--model_name_or_path", student, "--max_seq_length", pairs["sequence_length"], *method]
    assert command(capsys, *compiled, "--distillation", "--bundle", tmp_path / "bundle")[0] == 0

    def pst_run(data, *more):
        arguments = ["train", "--bundle", tmp_path / "bundle", "--model", student, "--train", data, *run, *more]
        return subprocess.run([BUILD / "bin" / "pst-run", *map(str, arguments)], capture_output=True, text=True, check=False)

    done = pst_run(pairs["train"], "--output_dir", tmp_path / "native")
    assert done.returncode == 0, done.stderr
    assert first_loss(tmp_path / "native") == first_loss(tmp_path / "run")
    assert command(capsys, "prepare", *flags[:4], "--output_dir", tmp_path / "bare")[0] == 0
    told = pst_run(tmp_path / "bare" / "train.safetensors", "--output_dir", tmp_path / "no").stderr
    assert 'lacks "teacher_logits", which the program, compiled with --distillation, reads as f32[N,3]' in told
    assert "'pst prepare --distill_from TEACHER' writes it" in told

    # Bundles and what is asked of them.
    settings = {**SETTINGS, "output_dir": tmp_path / "o"}
    with pytest.raises(pst.DataError, match="was compiled with --distillation: name a teacher, --distill_from DIR"):
        pst.Trainer(student, data, **settings, bundle=tmp_path / "bundle")
    assert command(capsys, *compiled, "--bundle", tmp_path / "plain")[0] == 0
    with pytest.raises(pst.DataError, match="was compiled without --distillation, which --distill_from needs"):
        pst.Trainer(student, data, **settings, bundle=tmp_path / "plain", distill_from=teacher)
    told = refuse(capsys, *compiled[:3], "--for", "inference", "--distillation", "--bundle", tmp_path / "p")
    assert told == "--distillation is of --for training, but the program is for inference: leave one of them out"


def test_a_run_is_continued_with_the_same_teacher_only(models, tmp_path):
    data = rows(24, 3)
    settings = {**SETTINGS, "max_steps": 4, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 2, "distill_from": models[1]}
    pst.Trainer(models[0], data, output_dir=tmp_path / "whole", **settings).train()
    pst.Trainer(models[0], data, output_dir=tmp_path / "parts", **settings).train()
    again = {"output_dir": tmp_path / "parts", "resume_from_checkpoint": tmp_path / "parts" / "checkpoint-2"}
    other = made(tmp_path / "other", 5)
    for change, told in (({"distill_share": 0.6}, "distill_share: 0.5 in the checkpoint, 0.6 now"),
                         ({"distill_temperature": 1.0}, "distill_temperature: 2 in the checkpoint, 1 now"),
                         ({"distill_from": other}, r"training data \(digest\)"),
                         ({"distill_from": ""}, "checkpoint")):  # fmt: skip
        with pytest.raises(pst.Error, match=told):
            pst.Trainer(models[0], data, **again, **{**settings, **change}).train()
    pst.Trainer(models[0], data, **again, **settings).train()
    for name in ("trainable.safetensors", "optimizer.safetensors", "trainer_state.json"):
        whole, parts = (tmp_path / run / "checkpoint-4" / name for run in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


# --- What cannot be

def test_options_that_cannot_be(models, tmp_path):
    data = rows(8, 5)
    for options, told in (
        ({"distill_from": models[1], "distill_share": 1.5}, r"--distill_share must be in \[0, 1\], but is 1.5"),
        ({"distill_from": models[1], "distill_temperature": 0}, "--distill_temperature must be positive, but is 0"),
        ({"distill_share": 0.5}, r"--distill_share is given, but the program was compiled without distillation: compile it with --distillation"),
    ):
        with pytest.raises((ValueError, pst.Error), match=told):
            pst.Trainer(models[0], data, output_dir=tmp_path, **SETTINGS, **options)


def test_teachers_that_cannot_be(models, tmp_path):
    data = rows(8, 5)

    def refused(teacher, model=models[0], data=data, **options):
        with pytest.raises((pst.DataError, ValueError, pst.Error)) as error:
            pst.Trainer(model, data, output_dir=tmp_path / "o", **SETTINGS, distill_from=teacher, **options)
        return str(error.value)

    names = ["b", "a", "c"]
    turned = made(tmp_path / "turned", 1, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    assert refused(turned) == (
        f"--distill_from {turned}: the teacher's labels are 'b', 'a', 'c', but those of the data are 'a', 'b', 'c': they must be the same, "
        "in the same order (--classes says that of the data)"
    )
    two = made(tmp_path / "two", 1, id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})
    assert f"--distill_from {two}: the teacher's labels are 'a', 'b', but those of the data" in refused(two)
    number = made(tmp_path / "number", 1, id2label={0: "LABEL_0"}, label2id={"LABEL_0": 0}, problem_type="regression")
    assert refused(number) == f"--distill_from {number}: the teacher predicts a number, but the data have one label an example"
    numbers = [("good", 0.5), ("bad", 1.5), ("the film", 2.25)]
    assert refused(models[1], number, numbers) == f"--distill_from {models[1]}: the teacher gives one label, but the data hold a number"
    assert "--distill_temperature is of models that tell classes apart, but this one predicts a number" in refused(
        number, number, numbers, distill_temperature=2
    )
    other = made(tmp_path / "other", 1)
    words = (other / "vocab.txt").read_text().split("\n")
    words[5], words[6] = words[6], words[5]
    (other / "vocab.txt").write_text("\n".join(words))
    told = refused(other, data=[(f"{WORDS[7]}", "a"), (f"{WORDS[5]} {WORDS[7]}", "b"), (WORDS[8], "c")])
    assert told.startswith(f"--distill_from {other}: the teacher's tokenizer makes other tokens of the training data:2 than the model's")
    assert refused(tmp_path / "none").startswith(f"{tmp_path}/none: not a model directory")
    headless = write_model(tmp_path / "headless", TINY)
    assert "would start from random values" in refused(headless)
    with pytest.raises(ValueError, match="--distill_from is of models that classify texts, or predict a number of them, not of one that classifies their words"):
        pst.Trainer(models[0], [(["good"], ["O"])], output_dir=tmp_path / "o", task="token_classification", distill_from=models[1])
    with pytest.raises(pst.CompileError, match="distillation is of models that classify texts, or predict a number of them, but this one classifies tokens"):
        _pst.compile_model(str(models[0]), {"task": "token_classification", "distillation": True, "num_labels": 3, "regression": False})
