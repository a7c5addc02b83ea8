# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a model is made to do, where its files say it."""

from __future__ import annotations

# What transformers calls it, and --task too.
TOKEN_CLASSES = "token_classification"


def classifies_tokens(task: str, config: dict) -> bool:
    """Whether a model gives each token a class: as `task` says, or if that is
    empty, as the class that config.json names."""
    if task:
        return task == TOKEN_CLASSES
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else ""
    return isinstance(name, str) and name.endswith("ForTokenClassification")
