# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A function on the stand-in for NVIDIA's driver, called with arrays in the GPU's memory.

    gpu_arrays.py STANDIN KERNELS

KERNELS is written first, and must be $PST_STANDIN_KERNELS.
"""

import ctypes
import math
import sys

import numpy as np
from dlpack import GpuArray, kDLFloat, kDLInt

import pst

ROWS, COLUMNS, STREAM = 7, 5, 1
TEXT = f"""func.func @main(%x: tensor<{ROWS}x{COLUMNS}xf32>, %s: f32) -> tensor<{ROWS}x{COLUMNS}xf32> {{
  %y = nn.activation relu %x : tensor<{ROWS}x{COLUMNS}xf32>
  return %y : tensor<{ROWS}x{COLUMNS}xf32>
}}
func.func @lookup(%ids: tensor<2x3xi32>, %table: tensor<{ROWS}x{COLUMNS}xf32>) -> tensor<6x{COLUMNS}xf32> {{
  %rows = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<{ROWS}x{COLUMNS}xf32> -> tensor<6x{COLUMNS}xf32>
  return %rows : tensor<6x{COLUMNS}xf32>
}}"""


def refused(action, message):
    try:
        action()
    except pst.Error as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)


library, kernels = sys.argv[1:]
standin = ctypes.CDLL(library)
compiled = pst.compile(TEXT, target="cuda", gpu_arch="sm_80", emulation=kernels)
function, lookup = compiled.function("main"), compiled.function("lookup")


def allocate(shape=(ROWS, COLUMNS), code=kDLFloat, element=ctypes.c_float):
    """An array of the GPU's memory, and the same for this process."""
    address = ctypes.c_uint64()
    assert standin.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(4 * math.prod(shape))) == 0
    values = np.ctypeslib.as_array(ctypes.cast(address.value, ctypes.POINTER(element)), shape)
    return GpuArray(address.value, shape, code=code), values


x, x_values = allocate()
y, y_values = allocate()
wanted = np.random.default_rng(3).standard_normal((ROWS, COLUMNS)).astype(np.float32)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def fill(_):
    x_values[...] = wanted


function.use_stream(STREAM)
standin.standin_give(ctypes.c_void_p(STREAM), fill, None)
function(x, 1.0, out=[y])
assert np.isnan(y_values).all(), "somebody has waited"
standin.cuStreamSynchronize(ctypes.c_void_p(STREAM))
np.testing.assert_array_equal(y_values, np.maximum(wanted, 0))
# From there to here, and from here to there.
np.testing.assert_array_equal(function(x, 1.0), np.maximum(wanted, 0))
function(-wanted, 1.0, out=[y])
function.use_stream(None)
np.testing.assert_array_equal(function(y, 1.0), np.maximum(-wanted, 0))

# Ids are waited for, and looked at.
ids, id_values = allocate((2, 3), kDLInt, ctypes.c_int32)
good = np.array([[6, 0, 3], [1, 6, 2]], np.int32)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def fill_ids(_):
    id_values[...] = good


x_values[...] = wanted
lookup.use_stream(STREAM)
standin.standin_give(ctypes.c_void_p(STREAM), fill_ids, None)
np.testing.assert_array_equal(lookup(ids, x), wanted[good.ravel()])
for wrong in (ROWS, -1):
    good[1, 2] = wrong
    standin.standin_give(ctypes.c_void_p(STREAM), fill_ids, None)
    refused(lambda: lookup(ids, x), f"ids go from 0 to {ROWS - 1}")
lookup.use_stream(None)

elsewhere = GpuArray(1 << 20, (ROWS, COLUMNS), device=1)
refused(lambda: function(elsewhere, 1.0), "is not in the memory of the CPU or of GPU 0; move it there first")
refused(lambda: function(GpuArray(1 << 20, (ROWS, 1)), 1.0), "must have the shape [7, 5], but has [7, 1]")
here = pst.compile(TEXT, cache=False).function("main")
refused(lambda: here(x, 1.0), "is not in the memory of the CPU; move it there first")
refused(lambda: here.use_stream(STREAM), "the program runs on the CPU, which has no streams")
