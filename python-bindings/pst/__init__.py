# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Parameter-efficient sparse training.

    import pst

    trainer = pst.Trainer("model-dir", train="train.tsv", eval="dev.tsv", output_dir="runs/1", sparsity=0.9)
    trainer.train()
    trainer.save()

    pst.load("runs/1/model").predict(["a good film"])    # [{"class": "1", "probability": 0.97}]

    program = pst.compile("model-dir", batch_size=8, sequence_length=64)
    logits = program(input_ids)
"""

# First: the extension raises it.
from .errors import CompileError  # noqa: I001

try:
    from ._pst import Error, TensorFile, write_tensors
except ImportError as error:
    raise ImportError(
        f"the compiled part of pst cannot be loaded ({error}); 'failed to map segment' means that the address space "
        "is limited to less than the compiler's libraries need (ulimit -v, some 600 MiB)"
    ) from None
from .callbacks import Callback
from .classifier import Classifier, load
from .compiled import Compiled, Function, compile
from .criterion import Criterion, recipe
from .data import DataError, Examples, Labels, read_examples
from .generating import Generator
from .options import Options
from .pipelines import pipeline
from .reporters import Reporter
from .tokenizer import Tokenizer
from .trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Classifier",
    "CompileError",
    "Compiled",
    "Criterion",
    "DataError",
    "Error",
    "Examples",
    "Function",
    "Generator",
    "Labels",
    "Options",
    "Reporter",
    "TensorFile",
    "Tokenizer",
    "Trainer",
    "compile",
    "load",
    "pipeline",
    "read_examples",
    "recipe",
    "write_tensors",
]
