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


def check(value, name: str) -> None:
    """Raises ValueError for a tensor whose memory cannot be shared."""
    if not is_tensor(value):
        return
    if value.requires_grad:
        raise ValueError(f"input '{name}' requires a gradient, and the program records none: pass {name}.detach()")
    if value.device.type != "cpu":
        raise ValueError(f"input '{name}' lies on {value.device}, and the program runs on the CPU: pass {name}.cpu()")


def from_numpy(array):
    """A torch tensor over the memory of a NumPy array."""
    return sys.modules["torch"].from_dlpack(array)
