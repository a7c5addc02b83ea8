# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama, Mistral and Qwen2, eagerly in PyTorch at float64 (Touvron et al.
2023; Jiang et al. 2023; Su et al. 2021; Peng et al. 2023; Shazeer 2020);
methods and training are those of eager.py."""

import math

import eager
import torch


def frequencies(config, length):
    """Radians per position of each pair of a head's columns, and a factor of their cosines and sines."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    theta = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    positions = config["max_position_embeddings"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    scale = 1.0
    factor = rope.get("factor", 1.0)
    if kind == "dynamic":
        theta *= (factor * max(length, positions) / positions - factor + 1) ** (width / (width - 2))
    turns = theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    if kind == "linear":
        turns = turns / factor
    if kind == "llama3":
        waves = rope.get("original_max_position_embeddings", positions) * turns / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = (waves - low) / (high - low)
        turns = torch.where(waves < low, turns / factor, torch.where(waves > high, turns, (1 - smooth) * turns / factor + smooth * turns))
    if kind == "yarn":
        original = rope.get("original_max_position_embeddings", positions)

        def column(rotations):
            return width * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low = max(math.floor(column(rope.get("beta_fast") or 32)), 0)
        high = min(math.ceil(column(rope.get("beta_slow") or 1)), width - 1)
        ramp = ((torch.arange(width // 2, dtype=torch.float64) - low) / (high - low if high != low else 0.001)).clamp(0, 1)
        turns = turns / factor * ramp + turns * (1 - ramp)
        scale = rope.get("attention_factor") or 0.1 * math.log(factor) + 1
    return turns, scale


def windows(config):
    """Of each layer: how many tokens, up to its own, a token sees; 0 for all."""
    layers, window = config["num_hidden_layers"], config.get("sliding_window") or 0
    if config["model_type"] == "mistral":
        return [window] * layers
    if config["model_type"] == "qwen2" and config.get("use_sliding_window"):
        return [window if kind == "sliding_attention" else 0 for kind in config["layer_types"]]
    return [0] * layers


class Llama(eager.Bert):
    """A Llama, Mistral or Qwen2 under a method."""

    def _linear(self, x, name):
        weight = self.values[name + ".weight"]
        if name + ".weight" in self.sparse:
            weight, score = self.weight_and_score(name + ".weight")
            if score is not None:
                # Straight through: the gradient of the mask is that of the score.
                weight = (self.masks[name + ".weight"] + score - score.detach()) * weight
        y = x @ weight.T
        return y + self.values[name + ".bias"] if name + ".bias" in self.values else y

    def _norm(self, x, name):
        mean = (x**2).mean(-1, keepdim=True)
        return x / torch.sqrt(mean + self.config["rms_norm_eps"]) * self.values[name + ".weight"]

    def _turn(self, x):
        """x: ... x length x width."""
        turns, scale = frequencies(self.config, x.shape[-2])
        # As f32, which transformers and the compiled program hold.
        angles = (torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * turns.float()).double()
        one, other = x.chunk(2, -1)
        cos, sin = angles.cos() * scale, angles.sin() * scale
        return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)

    def _mix(self, x, mask, name, window):
        batch, length, _ = x.shape
        heads = self.config["num_attention_heads"]
        groups = heads // (self.config.get("num_key_value_heads") or heads)
        width = self.config.get("head_dim") or self.config["hidden_size"] // heads

        def split(part):
            return self._linear(x, f"{name}.{part}_proj").view(batch, length, -1, width).transpose(1, 2)

        query, key, value = self._turn(split("q")), self._turn(split("k")), split("v")
        key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
        scores = query @ key.transpose(-1, -2) / width**0.5
        hide = torch.ones(length, length).triu(1).bool()
        if window:
            hide = hide | torch.ones(length, length).tril(-window).bool()
        # A token may see padding alone: whatever it gets, it is padding itself.
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -1e300).masked_fill(hide, float("-inf"))
        mixed = torch.softmax(scores, -1) @ value
        return self._linear(mixed.transpose(1, 2).reshape(batch, length, -1), name + ".o_proj")

    def hidden(self, batch):
        ids, mask = (torch.from_numpy(batch[name]).long() for name in ("input_ids", "attention_mask"))
        x = self.values["model.embed_tokens.weight"][ids]
        for i, window in enumerate(windows(self.config)):
            name = f"model.layers.{i}"
            x = x + self._mix(self._norm(x, name + ".input_layernorm"), mask, name + ".self_attn", window)
            y = self._norm(x, name + ".post_attention_layernorm")
            gate, up = self._linear(y, name + ".mlp.gate_proj"), self._linear(y, name + ".mlp.up_proj")
            x = x + self._linear(gate / (1 + torch.exp(-gate)) * up, name + ".mlp.down_proj")
        return self._norm(x, "model.norm")

    def logits(self, batch):
        """Of a classifier: by the last token that is no padding."""
        last = [row.nonzero()[-1].item() for row in torch.from_numpy(batch["attention_mask"])]
        return self.hidden(batch)[torch.arange(len(last)), last] @ self.values["score.weight"].T

    def loss(self, batch):
        """Mean over what is predicted: tokens of a language model, or classes."""
        if "score.weight" in self.values:
            return super().loss(batch)
        words = self.values.get("lm_head.weight", self.values["model.embed_tokens.weight"])
        return self.loss_of_tokens(self.hidden(batch) @ words.T, batch["labels"])
