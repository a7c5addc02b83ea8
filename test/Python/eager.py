# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""BERT and its training, eagerly in PyTorch at float64: what the compiled
programs are compared with. Written from the formulas of the papers (Devlin et
al. 2019; Li et al. 2022; Sanh et al. 2020; Hu et al. 2021; Sun et al. 2023;
Zhang et al. 2024; Loshchilov and Hutter 2019), and sharing nothing with the compiler."""

import json

import numpy as np
import selections
import torch

_ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "relu": lambda x: torch.clamp(x, min=0),
}


class Bert:
    """A BERT for sentences under a method, with its own copy of the values.

    `model` is a `pst._pst.Model`: its manifest says what is trained, which
    layers are sparse, and its memory holds the first values.
    """

    stored_by_inputs = False  # weights are outputs x inputs
    smoothing = 0.0  # of a language model's labels
    prefix = "bert"

    def __init__(self, model):
        manifest = json.loads(model.manifest)
        self.config = json.loads(manifest["config"])
        self.method = manifest["method"]
        self.hyper = manifest["hyperparameters"]
        self.sparse = [layer["weight"] for layer in manifest["sparse_layers"]]
        self.selection = next((layer["selection"] for layer in manifest["sparse_layers"]), None)
        self.values, self.trained, self.decayed = {}, [], set()
        for parameter in manifest["parameters"]:
            name, role = parameter["name"], parameter["role"]
            if role == "state":
                continue
            value = torch.tensor(np.array(model.parameter(name)), dtype=torch.float64)
            self.values[name] = value.requires_grad_(role == "trainable")
            if role == "trainable":
                self.trained.append(name)
                if parameter["decay"]:
                    self.decayed.add(name)
        self.masks = {}
        self._moments = {name: (torch.zeros_like(self.values[name]),) * 2 for name in self.trained}

    # --- The criterion

    def weight_and_score(self, name):
        """W' and S (or None) of a layer."""
        v, hyper = (lambda suffix: self.values[name + suffix]), self.hyper
        w = v("")
        if self.method in ("pst", "pst_wanda", "lora", "sparse_lora", "wanda", "ria"):
            w = w + hyper["weight_beta"] * (v(".pst_U") @ v(".pst_V"))
        if self.method in ("pst", "pst_wanda"):
            score = w.detach().abs() if hyper["detach_magnitude"] else w.abs()
            if self.method == "pst_wanda":
                score = score * self._across_inputs(v(".pst_norm"))
            if hyper["mask_rank"]:
                score = score + hyper["mask_alpha1"] * (v(".pst_A") @ v(".pst_B"))
            if hyper["mask_alpha2"]:
                score = score + hyper["mask_alpha2"] * (v(".pst_R")[:, None] + v(".pst_C")[None, :])
            return w, score
        magnitude = v("").detach().abs()
        if self.method in ("map", "sparse_lora"):
            return w, magnitude
        if self.method == "wanda":
            return w, magnitude * self._across_inputs(v(".pst_norm"))
        if self.method == "ria":
            relative = magnitude / magnitude.sum(0, keepdim=True) + magnitude / magnitude.sum(1, keepdim=True)
            return w, relative * self._across_inputs(v(".pst_norm")).sqrt()
        if self.method == "mvp":
            return w, v(".pst_S")
        return w, None

    def _across_inputs(self, values):
        """A value for each of a layer's inputs, to be multiplied by its weight."""
        return values[:, None] if self.stored_by_inputs else values[None, :]

    def select(self, sparsity):
        """Chooses the masks by the program's selection, as selections.py has it."""
        scores = [self.weight_and_score(name)[1] for name in self.sparse]
        if any(score is None for score in scores):
            return
        masks = selections.masks(self.selection, [score.detach().numpy() for score in scores], sparsity)
        for name, mask in zip(self.sparse, masks):
            self.masks[name] = torch.from_numpy(mask.astype(np.float64))

    def _linear(self, x, name):
        weight = self.values[name + ".weight"]
        if name + ".weight" in self.sparse:
            weight, score = self.weight_and_score(name + ".weight")
            if score is not None:
                # Straight through: the gradient of the mask is that of the score.
                weight = (self.masks[name + ".weight"] + score - score.detach()) * weight
        return x @ weight.T + self.values[name + ".bias"]

    # --- The model

    def _norm(self, x, name):
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred**2).mean(-1, keepdim=True)
        normal = centred / torch.sqrt(variance + self.config["layer_norm_eps"])
        return normal * self.values[name + ".weight"] + self.values[name + ".bias"]

    def _attention(self, x, mask, name):
        batch, length, hidden = x.shape
        heads = self.config["num_attention_heads"]

        def split(part):
            return self._linear(x, f"{name}.self.{part}").view(batch, length, heads, -1).transpose(1, 2)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(-1, -2) / (hidden // heads) ** 0.5
        scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(batch, length, hidden)
        return self._norm(self._linear(mixed, name + ".output.dense") + x, name + ".output.LayerNorm")

    def logits(self, batch):
        """`batch`: NumPy arrays by name. Returns batch x labels."""
        ids, mask, types = (torch.from_numpy(batch[n]).long() for n in ("input_ids", "attention_mask", "token_type_ids"))
        tables = [self.values[f"{self.prefix}.embeddings.{n}_embeddings.weight"] for n in ("word", "token_type", "position")]
        x = tables[0][ids] + tables[1][types] + tables[2][self._positions(mask)]
        x = self._norm(x, self.prefix + ".embeddings.LayerNorm")
        for i in range(self.config["num_hidden_layers"]):
            name = f"{self.prefix}.encoder.layer.{i}"
            x = self._attention(x, mask, name + ".attention")
            y = _ACTIVATIONS[self.config["hidden_act"]](self._linear(x, name + ".intermediate.dense"))
            x = self._norm(self._linear(y, name + ".output.dense") + x, name + ".output.LayerNorm")
        return self._head(x[:, 0])

    def _positions(self, mask):
        return torch.arange(mask.shape[1]).expand(mask.shape)

    def _head(self, x):
        return self._linear(torch.tanh(self._linear(x, "bert.pooler.dense")), "classifier")

    def loss(self, batch):
        """Mean over the batch: cross entropy, or the squared error of f32 labels."""
        logits, labels = self.logits(batch), torch.from_numpy(batch["labels"])
        if labels.dtype == torch.float32:
            return ((logits[:, 0] - labels.double()) ** 2).mean()
        return (torch.logsumexp(logits, 1) - logits.gather(1, labels.long()[:, None])[:, 0]).mean()

    def loss_of_tokens(self, logits, labels):
        """PyTorch's mean over what a language model predicts: each token from those before it, unless it is -100."""
        wanted = torch.from_numpy(labels).long()[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted, label_smoothing=self.smoothing)

    # --- Training

    def gradients(self, batch):
        """The loss, and its gradients by name."""
        loss = self.loss(batch)
        found = torch.autograd.grad(loss, [self.values[name] for name in self.trained], allow_unused=True)
        zero = {name: torch.zeros_like(self.values[name]) for name in self.trained}
        return loss.item(), {name: zero[name] if g is None else g for name, g in zip(self.trained, found)}

    def apply(self, gradients, step, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0, max_norm=0.0):
        """AdamW with clipping of the global norm; `step` counts from 1. Returns the norm."""
        norm = sum((g**2).sum() for g in gradients.values()).sqrt().item()
        scale = min(1.0, max_norm / (norm + 1e-6)) if max_norm else 1.0
        with torch.no_grad():
            for name in self.trained:
                p, g = self.values[name], gradients[name] * scale
                m1, m2 = self._moments[name]
                m1, m2 = beta1 * m1 + (1 - beta1) * g, beta2 * m2 + (1 - beta2) * g**2
                self._moments[name] = m1, m2
                if name in self.decayed:
                    p -= learning_rate * decay * p
                p -= learning_rate * (m1 / (1 - beta1**step)) / (torch.sqrt(m2 / (1 - beta2**step)) + epsilon)
        return norm


class Roberta(Bert):
    """Its positions count the tokens that are there, from behind the padding's id on (Liu et al. 2019)."""

    prefix = "roberta"

    def _positions(self, mask):
        return self.config["pad_token_id"] + mask.cumsum(1) * mask

    def _head(self, x):
        return self._linear(torch.tanh(self._linear(x, "classifier.dense")), "classifier.out_proj")


def sparsity_at(step, total, final, initial=0.0, warmup=0.1, cooldown=0.3):
    """The cubic schedule of Li et al., after `step` completed steps."""
    if step <= warmup * total:
        return initial
    if step > total - cooldown * total:
        return final
    left = 1 - (step - warmup * total) / (total - (warmup + cooldown) * total)
    return final + (initial - final) * left**3


def learning_rate_at(step, total, warmup, peak):
    """Linear warm-up from 0, linear decay to 0; of the step after `step` completed ones."""
    return peak * (step / warmup if step < warmup else (total - step) / (total - warmup))
