# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""That the emulated tests of mma.sync would notice: its kernel with one thing wrong at a time."""

import pytest
from mutations import check, drop, print_product, replace

# Tiles that are not whole; the depth goes round the three stages and further.
M, N, K = 70, 61, 168

COPY, LOAD = r"nvvm\.cp\.async\.shared\.global", r"nvvm\.ldmatrix"
WAIT, COMMIT = r"nvvm\.cp\.async\.wait\.group", r"nvvm\.cp\.async\.commit\.group"
MUTATIONS = {
    "nothing": (lambda text: text, None),
    "no barrier": (drop(r"gpu\.barrier"), "wrong by"),
    "copies not waited for": (drop(WAIT), ""),
    "a group too few waited for": (
        replace(WAIT + " 1", "nvvm.cp.async.wait.group 2"),
        "",
    ),
    "a copy missing in the loop": (drop(COPY, -1), "wrong by"),
    "a group not committed": (drop(COMMIT, 0), "wrong by"),
    "a fragment transposed": (
        replace(r"(" + LOAD + r".*)mma_layout<row>", r"\1mma_layout<col>"),
        "wrong by",
    ),
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return print_product(tmp_path_factory.mktemp("kernel"), "sm_80", M, N, K)


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_noticed(kernel, name):
    check(kernel, *MUTATIONS[name])
