# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training steps of a compiled program beside those of an eager float64 model (eager.py): losses, norms and masks."""

import json

import eager
import numpy as np
import pytest
import torch
import virtual_weights

from pst import _pst


def our_scores(model, reference):
    """The scores of each layer in float32, in the kernels' order of operations."""
    f, scores = np.float32, {}
    method, hyper = reference.method, reference.hyper

    def across(values):  # inputs
        return values[:, None] if reference.stored_by_inputs else values[None, :]

    def product(p, q):
        total = np.zeros((p.shape[0], q.shape[1]), f)
        for k in range(p.shape[1]):
            total = virtual_weights.multiply_add(p[:, k : k + 1], q[k : k + 1], total)
        return total

    for name in reference.sparse:

        def value(suffix):
            return np.array(model.parameter(name + suffix))

        magnitude = np.abs(value(""))
        if method in ("pst", "pst_wanda"):
            score = np.abs(value("") + product(value(".pst_U"), value(".pst_V")) * f(hyper["weight_beta"]))
            if method == "pst_wanda":
                score = score * across(value(".pst_norm"))
            if hyper["mask_rank"]:
                score = score + product(value(".pst_A"), value(".pst_B")) * f(hyper["mask_alpha1"])
            if hyper["mask_alpha2"]:
                score = score + (value(".pst_R")[:, None] + value(".pst_C")[None, :]) * f(hyper["mask_alpha2"])
        elif method == "wanda":
            score = magnitude * across(value(".pst_norm"))
        elif method == "ria":
            score = (magnitude / value(".pst_row")[:, None] + magnitude / value(".pst_column")[None, :]) * across(np.sqrt(value(".pst_norm")))
        elif method == "mvp":
            score = value(".pst_S")
        else:
            assert method in ("map", "sparse_lora")
            score = magnitude
        scores[name] = score
    return scores


def our_masks(model, reference):
    """The masks that stand, from the thresholds and the scores."""
    states = {layer["weight"]: layer["state"] for layer in json.loads(model.manifest)["sparse_layers"]}
    masks = {}
    for name, score in our_scores(model, reference).items():
        threshold, cut = (np.array(model.parameter(state)) for state in states[name])
        if reference.selection == "topk row":
            masks[name] = np.stack([virtual_weights.mask(*row) for row in zip(score, threshold, cut)])
        else:
            masks[name] = virtual_weights.mask(score, threshold, cut)
    return masks


def _competitors(selection, layers):
    """What is selected from as one, of arrays of all layers."""
    if selection == "topk row":
        return [row for layer in layers for row in layer]
    each = [layer.ravel() for layer in layers]
    return {"topk global": [np.concatenate(each)], "topk layer": each}[selection]


def compare_masks(model, reference, sparsity, tolerance):
    """Counts the elements at which masks differ; each must lie at the threshold of those that it competes with. The
    reference goes on with ours, for one element may show in all that follows."""
    masks = our_masks(model, reference)
    theirs = [reference.masks[name].numpy() != 0 for name in masks]
    scores = [reference.weight_and_score(name)[1].detach().numpy() for name in masks]
    largest = max(np.abs(score).max() for score in scores)
    differing = 0
    for ours, expected, score in zip(*(_competitors(reference.selection, layers) for layers in (list(masks.values()), theirs, scores))):
        assert ours.sum() == ours.size - int(ours.size * sparsity)
        different = ours != expected
        if different.any():
            gap = np.abs(score[different] - score[expected].min(initial=np.inf))
            assert gap.max() < tolerance * largest
            differing += int(different.sum())
    if differing:
        reference.masks = {name: torch.from_numpy(mask.astype(np.float64)) for name, mask in masks.items()}
    return differing


def follow(model, reference, examples, total, batch, final, initial=0.0, rate=lambda step: 4e-3, tolerance=1e-5, **settings):
    """Takes `total` steps with both, to the sparsity `final`, and compares each loss, norm and mask. `settings` are those of
    `reference.apply`. Returns at how many elements masks differed, and of how many."""
    rng = np.random.default_rng(2)
    data = _pst.Dataset.of(examples)
    differing = elements = 0
    losses = []
    ours = {"decay": "weight_decay", "max_norm": "max_grad_norm"}
    for step in range(total):
        sparsity = eager.sparsity_at(step, total, final, initial)
        rows = rng.choice(len(examples["input_ids"]), batch, replace=False)
        taken = {name: np.ascontiguousarray(value[rows]) for name, value in examples.items()}
        model.select(sparsity)
        reference.select(sparsity)
        if reference.masks:
            differing += compare_masks(model, reference, sparsity, tolerance)
            elements += sum(mask.numel() for mask in reference.masks.values())
        # Of texts, the targets are what follows each token.
        count = (taken["labels"][:, 1:] != -100).sum() if taken["labels"].ndim == 2 else batch
        expected, gradients = reference.gradients(taken)
        loss = model.forward_backward(data, rows.tolist(), 1 / count, step)
        assert loss == pytest.approx(expected, rel=1e-4), step
        norm = reference.apply(gradients, step + 1, rate(step), **settings)
        applied = model.apply(rate(step), step + 1, **{ours.get(name, name): value for name, value in settings.items()})
        # Where an element is another, all gradients have moved a little.
        assert applied == pytest.approx(norm, rel=1e-3 if differing else 1e-4), step
        losses.append(loss)
    assert sparsity == final and np.ptp(losses) > 0.05
    print(f"{differing} of {elements} mask elements differ")
    assert differing <= 1e-5 * elements + 4
    return differing, elements
