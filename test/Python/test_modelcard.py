# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The model card of what training saves and export writes, as Hugging Face's hub reads it."""

import json
import re
import shlex

import pytest
from conftest import CONFIG, write_data, write_model
from test_cli import run

from pst import cli, modelcard


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run by the command, its arguments and its directory."""
    directory = tmp_path_factory.mktemp("card")
    config = {**CONFIG, "num_hidden_layers": 1, "_name_or_path": "made/up-bert"}
    model = write_model(directory / "m", config)
    out = directory / "first run"
    flags = ["--model_name_or_path", model, "--train_file", write_data(directory / "train.tsv", 24), "--validation_file",
             write_data(directory / "dev: 'set'.tsv", 11, 1), "--output_dir", out, "--max_steps", 6, "--eval_steps", 2, "--save_steps", 2,
             "--sparsity", 0.75, "--learning_rate", "3e-3", "--initial_warmup", 0, "--final_warmup", 0.5, "--report_to", "none"]  # fmt: skip
    assert cli.main(["train", *map(str, flags)]) == 0
    return flags, out


def card_of(directory):
    hub = pytest.importorskip("huggingface_hub")
    return hub.ModelCard.load(directory / "README.md")


def records(out):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if line["event"] == "eval"}


def test_metadata_are_what_the_hub_reads(trained):
    _, out = trained
    card = card_of(out / "model")
    assert (card.data.base_model, card.data.library_name, card.data.pipeline_tag) == ("made/up-bert", "transformers", "text-classification")
    assert card.data.tags == ["sparse", "pst"] and card.data.license is None
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    (best,) = [record for record in records(out).values() if record["eval_accuracy"] == results["accuracy"] and record["eval_loss"] == results["loss"]]
    assert best["sparsity"] == 0.75
    assert results["matthews_correlation"] == best["eval_matthews"] and results["f1_macro"] == best["eval_macro_f1"]
    assert {result.dataset_name for result in card.data.eval_results} == {"dev: 'set'.tsv"}


def test_the_text_says_what_it_is_and_how_it_was_made(trained):
    flags, out = trained
    text = card_of(out / "model").text
    assert "`made/up-bert`, fine-tuned with the method `pst` to 75.0% zeros in 6 linear layers" in text
    assert "Classes: `no`, `yes`." in text and "| accuracy | " in text
    (command,) = re.findall(r"\n    (pst train .*)\n", text)
    # The command line means what was asked for, but for the model's name.
    given, told = (vars(cli.parse(argv)) for argv in (["train", *map(str, flags)], shlex.split(command)[1:]))
    assert told == {**given, "model_name_or_path": "made/up-bert"}


def test_a_checkpoints_card_has_its_own_evaluation(trained, tmp_path, capsys):
    _, out = trained
    assert run(capsys, "export", out / "checkpoint-2", "--output_dir", tmp_path / "m")[0] == 0
    card = card_of(tmp_path / "m")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["accuracy"] == records(out)[2]["eval_accuracy"]
    assert "after 2 steps" in card.text and card.data.base_model == "made/up-bert"


def test_a_card_of_little():
    """No evaluation, no zeros, a metric that is not defined, names that YAML would take for something else."""
    hub = pytest.importorskip("huggingface_hub")
    options, dense = {"method": "lora", "output_dir": "o"}, modelcard.Storage("dense", 2**20, 2**20)
    plain = modelcard.Card("no", "- 1: [x", options, 0.0, 0, 1234567, predicts_tokens=True)
    card = hub.ModelCard(plain.text(dense))
    assert card.data.base_model == "- 1: [x" and card.data.pipeline_tag == "text-generation" and card.data.eval_results is None
    assert "; 1,234,567 parameters were trained" in card.text and "zeros in" not in card.text and "| metric" not in card.text
    evaluation = {"step": 3, "loss": 0.5, "metrics": {"auc": float("nan"), "f1": 0.25}}
    card = hub.ModelCard(modelcard.Card("m", "b", options, 0.5, 2, 1, evaluation=evaluation, data={"eval": "d/dev.csv"}).text(dense))
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {"f1": 0.25, "loss": 0.5}
    assert "nan" not in card.text


@pytest.mark.parametrize("path, config, name", [
    ("/models/bert-base", {}, "bert-base"), ("/models/x/", {"_name_or_path": ""}, "x"), ("/models/x", {"_name_or_path": "/home/me/y"}, "x"),
    ("x", {"_name_or_path": "org/y"}, "org/y"),
])  # fmt: skip
def test_names_of_base_models(path, config, name):
    assert modelcard.base_name(path, config) == name
