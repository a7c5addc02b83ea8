# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Our side of the rows that are measured against PyTorch."""

from __future__ import annotations

import json

import numpy as np

from . import _pst
from .bench_inputs import HEAD_WIDTH, HEADS, random_head
from .compiled import compile, compressed_weights
from .packing import room_for

# The criterion @pst, as models are trained with it.
CRITERION = _pst.recipe_text("pst")
_FACTORS = "wuvabrc"


def _type(element, *shape):
    return "tensor<" + "".join(f"{size}x" for size in shape) + f"{element}>"


def _pieces(shapes, element):
    """The types of what is named, and of the factors their types, names, and parameters of a function."""
    types = {name: _type(element if name in ("w", "x", "dy") else "f32", *shape) for name, shape in shapes.items()}
    listed = ", ".join(types[name] for name in _FACTORS)
    names = ", ".join("%" + name for name in _FACTORS)
    parameters = ", ".join(f"%{name}: {types[name]}" for name in _FACTORS)
    return types, listed, names, parameters


def selection_text(shapes, element="f32") -> str:
    """@select: the exact threshold of a layer, whose weight has elements of the type `element`. `shapes` are those of
    bench_inputs.random_factors."""
    _, listed, names, parameters = _pieces(shapes, element)
    return f"""{CRITERION}
func.func @select({parameters}, %previous: tensor<f32>, %sparsity: f64) -> (tensor<f32>, tensor<i64>) {{
  %tau, %cut, %pruned = pst.topk_threshold @pst({names}), %sparsity previous(%previous) : ({listed})
  return %tau, %cut : tensor<f32>, tensor<i64>
}}"""


def weight_text(shapes, element="f32") -> str:
    """@weight: the masked weight of a layer, for a threshold that is given."""
    types, listed, names, parameters = _pieces(shapes, element)
    return f"""{CRITERION}
func.func @weight({parameters}, %tau: tensor<f32>, %cut: tensor<i64>) -> {types["w"]} {{
  %m = pst.masked_weight @pst({names}) threshold(%tau, %cut) : ({listed}) -> {types["w"]}
  return %m : {types["w"]}
}}"""


def gradient_text(shapes, element="f32") -> str:
    """@gradient: G = dY^T X, folded into the gradients of the factors."""
    types, listed, names, parameters = _pieces(shapes, element)
    x, y = types["x"], types["dy"]
    gradients = ", ".join(types[name] for name in _FACTORS[1:])
    return f"""{CRITERION}
func.func @gradient(%x: {x}, %dy: {y}, {parameters}, %tau: tensor<f32>, %cut: tensor<i64>) -> ({gradients}) {{
  %g:6 = pst.lowrank_accumulate %dy, %x, @pst({names}) threshold(%tau, %cut) wrt [1, 2, 3, 4, 5, 6]
    : {y}, {x}, ({listed}) -> {gradients}
  return %g#0, %g#1, %g#2, %g#3, %g#4, %g#5 : {gradients}
}}"""


def layer_text(shapes, element="f32") -> str:
    """@layer: selection, Y, dX and the gradients of the factors."""
    types, listed, names, parameters = _pieces(shapes, element)
    x, y = types["x"], types["dy"]
    gradients = ", ".join(types[name] for name in _FACTORS[1:])
    return f"""{CRITERION}
func.func @layer(%x: {x}, %dy: {y}, {parameters}, %previous: tensor<f32>, %sparsity: f64)
    -> ({y}, {x}, {gradients}, tensor<f32>) {{
  %tau, %cut, %pruned = pst.topk_threshold @pst({names}), %sparsity previous(%previous) : ({listed})
  %y = pst.masked_matmul %x, @pst({names}) threshold(%tau, %cut) : {x}, ({listed}) -> {y}
  %dx = pst.masked_matmul %dy, @pst({names}) transposed threshold(%tau, %cut) : {y}, ({listed}) -> {x}
  %g:6 = pst.lowrank_accumulate %dy, %x, @pst({names}) threshold(%tau, %cut) wrt [1, 2, 3, 4, 5, 6]
    : {y}, {x}, ({listed}) -> {gradients}
  return %y, %dx, %g#0, %g#1, %g#2, %g#3, %g#4, %g#5, %tau : {y}, {x}, {gradients}, tensor<f32>
}}"""


def attention_text(batch: int, length: int) -> str:
    """@attention: the result, and the gradients of query, key and value."""
    x, mask = _type("f32", batch * length, HEADS * HEAD_WIDTH), _type("i32", batch, length)
    return f"""
func.func @attention(%q: {x}, %k: {x}, %v: {x}, %g: {x}, %mask: {mask}) -> ({x}, {x}, {x}, {x}) {{
  %y = nn.attention %q, %k, %v, %mask heads {HEADS} : {x}, {mask}
  %dq, %dk, %dv = nn.attention_backward %q, %k, %v, %mask, %g heads {HEADS} : {x}, {mask}
  return %y, %dq, %dk, %dv : {x}, {x}, {x}, {x}
}}"""


class Attention:
    """Attention of whole sequences, forward and backward."""

    def __init__(self, settings, inputs):
        batch, length = settings["batch"], settings["length"]
        self.function = compile(attention_text(batch, length)).function("attention")
        self.inputs = [*inputs.values(), np.ones((batch, length), np.int32)]
        self.outputs = [np.zeros(output.shape, np.float32) for output in self.function.outputs]

    def check(self, sparsity):
        self.call(sparsity)
        return dict(zip(("y", "dq", "dk", "dv"), self.outputs))

    def call(self, sparsity):
        self.function(*self.inputs, out=self.outputs)


def _shapes(factors):
    return {name: factor.shape for name, factor in factors.items()}


class Selection:
    """The exact threshold from the factors.

    Warm, `previous` is the threshold that a step before would have left, where
    the usual schedule moves fastest: 4.5 / T of sparsity a step, T = 4,500.
    """

    def __init__(self, settings, factors):
        self.function = compile(selection_text(_shapes(factors))).function("select")
        self.factors = [factors[name] for name in _FACTORS]
        self.warm = settings["warm"]
        self.previous = np.array(np.nan, np.float32)
        self.outputs = [np.zeros((), np.float32), np.zeros((), np.int64)]

    def check(self, sparsity):
        """Counts what the threshold keeps, by scores of float64."""
        if self.warm:
            before, _ = self.function(*self.factors, self.previous, max(0.0, sparsity - 0.001))
            self.previous = np.array(before, np.float32)
        self.call(sparsity)
        w, u, v, a, b, r, c = (factor.astype(np.float64) for factor in self.factors)
        scores = np.abs(w + u @ v) + a @ b + (r[:, None] + c[None, :])
        kept = (scores >= self.outputs[0]).sum()
        wanted = scores.size - int(scores.size * sparsity)
        # float64 may put scores that round to the threshold on its other side.
        if abs(int(kept) - wanted) > 2 + scores.size // 100000:
            raise AssertionError(f"the threshold keeps {kept} scores instead of {wanted}")
        return {}

    def call(self, sparsity):
        self.function(*self.factors, self.previous, sparsity, out=self.outputs)


class Layer:
    """Selection, Y, dX and the gradients of the factors, as one function."""

    def __init__(self, settings, factors):
        self.function = compile(layer_text(_shapes(factors)), products=settings["products"]).function("layer")
        self.inputs = [factors["x"], factors["dy"], *(factors[name] for name in _FACTORS)]
        self.outputs = [np.zeros(output.shape, np.float32) for output in self.function.outputs]
        self.previous = np.zeros_like(self.outputs[-1])

    def check(self, sparsity):
        self.call(sparsity)
        return dict(zip(("y", "dx", "du", "dv", "da", "db", "dr", "dc"), self.outputs))

    def call(self, sparsity):
        # The last output is the threshold: each call starts from the one before,
        # in memory of its own.
        self.previous[...] = self.outputs[-1]
        self.function(*self.inputs, self.previous, sparsity, out=self.outputs)


def _capacity(settings, batch) -> int:
    """Room for a batch of such examples; with padding if all are whole."""
    if not settings.get("lengths"):
        return 0
    return room_for(batch["attention_mask"].sum(axis=1), settings["batch"], settings["length"])


class Step:
    """A BERT's whole training step of each batch in turn, as `pst train` runs it."""

    def __init__(self, settings, batch):
        options = {
            "batch_size": settings["batch"],
            "sequence_length": settings["length"],
            "token_capacity": settings.get("token_capacity") or _capacity(settings, batch),
            "num_labels": 2,
            "method": settings["method"],
            "selection": "topk",  # within each layer, as the rivals
            "weight_rank": settings["rank"],
            "mask_rank": settings["rank"],
            "products": settings["products"],
            "recompute": settings["recompute"],
        }
        program = _pst.compile_model(settings["model"], options)
        self.about = {"memory_plan": json.loads(program.manifest)["memory"]}
        self.model = _pst.Model(program, settings["model"], 1)
        head = self.model.parameter("classifier.weight")
        head[:] = random_head(head.shape)
        self.data = _pst.Dataset.of(batch)
        rows = range(len(batch["labels"]))
        self.batches = [list(rows[i : i + settings["batch"]]) for i in rows[:: settings["batch"]]]
        self.rate = settings["learning_rate"]
        self.count = 0

    def check(self, sparsity):
        return {"logits": _pst.evaluate(self.model, self.data, sparsity)["logits"]}

    def call(self, sparsity):
        for rows in self.batches:
            self.count += 1
            self.model.select(sparsity)
            self.model.forward_backward(self.data, rows, 1 / len(rows), self.count)
            self.model.apply(self.rate, self.count, max_grad_norm=1.0)


class Forward:
    """A saved model's forward pass, its weights held as `weight_storage` says."""

    def __init__(self, settings, batch):
        program = compile(
            settings["model"], batch_size=settings["batch"], sequence_length=settings["length"], weight_storage=settings["weight_storage"]
        )
        self.about = {"compressed": len(compressed_weights(program.manifest))}
        self.function = program.function("forward")
        self.inputs = batch | {"loss_scale": 1.0}
        self.outputs = [np.zeros(output.shape, np.float32) for output in self.function.outputs]

    def check(self, sparsity):
        self.call(sparsity)
        return {"logits": self.outputs[1]}

    def call(self, sparsity):
        self.function(**self.inputs, out=self.outputs)


class Decode:
    """One more token of a text, by a saved language model that has read the others."""

    def __init__(self, settings, batch):
        length = settings["length"]
        program = compile(
            settings["model"], task="lm", cache_length=length + 1, weight_storage=settings["weight_storage"],
            frozen_type=settings.get("frozen_type", "f32"),
        )  # fmt: skip
        self.about = {"compressed": len(compressed_weights(program.manifest))}
        self.function = program.function("decode")
        self.tokens = batch["input_ids"][0]
        self.logits = np.zeros(self.function.outputs[0].shape, np.float32)
        self.slots = np.arange(length + 1, dtype=np.int32)[None]
        for position in range(length):
            self._read(position)

    def _read(self, position):
        one = lambda value: np.full((1, 1), value, np.int32)  # noqa: E731
        token = self.tokens[position % len(self.tokens)]
        self.function(input_ids=one(token), sequences=one(0), positions=one(position), slots=self.slots, out=[self.logits])

    def check(self, sparsity):
        self.call(sparsity)
        return {"logits": self.logits}

    def call(self, sparsity):
        self._read(len(self.tokens))
