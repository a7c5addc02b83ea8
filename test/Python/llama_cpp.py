# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What llama.cpp makes of a GGUF file, in NumPy at float64: the graphs "llama"
and "qwen2" (src/models), rotary positions (ggml_rope_ext: neighbouring columns
for a Llama, columns half a head apart for a Qwen2; YaRN), and the tokenizer
"llama" (llm_tokenizer_spm)."""

import math

import gguf
import numpy as np


class File:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        # Dimensions lie in the other order.
        self.tensors = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1]) for tensor in reader.tensors
        }
        self.architecture = self.fields["general.architecture"]

    def get(self, key, otherwise=None):
        return self.fields.get(f"{self.architecture}.{key}", otherwise)

    def frequencies(self):
        """Radians per position of each pair of columns, and a factor of cosines and sines."""
        width, base = self.get("rope.dimension_count"), self.get("rope.freq_base", 10000.0)
        turns = base ** -(np.arange(0, width, 2) / width) / self.tensors.get("rope_freqs.weight", 1.0)
        kind, factor = self.get("rope.scaling.type", "none"), self.get("rope.scaling.factor", 1.0)
        if kind == "linear":
            return turns / factor, 1.0
        if kind == "none":
            return turns, 1.0
        original = self.get("rope.scaling.original_context_length")
        ends = [
            width * math.log(original / (self.get(f"rope.scaling.yarn_{name}", default) * 2 * math.pi)) / (2 * math.log(base))
            for name, default in (("beta_fast", 32.0), ("beta_slow", 1.0))
        ]
        low, high = max(0, math.floor(ends[0])), min(width - 1, math.ceil(ends[1]))
        mix = 1 - np.clip((np.arange(width // 2) - low) / max(0.001, high - low), 0, 1)
        return turns / factor * (1 - mix) + turns * mix, 1 + 0.1 * math.log(factor)

    def _turn(self, x):
        """x: heads x length x width."""
        turns, scale = self.frequencies()
        angles = np.arange(x.shape[1])[:, None] * turns
        cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
        y, half = np.empty_like(x), x.shape[2] // 2
        pairs = (slice(0, None, 2), slice(1, None, 2)) if self.architecture == "llama" else (slice(half), slice(half, None))
        one, other = (x[:, :, columns] for columns in pairs)
        y[:, :, pairs[0]], y[:, :, pairs[1]] = one * cos - other * sin, one * sin + other * cos
        return y

    def _linear(self, x, name):
        return x @ self.tensors[name + ".weight"].astype(np.float64).T + self.tensors.get(name + ".bias", 0)

    def _norm(self, x, name):
        mean = (x**2).mean(-1, keepdims=True)
        return x / np.sqrt(mean + self.get("attention.layer_norm_rms_epsilon")) * self.tensors[name + ".weight"]

    def logits(self, ids):
        """Of one text: length x tokens."""
        heads, key_heads = self.get("attention.head_count"), self.get("attention.head_count_kv")
        width = self.get("attention.key_length", self.get("embedding_length") // heads)
        x = self.tensors["token_embd.weight"][ids].astype(np.float64)
        length = len(ids)
        hidden = np.triu(np.ones((length, length), bool), 1)
        for i in range(self.get("block_count")):
            block = f"blk.{i}."
            y = self._norm(x, block + "attn_norm")
            split = [self._linear(y, f"{block}attn_{part}").reshape(length, -1, width).swapaxes(0, 1) for part in "qkv"]
            query, (key, value) = self._turn(split[0]), (np.repeat(part, heads // key_heads, 0) for part in (self._turn(split[1]), split[2]))
            scores = np.where(hidden, -np.inf, query @ key.swapaxes(1, 2) / math.sqrt(width))
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = weights / weights.sum(-1, keepdims=True) @ value
            x = x + self._linear(mixed.swapaxes(0, 1).reshape(length, -1), block + "attn_output")
            y = self._norm(x, block + "ffn_norm")
            gate = self._linear(y, block + "ffn_gate")
            x = x + self._linear(gate / (1 + np.exp(-gate)) * self._linear(y, block + "ffn_up"), block + "ffn_down")
        return self._linear(self._norm(x, "output_norm"), "output" if "output.weight" in self.tensors else "token_embd")

    def pieces(self, text):
        """The ids of a text without special tokens, by the tokenizer "llama": of
        neighbours the pair whose text is the token of the highest score is put
        together, the first of equals; what is no token in the end is bytes."""
        tokens, scores = self.fields["tokenizer.ggml.tokens"], self.fields["tokenizer.ggml.scores"]
        known = {token: i for i, token in enumerate(tokens)}
        text = " " * bool(text and self.fields["tokenizer.ggml.add_space_prefix"]) + text
        symbols = list(text.replace(" ", "▁"))
        while True:
            pairs = [(scores[known[a + b]], -i) for i, (a, b) in enumerate(zip(symbols, symbols[1:])) if a + b in known]
            if not pairs:
                break
            i = -max(pairs)[1]
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        spelled = ([known[s]] if s in known else [known[f"<0x{byte:02X}>"] for byte in s.encode()] for s in symbols)
        return [number for ids in spelled for number in ids]
