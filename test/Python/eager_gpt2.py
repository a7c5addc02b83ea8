# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GPT-2, eagerly in PyTorch at float64 (Radford et al. 2019); methods and
training are those of eager.py."""

import eager
import torch


class Gpt2(eager.Bert):
    """A GPT-2 under a method. Weights are inputs x outputs; query, key and value are parameters of their own."""

    stored_by_inputs = True

    def _conv(self, x, name, part=""):
        weight = self.values[name + ".weight" + part]
        if name + ".weight" + part in self.sparse:
            weight, score = self.weight_and_score(name + ".weight" + part)
            if score is not None:
                # Straight through: the gradient of the mask is that of the score.
                weight = (self.masks[name + ".weight" + part] + score - score.detach()) * weight
        return x @ weight + self.values[name + ".bias" + part]

    def _norm(self, x, name):
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred**2).mean(-1, keepdim=True)
        normal = centred / torch.sqrt(variance + self.config["layer_norm_epsilon"])
        return normal * self.values[name + ".weight"] + self.values[name + ".bias"]

    def _mix(self, x, mask, name):
        batch, length, hidden = x.shape
        heads = self.config["n_head"]

        def split(part):
            return self._conv(x, name + ".c_attn", part).view(batch, length, heads, -1).transpose(1, 2)

        query, key, value = split(":query"), split(":key"), split(":value")
        scores = query @ key.transpose(-1, -2) / (hidden // heads) ** 0.5
        hide = (mask[:, None, None, :] == 0) | torch.ones(length, length).triu(1).bool()
        mixed = torch.softmax(scores.masked_fill(hide, float("-inf")), -1) @ value
        return self._conv(mixed.transpose(1, 2).reshape(batch, length, hidden), name + ".c_proj")

    def hidden(self, batch):
        ids, mask = (torch.from_numpy(batch[name]).long() for name in ("input_ids", "attention_mask"))
        x = self.values["transformer.wte.weight"][ids] + self.values["transformer.wpe.weight"][: ids.shape[1]]
        for i in range(self.config["n_layer"]):
            name = f"transformer.h.{i}"
            x = x + self._mix(self._norm(x, name + ".ln_1"), mask, name + ".attn")
            y = self._conv(self._norm(x, name + ".ln_2"), name + ".mlp.c_fc")
            x = x + self._conv(eager._ACTIVATIONS[self.config["activation_function"]](y), name + ".mlp.c_proj")
        return self._norm(x, "transformer.ln_f")

    def logits(self, batch):
        """Of a classifier: by the last token that is no padding."""
        last = [row.nonzero()[-1].item() for row in torch.from_numpy(batch["attention_mask"])]
        return self.hidden(batch)[torch.arange(len(last)), last] @ self.values["score.weight"].T

    def loss(self, batch):
        """Mean over what is predicted: tokens of a language model, or classes."""
        if "score.weight" in self.values:
            return super().loss(batch)
        return self.loss_of_tokens(self.hidden(batch) @ self.values["transformer.wte.weight"].T, batch["labels"])
