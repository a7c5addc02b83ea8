# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Eager PyTorch rivals, written from the papers' formulas (Li et al. 2022,
Sanh et al. 2020, Hu et al. 2021). Imported by the benchmark's worker only: the
package itself needs neither torch nor transformers.

PST as published sorts all scores and keeps a float mask, W' and M * W' for
autograd in every forward; but frozen parameters get no gradients here, which
the reference collects and throws away.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from .bench_ours import random_head

METHODS = ("published", "kthvalue", "lora", "mvp")


def mask_by_sort(scores, sparsity):
    mask = torch.ones_like(scores).flatten()
    order = torch.argsort(scores.flatten())
    mask[order[: int(scores.numel() * sparsity)]] = 0.0
    return mask.view_as(scores)


def mask_by_kthvalue(scores, sparsity):
    pruned = int(scores.numel() * sparsity)
    if pruned == 0:
        return torch.ones_like(scores)
    return (scores > scores.flatten().kthvalue(pruned).values).to(scores.dtype)


class Binarize(torch.autograd.Function):
    """The mask of scores; the gradient passes straight through."""

    @staticmethod
    def forward(context, scores, sparsity, choose):
        return choose(scores, sparsity)

    @staticmethod
    def backward(context, gradient):
        return gradient, None, None


class Sparse(torch.nn.Module):
    """PST: W' = W + UV, S = |W'| + AB + R + C."""

    def __init__(self, weight, bias, rank, choose):
        super().__init__()
        rows, columns = weight.shape
        self.weight, self.bias, self.choose, self.sparsity = weight, bias, choose, 0.0
        self.U, self.A = (torch.nn.Parameter(torch.randn(rows, rank)) for _ in range(2))
        self.V, self.B = (torch.nn.Parameter(torch.zeros(rank, columns)) for _ in range(2))
        self.R = torch.nn.Parameter(torch.zeros(rows, 1))
        self.C = torch.nn.Parameter(torch.zeros(1, columns))

    def forward(self, x):
        weight = self.weight + self.U @ self.V
        scores = weight.abs() + self.A @ self.B + (self.R + self.C)
        return linear(x, Binarize.apply(scores, self.sparsity, self.choose) * weight, self.bias)


class Movement(torch.nn.Module):
    """Movement pruning: the weight and a score of its size are trained."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias, self.sparsity = weight.requires_grad_(), bias, 0.0
        self.S = torch.nn.Parameter(torch.zeros_like(weight))

    def forward(self, x):
        return linear(x, Binarize.apply(self.S, self.sparsity, mask_by_sort) * self.weight, self.bias)


class Lora(torch.nn.Module):
    """Dense LoRA, as its library computes it: the weight stays as it is."""

    def __init__(self, weight, bias, rank):
        super().__init__()
        self.weight, self.bias = weight, bias
        self.U = torch.nn.Parameter(torch.randn(weight.shape[0], rank))
        self.V = torch.nn.Parameter(torch.zeros(rank, weight.shape[1]))

    def forward(self, x):
        return linear(x, self.weight, self.bias) + linear(linear(x, self.V), self.U)


def make_layer(method, weight, bias, rank):
    if method == "lora":
        return Lora(weight, bias, rank)
    if method == "mvp":
        return Movement(weight, bias)
    return Sparse(weight, bias, rank, mask_by_sort if method == "published" else mask_by_kthvalue)


class Selection:
    """A sort of ready scores, and nothing else."""

    def __init__(self, settings, factors):
        self.scores = torch.randn(settings["rows"], settings["columns"])

    def check(self, sparsity):
        return {}

    def call(self, sparsity):
        torch.argsort(self.scores.flatten())


class Layer:
    """One layer, forward and backward."""

    def __init__(self, settings, factors):
        given = {name: torch.from_numpy(value) for name, value in factors.items()}
        self.layer = make_layer(settings["method"], given["w"], None, settings["rank"])
        with torch.no_grad():
            for name, parameter in self.layer.named_parameters():
                parameter.copy_(given[name.lower()].view_as(parameter))
        self.x, self.dy = given["x"].requires_grad_(), given["dy"]
        self.run = torch.compile(self.layer) if settings["compiled"] else self.layer

    def check(self, sparsity):
        self.call(sparsity)
        found = {"y": self.y, "dx": self.x.grad}
        found.update({"d" + name.lower(): p.grad for name, p in self.layer.named_parameters()})
        return {name: value.detach().numpy() for name, value in found.items()}

    def call(self, sparsity):
        self.layer.sparsity = sparsity
        self.x.grad = None
        for parameter in self.layer.parameters():
            parameter.grad = None
        self.y = self.run(self.x)
        self.y.backward(self.dy)


class Step:
    """A BERT's whole training step."""

    def __init__(self, settings, batch):
        import transformers

        method, rank = settings["method"], settings["rank"]
        torch.manual_seed(1)
        self.model = transformers.BertForSequenceClassification.from_pretrained(
            settings["model"], attn_implementation=settings["attention"]
        ).train()
        self.model.bert.requires_grad_(False)
        with torch.no_grad():
            head = self.model.classifier.weight
            head.copy_(torch.from_numpy(random_head(tuple(head.shape))))
        self.sparse = []
        for parent in list(self.model.bert.encoder.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(parent, name, make_layer(method, child.weight, child.bias, rank))
                    self.sparse.append(getattr(parent, name))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, settings["learning_rate"], weight_decay=0.0)
        self.batch = {name: torch.from_numpy(value).long() for name, value in batch.items()}
        self.run = torch.compile(self.model) if settings["compiled"] else self.model

    def check(self, sparsity):
        self._set(sparsity)
        self.model.eval()
        with torch.no_grad():
            logits = self.model(**self.batch).logits.numpy()
        self.model.train()
        return {"logits": logits}

    def _set(self, sparsity):
        for layer in self.sparse:
            layer.sparsity = sparsity

    def call(self, sparsity):
        self._set(sparsity)
        self.optimizer.zero_grad()
        self.run(**self.batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
