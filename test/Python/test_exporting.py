# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst export`: any form of a trained model from any other, and what reads them."""

import json
import shutil

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_data, write_model
from test_cli import refuse, run

import pst
from pst import TensorFile, adapter, cli, write_tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a run by the command, its base beside it, and the run's own exports."""
    directory = tmp_path_factory.mktemp("forms")
    base = write_model(directory / "base", {**CONFIG, "num_hidden_layers": 1, "_name_or_path": "made/up-bert"})
    (directory / "base" / "chat_template.jinja").write_text("{{ messages }}")
    write_data(directory / "dev.tsv", 21, 1)
    flags = ["--model_name_or_path", base, "--train_file", write_data(directory / "train.tsv", 24), "--output_dir", directory / "run",
             "--max_steps", 3, "--sparsity", 0.75, "--initial_warmup", 0, "--final_warmup", 0.5, "--learning_rate", 1e-2,
             "--weight_rank", 2, "--mask_rank", 2, "--report_to", "none"]  # fmt: skip
    assert cli.main(["train", *map(str, flags)]) == 0
    for form in ("dense", "compressed", "adapter"):
        assert cli.main(["export", str(directory / "run"), "--output_dir", str(directory / form), "--format", form]) == 0
    return directory


def weights(directory):
    file = TensorFile(directory)
    return {name: np.array(file.read(name)) for name in file.names()}


def same(a, b):
    return set(a) == set(b) and all(a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for name in a)


def pairs(text):
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_the_compressed_file_is_the_dense_one(trained):
    dense, compressed = TensorFile(trained / "dense"), TensorFile(trained / "compressed")
    assert same(weights(trained / "dense"), weights(trained / "compressed")) and same(weights(trained / "dense"), weights(trained / "run" / "model"))
    layers = [name for name in compressed.names() if compressed.stored_dtype(name)]
    assert len(layers) == 6 and all(".encoder.layer.0." in name for name in layers)
    assert not any(dense.stored_dtype(name) for name in dense.names())
    assert "quantization_config" not in json.loads((trained / "dense" / "config.json").read_text())
    config = json.loads((trained / "compressed" / "config.json").read_text())
    assert config["quantization_config"]["sparsity_config"]["targets"] == [name.removesuffix(".weight") for name in layers]
    assert sorted(p.name for p in (trained / "compressed").iterdir()) == sorted(p.name for p in (trained / "dense").iterdir())


@pytest.mark.parametrize("source", ["dense", "compressed", "adapter"])
@pytest.mark.parametrize("form", ["dense", "compressed", "adapter"])
def test_any_form_from_any_other(trained, tmp_path, capsys, source, form):
    flags = ["--base", trained / "base"] if source == "adapter" else []
    argv = ["export", trained / source, "--output_dir", tmp_path / "m", "--format", form, *flags]
    if form == "adapter" and source != "adapter":
        assert "the factors of its training are merged" in refuse(capsys, *argv)
        return
    status, _, err = run(capsys, *argv)
    assert status == 0, err
    read = TensorFile(tmp_path / "m" / "adapter_model.safetensors") if form == "adapter" else TensorFile(tmp_path / "m")
    if form == "adapter":
        theirs = TensorFile(trained / "adapter" / "adapter_model.safetensors")
        assert same({n: read.read(n) for n in read.names()}, {n: theirs.read(n) for n in theirs.names()})
        assert json.loads((tmp_path / "m" / "adapter_config.json").read_text()) == json.loads((trained / "adapter" / "adapter_config.json").read_text())
    else:
        assert (tmp_path / "m" / "model.safetensors").read_bytes() == (trained / form / "model.safetensors").read_bytes()
        assert json.loads((tmp_path / "m" / "config.json").read_text()) == json.loads((trained / form / "config.json").read_text())
        assert (tmp_path / "m" / "chat_template.jinja").read_text() == "{{ messages }}"
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.count("## Files\n") == 1 and "base_model: \"made/up-bert\"" in card and "pst train" in card


def test_a_dense_model_says_the_type_it_has(trained, tmp_path, capsys):
    """By either name that transformers has had for it."""
    shutil.copytree(trained / "compressed", tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}))
    assert run(capsys, "export", tmp_path / "m", "--output_dir", tmp_path / "d", "--format", "dense")[0] == 0
    written = json.loads((tmp_path / "d" / "config.json").read_text())
    assert written["torch_dtype"] == "float32" and "dtype" not in written


def test_every_command_takes_a_compressed_model(trained, tmp_path, capsys):
    # The same texts for all, so that one program serves them.
    texts = [line.split("\t")[0] for line in (trained / "dev.tsv").read_text().splitlines()[1:]]
    told = {}
    for form in ("dense", "compressed"):
        model = trained / form
        assert run(capsys, "predict", "--model_name_or_path", model, "--file", trained / "dev.tsv", "--output_file", tmp_path / "p.csv")[0] == 0
        _, inspected, _ = run(capsys, "inspect", model)
        _, evaluated, _ = run(capsys, "eval", "--model_name_or_path", model, "--validation_file", trained / "dev.tsv")
        loaded = pst.load(model).predict(texts)
        output = tmp_path / form
        flags = ["--train_file", trained / "train.tsv", "--output_dir", output, "--max_steps", 2, "--sparsity", 0.5, "--report_to", "none"]
        assert run(capsys, "train", "--model_name_or_path", model, *flags)[0] == 0
        evaluated = {key: value for key, value in pairs(evaluated).items() if key != "seconds"}
        told[form] = ((tmp_path / "p.csv").read_text(), inspected, evaluated, loaded, (output / "model" / "model.safetensors").read_bytes())
        assert "quantization_config" not in json.loads((output / "model" / "config.json").read_text())
    assert told["dense"] == told["compressed"]


def test_int8_tells_its_bound_and_what_it_costs(trained, tmp_path, capsys):
    status, out, err = run(capsys, "export", trained / "compressed", "--output_dir", tmp_path / "m", "--format", "compressed",
                           "--value_type", "int8", "--embedding_type", "int8", "--validation_file", trained / "dev.tsv")  # fmt: skip
    assert status == 0, err
    told, before, after = pairs(out), weights(trained / "dense"), weights(tmp_path / "m")
    differences = [np.abs(before[name].astype(np.float64) - after[name]).max(initial=0) for name in before if before[name].dtype == np.float32]
    assert 0 < max(differences) <= float(told["int8_bound"]) * 1.00001
    assert float(told["int8_largest_difference"]) == pytest.approx(max(differences), rel=1e-4)
    for directory, key in ((trained / "dense", "loss_before"), (tmp_path / "m", "loss")):
        _, evaluated, _ = run(capsys, "eval", "--model_name_or_path", directory, "--validation_file", trained / "dev.tsv")
        assert pairs(evaluated)["loss"] == told[key]
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"| loss | {float(told['loss_before']):.4f} | {float(told['loss']):.4f} |" in card and "with values of int8, and embeddings are of int8 (a weight differs by" in card
    assert float(told["file_mib"]) < float(told["file_mib_dense"])


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_embeddings_are_rounded_where_it_is_asked_for(trained, tmp_path, capsys, kind):
    status, out, err = run(capsys, "export", trained / "dense", "--output_dir", tmp_path / "m", "--format", "compressed", "--embedding_type", kind)
    assert status == 0, err
    file, before, after = TensorFile(tmp_path / "m"), weights(trained / "dense"), weights(tmp_path / "m")
    tables = [name for name in before if "_embeddings." in name]
    assert len(tables) == 3 and all(same({0: before[name]}, {0: after[name]}) for name in set(before) - set(tables))
    for name in tables:
        assert (file.stored_dtype(name) or file.dtype(name)) == {"bf16": "BF16", "int8": "I8"}[kind]
        steps = np.abs(before[name]).max(axis=1, keepdims=True) / 127 if kind == "int8" else np.abs(before[name]) * 2.0**-7
        assert (np.abs(after[name] - before[name]) <= steps * 0.50001).all() and (after[name] != before[name]).any()
    # Without the flag again, tables are whole, and the same numbers.
    assert run(capsys, "export", tmp_path / "m", "--output_dir", tmp_path / "n", "--format", "compressed")[0] == 0
    again = TensorFile(tmp_path / "n")
    assert not any(again.stored_dtype(name) for name in tables) and same(weights(tmp_path / "n"), after)
    assert f"embeddings are of {kind}" in (tmp_path / "m" / "README.md").read_text()


def test_an_adapter_holds_what_was_trained_and_no_more(trained):
    file = TensorFile(trained / "adapter" / "adapter_model.safetensors")
    head = {f"base_model.model.{module}.{kind}" for module in ("classifier", "bert.pooler.dense") for kind in ("weight", "bias")}
    query = "base_model.model.bert.encoder.layer.0.attention.self.query."
    assert head < set(file.names()) and not any(name.endswith(".weight") for name in set(file.names()) - head if "lora_" not in name)
    # As PEFT has them: B is rows x r, and A is r x columns.
    assert file.shape(query + "lora_B.weight") == (12, 2) and file.shape(query + "lora_A.weight") == (2, 12)
    assert query + "pst_threshold" in file
    config = json.loads((trained / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["modules_to_save"]) == ("made/up-bert", 2, ["bert.pooler.dense", "classifier"])
    assert not (trained / "adapter" / "model.safetensors").exists()


def test_an_adapter_is_of_its_base_alone(trained, tmp_path, capsys):
    out = ["--output_dir", tmp_path / "m"]
    told = refuse(capsys, "eval", "--model_name_or_path", trained / "adapter", "--validation_file", "dev.tsv")
    assert "adapter: an adapter, which is no model: 'pst export " in told
    assert "--base DIR is the model that it was trained on" in refuse(capsys, "export", trained / "adapter", *out)
    shutil.copytree(trained / "base", tmp_path / "other")
    tensors = weights(tmp_path / "other")
    tensors["bert.encoder.layer.0.attention.self.key.weight"][3, 4] += 1e-6
    write_tensors(tmp_path / "other" / "model.safetensors", tensors)
    assert "was trained on other weights than those of --base" in refuse(capsys, "export", trained / "adapter", "--base", tmp_path / "other", *out)
    # A base that is compressed itself is the same base.
    assert run(capsys, "export", trained / "base", "--output_dir", tmp_path / "small", "--format", "compressed")[0] == 0
    assert run(capsys, "export", trained / "adapter", "--base", tmp_path / "small", *out)[0] == 0
    assert same(weights(tmp_path / "m"), weights(trained / "dense"))


def test_adapters_that_are_damaged_are_refused(trained, tmp_path, capsys):
    damaged = tmp_path / "adapter"
    shutil.copytree(trained / "adapter", damaged)
    path = damaged / adapter.WEIGHTS
    file = TensorFile(path)
    tensors = {name: np.array(file.read(name)) for name in file.names()}

    def refused(changed, message):
        write_tensors(path, changed)
        assert message in refuse(capsys, "export", damaged, "--base", trained / "base", "--output_dir", tmp_path / "m")
        assert not (tmp_path / "m").exists()

    threshold, factor = (next(name for name in tensors if name.endswith(end)) for end in ("pst_threshold", "pst_A"))
    refused({**tensors, threshold: tensors[threshold] * np.float32(1.5)}, "is not the one that follows from the factors and the base")
    refused({**tensors, factor: tensors[factor] + np.float32(1)}, "is not the one that follows from the factors and the base")
    refused({name: value for name, value in tensors.items() if name != factor}, f"lacks the tensor '{factor}'")
    refused({**tensors, "more": np.ones(2)}, "holds, and the model has not, the tensor 'more'")
    refused({**tensors, factor: tensors[factor][:-1]}, "the model has float32")
    write_tensors(path, tensors)
    config = damaged / adapter.CONFIG
    whole = json.loads(config.read_text())["pst"]
    for text, message in (("{}", 'it lacks the object "pst"'), ('{"pst": {"format": 7}}', "an adapter of format 7"), ("{", "malformed JSON"),
                          ('{"pst": {"format": 1, "name": "x", "base_digest": 5}}', 'has no "base_digest"'),
                          (json.dumps({"pst": {**whole, "evaluation": {"step": 1, "loss": "0.5", "metrics": {}}}}), 'has no "evaluation"'),
                          (json.dumps({"pst": {**whole, "run": {"labels": 3}}}), "expected the JSON object that 'pst train' writes")):  # fmt: skip
        config.write_text(text)
        assert message in refuse(capsys, "export", damaged, "--base", trained / "base", "--output_dir", tmp_path / "m")


def test_peft_loads_what_lora_trained(trained, tmp_path, capsys):
    pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForSequenceClassification as Model

    flags = ["--model_name_or_path", trained / "base", "--train_file", trained / "train.tsv", "--output_dir", tmp_path / "run", "--method", "lora",
             "--max_steps", 3, "--weight_rank", 2, "--weight_beta", 0.5, "--learning_rate", 3e-2, "--report_to", "none"]  # fmt: skip
    assert run(capsys, "train", *flags)[0] == 0
    assert run(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "adapter", "--format", "adapter")[0] == 0
    ids = torch.arange(5, 20).reshape(3, 5)
    base, ours = (Model.from_pretrained(directory).eval() for directory in (trained / "base", tmp_path / "run" / "model"))
    with torch.no_grad():
        untrained, expected = base(input_ids=ids).logits, ours(input_ids=ids).logits
        found = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(input_ids=ids).logits
    assert (found - expected).abs().max() < 1e-6 < 1e-3 < (found - untrained).abs().max()


@pytest.mark.parametrize("layout, value_type", [
    ("sparse-bitmask", "f32"), ("sparse-bitmask", "bf16"), ("sparse-bitmask", "int8"), ("sparse-24-bitmask", "f32"), ("sparse-24-bitmask", "bf16"),
    ("sparse-24-bitmask", "int8"),
])  # fmt: skip
def test_compressed_tensors_fills_the_model_of_transformers(tmp_path, capsys, layout, value_type):
    """And gives our logits. transformers' own from_pretrained has no way to it: docs/CheckpointFormat.md says why."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("compressed_tensors.compressors.sparse_compressors")
    from compressed_tensors.compressors import ModelCompressor
    from safetensors.torch import load_file

    config = {**CONFIG, "hidden_size": 36, "intermediate_size": 52, "num_labels": 3}
    rng = np.random.default_rng(2)
    tensors = bert_tensors(config, 5)
    tensors |= {"classifier.weight": rng.standard_normal((3, 36)).astype(np.float32), "classifier.bias": np.ones(3, np.float32)}
    for name, weight in tensors.items():
        if ".encoder." in name and weight.ndim == 2:
            fours = np.argsort(weight.reshape(-1, 4), axis=1).reshape(weight.shape)
            weight[fours < 2 if "24" in layout else np.abs(weight) < np.median(np.abs(weight))] = 0
    model, out = write_model(tmp_path / "m", config, tensors), tmp_path / "out"
    status, told, err = run(capsys, "export", model, "--output_dir", out, "--format", "compressed", "--value_type", value_type)
    assert status == 0 and pairs(told)["layout"] == layout, err
    settings = transformers.AutoConfig.from_pretrained(out)
    reader = ModelCompressor.from_compression_config(settings.quantization_config)
    del settings.quantization_config
    theirs = transformers.AutoModelForSequenceClassification.from_config(settings).eval()
    # What is stored whole is not its business.
    theirs.load_state_dict(load_file(out / "model.safetensors"), strict=False)
    reader.decompress(str(out), theirs)
    batch = {"input_ids": rng.integers(5, config["vocab_size"], (3, 7)), "attention_mask": np.ones((3, 7)), "token_type_ids": rng.integers(0, 2, (3, 7))}
    batch = {name: value.astype(np.int32) for name, value in batch.items()}
    with torch.no_grad():
        expected = theirs.float()(**{name: torch.from_numpy(value).long() for name, value in batch.items()}).logits.numpy()
    logits = pst.compile(out, batch_size=3, sequence_length=7)(**batch)
    # Of int8 it makes bf16, of values and of scales.
    assert np.ptp(logits) > 0.1 and np.abs(logits - expected).max() < (2.0**-5 if value_type == "int8" else 1e-5) * np.abs(logits).max()
    unrounded = pst.compile(model, batch_size=3, sequence_length=7)(**batch)
    assert (np.abs(unrounded - logits).max() < 1e-5) == (value_type == "f32")


def test_methods_that_train_the_weights_have_no_adapter(trained, tmp_path, capsys):
    flags = ["--model_name_or_path", trained / "base", "--train_file", trained / "train.tsv", "--output_dir", tmp_path / "run",
             "--method", "map", "--max_steps", 1, "--report_to", "none"]  # fmt: skip
    assert run(capsys, "train", *flags)[0] == 0
    message = refuse(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "m", "--format", "adapter")
    assert "the method 'map' trains the weights themselves" in message and not (tmp_path / "m").exists()


def test_nothing_is_half_written(trained, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(trained / "compressed", broken)
    data = bytearray((broken / "model.safetensors").read_bytes())
    data[-1] ^= 128  # of the last mask
    (broken / "model.safetensors").write_bytes(data)
    for form in ("dense", "compressed"):
        assert "the file is damaged" in refuse(capsys, "export", broken, "--output_dir", tmp_path / "m", "--format", form)
    tensors = weights(trained / "dense")
    next(value for name, value in tensors.items() if "layer.0.output.dense.weight" in name)[0, 0] = np.inf
    endless = tmp_path / "endless"
    shutil.copytree(trained / "dense", endless)
    write_tensors(endless / "model.safetensors", tensors)
    message = refuse(capsys, "export", endless, "--output_dir", tmp_path / "m", "--format", "compressed", "--value_type", "bf16")
    assert "layer.0.output.dense.weight holds what is no number" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "endless"]


@pytest.mark.parametrize("flags, message", [
    (["--value_type", "int8"], "--value_type is of --format compressed and gguf, not of dense"),
    (["--format", "compressed", "--validation_file", "x.tsv"], "--validation_file is what the loss of --value_type or --embedding_type is"),
    (["--embedding_type", "int8", "--format", "adapter"], "--embedding_type is of --format compressed, not of adapter"),
    (["--base", "x"], "--base is of an adapter or a checkpoint"),
])  # fmt: skip
def test_flags_that_mean_nothing_are_refused(trained, tmp_path, capsys, flags, message):
    assert message in refuse(capsys, "export", trained / "dense", "--output_dir", tmp_path / "m", *flags)


def test_a_directory_is_not_replaced_unasked(trained, tmp_path, capsys):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("x")
    for more in ([], ["--overwrite_output_dir"]):
        assert refuse(capsys, "export", trained / "dense", "--output_dir", tmp_path / "m", "--format", "compressed", *more)
    assert (tmp_path / "m" / "mine").exists()
    for form in ("compressed", "dense"):
        argv = ["export", trained / "dense", "--output_dir", tmp_path / "n", "--format", form, "--overwrite_output_dir"]
        assert run(capsys, *argv)[0] == 0
    assert (tmp_path / "n" / "model.safetensors").read_bytes() == (trained / "dense" / "model.safetensors").read_bytes()
    assert "this would write" in refuse(capsys, "export", trained / "dense", "--output_dir", trained / "dense", "--overwrite_output_dir")
