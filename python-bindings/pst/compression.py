# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a model's weights whole, or as the layouts `sparse-bitmask` and
`sparse-24-bitmask` of compressed-tensors have them: docs/CheckpointFormat.md
describes the files. The runtime reads all (runtime/lib/CompressedWeight.cpp)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ._pst import TensorFile, write_tensors
from .errors import DataError

# The release of compressed-tensors whose files ours are like.
_LIBRARY = "0.12.2"

_FLOATS = ("F32", "F16", "BF16", "F64")

# What a weight is stored in.
_PARTS = ("compressed", "bitmask", "shape", "row_offsets", "weight_scale")

# The tables of a model's inputs, by the names of Hugging Face.
_EMBEDDING = re.compile(r"(^|\.)(\w*embeddings|wte|wpe|embed_tokens)\.weight$")


@dataclass
class StoredWeight:
    """One weight in its parts. `bound`: of int8, what a value may differ by."""

    module: str
    elements: int
    kept: int
    dense_bytes: int  # as f32
    bytes: int
    two_of_four: bool  # at most two of each four neighbours of a row are kept
    bound: float = 0.0
    error: float = 0.0  # the largest there is


@dataclass
class Stored:
    """What was written; `elements` and `zeros` are those of the whole model."""

    weights: list[StoredWeight] = field(default_factory=list)
    embeddings: list[StoredWeight] = field(default_factory=list)  # that are rounded
    elements: int = 0
    zeros: int = 0
    layout: str = "sparse-bitmask"  # of `weights`

    @property
    def dense_bytes(self) -> int:
        return sum(w.dense_bytes for w in self.weights)

    @property
    def bytes(self) -> int:
        return sum(w.bytes for w in self.weights)

    @property
    def saved(self) -> int:
        """By how many bytes a file with all of these as f32 would be larger."""
        return sum(w.dense_bytes - w.bytes for w in self.weights + self.embeddings)

    @property
    def bound(self) -> float:
        return max((w.bound for w in self.weights + self.embeddings), default=0.0)

    @property
    def error(self) -> float:
        return max((w.error for w in self.weights + self.embeddings), default=0.0)

    def config(self) -> dict | None:
        """What config.json says of it under `quantization_config`, as the
        library writes it; None if all tensors are whole."""
        modules = [w.module for w in self.weights]
        config: dict = {"version": _LIBRARY, "quant_method": "compressed-tensors", "sparsity_config": {}, "transform_config": {}}
        if modules:
            config["sparsity_config"] = {
                "format": self.layout,
                "global_sparsity": self.zeros / self.elements,
                "ignore": [],
                "sparsity_structure": "2:4" if all(w.two_of_four for w in self.weights) else "unstructured",
                "targets": modules,
            }
        rounded = [w.module for w in self.weights + self.embeddings if w.bound]
        if rounded:
            weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
            group = {"targets": rounded, "weights": weights, "input_activations": None, "output_activations": None}
            config |= {
                "format": "int-quantized",
                "config_groups": {"group_0": group},
                "ignore": [],
                "kv_cache_scheme": None,
                "quantization_status": "compressed",
            }
        return config if modules or rounded else None


def is_worth(weight: np.ndarray) -> bool:
    """Whether mask and values, as f32, are smaller than the matrix itself."""
    rows, columns = weight.shape
    return _bytes(rows, columns, int(np.count_nonzero(_bits(weight))), 4) < 4 * weight.size


def _bytes(rows: int, columns: int, kept: int, size: int) -> int:
    offset = 4 if kept < 2**31 else 8
    return rows * -(-columns // 8) + size * kept + offset * rows + 16


def _bits(weight: np.ndarray) -> np.ndarray:
    """The elements as whole numbers: what is not 0 there is kept, so that -0.0 is."""
    return weight.view(f"u{weight.itemsize}")


def to_bf16(values: np.ndarray) -> np.ndarray:
    """The bits of f32 numbers that are finite, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def to_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from -127 to 127 and a scale for each row (f32[rows, 1]);
    a number times its scale is within half a scale of the weight."""
    largest = np.abs(weight).max(axis=1, keepdims=True, initial=0).astype(np.float64)
    # Not below what a division can do with: a row of denormal numbers, or of zeros.
    scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    values = np.rint(weight / scale.astype(np.float64))
    return np.clip(values, -127, 127).astype(np.int8), scale


def int8_bound(scale: np.ndarray) -> float:
    """What a weight may differ by: half a scale, and the rounding of the product."""
    return float(np.max(scale, initial=0)) * (0.5 + 127 * 2.0**-24)


def compress(module: str, weight: np.ndarray, value_type: str | None) -> tuple[dict, dict, StoredWeight]:
    """The parts of one weight (its elements are f32 or f16, or as u16 the bits
    of bf16), the names of the types that NumPy has not, and what is to be said
    of it. Raises DataError for what is no number where it is rounded."""
    rows, columns = weight.shape
    stored = np.ascontiguousarray(weight)
    scale, error = None, 0.0
    if value_type in ("bf16", "int8") and not np.isfinite(weight).all():
        raise DataError(f"tensor {module}.weight holds what is no number: it cannot be stored as {value_type}")
    if value_type == "bf16":
        stored = to_bf16(weight)
    elif value_type == "int8":
        stored, scale = to_int8(weight)
        error = float(np.abs(weight - stored * scale).max(initial=0))
    bits = _bits(stored)
    mask = bits != 0
    counts = mask.sum(axis=1)
    offsets = np.cumsum(counts) - counts
    kept = int(counts.sum())
    # The library writes 64 bits, and reads any: half of them are 4 % of a file.
    offsets = offsets.astype(np.int32 if kept < 2**31 else np.int64)
    parts = {
        f"{module}.compressed": stored[mask],
        f"{module}.bitmask": np.packbits(mask, axis=-1, bitorder="little"),
        f"{module}.shape": np.array([rows, columns], np.int64),
        f"{module}.row_offsets": offsets,
    }
    if scale is not None:
        parts[f"{module}.weight_scale"] = scale
    types = {f"{module}.compressed": "BF16"} if stored.dtype == np.uint16 else {}
    two_of_four = columns % 4 == 0 and bool((mask.reshape(rows, -1, 4).sum(axis=2) <= 2).all())
    size = sum(part.nbytes for part in parts.values())
    bound = int8_bound(scale) if scale is not None else 0.0
    return parts, types, StoredWeight(module, weight.size, kept, 4 * weight.size, size, two_of_four, bound, error)


def as_two_of_four(module: str, parts: dict) -> dict:
    """The parts that `compress` gave of a weight of which at most two of each
    four neighbours are kept, in the layout `sparse-24-bitmask`: two are kept of
    each four, so rows need no offsets. Where there were fewer, zeros are kept."""
    rows, columns = parts[f"{module}.shape"]
    kept = np.unpackbits(parts[f"{module}.bitmask"], axis=-1, count=columns, bitorder="little").astype(bool)
    # Stable: of the elements that are not kept, the first.
    order = np.argsort(~kept.reshape(rows, columns // 4, 4), axis=2, kind="stable")
    mask = np.zeros((rows, columns // 4, 4), bool)
    np.put_along_axis(mask, order[:, :, :2], True, axis=2)
    mask = mask.reshape(rows, columns)
    given = parts[f"{module}.compressed"]
    values = np.zeros(rows * columns // 2, given.dtype)
    values[kept[mask]] = given
    changed = {
        f"{module}.compressed": values.reshape(rows, columns // 2),
        f"{module}.bitmask": np.packbits(mask, axis=-1, bitorder="little"),
    }
    return {name: changed.get(name, part) for name, part in parts.items() if name != f"{module}.row_offsets"}


def _lay_out_two_of_four(stored: Stored, tensors: dict) -> None:
    """Goes over to `sparse-24-bitmask` (a file has one layout) where all weights
    allow it and the file becomes smaller."""
    if not stored.weights or not all(w.two_of_four for w in stored.weights):
        return
    fours, sizes = {}, {}
    for one in stored.weights:
        parts = {name: tensors[name] for name in (f"{one.module}.{part}" for part in _PARTS) if name in tensors}
        parts = as_two_of_four(one.module, parts)
        sizes[one.module] = sum(part.nbytes for part in parts.values())
        fours |= parts
    if sum(sizes.values()) >= stored.bytes:
        return
    stored.layout = "sparse-24-bitmask"
    for one in stored.weights:
        one.bytes = sizes[one.module]
        del tensors[f"{one.module}.row_offsets"]
    tensors |= fours


def _read(source: TensorFile, name: str, value_type: str | None) -> np.ndarray:
    """A weight's elements as `compress` takes them."""
    kind = source.dtype(name)
    if value_type is None and kind != "F64":
        return source.read(name, as_stored=True)
    return np.ascontiguousarray(source.read(name), np.float32)


def round_embedding(module: str, weight: np.ndarray, embedding_type: str) -> tuple[dict, dict, StoredWeight]:
    """As `compress`, of a table of f32 that stays whole."""
    name = f"{module}.weight"
    if not np.isfinite(weight).all():
        raise DataError(f"tensor {name} holds what is no number: it cannot be stored as {embedding_type}")
    if embedding_type == "bf16":
        parts, types, bound, error = {name: to_bf16(weight)}, {name: "BF16"}, 0.0, 0.0
    else:
        values, scale = to_int8(weight)
        parts, types = {name: values, f"{module}.weight_scale": scale}, {}
        bound, error = int8_bound(scale), float(np.abs(weight - values * scale).max(initial=0))
    size = sum(part.nbytes for part in parts.values())
    return parts, types, StoredWeight(module, weight.size, weight.size, 4 * weight.size, size, False, bound, error)


def write_compressed(source: TensorFile, path, value_type: str | None, embedding_type: str | None = None) -> Stored:
    """Writes all tensors of `source`: matrices that are sparse enough to become
    smaller, and those that `source` has in parts already, in parts, whose values
    are of `value_type` (None: of the type that they have); embeddings rounded to
    `embedding_type`, if one is given; others as they are."""
    stored, tensors, types = Stored(), {}, {}
    for name in source.names():
        kind, shape = source.dtype(name), source.shape(name)
        if len(shape) == 2 and name.endswith(".weight") and kind in _FLOATS:
            is_embedding = _EMBEDDING.search(name) is not None
            if is_embedding and embedding_type:
                weight = _read(source, name, "f32")
                parts, more, one = round_embedding(name.removesuffix(".weight"), weight, embedding_type)
                tensors |= parts
                types |= more
                stored.embeddings.append(one)
                stored.elements += one.elements
                continue
            weight = _read(source, name, value_type)
            if is_worth(weight) or source.stored_dtype(name) is not None and not is_embedding:
                parts, more, one = compress(name.removesuffix(".weight"), weight, value_type)
                tensors |= parts
                types |= more
                stored.weights.append(one)
                stored.elements += one.elements
                stored.zeros += one.elements - one.kept
                continue
        array = source.read(name, as_stored=True)
        tensors[name] = array
        stored.elements += array.size
        stored.zeros += array.size - int(np.count_nonzero(array))
        if kind in ("BF16", "F8_E4M3", "F8_E5M2"):
            types[name] = kind
    _lay_out_two_of_four(stored, tensors)
    _write(path, tensors, types)
    return stored


def write_dense(source: TensorFile, path) -> None:
    """Writes all tensors of `source` whole: those in parts as f32, others as
    they are."""
    tensors, types = {}, {}
    for name in source.names():
        kind = source.dtype(name)
        if source.stored_dtype(name) is not None:
            tensors[name] = np.asarray(source.read(name), np.float32)
            continue
        tensors[name] = source.read(name, as_stored=True)
        if kind in ("BF16", "F8_E4M3", "F8_E5M2"):
            types[name] = kind
    _write(path, tensors, types)


def _write(path, tensors: dict, types: dict) -> None:
    # Large elements first, so that each tensor is aligned for its elements.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize))
    write_tensors(path, ordered, {"format": "pt"}, types)
