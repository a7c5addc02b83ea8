# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files of tensors on a machine without the package: stands in for `pst._pst` among the rivals, with files of our own making."""

import json

import numpy as np

_TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U16": np.uint16}


class TensorFile:
    """The tensors of one file, each read when it is asked for."""

    def __init__(self, path):
        path = str(path)
        self._path = path if path.endswith(".safetensors") else path + "/model.safetensors"
        with open(self._path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._entries = json.loads(file.read(length))
        self._entries.pop("__metadata__", None)
        self._start = 8 + length

    def __contains__(self, name) -> bool:
        return name in self._entries

    def read(self, name) -> np.ndarray:
        entry = self._entries[name]
        return np.memmap(self._path, _TYPES[entry["dtype"]], "r", self._start + entry["data_offsets"][0], tuple(entry["shape"]))


def write_tensors(path, tensors, metadata=None) -> None:
    names = {np.dtype(kind): name for name, kind in _TYPES.items()}
    header, position = {"__metadata__": metadata} if metadata else {}, 0
    for name, tensor in tensors.items():
        end = position + tensor.nbytes
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).data)
