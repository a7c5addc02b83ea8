# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Eager PyTorch rivals, written from the papers' formulas (Li et al. 2022,
Sanh et al. 2020, Hu et al. 2021). Imported by the benchmark's worker only: the
package itself does not need torch.

PST as published sorts all scores and keeps a float mask, W' and M * W' for
autograd in every forward; but frozen parameters get no gradients here, which
the reference collects and throws away.

In bf16 (on a GPU) products run under autocast and what is frozen is bf16, as
for ours; criterion, factors and optimizer stay f32.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, linear

from ._pst import TensorFile
from .bench_eager_bert import Bert
from .bench_inputs import HEAD_WIDTH, HEADS, peak_resident_bytes, random_head

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
        place = weight.device
        self.U, self.A = (torch.nn.Parameter(torch.randn(rows, rank, device=place)) for _ in range(2))
        self.V, self.B = (torch.nn.Parameter(torch.zeros(rank, columns, device=place)) for _ in range(2))
        self.R = torch.nn.Parameter(torch.zeros(rows, 1, device=place))
        self.C = torch.nn.Parameter(torch.zeros(1, columns, device=place))

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight.float() + self.U @ self.V
            scores = weight.abs() + self.A @ self.B + (self.R + self.C)
            masked = Binarize.apply(scores, self.sparsity, self.choose) * weight
        return linear(x, masked, self.bias)


class Movement(torch.nn.Module):
    """Movement pruning: the weight and a score of its size are trained."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias, self.sparsity = torch.nn.Parameter(weight.float()), bias, 0.0
        self.S = torch.nn.Parameter(torch.zeros_like(self.weight))

    def forward(self, x):
        return linear(x, Binarize.apply(self.S, self.sparsity, mask_by_sort) * self.weight, self.bias)


class Lora(torch.nn.Module):
    """Dense LoRA, as its library computes it: the weight stays as it is."""

    def __init__(self, weight, bias, rank):
        super().__init__()
        self.weight, self.bias = weight, bias
        self.U = torch.nn.Parameter(torch.randn(weight.shape[0], rank, device=weight.device))
        self.V = torch.nn.Parameter(torch.zeros(rank, weight.shape[1], device=weight.device))

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


class Attention:
    """PyTorch's fused attention, forward and backward."""

    def __init__(self, settings, inputs):
        shape = (settings["batch"], settings["length"], HEADS, HEAD_WIDTH)
        self.inputs = [torch.from_numpy(array).view(shape).transpose(1, 2).contiguous() for array in inputs.values()]
        for tensor in self.inputs[:3]:
            tensor.requires_grad_()

    def check(self, sparsity):
        self.call(sparsity)
        found = [self.y, *(tensor.grad for tensor in self.inputs[:3])]
        return {name: t.detach().transpose(1, 2).contiguous().numpy() for name, t in zip(("y", "dq", "dk", "dv"), found)}

    def call(self, sparsity):
        for tensor in self.inputs[:3]:
            tensor.grad = None
        self.y = torch.nn.functional.scaled_dot_product_attention(*self.inputs[:3])
        self.y.backward(self.inputs[3])


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
    """A BERT's whole training step of each batch in turn."""

    def __init__(self, settings, batch):
        method, rank = settings["method"], settings["rank"]
        self.device = torch.device(settings.get("device", "cpu"))
        self.narrow = settings.get("precision", "f32") == "bf16"
        torch.manual_seed(1)
        # Frozen values of bf16 where they are matrices.
        self.model = Bert(settings["model"], settings["attention"] == "sdpa").requires_grad_(False).train()
        if self.narrow:
            for parameter in self.model.parameters():
                if parameter.dim() == 2:
                    parameter.data = parameter.data.bfloat16()
        self.model.to(self.device)
        head = self.model.classifier.weight
        head.data = torch.from_numpy(random_head(tuple(head.shape))).to(self.device)
        self.model.classifier.bias.data.zero_()
        self.model.classifier.requires_grad_(True)
        self.sparse = []
        for parent in list(self.model.encoder.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(parent, name, make_layer(method, child.weight, child.bias, rank))
                    self.sparse.append(getattr(parent, name))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, settings["learning_rate"], weight_decay=0.0)
        size = settings["batch"]
        parts = [{name: value[i : i + size] for name, value in batch.items()} for i in range(0, len(batch["labels"]), size)]
        self.batches = [self._collated(part) for part in parts]
        self.run = torch.compile(self.model) if settings["compiled"] else self.model

    def _collated(self, batch):
        """Padded to the longest of the batch, and its labels."""
        longest = int(batch["attention_mask"].sum(axis=1).max())
        batch = {name: value[:, :longest] if value.ndim == 2 else value for name, value in batch.items()}
        batch = {name: torch.from_numpy(value).long().to(self.device) for name, value in batch.items()}
        return batch, batch.pop("labels")

    def _logits(self, model, batch):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.narrow):
            return model(**batch).float()

    def check(self, sparsity):
        self._set(sparsity)
        self.model.eval()
        with torch.no_grad():
            logits = torch.cat([self._logits(self.model, batch) for batch, _ in self.batches]).cpu().numpy()
        self.model.train()
        return {"logits": logits}

    def _set(self, sparsity):
        for layer in self.sparse:
            layer.sparsity = sparsity

    def call(self, sparsity):
        self._set(sparsity)
        for batch, labels in self.batches:
            self.optimizer.zero_grad()
            cross_entropy(self._logits(self.run, batch), labels).backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self):
        """Peak of this process; on a GPU that of PyTorch there, and what it holds between steps."""
        if self.device.type != "cuda":
            return {"bytes": peak_resident_bytes()}
        return {"bytes": torch.cuda.max_memory_allocated(), "held": torch.cuda.memory_allocated()}


class Forward:
    """A BERT's forward pass."""

    def __init__(self, settings, batch):
        self.model = Bert(settings["model"], settings["attention"] == "sdpa").requires_grad_(False).eval()
        files = TensorFile(settings["model"])
        for kind, parameter in self.model.classifier.named_parameters():
            parameter.copy_(torch.from_numpy(files.read(f"classifier.{kind}")))
        self.batch = {name: torch.from_numpy(value).long() for name, value in batch.items() if name != "labels"}

    def check(self, sparsity):
        with torch.inference_mode():
            return {"logits": self.model(**self.batch).numpy()}

    def call(self, sparsity):
        with torch.inference_mode():
            self.model(**self.batch)


class Decode:
    """One more token of a text, by transformers' GPT-2 and its cache."""

    def __init__(self, settings, batch):
        from transformers import GPT2LMHeadModel

        self.model = GPT2LMHeadModel.from_pretrained(settings["model"]).requires_grad_(False).eval()
        tokens = torch.from_numpy(batch["input_ids"][:1]).long()
        self.next = tokens[:, :1]
        with torch.inference_mode():
            self.cache = self.model(input_ids=tokens).past_key_values

    def check(self, sparsity):
        return {"logits": self.call(sparsity).numpy()}

    def call(self, sparsity):
        with torch.inference_mode():
            logits = self.model(input_ids=self.next, past_key_values=self.cache).logits[:, -1]
        self.cache.crop(-1)
        return logits


class Operation:
    """One operation on a GPU, on several sets of random inputs in turns, so that they do not stay in its cache: as
    many as `pst-run bench` takes."""

    SPREAD, MOST_SETS = 256 << 20, 6  # bytes

    def __init__(self, settings, factors):
        n, m, tokens = (settings[name] for name in ("rows", "columns", "tokens"))
        self.device = torch.device(settings["device"])
        self.generator = torch.Generator(self.device).manual_seed(2)
        operation, self.next = settings["operation"], 0
        if operation == "copy":
            large = torch.randn(settings["copy_elements"], device=self.device, generator=self.generator)
            copied = torch.empty_like(large)
            self.actions = [lambda: copied.copy_(large)]
        elif operation in ("argsort", "kthvalue"):
            pruned = max(1, int(n * m * settings["sparsity"]))
            sets = [self._random(n, m).float().abs().flatten() for _ in range(self._sets(4 * n * m))]
            choose = torch.argsort if operation == "argsort" else lambda scores: scores.kthvalue(pruned)
            self.actions = [lambda scores=scores: choose(scores) for scores in sets]
        else:
            self.actions = [self._product(operation, n, m, tokens) for _ in range(self._sets(2 * (n * m + tokens * (n + m))))]

    def _random(self, *shape):
        return torch.randn(*shape, device=self.device, generator=self.generator).to(torch.bfloat16)

    def _sets(self, size):
        return min(self.MOST_SETS, -(-self.SPREAD // size))

    def _product(self, operation, n, m, tokens):
        """Y = X W^T, dX = dY W or G = dY^T X, of bf16, to a place of its own."""
        if operation == "nt":
            left, right = self._random(tokens, m), self._random(n, m).T
        elif operation == "nn":
            left, right = self._random(tokens, n), self._random(n, m)
        else:
            left, right = self._random(tokens, n).T, self._random(tokens, m)
        out = left.new_empty(left.shape[0], right.shape[1])
        return lambda: torch.matmul(left, right, out=out)

    def call(self, sparsity):
        self.actions[self.next]()
        self.next = (self.next + 1) % len(self.actions)

    wait, memory = Step.wait, Step.memory
