# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Label smoothing of language models: losses and steps against PyTorch's, plain evaluations, what is refused."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import eager  # noqa: E402
import test_gpt2  # noqa: E402
import test_llama  # noqa: E402
import test_parity as parity  # noqa: E402
from eager_gpt2 import Gpt2  # noqa: E402
from eager_llama import Llama  # noqa: E402
from test_language import write_model  # noqa: E402
from test_packed_answers import LENGTH, as_trl, examples, pairs, write_pairs  # noqa: E402

import pst  # noqa: E402
from pst import _pst  # noqa: E402
from pst.cli import main  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def training_options(output, **changes):
    """Of steps that see all of 14 examples, in batches of 6."""
    return parity.training_options(
        output, **{"gradient_accumulation_steps": 3, "mask_learning_rate": parity.PEAK, "max_steps": 8, **changes}
    )


@pytest.mark.parametrize("family, smoothing, options", [
    ("gpt2", 0.1, {}), ("gpt2", 0.5, {"token_capacity": 61}), ("llama3", 0.1, {"token_capacity": 61}),
    ("gpt2", 0.1, {"target": "emulated", "token_capacity": 61}),
])  # fmt: skip
def test_the_loop_follows_the_eager_model(tmp_path, family, smoothing, options):
    """Of completions, with and without padding: losses, norms and selections; what is evaluated is the plain loss."""
    if family == "gpt2":
        test_gpt2.save_model(tmp_path / "m", 1)
    else:
        which, changes = test_llama.FAMILIES[family]
        test_llama.save_model(tmp_path / "m", 1, which, **changes)
    _, model = parity.build(tmp_path / "m", 6, 12, weighted_loss=True, **options, **parity.PST)
    reference = (Gpt2 if family == "gpt2" else Llama)(model)
    arrays = examples(np.random.default_rng(3), 14, 12, 61)
    data, records = _pst.Dataset.of(arrays), []
    _pst.train(model, training_options(tmp_path / "run", label_smoothing_factor=smoothing), data, on_step=records.append)
    assert len(records) == 8
    reference.select(0.0)
    plain = reference.loss(arrays).item()
    reference.smoothing = float(np.float32(smoothing))
    for step, record in enumerate(records):
        reference.select(eager.sparsity_at(step, 8, 0.8))
        loss, gradients = reference.gradients(arrays)
        assert record["loss"] == pytest.approx(loss, rel=1e-4), step
        norm = reference.apply(gradients, step + 1, eager.learning_rate_at(step, 8, 2, parity.PEAK), decay=0.01, max_norm=1.0)
        assert record["grad_norm"] == pytest.approx(norm, rel=1e-3), step
    assert abs(records[0]["loss"] - plain) > 5e-4 * plain
    reference.select(0.8)
    smoothed = reference.loss(arrays).item()
    reference.smoothing = 0.0
    expected = reference.loss(arrays).item()
    found = _pst.evaluate(model, data, 0.8)
    assert found["loss"] == pytest.approx(expected, rel=1e-4) and abs(smoothed - expected) > 5e-4 * expected
    assert found["metrics"]["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-6)


def test_one_program_serves_every_smoothing(tmp_path):
    """Without any, its steps have the bits of a program that takes none."""
    test_gpt2.save_model(tmp_path / "m", 1)
    data, runs = _pst.Dataset.of(examples(np.random.default_rng(4), 14, 12, 61)), {}
    programs = {takes: _pst.compile_model(str(tmp_path / "m"), {
        "training": True, "batch_size": 6, "sequence_length": 12, "dropout": 0.0, "weighted_loss": takes, **parity.PST,
    }) for takes in (False, True)}  # fmt: skip
    for takes, smoothing in ((False, 0.0), (True, 0.0), (True, 0.2), (True, 0.4)):
        model, records = _pst.Model(programs[takes], str(tmp_path / "m"), 7), []
        options = training_options(tmp_path / f"run{takes}{smoothing}", label_smoothing_factor=smoothing, max_steps=3)
        _pst.train(model, options, data, on_step=records.append)
        runs[takes, smoothing] = [(record["loss"], record["grad_norm"]) for record in records], np.array(model.gradient)
    assert runs[False, 0.0][0] == runs[True, 0.0][0]
    # Of the same model, losses are a line in the smoothing.
    none, some, more = (runs[True, smoothing][0][0][0] for smoothing in (0.0, 0.2, 0.4))
    assert abs(some - none) > 5e-3 and more - some == pytest.approx(some - none, rel=1e-3)


def losses(directory, rows, smoothing):
    """PyTorch's mean over the completions' tokens, in float64."""
    loaded = transformers.GPT2LMHeadModel.from_pretrained(directory).double().eval()
    total = count = 0
    with torch.no_grad():
        for ids, labels in as_trl(directory, rows):
            wanted = torch.tensor(labels)[1:]
            logits = loaded(torch.tensor([ids])).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum", label_smoothing=smoothing).item()
            count += int((wanted != -100).sum())
    return total / count


def test_pst_train(tmp_path, capsys):
    """A rate of 0 leaves the model as it is: its smoothed loss in the log, its plain one of the evaluation."""
    model, rows, dev = write_model(tmp_path / "m"), pairs(24), pairs(9, 1)
    train, held = write_pairs(tmp_path / "train.jsonl", rows), write_pairs(tmp_path / "dev.jsonl", dev)
    given = {
        "model_name_or_path": model, "train_file": train, "validation_file": held, "output_dir": tmp_path / "run", "block_size": LENGTH,
        "method": "lora", "per_device_train_batch_size": 8, "gradient_accumulation_steps": 3, "max_steps": 1, "learning_rate": 0,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "label_smoothing_factor": 0.1,
    }  # fmt: skip
    flags = [str(item) for name, value in given.items() for item in (f"--{name}", value)]
    assert main(["train", *flags]) == 0, capsys.readouterr().err
    smoothed, plain = losses(model, rows, 0.1), losses(model, rows, 0.0)
    (line,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines() if '"train"' in line]
    assert line["loss"] == pytest.approx(smoothed, rel=2e-6) and abs(smoothed - plain) > 1e-4
    results = json.loads((tmp_path / "run" / "train_results.json").read_text())
    assert results["eval_loss"] == pytest.approx(losses(model, dev, 0.0), rel=2e-6)
    assert results["perplexity"] == pytest.approx(np.exp(results["eval_loss"]), rel=1e-6)


def test_bundles_take_it_if_compiled_for_it(tmp_path, capsys):
    model, rows = write_model(tmp_path / "m"), pairs(8)
    settings = {"method": "lora", "max_steps": 1, "learning_rate": 0.0, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "label_smoothing_factor": 0.25}
    flags = ["compile", "--model_name_or_path", str(model), "--method", "lora", "--block_size", str(LENGTH), "--per_device_train_batch_size", "8"]
    for name, more in (("plain", []), ("weighted", ["--weighted_loss"])):
        assert main([*flags, "--bundle", str(tmp_path / name), *more]) == 0, capsys.readouterr().err
    told = "--label_smoothing_factor is given, but the program was compiled without a weighted loss: compile it with --weighted_loss"
    with pytest.raises(pst.Error, match=told):
        pst.Trainer(model, rows, output_dir=tmp_path / "o", bundle=tmp_path / "plain", **settings)
    pst.Trainer(model, rows, output_dir=tmp_path / "o", bundle=tmp_path / "weighted", **settings).train()
    (line,) = [json.loads(line) for line in (tmp_path / "o" / "log.jsonl").read_text().splitlines()]
    assert line["loss"] == pytest.approx(losses(model, rows, 0.25), rel=2e-6)


def test_tokens_have_no_weights(tmp_path):
    model, rows = write_model(tmp_path / "m"), pairs(8)
    with pytest.raises(ValueError, match="--class_weights is of models that tell classes apart, not of a language model"):
        pst.Trainer(model, rows, output_dir=tmp_path / "o", class_weights="1,2", label_smoothing_factor=0.1)
    test_gpt2.save_model(tmp_path / "n", 1)
    _, built = parity.build(tmp_path / "n", 6, 12, weighted_loss=True, method="lora")
    data = _pst.Dataset.of(examples(np.random.default_rng(4), 14, 12, 61))
    with pytest.raises(pst.Error, match="--class_weights is of models that tell classes apart, but this one predicts tokens"):
        _pst.train(built, training_options(tmp_path / "run", class_weights="1,2", sparsity=0.0), data)
