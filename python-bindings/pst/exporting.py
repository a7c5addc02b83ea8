# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst export`: any of the forms of a trained model from any other."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field

from .command import UsageError, given_options, options_of, print_pairs, warn
from .files import read_object
from .outputs import check_output_directory, write_text

FORMATS = ("dense", "compressed", "adapter", "gguf", "onnx")
VALUE_TYPES = ("f32", "bf16", "int8")
EMBEDDING_TYPES = ("bf16", "int8")


@dataclass
class _Trained:
    """What a run, or an adapter and its base, say of a model. `config`: what
    they add to config.json."""

    model: object
    sparsity: float
    run: dict
    model_dir: str
    name: str
    config: dict
    evaluation: dict | None = None
    told: dict = field(default_factory=dict)


def export(args) -> int:
    from . import _pst, adapter

    options = options_of(args)
    options.check()
    source = os.path.normpath(args.source)
    if not os.path.isdir(source):
        raise UsageError(f"{source}: no such checkpoint, model or adapter")
    for flag, forms in (("value_type", ("compressed", "gguf")), ("embedding_type", ("compressed",))):
        if getattr(args, flag) and args.format not in forms:
            raise UsageError(f"--{flag} is of --format {' and '.join(forms)}, not of {args.format}")
    if args.validation_file and args.format in _OTHERS:
        raise UsageError(f"--validation_file is of --format compressed: files of {args.format} are for other runtimes to evaluate")
    if args.validation_file and not (args.value_type or args.embedding_type):
        raise UsageError("--validation_file is what the loss of --value_type or --embedding_type is measured on: say which")
    inputs = [source, *filter(None, (args.base, args.validation_file))]
    check_output_directory(args.output_dir, inputs, (".",))
    if adapter.is_adapter(source):
        trained = _adapter(args, source)
    elif _is_model(source):
        return _convert(args, source, options)
    else:
        trained = _checkpoint(args, source)
    check_output_directory(args.output_dir, (trained.model_dir,), (".",))
    _pst.check_model_target(args.output_dir, trained.model_dir, args.overwrite_output_dir)
    if args.format == "adapter":
        told = _write_adapter(args, trained)
    elif args.format == "dense":
        told = _write_dense(args, trained)
    else:
        told = _write_by_dense(args, trained, options)
    print_pairs({**trained.told, **told, "model": args.output_dir})
    return 0


def _is_model(directory: str) -> bool:
    weights = ("model.safetensors", "model.safetensors.index.json")
    return any(os.path.lexists(os.path.join(directory, name)) for name in ("config.json", *weights))


def _read_run(path: str, checkpoint: str) -> dict:
    """What 'pst train' writes of a run. Raises DataError, UsageError."""
    run = read_object(path)
    if not run:
        raise UsageError(f"{path}: not found: {checkpoint} is no checkpoint of 'pst train'")
    _bring_up_to_date(run, path)
    return run


def _bring_up_to_date(run: dict, path: str) -> None:
    """Makes a run of an earlier format what it meant. Raises UsageError where
    what is asked of a run later is not there, or not of its kind."""
    from . import _pst
    from .trainer import RUN_FORMAT

    def values(key: str, *kinds) -> bool:
        held = run.get(key) or {}
        return all(isinstance(value, kinds) for value in (held.values() if isinstance(held, dict) else held))

    known = {option["name"] for option in _pst.option_table() if option["table"] == "compiler"}
    kinds = {"model": str, "bundle": str, "compiler_options": dict, "options": dict}
    # Of a run of labels or columns of its own; null where there are none.
    more = {"labels": list, "text_columns": list, "data": dict, "trainable": int}
    simple = (str, int, float, type(None))
    if (
        not all(isinstance(run.get(key), kind) for key, kind in kinds.items())
        or not all(isinstance(run.get(key), (kind, type(None))) for key, kind in more.items())
        or not all(values(key, str) for key in ("labels", "text_columns", "data"))
        or not values("options", *simple)
        or not values("compiler_options", *simple, list)
        or not isinstance(run["options"].get("method"), str)
        or type(run["options"].get("seed")) is not int
        or not 0 <= run["options"]["seed"] < 2**64
        or not known >= set(run["compiler_options"]) >= {"target"}
    ):
        raise UsageError(f"{path}: damaged: expected the JSON object that 'pst train' writes")
    number, settings = run.get("format", 1), run["compiler_options"]
    if type(number) is not int or not 1 <= number <= RUN_FORMAT:
        raise UsageError(f"{path}: a run of format {number!r}; this release reads formats 1 to {RUN_FORMAT}")
    if number == 1:
        settings["modules_to_save"] = settings.get("modules_to_save") or _pst.NO_MODULES
    run["format"] = RUN_FORMAT


def _settings(args, run: dict, settings: dict) -> dict:
    """What the program is compiled with, on the target that was asked for."""
    if args.target and run["bundle"]:
        raise UsageError(f"--target is the compiler's, but the run trained with the bundle {run['bundle']}, which has its own")
    if args.target and args.target != settings["target"]:
        # What another target refuses has no part in the weights.
        settings = {key: value for key, value in settings.items() if key not in ("gpu_arch", "precision", "products")}
        settings["target"] = args.target
    return settings


def _checkpoint(args, source: str) -> _Trained:
    from . import _pst, modelcard
    from .trainer import RUN_FILE

    checkpoint, run_dir = source, os.path.dirname(source) or "."
    if os.path.exists(os.path.join(checkpoint, RUN_FILE)):
        run_dir = checkpoint
        found = _pst.list_checkpoints(run_dir)
        if not found:
            raise UsageError(f"{run_dir}: the run has no checkpoint yet")
        checkpoint = str(found[-1][1])
    run = _read_run(os.path.join(run_dir, RUN_FILE), args.source)
    model_dir, bundle = args.base or run["model"], run["bundle"]
    settings = _settings(args, run, run["compiler_options"])
    program = _pst.Program.load(bundle) if bundle else _pst.compile_model(model_dir, settings)
    model = _pst.Model(program, model_dir, run["options"]["seed"])
    state = model.load_checkpoint(checkpoint)
    evaluation = modelcard.held_evaluation({**state, "best": None, "stopped": False}, False)
    return _Trained(
        model, state["sparsity"], run, model_dir, os.path.basename(os.path.abspath(run_dir)), _config_of(model, run, model_dir),
        evaluation, {"checkpoint": checkpoint, "step": state["step"]},
    )  # fmt: skip


def _config_of(model, run: dict, model_dir: str) -> dict:
    """What a run adds to the config.json of its base."""
    from .data import Labels
    from .many_labels import PROBLEM
    from .settings import column_config, label_config
    from .tasks import TOKEN_CLASSES
    from .tokenizer import Tokenizer

    names, task = run.get("labels"), run["compiler_options"].get("task")
    labels = None if model.predicts_tokens else Labels(names or [], names is None, task == PROBLEM, task == TOKEN_CLASSES)
    return {**label_config(labels, Tokenizer(model_dir)), **column_config(run.get("text_columns"))}


def _adapter(args, source: str) -> _Trained:
    from . import _pst, adapter

    if not args.base:
        raise UsageError(f"{source} is an adapter: --base DIR is the model that it was trained on")
    config = adapter.read_config(source)
    ours = config["pst"]
    run = ours["run"]
    _bring_up_to_date(run, os.path.join(source, adapter.CONFIG))
    settings = _settings(args, run, adapter.settings_of(source, run))
    model = _pst.Model(_pst.compile_model(args.base, settings), args.base, run["options"]["seed"])
    sparsity = adapter.load(source, model)
    run = {**run, "compiler_options": settings}
    return _Trained(model, sparsity, run, args.base, ours["name"], ours["config"], ours["evaluation"], {"adapter": source})


def _card(trained: _Trained, zero_share: float, layers: int):
    from . import modelcard
    from .tasks import TOKEN_CLASSES
    from .trainer import read_config

    run = trained.run
    return modelcard.Card(
        name=trained.name,
        base=modelcard.base_name(trained.model_dir, read_config(trained.model_dir)),
        options=run["options"],
        zero_share=zero_share,
        layers=layers,
        trainable=run.get("trainable"),
        labels=run.get("labels"),
        predicts_tokens=trained.model.predicts_tokens,
        classifies_tokens=trained.model.task == TOKEN_CLASSES,
        evaluation=trained.evaluation,
        data=run.get("data") or {},
    )


def _write_dense(args, trained: _Trained) -> dict:
    from . import _pst, modelcard

    result = _pst.export_model(
        trained.model, trained.sparsity, args.output_dir, args.overwrite_output_dir, json.dumps(trained.config)
    )
    storage = modelcard.Storage("dense", result["bytes"], result["bytes"])
    modelcard.write(args.output_dir, _card(trained, result["zero_share"], len(result["layers"])), storage)
    return {"sparsity": result["zero_share"]}


def _write_by_dense(args, trained: _Trained, options) -> dict:
    """The other forms, by way of the dense model, whose zeros are counted as it is written."""
    from . import _pst, modelcard

    with _pst.StagedDirectory(args.output_dir) as staged:
        dense = os.path.join(staged.path, "dense")
        result = _pst.export_model(trained.model, trained.sparsity, dense, False, json.dumps(trained.config))
        storage, told = _WRITERS[args.format](args, dense, staged.path, options, trained.name)
        shutil.rmtree(dense)
        modelcard.write(staged.path, _card(trained, result["zero_share"], len(result["layers"])), storage)
        staged.commit()
    return {"sparsity": result["zero_share"], **told}


def _write_adapter(args, trained: _Trained) -> dict:
    from . import _pst, adapter, modelcard
    from .trainer import read_config

    with _pst.StagedDirectory(args.output_dir) as staged:
        base = modelcard.base_name(trained.model_dir, read_config(trained.model_dir))
        size = adapter.write(staged.path, trained, base)
        layers = json.loads(trained.model.manifest)["sparse_layers"]
        dense = _pst.TensorFile(trained.model_dir).num_bytes
        storage = modelcard.Storage("adapter", size, dense, base_digest=trained.model.digest)
        modelcard.write(staged.path, _card(trained, trained.sparsity, len(layers)), storage)
        staged.commit()
    return {"sparsity": trained.sparsity, **_sizes(storage)}


def _convert(args, source: str, options) -> int:
    """A model directory in another form."""
    from . import _pst, modelcard
    from .trainer import read_config

    if args.format == "adapter":
        raise UsageError(
            f"{source} is a model, in which the factors of its training are merged: an adapter is made of a run's checkpoint"
        )
    if args.base:
        raise UsageError(f"--base is of an adapter or a checkpoint, but {source} is a model")
    read_config(source)  # tells if there is none
    _pst.check_model_target(args.output_dir, source, args.overwrite_output_dir)
    name = os.path.basename(os.path.abspath(source))
    with _pst.StagedDirectory(args.output_dir) as staged:
        storage, told = _WRITERS[args.format](args, source, staged.path, options, name)
        modelcard.rewrite(source, staged.path, name, storage)
        staged.commit()
    print_pairs({**told, "model": args.output_dir})
    return 0


# What follows writes the model in the directory `source` to the directory
# `target` in one form. Each returns how it is stored, and what is to be told.


def _expand(args, source: str, target: str, options, name: str):
    from . import _pst, compression, modelcard

    path = os.path.join(target, "model.safetensors")
    compression.write_dense(_pst.TensorFile(source), path)
    _copy(source, target, None, "float32")
    size = os.path.getsize(path)
    return modelcard.Storage("dense", size, size), {"file_mib": size / 2**20}


def _compress(args, source: str, target: str, options, name: str):
    from . import _pst, compression, modelcard
    from .evaluating import metrics_of

    path = os.path.join(target, "model.safetensors")
    stored = compression.write_compressed(_pst.TensorFile(source), path, args.value_type, args.embedding_type)
    _copy(source, target, stored.config(), None)
    size = os.path.getsize(path)
    # Headers are some kilobytes in either.
    dense = size + stored.saved
    storage = modelcard.Storage(
        "compressed", size, dense, stored.bytes, stored.dense_bytes, args.value_type or "", args.embedding_type or "", stored.bound,
        layout=stored.layout,
    )  # fmt: skip
    told = {"layers": len(stored.weights), **({"layout": stored.layout} if stored.weights else {}), **_sizes(storage)}
    if stored.bytes:
        told |= {
            "layers_mib_dense": stored.dense_bytes / 2**20,
            "layers_mib": stored.bytes / 2**20,
            "layers_ratio": stored.dense_bytes / stored.bytes,
        }
    if stored.bound:
        told |= {"int8_bound": stored.bound, "int8_largest_difference": stored.error}
    if args.validation_file:
        given = given_options(args)
        before, after = (metrics_of(directory, args.validation_file, options, given) for directory in (source, target))
        storage.metrics = {name: (before[name], after[name]) for name in before}
        for name in before:
            told |= {f"{name}_before": float(before[name]), name: float(after[name])}
    return storage, told


def _write_gguf(args, source: str, target: str, options, name: str):
    from . import gguf_files, modelcard

    path = os.path.join(target, gguf_files.FILE)
    written = gguf_files.write(source, path, args.value_type, name)
    warn(written.remarks)
    storage = modelcard.Storage("gguf", written.bytes, written.dense_bytes, value_type=args.value_type or "", bound=written.bound)
    told = {"matrices": ", ".join(f"{count} {kind}" for kind, count in written.kinds.items())}
    if written.bound:
        told |= {"int8_bound": written.bound, "int8_largest_difference": written.error}
    return storage, {**told, **_sizes(storage), "zeros": storage.zeros()}


def _write_onnx(args, source: str, target: str, options, name: str):
    from . import modelcard, onnx_files

    path = os.path.join(target, onnx_files.FILE)
    whole = source
    if "quantization_config" in read_object(os.path.join(source, "config.json")):
        # transformers, which makes the graph, reads no weights in parts.
        whole = os.path.join(target, "whole")
        os.mkdir(whole)
        _expand(args, source, whole, options, name)
    difference = onnx_files.write(whole, path)
    if whole != source:
        shutil.rmtree(whole)
    _copy(source, target, None, "float32")
    size = os.path.getsize(path)
    storage = modelcard.Storage("onnx", size, size)
    checked = {"checked": "no: 'pip install onnxruntime' to have it done"} if difference is None else {"largest_difference": difference}
    return storage, {**checked, "file_mib": size / 2**20, "zeros": storage.zeros()}


def _sizes(storage) -> dict:
    return {"file_mib_dense": storage.dense_bytes / 2**20, "file_mib": storage.bytes / 2**20}


_OTHERS = {"gguf": _write_gguf, "onnx": _write_onnx}  # for other runtimes
_WRITERS = {"dense": _expand, "compressed": _compress, **_OTHERS}


def _copy(source: str, target: str, quantization: dict | None, dtype: str | None) -> None:
    """config.json, with how the weights are stored, and the tokenizer's files."""
    from . import _pst

    config = read_object(os.path.join(source, "config.json"))
    config.pop("quantization_config", None)
    if quantization:
        config["quantization_config"] = quantization
    elif dtype:
        config["torch_dtype"] = dtype
        config.pop("dtype", None)
    write_text(os.path.join(target, "config.json"), json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    _pst.copy_companions(source, target)
