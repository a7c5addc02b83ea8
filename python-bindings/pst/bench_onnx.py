# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A BERT in ONNX Runtime, for the rows of inference: exported from the eager one, and in 8 bits if that is asked for."""

from __future__ import annotations

import os
import tempfile

import onnxruntime
import torch

from .bench_eager import Forward as Eager


def _quantized(path: str) -> str:
    """The model with weights in 8 bits, and activations that become so as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = path.replace(".onnx", ".int8.onnx")
    quantize_dynamic(path, quantized, weight_type=QuantType.QInt8)
    return quantized


class Forward:
    """A BERT's forward pass."""

    def __init__(self, settings, batch):
        eager = Eager(settings, batch)
        self.batch = {name: array.numpy() for name, array in eager.batch.items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings["threads"]
        options.inter_op_num_threads = 1
        # As long as there is work alone: others take their turns.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with tempfile.TemporaryDirectory(prefix="pst-onnx-") as directory:
            path = os.path.join(directory, "model.onnx")
            names = list(self.batch)
            torch.onnx.export(eager.model, tuple(eager.batch.values()), path, input_names=names, output_names=["logits"], dynamo=True)
            if settings.get("quantized"):
                path = _quantized(path)
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def check(self, sparsity):
        return {"logits": self.session.run(["logits"], self.batch)[0]}

    def call(self, sparsity):
        self.session.run(["logits"], self.batch)
