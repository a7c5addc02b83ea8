# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--method wanda` and `ria`: what layers read, and what is pruned by it, against PyTorch's hooks on transformers' model."""

import json
import shutil

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, gpt2_tensors, write_data, write_model
from test_cli import run as command
from test_digests import GPT2

import pst
from pst import TensorFile, _pst

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = {**CONFIG, "num_hidden_layers": 2, "id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
SETTINGS = {"max_steps": 2, "learning_rate": 1e-3, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "weight_rank": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """With dropout, of which a measurement has none, and a dead column."""
    tensors = bert_tensors(TINY, 3)
    tensors["bert.encoder.layer.0.intermediate.dense.weight"][:, 4] = 0
    return write_model(tmp_path_factory.mktemp("calibrated") / "m", TINY, tensors)


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return [(" ".join(WORDS[i] for i in rng.integers(5, 16, rng.integers(1, 9))), str(rng.choice(["no", "yes"]))) for _ in range(count)]


def norms_of(directory, texts):
    """Of the input of each layer of the encoder, over all tokens but padding, in float64."""
    model = transformers.BertModel.from_pretrained(directory).double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    squares = {}

    def measure(name):
        def hook(module, inputs, output):
            squares[name] = squares.get(name, 0) + (inputs[0].reshape(-1, inputs[0].shape[-1]) ** 2).sum(0)

        return hook

    for name, module in model.encoder.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(measure(f"bert.encoder.{name}.weight"))
    with torch.no_grad():
        for text in texts:
            model(**tokenizer(text, return_tensors="pt"))
    return {name: s.sqrt().numpy() for name, s in squares.items()}


def score(method, weight, norm):
    """As the papers have them."""
    weight = np.abs(weight.astype(np.float64))
    if method == "wanda":
        return weight * norm
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(weight / weight.sum(0)) * np.sqrt(norm) + weight / weight.sum(1, keepdims=True) * np.sqrt(norm)


@pytest.mark.parametrize("method, target", [("wanda", "cpu"), ("ria", "cpu"), ("wanda", "emulated")])
def test_the_mask_is_that_of_the_paper(model, tmp_path, method, target):
    """From the first step on, over training, and in what is saved. A batch has room for some of the examples."""
    data = rows(30, 0)
    trainer = pst.Trainer(
        model, data, output_dir=tmp_path / "run", method=method, sparsity=0.6, **SETTINGS, per_device_train_batch_size=7,
        calibration_samples=11, target=target,
    )  # fmt: skip
    chosen = np.linspace(0, 29, 11).round().astype(int)
    norms = norms_of(model, [data[i][0] for i in chosen])
    measured = TensorFile(tmp_path / "run" / "calibration.safetensors")
    assert set(measured.names()) == {n + what for n in norms for what in ("", ".relative", ".rows", ".columns")} and len(norms) == 12
    for name, norm in norms.items():
        np.testing.assert_allclose(np.array(measured.read(name)), norm, rtol=3e-6)
    trainer.train()
    trainer.save(tmp_path / "saved")
    before, after = TensorFile(model), TensorFile(tmp_path / "saved")
    for name, norm in norms.items():
        weight, found = np.array(before.read(name)), np.array(after.read(name))
        scores = score(method, weight, norm)
        if method == "wanda":  # of each row
            pruned = np.zeros(scores.shape, bool)
            least = np.argsort(scores, 1, kind="stable")[:, : int(scores.shape[1] * 0.6)]
            np.put_along_axis(pruned, least, True, 1)
        else:
            pruned = scores <= np.sort(scores, None)[int(scores.size * 0.6) - 1]
        assert ((found == 0) == pruned).mean() > 0.995, name
        assert (found == 0).sum() == pruned.sum()
        assert (found != weight)[found != 0].mean() > 0.9, "nothing was trained"


def test_from_the_command_line(model, tmp_path, capsys):
    """Measured by `pst prepare`, compiled with, exported."""
    train = write_data(tmp_path / "train.tsv", 24)
    flags = ["--model_name_or_path", model, "--train_file", train]
    run = ["--max_steps", 1, "--learning_rate", 0, "--method", "ria", "--report_to", "none", "--sparsity", 0.5]
    status, _, err = command(capsys, "train", *flags, *run, "--calibration_samples", 5, "--output_dir", tmp_path / "run")
    assert status == 0, err
    # What was measured is no part of the command that made it.
    assert "calibration_file" not in (tmp_path / "run" / "model" / "README.md").read_text()
    status, out, err = command(capsys, "prepare", *flags, "--calibration_samples", 5, "--output_dir", tmp_path / "data")
    assert status == 0, err
    file = dict(line.split(": ") for line in out.splitlines())["calibration"]
    assert open(file, "rb").read() == (tmp_path / "run" / "calibration.safetensors").read_bytes()
    status, _, err = command(capsys, "train", *flags, *run, "--calibration_file", file, "--output_dir", tmp_path / "given")
    assert status == 0, err
    assert (tmp_path / "given" / "calibration.safetensors").read_bytes() == open(file, "rb").read()
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "given")]
    assert weights[0] == weights[1]
    status, _, err = command(capsys, "export", tmp_path / "run" / "checkpoint-1", "--output_dir", tmp_path / "again")
    assert status == 0, err
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == weights[0]
    # An adapter has the norms with it.
    status, _, err = command(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "adapter", "--format", "adapter")
    assert status == 0, err
    shutil.move(tmp_path / "run", tmp_path / "away")
    status, _, err = command(capsys, "export", tmp_path / "adapter", "--base", model, "--output_dir", tmp_path / "back")
    assert status == 0, err
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == weights[0]


def test_sparsities_by_outliers(model, tmp_path):
    """As the published code shares them out: blocks with more outliers stay denser; the mean is what was asked for."""
    data = rows(12, 4)
    tensors = {name: np.array(TensorFile(model).read(name)) for name in TensorFile(model).names()}
    tensors["bert.encoder.layer.1.output.dense.weight"][2, 3] = 40.0
    other = write_model(tmp_path / "m", TINY, tensors)
    options = {"method": "map", "sparsity": 0.7, "layer_sparsity": "owl", "exclude_modules": "key", "calibration_samples": 12}
    trainer = pst.Trainer(other, data, output_dir=tmp_path / "run", **{**SETTINGS, "final_warmup": 0.9, "max_steps": 1}, **options)
    norms = norms_of(other, [text for text, _ in data])
    shares = []
    for block in ("layer.0.", "layer.1."):
        scores = [np.abs(tensors[n].astype(np.float64)) * norm for n, norm in norms.items() if block in n and ".key." not in n]
        scores = np.concatenate([s.reshape(-1) for s in scores])
        shares.append((scores > 5 * scores.mean()).mean())
    assert 0 <= min(shares) < max(shares)
    more = (np.array(shares) - min(shares)) * 0.16 / (max(shares) - min(shares))
    expected = 0.7 - (more - more.mean())
    trainer.train()
    trainer.save(tmp_path / "saved")
    saved = TensorFile(tmp_path / "saved")
    chosen = json.loads((tmp_path / "run" / "owl.json").read_text())
    assert set(chosen) == {name.removesuffix(".weight") for name in norms if ".key." not in name}
    for name in norms:
        weight = np.array(saved.read(name))
        share = 0.0 if ".key." in name else expected[int("layer.1." in name)]
        assert ".key." in name or chosen[name.removesuffix(".weight")] == pytest.approx(share, abs=1e-12)
        assert (weight == 0).sum() == int(share * weight.size), name


def test_outliers_of_weights_that_are_stored_by_inputs(tmp_path):
    """GPT-2's: what is measured is of a row of the stored weight."""
    config = GPT2 | {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 2, "pad_token_id": 0, "n_layer": 2, "n_positions": 20}
    tensors = gpt2_tensors(config)
    tensors["h.1.mlp.c_fc.weight"][2, 3] = 40.0
    directory = write_model(tmp_path / "m", config, tensors)
    settings = {**SETTINGS, "calibration_samples": 12, "sparsity": 0.7}
    pst.Trainer(directory, rows(12, 4), output_dir=tmp_path / "ria", method="ria", **settings)
    pst.Trainer(directory, rows(12, 4), output_dir=tmp_path / "run", method="map", layer_sparsity="owl", **settings)
    measured, model = TensorFile(tmp_path / "ria" / "calibration.safetensors"), TensorFile(directory)
    names = [name for name in measured.names() if name.rpartition(".")[2] not in ("relative", "rows", "columns")]
    shares = []
    for block in (".0.", ".1."):
        scores = []
        for name in (n for n in names if block in n):
            stored, _, part = name.removeprefix("transformer.").partition(":")
            weight = np.abs(np.array(model.read(stored), np.float64))
            if part:
                weight = np.split(weight, 3, 1)[("query", "key", "value").index(part)]
            scores.append((weight * np.array(measured.read(name))[:, None]).reshape(-1))
        scores = np.concatenate(scores)
        shares.append((scores > 5 * scores.mean()).mean())
    assert 0 <= min(shares) < max(shares)
    more = (np.array(shares) - min(shares)) * 0.16 / (max(shares) - min(shares))
    expected = 0.7 - (more - more.mean())
    chosen = json.loads((tmp_path / "run" / "owl.json").read_text())
    assert len(chosen) == len(names) == 12
    for name, share in chosen.items():
        assert share == pytest.approx(expected[int(".1." in name)], abs=1e-12), name


def test_a_language_model(tmp_path):
    """Tokens of blocks; rows of the last batch that are not there have no part."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
              "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32}  # fmt: skip
    torch.manual_seed(0)
    reference = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    reference.save_pretrained(tmp_path / "m", safe_serialization=True)
    program = _pst.compile_model(str(tmp_path / "m"), {"training": False, "task": "lm", "batch_size": 4, "sequence_length": 6, "calibration": True})
    assert set(json.loads(program.manifest)["entry_points"]) == {"calibrate"}
    ids = np.random.default_rng(1).integers(0, 32, (5, 6)).astype(np.int32)
    found = _pst.calibrate(_pst.Model(program, str(tmp_path / "m"), 0), _pst.Dataset.of({"input_ids": ids, "attention_mask": np.ones_like(ids)}))
    read = {}
    layer = reference.double().model.layers[0]
    for name in ("self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
        layer.get_submodule(name).register_forward_hook(lambda m, x, y, name=name: read.update({name: (x[0] ** 2).sum((0, 1)).detach().numpy()}))
    reference(torch.from_numpy(ids).long())
    for name, squares in read.items():
        np.testing.assert_allclose(found[f"model.layers.0.{name}.weight"], squares, rtol=3e-6)


def test_what_cannot_be(model, tmp_path):
    data = rows(6, 1)
    for options, told in (
        ({"method": "wanda", "calibration_samples": 0}, "--calibration_samples must be at least 1, but is 0"),
        ({"layer_sparsity": "owl", "bundle": "b"}, "--layer_sparsity owl is measured before a program is compiled, but --bundle has one"),
        ({"method": "ria", "weight_rank": 0}, "--weight_rank must be positive with --method ria, which trains nothing else"),
        ({"method": "map", "calibration_file": "x"}, "--calibration_file is of the methods pst_wanda, wanda and ria, but --method is map: leave it out"),
    ):
        with pytest.raises((ValueError, pst.Error), match=told):
            pst.Trainer(model, data, output_dir=tmp_path, **{**SETTINGS, **options})
    with pytest.raises(pst.CompileError, match="the method wanda needs what layers have read on some data: --calibration_file FILE"):
        _pst.compile_model(str(model), {"training": True, "method": "wanda", "sequence_length": 8})
    other = write_model(tmp_path / "gpt2", GPT2 | {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 2}, gpt2_tensors(GPT2))
    with pytest.raises(pst.CompileError, match="the method wanda compares the weights of an output, .* inputs x outputs"):
        pst.Trainer(other, data, output_dir=tmp_path / "o", method="wanda", **SETTINGS)
