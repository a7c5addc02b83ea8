# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rows of `pst bench --suite inference`: a saved sparse model's forward pass, against the dense one and PyTorch's and
ONNX Runtime's; one token of a language model; and the memory of a process that goes on with a text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from . import programs
from .bench_inputs import BERT_BASE, GPT2, MINILM, SMOLLM2, write_random_bert, write_random_gpt2, write_random_llama
from .bench_rows import Absent, Context, Row, need, take_turns
from .bench_worker import WorkerError

# By model and batch: percent of zeros, and how many times as long each rival may take at least.
_BARS = {
    ("BERT-base", 1): {80: 2.2, 90: 3.5, 95: 5.0},
    ("BERT-base", 32): {90: 3.0},
    ("MiniLM", 1): {90: 3.0},
    ("MiniLM", 32): {90: 4.0},
}
# The same of weights in 8 bits on both sides.
_BARS_INT8 = {("MiniLM", 1): {90: 2.0}, ("MiniLM", 32): {90: 2.5}}
_SHAPES = {
    "BERT-base": (write_random_bert, BERT_BASE), "MiniLM": (write_random_bert, MINILM),
    "GPT-2": (write_random_gpt2, GPT2), "SmolLM2": (write_random_llama, SMOLLM2),
}  # fmt: skip
_TINY = {
    write_random_bert: MINILM | {"vocab_size": 50, "hidden_size": 96, "num_hidden_layers": 1, "intermediate_size": 160},
    write_random_gpt2: GPT2 | {"vocab_size": 50, "n_embd": 96, "n_layer": 1, "n_head": 2},
    write_random_llama: SMOLLM2 | {"vocab_size": 50, "hidden_size": 96, "num_hidden_layers": 1, "intermediate_size": 160, "num_attention_heads": 6},
}
# One token of a language model after a text: by the type of our weights the bars, which are for so many percent of zeros; PyTorch's are f32.
_GPT2 = {
    "f32": {"ours dense": None, "PyTorch eager": None},
    "bf16": {"ours dense": 4.0, "PyTorch eager": 8.0},
    "int8": {"ours dense bf16": 4.0, "PyTorch eager": 8.0},
}
_DECODING = {
    ("GPT-2", 80): {kind: dict.fromkeys(bars) for kind, bars in _GPT2.items()},
    ("GPT-2", 90): _GPT2,
    ("SmolLM2", 50): {"int8": {"ours dense bf16": 1.5}},
    ("SmolLM2", 80): {"int8": {"ours dense bf16": 3.0}},
}
# The memory of `pst-run generate`, by percent of zeros: how many times as much our dense bf16 takes at least.
_MEMORY = {50: 3.0, 80: 3.0, 90: None}
_NEW_TOKENS = 64
# The status of a command and its peak in KiB, told by a process that is small itself: of a large one's child the system
# counts what the parent had.
_PEAK = """import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)"""
# How far logits may be apart, in the unit of the largest: a rival's weights are not rounded, or less.
_CLOSE = {"f32": 2e-3, "bf16": 2e-2, "int8": 1e-1}
_RIVALS = {
    "ours dense": {"side": "ours", "weight_storage": "dense", "frozen_type": "f32"},
    "ours dense bf16": {"side": "ours", "weight_storage": "dense", "frozen_type": "bf16"},
    "PyTorch eager": {"side": "eager"},
    "ONNX Runtime": {"side": "onnx"},
    "ONNX Runtime int8": {"side": "onnx", "quantized": True},
}


def inference_rows(context: Context) -> list[Row]:
    """Each row is one rival's time over ours, in turns; bars are for the standard sizes."""
    length, threads = context.sizes.length, max(context.threads)

    def measure(model, percent, batch, rival, task="Forward", **given):
        if task == "Decode" and rival == "PyTorch eager":
            need("transformers")
        if rival.startswith("ONNX Runtime"):
            for package in ("onnxruntime", "onnxscript"):
                need(package)
        settings = {"threads": threads, "model": _model(context, model, percent), "batch": batch, "length": length, **given}
        with context.worker("ours", task, weight_storage="auto", **settings) as ours:
            with context.worker(task=task, **{**settings, **_RIVALS[rival]}) as other:
                row = take_turns(context, ours, other, [0.0, 0.0], context.samples, _CLOSE[given.get("frozen_type", "f32")])
                row["compressed_weights"] = ours.about["compressed"]
                row["peak_bytes"] = {"ours": ours.peak_bytes(), "rival": other.peak_bytes()}
                return row

    rows = []

    def add(all_bars, rivals, kind, of_weights=""):
        for (model, batch), bars in all_bars.items():
            for percent, bar in bars.items():
                for rival in rivals:
                    size = batch if context.sizes.standard else min(batch, context.sizes.batch)
                    name = f"{model}, {percent} %, {size} x {length}{of_weights}: {rival} / ours sparse"
                    standard = context.sizes.standard and length == 128
                    rows.append(
                        Row(
                            name,
                            lambda m=model, p=percent, b=size, r=rival: measure(m, p, b, r, frozen_type=kind),
                            bar if standard else None,
                        )
                    )

    add(_BARS, ("ours dense", "PyTorch eager", "ONNX Runtime"), "f32")
    add(_BARS_INT8, ("ONNX Runtime int8",), "int8", ", weights of int8")
    for (model, percent), kinds in _DECODING.items():
        for kind, bars in kinds.items():
            for rival, bar in bars.items():
                name = f"{model}, {percent} %, one token after {length}, weights of {kind}: {rival} / ours sparse"
                rows.append(
                    Row(
                        name,
                        lambda m=model, p=percent, r=rival, k=kind: measure(m, p, 1, r, "Decode", frozen_type=k),
                        bar if context.sizes.standard else None,
                    )
                )
    for percent, bar in _MEMORY.items():
        name = f"SmolLM2, {percent} %, peak memory of {_NEW_TOKENS} tokens, weights of int8: ours dense bf16 / ours sparse"
        rows.append(Row(name, lambda p=percent: _measure_memory(context, p), bar if context.sizes.standard else None))
    return rows


def _measure_memory(context: Context, percent: int) -> dict:
    """As `pst compile --for generation` and `pst-run generate` do it without further options, but for the weights."""
    ours = _generation_peak(context, percent, "--frozen_type", "int8")
    rival = _generation_peak(context, percent, "--frozen_type", "bf16", "--weight_storage", "dense")
    return {"value": rival / ours, "spread": [rival / ours] * 2, "peak_bytes": {"ours": ours, "rival": rival}}


def _generation_peak(context: Context, percent: int, *options: str) -> int:
    runner = programs.find("pst-run")
    if not runner:
        raise Absent("pst-run was not found: it comes with the package (pip install .)")
    model = _model(context, "SmolLM2", percent)
    with tempfile.TemporaryDirectory() as folder:
        bundle, prompts, found = (os.path.join(folder, name) for name in ("bundle", "prompts.jsonl", "found.jsonl"))
        compiling = [sys.executable, "-m", "pst", "compile", "--for", "generation", "--model_name_or_path", model, "--bundle", bundle]
        _run([*compiling, *options])
        with open(prompts, "w", encoding="utf-8") as file:
            json.dump({"input_ids": list(range(1, 9))}, file)
        generating = ["--bundle", bundle, "--model", model, "--file", prompts, "--max_new_tokens", str(_NEW_TOKENS), "--output_file", found]
        status, kib = map(int, _run([sys.executable, "-c", _PEAK, runner, "generate", *generating]).split())
        with open(found, encoding="utf-8") as file:
            count = len(json.load(file)["output_ids"])
    if status or count != _NEW_TOKENS:
        raise WorkerError(f"pst-run generate ended with status {status} after {count} tokens of {_NEW_TOKENS}")
    return kib * 1024


def _run(command: list[str]) -> str:
    """What a command prints. Raises WorkerError."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WorkerError((done.stderr.strip() or f"{command[0]} ended with status {done.returncode}").splitlines()[-1])
    return done.stdout


def _model(context: Context, model: str, percent: int) -> str:
    """A directory with a model of that shape and random weights, written once."""
    key = f"{model} {percent}"
    if key not in context._memory:
        directory = context._memory.setdefault("models", tempfile.TemporaryDirectory(prefix="pst-bench-"))
        context._memory[key] = os.path.join(directory.name, key.replace(" ", "-"))
        context.progress(f"    writing a {model} of random weights, {percent} % of them zero")
        write, shape = _SHAPES[model]
        write(context._memory[key], shape if context.sizes.standard else _TINY[write], percent / 100)
    return context._memory[key]
