# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What layers read on some of the training data: --method wanda and ria prune by it."""

from __future__ import annotations

import json

import numpy as np

from . import _pst
from .errors import DataError

FILE = "calibration.safetensors"


def some_rows(arrays: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """So many of the examples, evenly spread over them."""
    size = len(arrays["input_ids"])
    rows = np.linspace(0, size - 1, min(count, size)).round().astype(np.int64)
    return {name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()}


def write(path, model_dir, settings: dict, arrays: dict[str, np.ndarray], description: str) -> None:
    """Measures by a compiled program, of which `settings` are the options, and
    writes for each linear layer, by its weight's name: the norms of the columns
    of its input over all tokens; and as NAME.rows and NAME.columns the sums of
    the weight's magnitudes, 1 where they are 0 (what they divide is 0 then)."""
    program = _pst.compile_model(
        str(model_dir), {**settings, "training": False, "method": "dense", "weight_storage": "dense", "new_head": True, "calibration": True}
    )
    model = _pst.Model(program, str(model_dir), 0)
    shapes = {p["name"]: p["type"] for p in json.loads(program.manifest)["parameters"]}
    tensors = {}
    for name, squares in _pst.calibrate(model, _pst.Dataset.of(arrays, description)).items():
        weight = np.abs(np.array(model.parameter(name), np.float64))
        if weight.shape[1] != len(squares):
            raise DataError(
                f"{model_dir}: \"{name}\" is stored as inputs x outputs, {shapes[name]} (Conv1D): what is measured is for each of its "
                "rows, but wanda and ria need it for each column of a layer"
            )
        tensors[name] = np.sqrt(np.array(squares)).astype(np.float32)
        for what, axis in (("rows", 1), ("columns", 0)):
            sums = weight.sum(axis)
            tensors[f"{name}.{what}"] = np.where(sums > 0, sums, 1.0).astype(np.float32)
    _pst.write_tensors(path, tensors)
