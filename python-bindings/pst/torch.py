# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays of other libraries, by DLPack and without copies.

PyTorch is never imported here: a tensor is told by its class's module, and a
result becomes a tensor through the torch that the caller has loaded.
"""

from __future__ import annotations

import sys


def is_tensor(value) -> bool:
    """Whether `value` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def check(value, what: str, on_gpu: bool = False) -> None:
    """Raises ValueError for a tensor whose memory cannot be shared with a
    program of the CPU, or of a GPU; `what` is "input 'x'"."""
    if not is_tensor(value):
        return
    if value.requires_grad:
        raise ValueError(f"{what} requires a gradient, and the program records none: pass .detach() of it")
    if value.device.type != "cpu" and not (on_gpu and value.device.type == "cuda"):
        raise ValueError(f"{what} lies on {value.device}, and the program runs on the CPU: pass .cpu() of it")
    # Such tensors share the memory of what they are the negative or the conjugate of.
    if value.is_neg():
        raise ValueError(f"{what} is to be negated when it is read (is_neg()): pass .resolve_neg() of it")
    if value.is_conj():
        raise ValueError(f"{what} is to be conjugated when it is read (is_conj()): pass .resolve_conj() of it")


def gpu_of(values):
    """The GPU that the first of the torch tensors on one lies on, or None."""
    return next((value.device for value in values if is_tensor(value) and value.device.type == "cuda"), None)


def empty(shape, element: str, device):
    """A torch tensor for results of elements "f32", "bf16", ..."""
    torch = sys.modules["torch"]
    names = {"f32": "float32", "f64": "float64", "i8": "int8", "i32": "int32", "i64": "int64", "bf16": "bfloat16"}
    return torch.empty(shape, dtype=getattr(torch, names[element]), device=device)


def from_numpy(array):
    """A torch tensor over the memory of a NumPy array."""
    return sys.modules["torch"].from_dlpack(array)
