# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A rank of a data-parallel run on the stand-in for NVIDIA's driver, with an engine in NCCL's place.

    [torchrun ...] gpu_ranks.py STANDIN MODEL DATA OUTPUT BATCH

The memory of the stand-in's GPUs is this process's, so that the engine can
reach the gradient through the capsule of DLPack. As NCCL's, its work is part
of a stream: done when the stream's turn comes, early or late.
"""

import ctypes
import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from dlpack import open_capsule

import pst
from pst import trainer
from pst.distributed import Peers

ENGINE_STREAM = 1  # the default stream, as PyTorch's
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Engine(Peers):
    sums_on_gpu = True
    sums = 0

    def sum(self, array):
        capsule = array.__dlpack__(stream=ENGINE_STREAM)
        tensor = open_capsule(capsule)
        kDLCUDA, kDLFloat = 2, 2
        assert (tensor.device_type, tensor.device_id) == array.__dlpack_device__() == (kDLCUDA, self.local_rank)
        assert (tensor.code, tensor.bits, tensor.lanes) == (kDLFloat, 32, 1)
        assert tensor.ndim == 1 and tensor.shape[0] == len(array) > 1000 and tensor.byte_offset == 0
        assert not tensor.strides or tensor.strides[0] == 1
        values = np.ctypeslib.as_array(ctypes.cast(tensor.data, ctypes.POINTER(ctypes.c_float)), (len(array),))

        def reduce(_):
            assert values.any()
            dist.all_reduce(torch.from_numpy(values), group=self._group)
            Engine.sums += 1

        self.work = getattr(self, "work", []) + [Callback(reduce)]
        standin.standin_give(ctypes.c_void_p(ENGINE_STREAM), self.work[-1], None)
        if len(self.work) % 2:  # an engine that is fast
            standin.cuStreamSynchronize(ctypes.c_void_p(ENGINE_STREAM))
        array.wait_for(ENGINE_STREAM)


def refuses(array):
    """What the standard, or this array, does not give."""
    for error, arguments in (
        (ValueError, {"stream": 0}),
        (ValueError, {"stream": -2}),
        (BufferError, {"copy": True}),
        (BufferError, {"dl_device": (1, 0)}),
        (TypeError, {"stream": "default"}),
    ):
        try:
            array.__dlpack__(**arguments)
        except (error, RuntimeError if error is TypeError else error):
            continue
        raise AssertionError(arguments)


library, model, data, output, batch = sys.argv[1:]
standin = ctypes.CDLL(library)
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
peers = Engine(*(int(os.environ[name]) for name in names)) if "RANK" in os.environ else Peers()
trainer.Peers.of_environment = staticmethod(lambda: peers)
run = pst.Trainer(
    model, data, output_dir=output, target="cuda", gpu_arch="sm_80", dropout=0.0, max_seq_length=12, pad_to_max_length=True,
    per_device_train_batch_size=int(batch), max_steps=5, learning_rate=3e-3, sparsity=0.6, logging_steps=1,
    gradient_accumulation_steps=2, report_to="none", cache=False,
)  # fmt: skip
gradient = run.model.gradient
assert gradient.size == len(gradient)
refuses(gradient)
versioned = gradient.__dlpack__(max_version=(1, 0))
assert "dltensor_versioned" in repr(versioned), versioned
run.train()
assert peers.count == 1 or Engine.sums == 5, Engine.sums
if peers.leads:
    run.save()
peers.wait()
peers.close()
