# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""That the emulated tests of wgmma would notice: its kernel with one thing wrong at a time."""

import re

import pytest
from mutations import check, drop, print_product, replace

# One tile of 64 columns, whose depth goes round the eight buffers and further,
# and whose rows cannot be stored by TMA; tiles of 128 columns, of which it
# stores 32 at a time.
ONE, STORED = (120, 61, 840), (1032, 1544, 40)


def descriptor(change):
    """Changes the constant bits of both operands' descriptors."""

    def change_all(text):
        bits = re.search(r"arith.constant (46116\d{14}) : i64", text)[1]
        return text.replace(bits, str(change(int(bits))))

    return change_all


WAIT = r"nvvm\.mbarrier\.try_wait\.parity"
MUTATIONS = {
    "nothing": (lambda text: text, None),
    "no barrier of the block": (drop(r"gpu\.barrier"), "no initialised barrier"),
    "no fence of initialisations": (
        drop(r"nvvm\.fence\.mbarrier\.init"),
        "initialisation was not fenced",
    ),
    "buffers filled before they are empty": (drop(WAIT, 0), ""),
    "the first buffer not waited for": (drop(WAIT, 1), ""),
    "later buffers not waited for": (drop(WAIT, 2), ""),
    "buffers never given back": (
        drop(r"nvvm\.mbarrier\.arrive %", 0),
        "all threads wait",
    ),
    "buffers given back before they are read": (
        drop(r"nvvm\.wgmma\.wait\.group"),
        "wrong by",
    ),
    "no fence of products": (drop(r"nvvm\.wgmma\.fence"), "without a fence"),
    "products not committed": (drop(r"nvvm\.wgmma\.commit", 1), ""),
    "one operand not loaded": (
        drop(r"nvvm\.cp\.async\.bulk\.tensor", 1),
        "all threads wait",
    ),
    "too few bytes announced": (
        replace(r"arith.constant 24576 : i32", "arith.constant 16384 : i32"),
        "",
    ),
    "too many registers": (replace(r"increase 232", "increase 240"), "more registers"),
    "another stride": (descriptor(lambda bits: bits - (32 << 32)), "wrong by"),
    "no swizzle": (descriptor(lambda bits: bits & ~(1 << 62)), "128-byte swizzle"),
    "a layout named the other way round": (
        replace(r"(B\[<bf16>, <one>, )<col>", r"\1<row>"),
        "wrong by",
    ),
}

BARRIER, READ = r"nvvm\.barrier id", r"nvvm\.cp\.async\.bulk\.wait_group"
MUTATIONS_OF_STORES = {
    "nothing": (lambda text: text, None),
    "writes not fenced for the copy": (drop(r"nvvm\.fence\.proxy"), "fence.proxy.async"),
    "a box stored before all have written it": (drop(BARRIER, 1), "fence.proxy.async"),
    "a box written before it was read": (drop(READ, 2), "wrong by"),
    "a box written by some before it was read": (drop(BARRIER, 4), ""),
    "an end before all was read": (drop(READ, -1), "a copy from its shared memory has not"),
    "stores not committed": (drop(r"nvvm\.cp\.async\.bulk\.commit", -1), "a copy from its shared memory has not"),
    "a box not stored": (drop(r"nvvm\.cp\.async\.bulk\.tensor\.global", 3), "wrong by"),
    "words in one order": (replace(r"(arith\.select %\S+, )(%\S+), (%\S+) : f32", r"\1\3, \2 : f32"), "wrong by"),
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return print_product(tmp_path_factory.mktemp("kernel"), "sm_90a", *ONE)


@pytest.fixture(scope="module")
def kernel_of_stores(tmp_path_factory):
    return print_product(tmp_path_factory.mktemp("kernel"), "sm_90a", *STORED)


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_noticed(kernel, name):
    check(kernel, *MUTATIONS[name])


@pytest.mark.parametrize("name", MUTATIONS_OF_STORES)
def test_is_noticed_in_stores(kernel_of_stores, name):
    check(kernel_of_stores, *MUTATIONS_OF_STORES[name])
