# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What all contestants of a benchmark are given. Needs neither the compiler nor PyTorch."""

from __future__ import annotations

import json
import os

import numpy as np

from ._pst import write_tensors

BERT_BASE = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
BERT_LARGE = BERT_BASE | {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}

GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "initializer_range": 0.02,
}

# That of SmolLM2-135M.
SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
}

# The shape of all-MiniLM-L6-v2.
MINILM = BERT_BASE | {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}


def layer_shapes(settings) -> dict:
    """Of each factor of a layer, its input and the gradient of its output: the shape, and the magnitude as of a BERT's."""
    n, m, rank, tokens = (settings[name] for name in ("rows", "columns", "rank", "tokens"))
    return {
        "w": ((n, m), 0.05),
        "u": ((n, rank), 0.02),
        "v": ((rank, m), 0.02),
        "a": ((n, rank), 0.02),
        "b": ((rank, m), 0.02),
        "r": ((n,), 0.01),
        "c": ((m,), 0.01),
        "x": ((tokens, m), 1.0),
        "dy": ((tokens, n), 1.0),
    }


def random_factors(settings) -> dict:
    rng = np.random.default_rng(3)
    shapes = layer_shapes(settings).items()
    return {name: (rng.standard_normal(shape) * scale).astype(np.float32) for name, (shape, scale) in shapes}


# Heads of an attention, and columns of each, as BERT-base has them.
HEADS, HEAD_WIDTH = 12, 64


def random_attention(settings) -> dict:
    """Query, key, value and the result's gradient, (batch * length) x (heads * width)."""
    rng = np.random.default_rng(0)
    shape = (settings["batch"] * settings["length"], HEADS * HEAD_WIDTH)
    return {name: rng.standard_normal(shape).astype(np.float32) for name in ("q", "k", "v", "g")}


def random_batch(settings) -> dict:
    """A batch, or as many as there are lengths for."""
    rng = np.random.default_rng(0)
    # Without lengths, all examples are whole.
    lengths = settings.get("lengths") or [settings["length"]]
    lengths = np.resize(lengths, max(settings["batch"], len(lengths)))
    shape = (len(lengths), settings["length"])
    with open(f"{settings['model']}/config.json", encoding="utf-8") as file:
        vocabulary = json.load(file)["vocab_size"]
    return {
        "input_ids": rng.integers(0, vocabulary, shape).astype(np.int32),
        "attention_mask": (np.arange(settings["length"]) < lengths[:, None]).astype(np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "labels": rng.integers(0, 2, len(lengths)).astype(np.int32),
    }


def random_head(shape) -> np.ndarray:
    """A classifier for both sides, large enough for the logits to tell two models apart."""
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def _prune(values: np.ndarray, sparsity: float) -> None:
    """Puts zeros for so many of the smallest elements."""
    magnitude = np.abs(values)
    values[magnitude < np.quantile(magnitude, sparsity)] = 0


def _write_model(directory, config: dict, tensors: dict) -> None:
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
    write_tensors(os.path.join(directory, "model.safetensors"), tensors, {"format": "pt"})


def write_random_bert(directory, config: dict, sparsity: float = 0.0) -> None:
    """A model directory: a BERT for two classes with random weights, as it is before pretraining; of each matrix of the
    encoder so many of the smallest elements are zero."""
    rng, hidden, inner = np.random.default_rng(0), config["hidden_size"], config["intermediate_size"]
    tensors = {}

    def matrix(name, rows, columns):
        tensors[name] = rng.standard_normal((rows, columns), np.float32) * np.float32(config["initializer_range"])

    def linear(name, rows, columns):
        matrix(f"{name}.weight", rows, columns)
        tensors[f"{name}.bias"] = np.zeros(rows, np.float32)

    def norm(name):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(hidden, np.float32), np.zeros(hidden, np.float32)

    for name, rows in (("word", "vocab_size"), ("position", "max_position_embeddings"), ("token_type", "type_vocab_size")):
        matrix(f"bert.embeddings.{name}_embeddings.weight", config[rows], hidden)
    norm("bert.embeddings.LayerNorm")
    whole = set(tensors)
    for i in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            linear(layer + name, hidden, hidden)
        norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", inner, hidden)
        linear(layer + "output.dense", hidden, inner)
        norm(layer + "output.LayerNorm")
    for name in tensors.keys() - whole if sparsity else ():
        if tensors[name].ndim == 2:
            _prune(tensors[name], sparsity)
    linear("bert.pooler.dense", hidden, hidden)
    tensors["classifier.weight"], tensors["classifier.bias"] = random_head((2, hidden)), np.zeros(2, np.float32)
    _write_model(directory, config, tensors)


def write_random_gpt2(directory, config: dict, sparsity: float = 0.0) -> None:
    """The same of a GPT-2 that predicts tokens."""
    rng, width = np.random.default_rng(0), config["n_embd"]
    shapes = {"wte.weight": (config["vocab_size"], width), "wpe.weight": (config["n_positions"], width)}
    norms = ["ln_f"]
    for i in range(config["n_layer"]):
        for name, rows, columns in (
            ("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width),
        ):  # fmt: skip
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = (rows, columns), (columns,)
        norms += [f"h.{i}.ln_1", f"h.{i}.ln_2"]
    tensors = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape, np.float32) * np.float32(config["initializer_range"])
        if sparsity and name.startswith("h.") and len(shape) == 2:
            _prune(values, sparsity)
        tensors[f"transformer.{name}"] = values
    for name in norms:
        tensors[f"transformer.{name}.weight"], tensors[f"transformer.{name}.bias"] = np.ones(width, np.float32), np.zeros(width, np.float32)
    _write_model(directory, config, tensors)


def write_random_llama(directory, config: dict, sparsity: float = 0.0) -> None:
    """The same of a Llama, whose head is its table of tokens."""
    rng, width, inner = np.random.default_rng(0), config["hidden_size"], config["intermediate_size"]
    keys = width // config["num_attention_heads"] * config["num_key_value_heads"]

    def matrix(rows, columns):
        return rng.standard_normal((rows, columns), np.float32) * np.float32(config["initializer_range"])

    tensors = {"model.embed_tokens.weight": matrix(config["vocab_size"], width), "model.norm.weight": np.ones(width, np.float32)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, rows, columns in (
            ("self_attn.q_proj", width, width), ("self_attn.k_proj", keys, width), ("self_attn.v_proj", keys, width),
            ("self_attn.o_proj", width, width), ("mlp.gate_proj", inner, width), ("mlp.up_proj", inner, width), ("mlp.down_proj", width, inner),
        ):  # fmt: skip
            tensors[f"{layer}{name}.weight"] = values = matrix(rows, columns)
            if sparsity:
                _prune(values, sparsity)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}{name}.weight"] = np.ones(width, np.float32)
    _write_model(directory, config, tensors)


def peak_resident_bytes() -> int:
    """VmHWM of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
