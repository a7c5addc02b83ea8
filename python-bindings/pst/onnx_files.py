# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes an encoder as an ONNX file, for ONNX Runtime and others: the graph is
that of transformers, inputs and outputs are called as Optimum calls them.
docs/CheckpointFormat.md describes the file."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings

import numpy as np

from .errors import DataError, MissingPackageError
from .files import read_object

FILE = "model.onnx"

# The class of each head, and what its model reads.
_INPUTS = {"Bert": ("input_ids", "attention_mask", "token_type_ids"), "Roberta": ("input_ids", "attention_mask")}
_CLASSES = {
    f"{family}For{head}Classification": inputs for family, inputs in _INPUTS.items() for head in ("Sequence", "Token")
}

# How far logits of f32 may be apart, for the largest of them.
_TOLERANCE = 1e-4


def _packages():
    """torch and transformers, if all that an export needs is there. Raises MissingPackageError."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import torch
        import transformers
    except ImportError as error:
        raise MissingPackageError(
            f"--format onnx is written by torch, transformers and onnxscript ({error}): 'pip install torch transformers onnx onnxscript'"
        ) from None
    return torch, transformers


def write(directory: str, path: str) -> float | None:
    """Writes the model of a directory whose weights are whole, for any batch and length. Returns the
    largest difference between its logits in ONNX Runtime and PyTorch's, None
    where that is not installed. Raises DataError, MissingPackageError."""
    name = _class_of(directory)
    torch, transformers = _packages()
    model = _load(torch, transformers, directory, name)
    sample = _batch(model.config, _CLASSES[name], 2, 7)
    axes = {key: {0: "batch_size", 1: "sequence_length"} for key in sample}
    with _quiet():
        torch.onnx.export(
            model, (), path, kwargs={key: torch.from_numpy(value) for key, value in sample.items()}, input_names=list(sample),
            output_names=["logits"], dynamic_shapes=axes, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
    return _check(torch, model, path, _CLASSES[name])


def _class_of(directory: str) -> str:
    path = os.path.join(directory, "config.json")
    classes = read_object(path).get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else "no class"
    if name not in _CLASSES:
        raise DataError(
            f"{path}: --format onnx is of encoders with a head, and the model is {name}; known are: {', '.join(_CLASSES)}; "
            "--format gguf takes language models, and --format dense any"
        )
    return name


def _load(torch, transformers, directory: str, name: str):
    """The model as transformers reads it, in f32."""
    with _quiet():
        model, found = getattr(transformers, name).from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    if found["missing_keys"]:
        raise DataError(f"{directory}: the model lacks the tensor {min(found['missing_keys'])}, which a {name} has")
    return model.eval()


def _batch(config, inputs, batch_size: int, length: int) -> dict[str, np.ndarray]:
    """Random tokens, the last of each other row padding."""
    rng = np.random.default_rng(batch_size)
    ids = rng.integers(0, config.vocab_size, (batch_size, length))
    mask = np.ones_like(ids)
    if config.pad_token_id is not None:
        ids[ids == config.pad_token_id] = (config.pad_token_id + 1) % config.vocab_size
        mask[1::2, length - length // 3 :] = 0
        ids[mask == 0] = config.pad_token_id
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.arange(length) % config.type_vocab_size + 0 * ids}
    return {key: arrays[key].astype(np.int64) for key in inputs}


def _check(torch, model, path: str, inputs) -> float | None:
    """Runs the file on batches of other shapes than that with which it was made."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session, largest = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), 0.0
    for batch_size, length in ((1, 1), (3, min(19, model.config.max_position_embeddings - 2))):
        batch = _batch(model.config, inputs, batch_size, length)
        with torch.no_grad():
            expected = model(**{key: torch.from_numpy(value) for key, value in batch.items()}).logits.numpy()
        found = session.run(["logits"], batch)[0]
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
        if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise DataError(
                f"{path}: ONNX Runtime {onnxruntime.__version__} gives other logits than PyTorch {torch.__version__}, by {difference:.3g}: "
                "the file is not written; try other releases of the two, and of onnxscript"
            )
        largest = max(largest, difference)
    return largest


@contextlib.contextmanager
def _quiet():
    """Libraries speak of their progress and of what they lack; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
