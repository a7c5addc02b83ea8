# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""BERT in eager PyTorch, for the rivals: from a model directory, by the
formulas of Devlin et al. 2019, with PyTorch's fused attention."""

from __future__ import annotations

import json
import os

import torch
from torch import nn
from torch.nn import functional

from ._pst import TensorFile

_ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


class Attention(nn.Module):
    def __init__(self, config, fused):
        super().__init__()
        hidden = config["hidden_size"]
        self.heads, self.fused = config["num_attention_heads"], fused
        self.dropout = config["attention_probs_dropout_prob"]
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))

    def forward(self, x, mask):
        batch, length, hidden = x.shape
        query, key, value = (
            part(x).view(batch, length, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            mixed = functional.scaled_dot_product_attention(query, key, value, mask, dropout)
        else:
            scores = query @ key.transpose(-1, -2) / (hidden // self.heads) ** 0.5
            weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), -1)
            mixed = functional.dropout(weights, dropout) @ value
        return mixed.transpose(1, 2).reshape(batch, length, hidden)


class Layer(nn.Module):
    def __init__(self, config, fused):
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = Attention(config, fused)
        self.mixed, self.wide, self.narrow = nn.Linear(hidden, hidden), nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.first, self.second = (nn.LayerNorm(hidden, config["layer_norm_eps"]) for _ in range(2))
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.activation = _ACTIVATIONS[config["hidden_act"]]

    def forward(self, x, mask):
        x = self.first(self.dropout(self.mixed(self.attention(x, mask))) + x)
        return self.second(self.dropout(self.narrow(self.activation(self.wide(x)))) + x)

    # Our names, and those of the model's files.
    NAMES = {
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "mixed": "attention.output.dense",
        "first": "attention.output.LayerNorm",
        "wide": "intermediate.dense",
        "narrow": "output.dense",
        "second": "output.LayerNorm",
    }


class Bert(nn.Module):
    """For sequence classification: batch x length tokens to logits."""

    def __init__(self, directory, fused=True, labels=2):
        super().__init__()
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        hidden, layers = config["hidden_size"], config["num_hidden_layers"]
        with torch.device("meta"):
            self.words = nn.Embedding(config["vocab_size"], hidden)
            self.positions = nn.Embedding(config["max_position_embeddings"], hidden)
            self.types = nn.Embedding(config["type_vocab_size"], hidden)
            self.norm = nn.LayerNorm(hidden, config["layer_norm_eps"])
            self.dropout = nn.Dropout(config["hidden_dropout_prob"])
            self.encoder = nn.ModuleList(Layer(config, fused) for _ in range(layers))
            self.pooler = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, labels)
        names = {"words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings"}
        names |= {"types": "embeddings.token_type_embeddings", "norm": "embeddings.LayerNorm", "pooler": "pooler.dense"}
        for i in range(layers):
            names |= {f"encoder.{i}.{ours}": f"encoder.layer.{i}.{theirs}" for ours, theirs in Layer.NAMES.items()}
        files = TensorFile(directory)
        for module, name in names.items():
            target = self.get_submodule(module)
            for kind, _ in list(target.named_parameters()):
                theirs = f"{name}.{kind}" if f"{name}.{kind}" in files else f"bert.{name}.{kind}"
                setattr(target, kind, nn.Parameter(torch.from_numpy(files.read(theirs).copy())))

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = self.words(input_ids) + self.types(token_type_ids) + self.positions.weight[: input_ids.shape[1]]
        x = self.dropout(self.norm(x))
        mask = attention_mask[:, None, None, :] != 0
        for layer in self.encoder:
            x = layer(x, mask)
        return self.classifier(self.dropout(torch.tanh(self.pooler(x[:, 0]))))
