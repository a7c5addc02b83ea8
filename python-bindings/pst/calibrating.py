# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What layers read on some of the training data: --method pst_wanda, wanda and ria prune by it, --layer_sparsity owl shares out by it."""

from __future__ import annotations

import json
import re

import numpy as np

from . import _pst
from .outputs import write_text

FILE = "calibration.safetensors"
OWL, OWL_FILE = "owl", "owl.json"

# As published.
OUTLIER, SPREAD = 5.0, 0.08


def some_rows(arrays: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """So many of the examples, evenly spread over them."""
    size = len(arrays["input_ids"])
    rows = np.linspace(0, size - 1, min(count, size)).round().astype(np.int64)
    return {name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()}


def write(path, model_dir, settings: dict, arrays: dict[str, np.ndarray], description: str) -> None:
    """Writes for each linear layer, by its weight's name: the norms of the
    columns of its input; as NAME.relative these over their root mean square, 1
    where all are 0; and as NAME.rows and NAME.columns the sums of the weight's
    magnitudes, 1 where they are 0 (what they divide is 0 then)."""
    tensors = {}
    for name, weight, norms in _measure(model_dir, settings, arrays, description):
        norms = norms.reshape(-1)
        tensors[name] = norms.astype(np.float32)
        mean = np.sqrt(np.square(norms).mean())
        tensors[f"{name}.relative"] = (norms / mean if mean else np.ones_like(norms)).astype(np.float32)
        for what, axis in (("rows", 1), ("columns", 0)):
            sums = weight.sum(axis)
            tensors[f"{name}.{what}"] = np.where(sums > 0, sums, 1.0).astype(np.float32)
    _pst.write_tensors(path, tensors)


def write_owl(path, model_dir, settings: dict, arrays: dict[str, np.ndarray], description: str, sparsity: float) -> None:
    """Writes final sparsities of layers, for --layer_sparsity, by the outliers
    of their blocks (OWL: Yin et al. 2024): the share of elements whose magnitude
    times the norm of what it multiplies is above OUTLIER means of the block. The
    block with the largest share keeps 2 SPREAD more than that with the least, or
    the density if that is less; the mean over the blocks is `sparsity`."""
    blocks: dict[str, list] = {}
    for name, weight, norms in _measure(model_dir, settings, arrays, description):
        found = re.match(r".*?\.\d+\.", name)
        blocks.setdefault(found[0] if found else name, []).append((name, weight * norms))
    shares = []
    for layers in blocks.values():
        scores = np.concatenate([score.reshape(-1) for _, score in layers])
        shares.append((scores > OUTLIER * scores.mean()).mean())
    shares = np.array(shares) - min(shares)
    range_ = min(2 * SPREAD, 1 - sparsity)
    more = shares / (shares.max() or 1.0) * range_
    own = sparsity - (more - more.mean())
    chosen = {re.sub(r"\.weight(?=$|:)", "", name): float(s) for s, layers in zip(own, blocks.values()) for name, _ in layers}
    write_text(path, json.dumps(chosen, indent=2))


def _measure(model_dir, settings: dict, arrays: dict[str, np.ndarray], description: str):
    """Of each linear layer, by a compiled program of which `settings` are the
    options: name, magnitudes of the weight, and norms of the columns of its
    input over all tokens, as a row, or as a column for a weight that is stored
    as inputs x outputs."""
    # Nothing of the method but which layers.
    plain = {"method": "dense", "criterion": "", "hyperparameters": "", "calibration_file": "", "layer_sparsity": "", "weight_storage": "dense"}
    program = _pst.compile_model(str(model_dir), {**settings, **plain, "training": False, "new_head": True, "calibration": True})
    model = _pst.Model(program, str(model_dir), 0)
    shape = (-1, 1) if json.loads(json.loads(program.manifest)["config"])["model_type"] == "gpt2" else (1, -1)
    for name, squares in _pst.calibrate(model, _pst.Dataset.of(arrays, description)).items():
        yield name, np.abs(np.array(model.parameter(name), np.float64)), np.sqrt(np.array(squares)).reshape(shape)
