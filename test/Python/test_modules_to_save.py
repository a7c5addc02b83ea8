# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`--modules_to_save`: what is trained as it stands, beside the method's factors."""

import json

import numpy as np
import pytest
from conftest import CONFIG, write_model
from test_cli import run

import pst
from pst import TensorFile

DATA = [("the film was good", "a"), ("the food was awful", "b"), ("not bad", "a"), ("very bad", "c")] * 3
SETTINGS = {"max_steps": 4, "learning_rate": 1e-3, "sparsity": 0.5, "report_to": "none", "logging_steps": 1}


def tensors(directory):
    file = TensorFile(directory)
    return {name: np.array(file.read(name)) for name in file.names()}


@pytest.mark.parametrize("method", ["pst", "map"])
def test_they_are_trained_and_stay_dense(tmp_path, capsys, method):
    directory = write_model(tmp_path / "m", {**CONFIG, "num_labels": 3})
    saved = "pooler,layer.0.output"
    trainer = pst.Trainer(directory, DATA, output_dir=tmp_path / "run", method=method, modules_to_save=saved, **SETTINGS)
    trainer.train()
    trainer.save(tmp_path / "out")
    before, after = tensors(directory), tensors(tmp_path / "out")
    for name, value in before.items():
        within = "pooler" in name or "layer.0.output" in name
        pruned = "encoder" in name and value.ndim == 2 and not within
        assert (after[name] == 0).mean() > 0.2 if pruned else (after[name] == 0).sum() <= (value == 0).sum(), name
        if not pruned:
            assert (after[name] != value).any() == (within or method == "map" or "classifier" in name), name
    layers = [layer["weight"] for layer in json.loads(trainer.model.manifest)["sparse_layers"]]
    assert layers and not any("layer.0.output" in name for name in layers)
    if method == "map":
        return
    for source, flags in (("run", ["--format", "adapter"]), ("adapter", ["--base", directory])):
        target = {"run": "adapter", "adapter": "back"}[source]
        status, _, err = run(capsys, "export", tmp_path / source, "--output_dir", tmp_path / target, *flags)
        assert status == 0, err
    described = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert {"bert.pooler.dense", "bert.encoder.layer.0.output.LayerNorm", "classifier"} <= set(described["modules_to_save"])
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()


def test_a_pooler_is_trained_with_the_head(tmp_path):
    """Unless it shall not be, or the published code is followed (at which rate: sparsify-with-head.mlir)."""
    directory = write_model(tmp_path / "m", {**CONFIG, "num_labels": 3})
    names = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    published = {"reference_exact": True, "learning_rate": 3e-5}
    for options, role in [
        ({}, "trainable"),
        ({"method": "lora", "sparsity": 0}, "trainable"),
        ({"modules_to_save": "none"}, "frozen"),
        ({"modules_to_save": "LayerNorm"}, "frozen"),
        (published, "frozen"),
        ({"method": "map"}, "trainable"),
    ]:
        trainer = pst.Trainer(directory, DATA, output_dir=tmp_path / "run", overwrite_output_dir=True, **SETTINGS | options)
        found = [p for p in json.loads(trainer.model.manifest)["parameters"] if p["name"] in names]
        assert [p["role"] for p in found] == [role] * 2, options


def test_a_run_and_an_adapter_of_before_poolers_were_trained(tmp_path, capsys):
    """Format 1, which a run did not say, says nothing of a pooler that is frozen."""
    directory = write_model(tmp_path / "m", {**CONFIG, "num_labels": 3})
    trainer = pst.Trainer(directory, DATA, output_dir=tmp_path / "run", modules_to_save="none", **SETTINGS)
    trainer.train()
    trainer.save(tmp_path / "out")
    path = tmp_path / "run" / "run.json"
    described = json.loads(path.read_text())
    assert described.pop("format") == 2 and described["compiler_options"].pop("modules_to_save") == "none"
    path.write_text(json.dumps(described))
    assert run(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "again")[0] == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert run(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / "adapter", "--format", "adapter")[0] == 0
    path = tmp_path / "adapter" / "adapter_config.json"
    described = json.loads(path.read_text())
    del described["pst"]["run"]["compiler_options"]["modules_to_save"], described["pst"]["run"]["format"]
    described["pst"]["format"] = 1
    path.write_text(json.dumps(described))
    status, _, err = run(capsys, "export", tmp_path / "adapter", "--base", directory, "--output_dir", tmp_path / "back")
    assert status == 0, err
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("first, then", [("none", ""), ("", "none")])
def test_a_run_that_trained_others_is_not_gone_on_with(tmp_path, first, then):
    """And says which: a run of before poolers were trained looks so."""
    directory = write_model(tmp_path / "m", {**CONFIG, "num_labels": 3})
    settings = SETTINGS | {"output_dir": tmp_path / "run", "save_steps": 2, "save_strategy": "steps"}
    pst.Trainer(directory, DATA, modules_to_save=first, **settings).train()
    name = r'"bert\.pooler\.dense\.(bias|weight)"'
    said = f"the program trains {name}, which the checkpoint does not hold"
    if then:
        said = f"the checkpoint holds {name}, which the program does not train"
    with pytest.raises(pst.Error, match=said):
        pst.Trainer(directory, DATA, modules_to_save=then, resume_from_checkpoint="last", **settings).train()


def test_a_name_that_no_module_has(tmp_path):
    directory = write_model(tmp_path / "m", {**CONFIG, "num_labels": 3})
    with pytest.raises(pst.CompileError, match=r"modules_to_save: no module is called 'poler'; those that have parameters are: .*bert\.pooler\.dense"):
        pst.Trainer(directory, DATA, output_dir=tmp_path / "run", modules_to_save="poler", **SETTINGS)
    with pytest.raises(ValueError, match="--modules_to_save pooler is given, but --reference_exact has none"):
        pst.Trainer(directory, DATA, output_dir=tmp_path / "run", modules_to_save="pooler", reference_exact=True, **SETTINGS | {"learning_rate": 3e-5})
