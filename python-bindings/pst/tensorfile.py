# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""safetensors files: an 8-byte length, a JSON header, the data."""

from __future__ import annotations

import json
import os

import numpy as np

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,  # widened by `read`
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items() if name != "BF16"}


class TensorFileError(ValueError):
    """The file is no safetensors file, or is damaged."""


class TensorFile:
    """Read access to one file; tensors are mapped, not copied (bf16 is)."""

    def __init__(self, path):
        self.path = os.fspath(path)
        try:
            size = os.path.getsize(self.path)
            with open(self.path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or length > size - 8:
                    raise TensorFileError(
                        f"{self.path}: the header claims {length} bytes, and the file has {size}: it is cut short "
                        "or no safetensors file"
                    )
                header = json.loads(file.read(length))
        except OSError as error:
            raise TensorFileError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, json.JSONDecodeError):
            raise TensorFileError(f"{self.path}: the header is no JSON: no safetensors file") from None
        self.metadata = header.pop("__metadata__", {})
        self._entries = header
        self._start = 8 + length
        for name, entry in header.items():
            try:
                end = self._start + int(entry["data_offsets"][1])
            except (TypeError, KeyError, IndexError, ValueError):
                raise TensorFileError(f'{self.path}: tensor "{name}" is described wrongly') from None
            if end > size:
                raise TensorFileError(
                    f'{self.path}: tensor "{name}" ends at byte {end}, past the end of the file ({size} bytes): '
                    "the file is cut short"
                )

    def names(self) -> list[str]:
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._entries[name]["shape"])

    def read(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        kind = np.dtype(_TYPES[entry["dtype"]]) if entry["dtype"] in _TYPES else None
        if kind is None:
            raise TensorFileError(f'{self.path}: tensor "{name}" has the unsupported type {entry["dtype"]}')
        begin, end = entry["data_offsets"]
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if begin < 0 or end - begin != count * kind.itemsize:
            raise TensorFileError(
                f'{self.path}: tensor "{name}" has {end - begin} bytes, and its type and shape need '
                f"{count * kind.itemsize}"
            )
        if count == 0:
            return np.zeros(entry["shape"], kind)
        data = np.memmap(self.path, kind, "r", self._start + begin, tuple(entry["shape"]) or (1,))
        data = data.reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            return (data.astype(np.uint32) << 16).view(np.float32)
        return data


def write(path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Writes the arrays as they are (no copy of more than one at a time)."""
    header: dict = {"__metadata__": metadata} if metadata else {}
    position = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.nbytes],
        }
        position += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).data)


def model_tensors(directory) -> dict[str, TensorFile]:
    """Tensor name -> file, for `model.safetensors`, or else a sharded model: an
    index beside the one file is left over, and transformers does not read it."""
    directory = os.fspath(directory)
    index = os.path.join(directory, "model.safetensors.index.json")
    if os.path.exists(index) and not os.path.exists(os.path.join(directory, "model.safetensors")):
        try:
            with open(index, encoding="utf-8") as file:
                names = sorted(set(json.load(file)["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise TensorFileError(f'{index}: expected JSON with a "weight_map"') from None
    else:
        names = ["model.safetensors"]
    files = [TensorFile(os.path.join(directory, name)) for name in names]
    return {name: file for file in files for name in file.names()}


def head_rows(directory) -> int | None:
    """The classes of the head that a model's files hold; None if they hold none
    or cannot be read."""
    try:
        tensors = model_tensors(directory)
    except TensorFileError:
        return None
    for name in ("classifier.weight", "classifier.out_proj.weight", "score.weight"):
        if name in tensors and len(tensors[name].shape(name)) == 2:
            return tensors[name].shape(name)[0]
    return None
