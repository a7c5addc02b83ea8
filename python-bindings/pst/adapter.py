# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run trained, without the model it started from: `adapter_config.json`
and `adapter_model.safetensors`, named as PEFT names them."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np

from . import _pst
from .errors import DataError
from .files import read_object
from .options import names_file
from .outputs import write_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_FORMAT = 2  # as RUN_FORMAT (trainer.py) of the run in it, so that an earlier release refuses what it would read otherwise
# Files that a program is compiled with, which lie beside the weights.
_FILES = {"criterion": "criterion.mlir", "layer_sparsity": "layer_sparsity.json", "calibration_file": "calibration.safetensors"}
_TASKS = {"classification": "SEQ_CLS", "multi_label_classification": "SEQ_CLS", "regression": "SEQ_CLS",
          "token_classification": "TOKEN_CLS", "lm": "CAUSAL_LM"}  # fmt: skip


def tensor_name(parameter: str) -> str:
    """What a parameter is called in the file: PEFT's `lora_B` and `lora_A` are
    the factors of a weight's change, U and V."""
    tensor, _, factor = parameter.partition(".pst_")
    tensor, _, part = tensor.partition(":")
    if not factor:
        return f"base_model.model.{tensor}" + (f":{part}" if part else "")
    module = tensor.removesuffix(".weight") + (f":{part}" if part else "")
    return f"base_model.model.{module}.{ {'U': 'lora_B.weight', 'V': 'lora_A.weight'}.get(factor, 'pst_' + factor)}"


def _parameters(model) -> dict[str, tuple[str, str]]:
    """Name in the file: parameter and its space, of all that are trained or selected."""
    spaces = {"trainable": "trainable", "state": "state"}
    found = {}
    for parameter in json.loads(model.manifest)["parameters"]:
        if space := spaces.get(parameter["role"]):
            found[tensor_name(parameter["name"])] = (parameter["name"], space)
    return found


def write(directory, trained, base: str) -> int:
    """Writes what a model (exporting._Trained) has trained, and its run's options.
    Returns the bytes of the weights. Raises DataError where the method trains
    the weights themselves, of which an adapter would be a copy."""
    model, run = trained.model, trained.run
    manifest = json.loads(model.manifest)
    weights = {layer["weight"] for layer in manifest["sparse_layers"]}
    own = {p["name"] for p in manifest["parameters"] if p["role"] == "trainable"}
    if not weights or weights & own:
        raise DataError(
            f"the method '{manifest['method']}' trains the weights themselves, so that an adapter would be as large as the "
            "model; adapters are of methods that leave them as they are (pst, lora): use --format compressed"
        )
    settings = dict(run["compiler_options"])
    for key, name in _FILES.items():
        if names_file(settings.get(key)):
            shutil.copyfile(settings[key], os.path.join(directory, name))
            settings[key] = name
    model.select(trained.sparsity)
    tensors = {name: np.array(model.parameter(*place)) for name, place in _parameters(model).items()}
    path = os.path.join(directory, WEIGHTS)
    _pst.write_tensors(path, dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize)), {"format": "pt"})
    modules = sorted({weight.partition(":")[0].removesuffix(".weight") for weight in weights})
    saved = sorted({name.rpartition(".")[0] for name in own if ".pst_" not in name})
    rank, beta = settings.get("weight_rank", 8), settings.get("weight_beta", 1.0)
    described = {
        "base_model_name_or_path": base,
        "peft_type": "LORA" if manifest["method"] == "lora" else "PST",
        "task_type": _TASKS.get(model.task, "SEQ_CLS"),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": beta * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": modules,
        "modules_to_save": saved,
        "pst": {
            "format": _FORMAT,
            "base_digest": model.digest,
            "sparsity": trained.sparsity,
            "name": trained.name,
            "config": trained.config,
            "evaluation": trained.evaluation,
            "run": {**run, "model": "", "bundle": "", "compiler_options": settings},
        },
    }
    write_json(os.path.join(directory, CONFIG), described)
    return os.path.getsize(path)


def is_adapter(directory) -> bool:
    return os.path.exists(os.path.join(os.fspath(directory), CONFIG))


def _is_evaluation(record) -> bool:
    """Whether it is a record as a checkpoint has them, or none."""
    if record is None:
        return True
    numbers = (int, float, type(None))
    return (
        isinstance(record, dict)
        and isinstance(record.get("step"), int)
        and isinstance(record.get("loss"), numbers)
        and isinstance(record.get("metrics"), dict)
        and all(isinstance(value, numbers) for value in record["metrics"].values())
    )


def read_config(directory) -> dict:
    """adapter_config.json of one of ours. Raises DataError."""
    path = os.path.join(os.fspath(directory), CONFIG)
    config = read_object(path)
    ours = config.get("pst")
    if not isinstance(ours, dict):
        raise DataError(f"{path}: no adapter of 'pst export --format adapter': it lacks the object \"pst\"")
    if ours.get("format") not in (1, _FORMAT):
        raise DataError(f"{path}: an adapter of format {ours.get('format')!r}; this release reads formats 1 and {_FORMAT}")
    kinds = {"name": str, "base_digest": str, "sparsity": (int, float), "config": dict, "run": dict}
    whole = {key: isinstance(ours.get(key), kind) for key, kind in kinds.items()}
    for key, is_whole in {**whole, "evaluation": _is_evaluation(ours.get("evaluation"))}.items():
        if not is_whole:
            raise DataError(f"{path}: damaged: \"pst\" has no \"{key}\" of the kind that 'pst export' writes")
    if not 0 <= ours["sparsity"] < 1:
        raise DataError(f"{path}: damaged: \"sparsity\" is {ours['sparsity']}, and must be from 0 to below 1")
    return config


def settings_of(directory, run: dict) -> dict:
    """What the program is compiled with; the adapter's files by their paths."""
    settings = dict(run["compiler_options"])
    for key, name in _FILES.items():
        if names_file(settings.get(key)):
            settings[key] = os.path.join(os.fspath(directory), name)
    return settings


def load(directory, model) -> float:
    """Puts what the adapter holds into a model that was made of its base, and
    selects. Returns the sparsity. Raises DataError if the base is another one,
    a tensor is missing, or its own thresholds do not come out."""
    ours = read_config(directory)["pst"]
    path = os.path.join(os.fspath(directory), WEIGHTS)
    if ours["base_digest"] != model.digest:
        raise DataError(
            f"{os.fspath(directory)}: the adapter was trained on other weights than those of --base (digest "
            f"{ours['base_digest']}, not {model.digest})"
        )
    file, places = _pst.TensorFile(path), _parameters(model)
    if odd := sorted(set(file.names()) ^ set(places)):
        what = "lacks" if odd[0] in places else "holds, and the model has not,"
        raise DataError(f"{path}: {what} the tensor {odd[0]!r}: the adapter is damaged, or of another model")
    given = {}
    for name, (parameter, space) in places.items():
        target, value = model.parameter(parameter, space), file.read(name)
        if value.shape != target.shape or value.dtype != target.dtype:
            raise DataError(
                f"{path}: tensor {name!r} is {value.dtype}{list(value.shape)}; the model has {target.dtype}{list(target.shape)}"
            )
        given[name] = np.array(value)
        if space == "trainable" or model.holds_mask:
            target[...] = value
    model.restore_selection(ours["sparsity"])
    for name, (parameter, space) in places.items():
        if space == "state" and np.array(model.parameter(parameter, space)).tobytes() != given[name].tobytes():
            raise DataError(
                f"{path}: the threshold {name!r} is not the one that follows from the factors and the base: the adapter is damaged, or was "
                "made on a machine that rounds otherwise"
            )
    return float(ours["sparsity"])
