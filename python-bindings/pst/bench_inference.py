# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rows of `pst bench --suite inference`: a saved sparse model's forward pass, against the dense one and PyTorch's and
ONNX Runtime's; and one token of a language model."""

from __future__ import annotations

import os
import tempfile

from .bench_inputs import BERT_BASE, GPT2, MINILM, SMOLLM2, write_random_bert, write_random_gpt2, write_random_llama
from .bench_rows import Context, Row, need, take_turns

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
    return rows


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
