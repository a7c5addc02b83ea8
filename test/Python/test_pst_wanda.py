# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--method pst_wanda`: PST whose magnitudes are multiplied by what their inputs weigh, against float64 models."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import eager  # noqa: E402
import steps  # noqa: E402
import test_calibration as calibration  # noqa: E402
import test_gpt2 as gpt2  # noqa: E402
import test_parity as parity  # noqa: E402
from conftest import gpt2_tensors, write_model  # noqa: E402
from eager_gpt2 import Gpt2  # noqa: E402
from test_calibration import model  # noqa: E402, F401
from test_digests import GPT2  # noqa: E402

import pst  # noqa: E402
from pst import TensorFile, _pst, write_tensors  # noqa: E402

PST_WANDA = parity.PST | {"method": "pst_wanda"}


def write_norms(path, directory, inputs_of):
    """Random ones, of each layer's inputs."""
    rng = np.random.default_rng(9)
    file = TensorFile(directory)
    tensors = {}
    for name, inputs in inputs_of(file):
        tensors[name + ".relative"] = rng.uniform(0.2, 3.0, inputs).astype(np.float32)
    assert len(tensors) == 12
    write_tensors(str(path), tensors)
    return str(path)


def bert_layers(file):
    names = [n for n in file.names() if "encoder.layer" in n and n.endswith("weight") and "LayerNorm" not in n]
    return [(name, file.read(name).shape[1]) for name in names]


def gpt2_layers(file):
    """Query, key and value lie in one matrix, side by side."""
    for name in file.names():
        if ".h." in name and name.endswith("weight") and "ln_" not in name:
            for part in (":query", ":key", ":value") if "c_attn" in name else ("",):
                yield name + part, file.read(name).shape[0]


@pytest.mark.parametrize("target, total", [("cpu", 25), ("emulated", 5)])
def test_steps_follow_the_eager_model(tmp_path, target, total):
    parity.save_model(tmp_path / "m", 1)
    norms = write_norms(tmp_path / "calibration.safetensors", tmp_path / "m", bert_layers)
    _, compiled = parity.build(tmp_path / "m", 6, 10, target=target, calibration_file=norms, **PST_WANDA)
    reference = eager.Bert(compiled)
    for name, _ in bert_layers(TensorFile(tmp_path / "m")):
        np.testing.assert_array_equal(reference.values[name + ".pst_norm"].numpy(), np.array(TensorFile(norms).read(name + ".relative")))
    examples = parity.random_batch(np.random.default_rng(2), 40, 10, 3)
    steps.follow(compiled, reference, examples, total, 6, 0.9, tolerance=3e-5, decay=0.1, max_norm=1.0)


def test_norms_of_weights_that_are_stored_by_inputs(tmp_path):
    """GPT-2's: a norm is that of a row of the stored weight."""
    gpt2.save_model(tmp_path / "m", 1)
    norms = write_norms(tmp_path / "calibration.safetensors", tmp_path / "m", gpt2_layers)
    _, compiled = parity.build(tmp_path / "m", 6, 10, calibration_file=norms, **PST_WANDA)
    examples = gpt2.text_batch(np.random.default_rng(2), 40, 10)
    steps.follow(compiled, Gpt2(compiled), examples, 25, 6, 0.9, tolerance=3e-5, decay=0.1, max_norm=1.0)


@pytest.mark.parametrize("batch_size, flags", [(7, {}), (30, {"max_grad_norm": 0.0, "sparsity": 0.5})])
def test_a_run_measures_and_prunes_by_it(model, tmp_path, batch_size, flags):  # noqa: F811
    """Without a rate, so that the mask is that of the model's weights: the least of all layers' magnitude times norm."""
    data = calibration.rows(30, 0)
    settings = calibration.SETTINGS | {"max_steps": 3, "learning_rate": 0.0, "final_warmup": 0.5, "sparsity": 0.6} | flags
    trainer = pst.Trainer(
        model, data, output_dir=tmp_path / "run", method="pst_wanda", calibration_samples=11, per_device_train_batch_size=batch_size,
        **settings,
    )  # fmt: skip
    norms = calibration.norms_of(model, [data[i][0] for i in np.linspace(0, 29, 11).round().astype(int)])
    measured = TensorFile(tmp_path / "run" / "calibration.safetensors")
    for name, norm in norms.items():
        np.testing.assert_allclose(np.array(measured.read(name + ".relative")), norm / np.sqrt(np.mean(norm**2)), rtol=3e-6)
    trainer.train()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["sparsity"] for line in log if line["event"] == "train"][0] == 0, "not pruned before the first step"
    trainer.save(tmp_path / "saved")
    before, after = TensorFile(model), TensorFile(tmp_path / "saved")
    scores = {n: np.abs(np.array(before.read(n), np.float64)) * norm / np.sqrt(np.mean(norm**2)) for n, norm in norms.items()}
    every = np.concatenate([score.reshape(-1) for score in scores.values()])
    count = int(every.size * settings["sparsity"])
    least = np.sort(every)[count - 1]
    zeros = {name: np.array(after.read(name)) == 0 for name in norms}
    assert sum(z.sum() for z in zeros.values()) == count
    for name, zero in zeros.items():
        assert (zero == (scores[name] <= least)).mean() > 0.995, name


@pytest.mark.parametrize("method, flags", [("pst_wanda", {}), ("wanda", {"selection": "topk"}), ("ria", {})])
def test_a_run_of_gpt2_measures_its_rows(tmp_path, method, flags):
    """Query, key and value read the same; their norms, as all of GPT-2's, are of the rows of what is stored."""
    config = GPT2 | {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 2, "pad_token_id": 0}
    directory = write_model(tmp_path / "m", config, gpt2_tensors(config))
    data = calibration.rows(12, 5)
    settings = calibration.SETTINGS | {"max_steps": 1, "learning_rate": 0.0, "final_warmup": 0.9, "sparsity": 0.5} | flags
    trainer = pst.Trainer(directory, data, output_dir=tmp_path / "run", method=method, calibration_samples=12, **settings)
    reference = transformers.GPT2Model.from_pretrained(directory).double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    squares = {}
    for name, module in reference.named_modules():
        if type(module).__name__ == "Conv1D":
            module.register_forward_hook(lambda m, x, y, n=name: squares.update({n: squares.get(n, 0) + (x[0][0] ** 2).sum(0)}))
    with torch.no_grad():
        for text, _ in data:
            reference(**{k: v for k, v in tokenizer(text, return_tensors="pt").items() if k != "token_type_ids"})
    measured = TensorFile(tmp_path / "run" / "calibration.safetensors")
    trainer.train()
    trainer.save(tmp_path / "saved")
    before, after = TensorFile(directory), TensorFile(tmp_path / "saved")
    layers = []  # scores, zeros
    for name, square in squares.items():
        norm = square.sqrt().numpy()
        weight, found = (np.array(file.read(f"{prefix}{name}.weight"), np.float64) for file, prefix in ((before, ""), (after, "transformer.")))
        parts = (":query", ":key", ":value") if "c_attn" in name else ("",)
        for part, own, left in zip(parts, np.split(np.abs(weight), len(parts), 1), np.split(found, len(parts), 1)):
            np.testing.assert_allclose(np.array(measured.read(f"transformer.{name}.weight{part}")), norm, rtol=3e-6)
            if method == "ria":
                scores = (own / own.sum(0) + own / own.sum(1, keepdims=True)) * np.sqrt(norm)[:, None]
            else:
                scores = own * (norm / np.sqrt(np.mean(norm**2)))[:, None]
            layers.append((scores.reshape(-1), left.reshape(-1) == 0))
    if method == "pst_wanda":  # of all layers together
        layers = [[np.concatenate(both) for both in zip(*layers)]]
    for scores, zeros in layers:
        count = int(scores.size * 0.5)
        assert zeros.sum() == count
        assert (zeros == (scores <= np.sort(scores)[count - 1])).mean() > 0.999


def test_what_it_needs(model, tmp_path):  # noqa: F811
    with pytest.raises(pst.CompileError, match="the method pst_wanda needs what layers have read on some data: --calibration_file FILE"):
        _pst.compile_model(str(model), {"training": True, "method": "pst_wanda", "sequence_length": 8})
