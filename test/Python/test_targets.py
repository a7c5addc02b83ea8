# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs for other machines than this one."""

import pathlib
import platform

import pst
import pytest

TEXT = (
    "func.func @main(%x: tensor<7x5xf32>) -> tensor<7x5xf32> {\n"
    "  %y = nn.activation relu %x : tensor<7x5xf32>\n"
    "  return %y : tensor<7x5xf32>\n}\n"
)


def test_code_that_this_machine_cannot_run_is_refused():
    if platform.machine() != "x86_64" or "avx512_vp2intersect" in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("needs an x86-64 machine without AVX512_VP2INTERSECT, which a Tiger Lake has")
    with pytest.raises(pst.CompileError, match="compiled for tigerlake and cannot run on this machine, which lacks avx"):
        pst.compile(TEXT, cpu="tigerlake")


def test_an_unknown_cpu_is_named():
    with pytest.raises(pst.CompileError, match="unknown CPU 'zen99'"):
        pst.compile(TEXT, cpu="zen99")
