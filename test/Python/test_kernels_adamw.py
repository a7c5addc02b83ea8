# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kernel of pst.adamw."""

import numpy as np
import nn_reference as reference
import pytest

SCALARS = ["rate", "beta1", "beta2", "epsilon", "decay", "correction1", "correction2", "most"]


def program(size, decayed, ranges=()):
    """`ranges`: (begin, end, rate) of elements with a rate of their own."""
    rates = "".join(f"%r{i} = arith.constant {rate:e} : f32\n" for i, (_, _, rate) in enumerate(ranges))
    bounds = ", ".join(f"{begin}, {end}" for begin, end, _ in ranges)
    others = f"except [{bounds}] ({', '.join(f'%r{i}' for i in range(len(ranges)))})" if ranges else ""
    arguments = ", ".join(f"%{name}: f32" for name in SCALARS)
    names = ", ".join(f"%{name}" for name in SCALARS)
    t = f"tensor<{size}xf32>"
    return f"""pst.parameter @p trainable init<normal 1.0> {{decay, offset = 0 : i64}} : {t}
    func.func @main(%x: {t}, {arguments}) -> (tensor<f32>, {t}, {t}) {{
      {rates}pst.accumulate %x, @p : {t}
      %norm = pst.adamw size {size} decayed {decayed} ({names}) {others}
      %value = pst.load @p : {t}
      %gradient = pst.load @p gradient : {t}
      return %norm, %value, %gradient : tensor<f32>, {t}, {t}
    }}"""


def settings(step, most=0.0, decay=0.1):
    beta1, beta2 = 0.9, 0.99
    return {
        "rate": 3e-2 / step,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": 1e-8,
        "decay": decay,
        "correction1": 1 - beta1**step,
        "correction2": 1 - beta2**step,
        "most": most,
    }


# One element, primes, more than one chunk of 8,192; nothing, some, all decayed.
@pytest.mark.parametrize("size, decayed", [(1, 1), (13, 0), (64, 24), (1009, 500), (20011, 9001)])
@pytest.mark.parametrize("most", [0.0, 0.5, 1e6])
def test_steps(size, decayed, most):
    runs = []
    for threads in (1, 2):
        reference.pst._pst.set_num_threads(threads)
        function = reference.pst.compile(program(size, decayed))
        # A step of rate 0 on a gradient of 0 changes nothing, and tells the initial value.
        still = {**settings(1), "rate": 0.0}
        _, start, _ = function(np.zeros(size, np.float32), *still.values())
        exact = reference.AdamW(start, decayed)
        for step in range(1, 5):
            # Gradients of very different sizes, some of them zero.
            g = reference.random(size, seed=step, scale=10.0 ** (step - 3))
            g[::5] = 0
            values = settings(step, most)
            norm, value, gradient = function(g, *values.values())
            expected = exact.step(g, *(np.float64(np.float32(v)) for v in values.values()))
            reference.close(norm, expected, 2e-7, size=expected)
            # Each step moves by at most a few rates, and errs relative to that and to the value.
            reference.close(value, exact.parameter, 1e-6)
            assert (gradient == 0).all()
        assert np.abs(value - start).max() > 1e-3
        runs.append((norm, value))
    for one, two in zip(*runs):
        assert one.tobytes() == two.tobytes()


# Ranges within what decays, within what does not, and across; next to each other and at the ends.
@pytest.mark.parametrize(
    "size, decayed, ranges",
    [
        (1, 0, [(0, 1, 2e-2)]),
        (1009, 500, [(0, 13, 1e-3), (13, 14, 4e-2), (490, 510, 1e-2), (1001, 1009, 0.0)]),
        (20011, 9001, [(8190, 8195, 5e-2), (9001, 20011, 2e-3)]),
    ],
)
def test_other_rates(size, decayed, ranges):
    function = reference.pst.compile(program(size, decayed, ranges))
    g = reference.random(size)
    _, start, _ = function(np.zeros(size, np.float32), *{**settings(1, decay=0.0), "rate": 0.0}.values())
    exact = reference.AdamW(start, decayed)
    for step in (1, 2):
        values = settings(step, most=0.5)
        rate = np.full(size, np.float32(values["rate"]), np.float64)
        for begin, end, own in ranges:
            rate[begin:end] = np.float32(own)
        _, value, _ = function(g, *values.values())
        exact.step(g, rate, *(np.float64(np.float32(v)) for v in list(values.values())[1:]))
        reference.close(value, exact.parameter, 1e-6)


def test_norm_is_summed_in_double():
    """A large element does not swallow the small ones, as it would in f32."""
    size = 8192 * 3 + 5
    g = np.full(size, 1e-4, np.float32)
    g[0] = 1.0
    norm, *_ = reference.pst.compile(program(size, 0))(g, *settings(1).values())
    exact = np.sqrt((g.astype(np.float64) ** 2).sum())
    assert abs(float(norm) - exact) <= 6e-8 * exact
    assert exact - 1 > 1e-4
