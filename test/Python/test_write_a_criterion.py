# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Criteria of the user's own: every command of docs/WriteACriterion.md, on a small model, and what it promises."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import CONFIG, ROOT, write_data, write_model

import pst
from pst import TensorFile, write_tensors

PAGE = ROOT / "docs" / "WriteACriterion.md"


def blocks():
    """(language, code, name of the file that the paragraph before names, or None) of the page's fenced blocks."""
    found, name = [], None
    for match in re.finditer(r"^`([\w.]+)`:$|^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        if match[1]:
            name = match[1]
        else:
            found.append((match[2], match[3], name))
            name = None
    return found


def file_of_page(name):
    return next(code for _, code, file in blocks() if file == name)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model and data, in which the page's commands run."""
    # Long enough for what the page compiles without a length.
    write_model(tmp_path / "pretrained", {**CONFIG, "max_position_embeddings": 128})
    write_data(tmp_path / "train.tsv")
    write_data(tmp_path / "dev.tsv", 21, 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL", str(tmp_path / "pretrained"))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pst").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pst.cli "$@"\n')
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    build = os.environ.get("PST_BUILD_DIR", ROOT / "build-dev")
    monkeypatch.setenv("PATH", f"{tools}:{build}/bin:{os.environ['PATH']}")
    return tmp_path


def run(command, check=True):
    return subprocess.run(["bash", "-ec", command], check=check, capture_output=True, text=True, timeout=600)


def test_every_command_of_the_page(place):
    pytest.importorskip("transformers")
    if not shutil.which("pst-compile"):
        pytest.skip("pst-compile is not built")
    outputs = []
    for language, code, name in blocks():
        if name:
            (place / name).write_text(code)
        if language == "bash":
            outputs.append(run(code).stdout)
        elif language == "python" and not name:
            (place / "block.py").write_text(code)
            outputs.append(run("python block.py").stdout)
    # The norms are those of the inputs; and what was pruned, exactly as much as asked for, are the smallest products.
    norms = TensorFile("calibration.safetensors")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert norms.read(name).shape == (CONFIG["hidden_size"],)
    for directory, share in (("runs/wanda", 0.5), ("runs/scaled", 0.8)):
        model = TensorFile(f"{directory}/model/model.safetensors")
        weight = model.read(name)
        assert (weight == 0).sum() == int(weight.size * share)
        assert not [tensor for tensor in model.names() if "pst_" in tensor]
    weight, norm = TensorFile("runs/wanda/model/model.safetensors").read(name), norms.read(name)
    assert (np.abs(weight) * norm)[weight != 0].min() > 0
    settings = json.loads((place / "runs/scaled/run.json").read_text())["compiler_options"]
    assert settings["criterion"] == str(place / "runs/scaled/criterion.mlir")


ARGUMENTS = "--model_name_or_path $MODEL --train_file train.tsv --validation_file dev.tsv"


def test_a_run_resumes_and_exports_by_its_own_criterion(place):
    (place / "scaled.mlir").write_text(file_of_page("scaled.mlir"))
    options = "--criterion scaled.mlir --hyperparameters rank=2 --sparsity 0.6 --save_steps 2 --max_steps"
    run(f"pst train {ARGUMENTS} {options} 4 --output_dir whole")
    run(f"pst train {ARGUMENTS} {options} 4 --output_dir parts --load_best_model_at_end --save_strategy steps")
    # Nothing of the file is needed any more to export; a run of another criterion is refused.
    (place / "scaled.mlir").write_text(file_of_page("scaled.mlir").replace("math.exp", "math.absf"))
    run("pst export whole/checkpoint-4 --output_dir exported")
    ours, theirs = (TensorFile(f"{d}/model.safetensors") for d in ("exported", "whole/model"))
    for name in ours.names():
        assert ours.read(name).tobytes() == theirs.read(name).tobytes(), name
    shutil.copytree("whole", "copied")
    refused = run(f"pst train {ARGUMENTS} {options} 6 --output_dir copied --resume_from_checkpoint copied/checkpoint-2", check=False)
    assert refused.returncode == 1
    assert "a checkpoint of another model or method: " in refused.stderr and "their criteria" in refused.stderr


def test_wanda_selects_by_magnitude_times_norm(place):
    """One selection, before any step: the mask is NumPy's."""
    (place / "wanda.mlir").write_text(file_of_page("wanda.mlir"))
    pretrained = TensorFile("pretrained/model.safetensors")
    rng = np.random.default_rng(0)
    weights = [n for n in pretrained.names() if re.search(r"encoder.*(query|key|value|dense)\.weight$", n)]
    norms = {n: rng.uniform(0.1, 2, pretrained.read(n).shape[1]).astype(np.float32) for n in weights}
    write_tensors("calibration.safetensors", norms)
    trainer = pst.Trainer(
        "pretrained", train="train.tsv", output_dir="run", criterion=pst.Criterion("wanda.mlir"), sparsity=0.5,
        initial_sparsity=0.5, learning_rate=0.0, max_steps=1,
    )  # fmt: skip
    trainer.train()
    trainer.save()
    model = TensorFile("run/model/model.safetensors")
    for name in weights:
        before, after = pretrained.read(name), model.read(name)
        score = np.abs(before) * norms[name]
        order = np.argsort(score, axis=None, kind="stable")
        pruned = np.zeros(score.size, bool)
        pruned[order[: int(score.size * 0.5)]] = True
        np.testing.assert_array_equal(after, np.where(pruned.reshape(score.shape), 0, before), err_msg=name)


def test_norms_that_are_missing_are_named(place):
    (place / "wanda.mlir").write_text(file_of_page("wanda.mlir"))
    result = run(f"pst train {ARGUMENTS} --criterion wanda.mlir --output_dir run", check=False)
    assert result.returncode == 1 and f"{place}/calibration.safetensors" in result.stderr
    write_tensors("calibration.safetensors", {"other": np.ones(3, np.float32)})
    result = run(f"pst train {ARGUMENTS} --criterion wanda.mlir --output_dir run", check=False)
    assert "tensor \"bert.encoder.layer.0.attention.self.query.weight\" is missing: the criterion reads one such tensor" in result.stderr


def test_mistakes_are_told_with_their_place(place):
    with pytest.raises(pst.CompileError) as caught:
        pst.Criterion("pst.criterion @c(%w: dense) trains_model {\n  %v = arith.mulf %w, %x : f32\n  pst.yield weight %v\n}\n")
    assert caught.value.line == 2 and "undeclared" in str(caught.value)
    (place / "wrong.mlir").write_text("pst.criterion @c(%w: dense, %r: row) {\n  pst.yield weight %w score %r\n}\n")
    result = run(f"pst train {ARGUMENTS} --criterion wrong.mlir --output_dir run", check=False)
    assert result.returncode == 1 and "wrong.mlir:1:1: " in result.stderr and "must say how it begins" in result.stderr
    (place / "scaled.mlir").write_text(file_of_page("scaled.mlir"))
    result = run(f"pst train {ARGUMENTS} --criterion scaled.mlir --hyperparameters gama=1 --output_dir run", check=False)
    assert "has no hyperparameter 'gama'; it has: gamma, rank" in result.stderr
    result = run(f"pst train {ARGUMENTS} --criterion scaled.mlir --method map --output_dir run", check=False)
    assert result.returncode == 1 and "--criterion takes the place of --method" in result.stderr


def test_recipes_are_criteria():
    criterion = pst.recipe("pst")
    assert criterion.name == "pst" and criterion.scores and not criterion.trains_model
    assert criterion.hyperparameters == {
        "detach_magnitude": 0, "mask_alpha1": 1, "mask_alpha2": 1, "mask_rank": 8, "weight_beta": 1, "weight_rank": 8,
    }  # fmt: skip
    assert [(f.kind, f.rank, f.tensors) for f in criterion.factors][0] == ("lowrank", 8, ("U", "V"))
    assert pst.Criterion(criterion.text).text == criterion.text
    with pytest.raises(ValueError, match="there is no method 'sparsegpt'; there are pst, pst_wanda, dense, lora, sparse_lora, map, mvp, wanda, ria"):
        pst.recipe("sparsegpt")


def test_a_recipe_given_as_a_criterion_trains_the_same(place):
    """The built-in method and its text as a user's criterion: the same losses, to the bit."""
    losses = []
    for more in ({"weight_rank": 2, "mask_rank": 3}, {"criterion": pst.recipe("pst"), "hyperparameters": "weight_rank=2,mask_rank=3"}):
        trainer = pst.Trainer("pretrained", train="train.tsv", eval="dev.tsv", output_dir="run", overwrite_output_dir=True,
                              max_steps=3, sparsity=0.7, selection="global", **more)  # fmt: skip
        trainer.train()
        losses.append(trainer.evaluate()["logits"].tobytes())
    assert losses[0] == losses[1]


def test_modules_are_chosen_as_peft_chooses_them(place):
    pst.Trainer("pretrained", train="train.tsv", output_dir="run", max_steps=1, sparsity=0.5, initial_sparsity=0.5,
                target_modules="query,encoder.layer.1.output.dense", exclude_modules="layer.0.attention.self.query").train()  # fmt: skip
    assert run("pst export run/checkpoint-1 --output_dir exported").returncode == 0
    model = TensorFile("exported/model.safetensors")
    sparse = {name for name in model.names() if name.endswith(".weight") and (model.read(name) == 0).mean() > 0.4}
    assert sparse == {"bert.encoder.layer.1.attention.self.query.weight", "bert.encoder.layer.1.output.dense.weight"}
    with pytest.raises(pst.CompileError, match="target_modules: no linear layer is called 'querys'; those that can become sparse are: "
                       r"bert.encoder.layer.\*.attention.self.query, "):  # fmt: skip
        pst.Trainer("pretrained", train="train.tsv", output_dir="other", target_modules="querys")


def test_layers_have_sparsities_of_their_own(place):
    """Counts are int(n * m * s) of each layer's own, at the end and on the way; evaluation, resume and export follow."""
    own = {"query": 0.9, "bert.encoder.layer.1.output.dense": 0.35, r".*intermediate\.dense": 0.123, "bert.encoder.layer.0.attention.self.query": 0.61}
    (place / "layers.json").write_text(json.dumps(own))
    options = {"train": "train.tsv", "eval": "dev.tsv", "sparsity": 0.7, "layer_sparsity": "layers.json", "save_steps": 2,
               "initial_warmup": 0.25, "final_warmup": 0.25, "max_steps": 8, "method": "map"}  # fmt: skip
    trainer = pst.Trainer("pretrained", output_dir="run", **options)
    trainer.train()
    expected = {
        "layer.0.attention.self.query": 0.61, "layer.1.attention.self.query": 0.9, "layer.1.output.dense": 0.35,
        "layer.0.intermediate.dense": 0.123, "layer.1.intermediate.dense": 0.123, "layer.0.output.dense": 0.7,
    }  # fmt: skip

    def check(directory, sparsity):
        model = TensorFile(f"{directory}/model.safetensors")
        for layer, final in expected.items():
            weight = model.read(f"bert.encoder.{layer}.weight")
            share = final if sparsity == 0.7 else sparsity * (final / 0.7)
            assert (weight == 0).sum() == int(weight.size * share), layer
        return model

    trainer.save()
    whole = check("run/model", 0.7)
    (place / "layers.json").unlink()
    state = json.loads((place / "run/checkpoint-4/trainer_state.json").read_text())
    assert 0 < state["sparsity"] < 0.7
    run("pst export run/checkpoint-4 --output_dir half")
    check("half", state["sparsity"])
    # From the middle on, the same bits come out.
    (place / "layers.json").write_text(json.dumps(own))
    resumed = pst.Trainer("pretrained", output_dir="run", resume_from_checkpoint="run/checkpoint-4", **options)
    resumed.train()
    resumed.save()
    again = check("run/model", 0.7)
    for name in whole.names():
        assert whole.read(name).tobytes() == again.read(name).tobytes(), name
    (place / "layers.json").write_text(json.dumps({**own, "query": 0.8}))
    with pytest.raises(pst.Error, match="a checkpoint of another model or method"):
        pst.Trainer("pretrained", output_dir="run", resume_from_checkpoint="run/checkpoint-4", **options).train()


@pytest.mark.parametrize("content, message", [
    ("{", "layers.json: error: is no JSON"),
    ("[" * 100_000, "is no JSON: objects and lists lie more than 100 deep in one another"),
    ("[0.5]", "must be an object of layers and their final sparsities"),
    ('{"query": 1.0}', "the sparsity of 'query' must be a number in"),
    ('{"querys": 0.5}', "layer_sparsity: no linear layer is called 'querys'"),
    ('{"query": 0.5, "self.query": 0.6}', "is named by 'query' and by 'self.query', which give it different sparsities"),
])  # fmt: skip
def test_sparsities_of_layers_are_checked(place, content, message):
    (place / "layers.json").write_text(content)
    with pytest.raises(pst.CompileError) as caught:
        pst.Trainer("pretrained", train="train.tsv", output_dir="run", layer_sparsity="layers.json")
    assert message.replace("layers.json: error: ", "") in str(caught.value) and "layers.json" in str(caught.value)


def test_a_program_for_layers_of_their_own_knows_the_runs_sparsity(place):
    (place / "layers.json").write_text('{"query": 0.5}')
    run("pst compile --model_name_or_path $MODEL --num_labels 2 --layer_sparsity layers.json --bundle bundle --max_seq_length 16")
    refused = run(f"pst train {ARGUMENTS} --bundle bundle --sparsity 0.8 --output_dir run", check=False)
    assert refused.returncode == 1
    assert "--sparsity is 0.8, but the program's layers have sparsities of their own for one of 0.9" in refused.stderr
