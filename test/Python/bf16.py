# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What tests of bf16 activations share.

Test functions take and return f32, and convert inside: so their arguments are
NumPy arrays. The arithmetic is f32, so a result differs from the formula's by
that of f32, and by one rounding to bf16 where it is stored: at most 2^-8 of
its value (bf16 has eight bits of precision, and rounds to nearest).
"""

import nn_reference as reference
import numpy as np
import torch

import pst

EPSILON = 2.0**-8
# Below this, bf16 is denormal and rounds by an absolute amount.
TINY = 2.0**-126


def rounded(array):
    """The nearest bf16 numbers, ties to even, as f32."""
    return torch.from_numpy(np.array(array, np.float32)).to(torch.bfloat16).float().numpy()


def tensor(shape, element):
    return "tensor<" + "".join(f"{size}x" for size in shape) + element + ">"


def element_of(array):
    return {"float32": "f32", "int32": "i32"}[array.dtype.name]


def function(body, arguments, results):
    """MLIR text of @main: `body` computes the results from the arguments, by their names.

    arguments: (name, array, is bf16), or (name, MLIR type); results: (name,
    shape, is bf16). Those of bf16 are f32 outside.
    """
    inputs, before = [], []
    for name, *what in arguments:
        if isinstance(what[0], str):
            inputs.append(f"%{name}: {what[0]}")
            continue
        array, narrow = what
        wide = tensor(array.shape, element_of(array))
        inputs.append(f"%{name}{'_f32' if narrow else ''}: {wide}")
        if narrow:
            before.append(f"  %{name} = arith.truncf %{name}_f32 : {wide} to {tensor(array.shape, 'bf16')}")
    after, values, types = [], [], []
    for name, shape, narrow in results:
        wide = tensor(shape, "f32")
        types.append(wide)
        values.append(f"%{name}{'_wide' if narrow else ''}")
        if narrow:
            after.append(f"  %{name}_wide = arith.extf %{name} : {tensor(shape, 'bf16')} to {wide}")
    lines = "\n".join([*before, body, *after])
    return (
        f"func.func @main({', '.join(inputs)}) -> ({', '.join(types)}) {{\n{lines}\n"
        f"  return {', '.join(values)} : {', '.join(types)}\n}}"
    )


def emulate(body, arguments, results):
    """Runs the body (see `function`) and returns the list of results."""
    text = function(body, arguments, results)
    values = [value for _, value, *_ in arguments if not isinstance(value, str)]
    return reference.call(pst.compile(text, target="emulated"), *values)


def close(actual, expected, narrow=True, arithmetic=2e-6, size=None):
    """|actual - expected| is at most one rounding to bf16 of the expected value
    (if narrow) and `arithmetic` (f32) of `size`, the magnitude of what was added."""
    expected = expected.detach().numpy() if torch.is_tensor(expected) else np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    if narrow:
        np.testing.assert_array_equal(actual, rounded(actual))
    bound = allowed(expected, narrow, arithmetic, size)
    error = np.abs(actual - expected)
    worst = np.unravel_index(np.argmax(error - bound), actual.shape)
    assert (error <= bound).all(), f"{actual[worst]} instead of {expected[worst]} at {worst}"


def allowed(expected, narrow=True, arithmetic=2e-6, size=None):
    """The bound of `close`."""
    bound = reference.allowed(expected, arithmetic, size)
    return bound * (1 + EPSILON) + EPSILON * np.abs(expected) if narrow else bound
