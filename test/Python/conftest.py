# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests share."""

import json
import os
import pathlib
import tempfile

import numpy as np
import pytest

# Not the user's cache of compiled programs.
_CACHE = tempfile.TemporaryDirectory(prefix="pst-cache-")
os.environ["PST_CACHE_DIR"] = _CACHE.name

ROOT = pathlib.Path(__file__).resolve().parents[2]


def real_data(*parts) -> pathlib.Path:
    """A file of the real data sets; the test is skipped where it is missing."""
    folder = pathlib.Path(os.environ.get("PST_DATA", ROOT / ".." / "shared" / "data"))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the real data set {'/'.join(parts)} is not there (set PST_DATA)")
    return path


# A vocabulary for the sentences of the tests; the first five are special.
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was good bad not great awful , . ##s very and but food ü".split()


@pytest.fixture
def one_thread():
    """Of us and of PyTorch, for small shapes on a machine that may be busy: threads would only wait for one another. That
    their number changes no bit is a test of its own."""
    import torch

    from pst import _pst

    torch.set_num_threads(1)
    _pst.set_num_threads(1)


@pytest.fixture
def recorded_checks(monkeypatch, request):
    """With $PST_CHECK_BUNDLES, what a test compiles for the emulator becomes a bundle for GPUs too (check_bundles.py)."""
    if not os.environ.get("PST_CHECK_BUNDLES"):
        yield
        return
    import bf16
    import check_bundles
    import nn_reference

    from pst import _pst

    test = f"{request.node.module.__name__.removeprefix('test_')}-{request.node.name}"
    record, write = check_bundles.record(monkeypatch, test, _pst.compile_text, [nn_reference, bf16])
    monkeypatch.setattr(_pst, "compile_text", record)
    yield
    write()


@pytest.fixture
def vocabulary(tmp_path):
    """A model directory that holds a tokenizer only (vocab.txt)."""
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return directory


CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def bert_tensors(config, seed=0, prefix="bert."):
    """Random weights of a BERT without its classifier."""
    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors = {}

    def matrix(name, rows, columns):
        tensors[prefix + name] = (rng.standard_normal((rows, columns)) * 0.3).astype(np.float32)

    def linear(name, rows, columns):
        matrix(name + ".weight", rows, columns)
        tensors[f"{prefix}{name}.bias"] = (rng.standard_normal(rows) * 0.1).astype(np.float32)

    def norm(name):
        tensors[f"{prefix}{name}.weight"] = (1 + 0.1 * rng.standard_normal(hidden)).astype(np.float32)
        tensors[f"{prefix}{name}.bias"] = (0.1 * rng.standard_normal(hidden)).astype(np.float32)

    matrix("embeddings.word_embeddings.weight", config["vocab_size"], hidden)
    matrix("embeddings.position_embeddings.weight", config["max_position_embeddings"], hidden)
    matrix("embeddings.token_type_embeddings.weight", config["type_vocab_size"], hidden)
    norm("embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            linear(layer + name, hidden, hidden)
        norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", inner, hidden)
        linear(layer + "output.dense", hidden, inner)
        norm(layer + "output.LayerNorm")
    linear("pooler.dense", hidden, hidden)
    return tensors


def gpt2_tensors(config, seed=0):
    """Random weights of a GPT-2."""
    rng, width = np.random.default_rng(seed), config["n_embd"]
    tokens, positions = config["vocab_size"], config["n_positions"]
    shapes = {"wte.weight": (tokens, width), "wpe.weight": (positions, width), "ln_f.weight": (width,), "ln_f.bias": (width,)}
    for i in range(config["n_layer"]):
        for name, rows, columns in (
            ("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width),
        ):  # fmt: skip
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = (rows, columns), (columns,)
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{i}.{name}.weight"] = shapes[f"h.{i}.{name}.bias"] = (width,)
    return {
        name: (rng.standard_normal(shape) * 0.15 + (".weight" in name and "ln_" in name)).astype(np.float32)
        for name, shape in shapes.items()
    }


def llama_tensors(config, seed=0):
    """Random weights of a Llama with a head of its own."""
    rng, width, inner = np.random.default_rng(seed), config["hidden_size"], config["intermediate_size"]
    head = width // config["num_attention_heads"]
    keys = head * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], width), "lm_head.weight": (config["vocab_size"], width)}
    shapes["model.norm.weight"] = (width,)
    for i in range(config["num_hidden_layers"]):
        for name, rows, columns in (
            ("self_attn.q_proj", width, width), ("self_attn.k_proj", keys, width), ("self_attn.v_proj", keys, width),
            ("self_attn.o_proj", width, width), ("mlp.gate_proj", inner, width), ("mlp.up_proj", inner, width),
            ("mlp.down_proj", width, inner),
        ):  # fmt: skip
            shapes[f"model.layers.{i}.{name}.weight"] = (rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{i}.{name}.weight"] = (width,)
    return {
        name: (rng.standard_normal(shape) * 0.3 + (len(shape) == 1)).astype(np.float32) for name, shape in shapes.items()
    }


def write_model(directory, config=CONFIG, tensors=None):
    """A small BERT with a tokenizer, as a model directory."""
    from pst import write_tensors

    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    write_tensors(directory / "model.safetensors", tensors or bert_tensors(config), {"format": "pt"})
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}))
    return directory


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "pretrained")


def write_data(path, count=48, seed=0):
    """Sentences whose label says whether they hold "not"."""
    rng = np.random.default_rng(seed)
    lines = ["sentence\tlabel"]
    for _ in range(count):
        words = [WORDS[i] for i in rng.integers(5, len(WORDS), rng.integers(2, 9)) if WORDS[i] not in ("not", "##s")]
        label = rng.integers(2)
        if label:
            words.insert(int(rng.integers(len(words) + 1)), "not")
        lines.append(" ".join(words or ["the"]) + "\t" + ("yes" if label else "no"))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path):
    """Training and evaluation files."""
    return write_data(tmp_path / "train.tsv"), write_data(tmp_path / "dev.tsv", 21, 1)


def first_loss(directory, data, output):
    """The loss of a training step over up to 24 examples, in micro-batches of 8."""
    import pst

    pst.Trainer(
        directory, data, output_dir=output, method="lora", max_steps=1, learning_rate=0.0, logging_steps=1, save_strategy="no",
        report_to="none", per_device_train_batch_size=8, gradient_accumulation_steps=3,
    ).train()  # fmt: skip
    (line,) = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines() if '"train"' in line]
    return line["loss"]
