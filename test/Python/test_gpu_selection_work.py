# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ties cost a selection on GPUs no more than distinct scores: how many searches it needs, and what they evaluate.

The launches are printed and changed as text: the last searches are taken away, and those that are left get other scores
than the kernels before them. Where the result is right all the same, they have not evaluated what was changed.
"""

import os
import pathlib
import re
import subprocess

import numpy as np
import pytest
from test_kernels_selection import expected

import pst

ROWS, COLUMNS = 512, 1024
SEARCHES = 4
TYPE = f"tensor<{ROWS}x{COLUMNS}xf32>"
TEXT = f"""
pst.criterion @c(%w: dense, %s: dense) {{
  pst.yield weight %w score %s
}}
func.func @select(%other: {TYPE}, %scores: {TYPE}, %sparsity: f64) -> (tensor<f32>, tensor<i64>, tensor<i64>) {{
  %tau, %cut, %pruned = pst.topk_threshold @c(%other, %scores), %sparsity : ({TYPE}, {TYPE})
  return %tau, %cut, %pruned : tensor<f32>, tensor<i64>, tensor<i64>
}}"""


@pytest.fixture(scope="module")
def launches(tmp_path_factory):
    tool = pathlib.Path(os.environ.get("PST_BUILD_DIR", ".")) / "bin" / "pst-compile"
    if not tool.exists():
        pytest.skip("pst-compile is not built (PST_BUILD_DIR)")
    folder = tmp_path_factory.mktemp("selection")
    (folder / "select.mlir").write_text(TEXT)
    subprocess.run([tool, folder / "select.mlir", "--target=emulated", "--emit=kernels", "-o", folder / "kernels.mlir"], check=True)
    return (folder / "kernels.mlir").read_text().splitlines()


@pytest.fixture(scope="module")
def select(launches):
    """The selection with so many searches, which get the first argument's elements as scores."""
    compiled = {}

    def function(searches):
        if searches not in compiled:
            places = [i for i, line in enumerate(launches) if re.search(r"gpu\.launch_func.*_search ", line)]
            assert len(places) == SEARCHES
            lines = list(launches)
            for place in places:
                lines[place] = lines[place].replace("%arg1 : memref", "%arg0 : memref")
            for place in reversed(places[searches:]):
                del lines[place]
            compiled[searches] = pst.compile("\n".join(lines), target="emulated", cache=False)
        return compiled[searches]

    return function


def scores_of(name):
    rng = np.random.default_rng(7)
    scores = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    if name == "bf16":  # the magnitude of a weight whose factors are zero
        scores = (np.abs(scores).view(np.uint32) & 0xFFFF0000).view(np.float32)
    elif name == "300 values":
        scores = np.round(scores * 50) / 50
    elif name == "60 values":
        scores = np.round(scores * 10) / 10
    elif name == "two values":
        scores = np.where(scores > 1, 2, -1).astype(np.float32)
    elif name == "all equal":
        scores[:] = 0.75
    return scores


def is_right(function, other, scores, sparsity):
    tau, cut, _ = function(other, scores, sparsity)
    return (tau, cut) == expected(scores, sparsity)


# The threshold of the second lies between keys of both signs, which are far apart: its part of the bracket is large.
CASES = [
    ("distinct", 0.9, 1),
    ("distinct", 0.5, 2),
    ("bf16", 0.9, 1),
    ("bf16", 0.5, 1),
    ("300 values", 0.9, 1),
    ("300 values", 0.4, 2),
]


@pytest.mark.parametrize("name, sparsity, searches", CASES)
def test_what_was_kept_is_not_evaluated_again(select, name, sparsity, searches):
    scores = scores_of(name)
    nothing = np.zeros_like(scores)
    assert is_right(select(searches), nothing, scores, sparsity)


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
@pytest.mark.parametrize("name, searches", [("two values", 1), ("all equal", 1), ("60 values", 2)])
def test_of_many_equal_scores_few_rows_are_evaluated_again(select, name, searches, sparsity):
    scores = scores_of(name)
    row = expected(scores, sparsity)[1] // COLUMNS
    near = np.abs(np.arange(ROWS) - row) < ROWS // 64
    around = np.where(near[:, None], scores, np.float32(0))
    assert is_right(select(searches), around, scores, sparsity)
    # They are indeed what it is found from.
    assert not is_right(select(searches), np.zeros_like(scores), scores, sparsity)


def test_a_sample_that_misleads_costs_all_searches_at_most(select):
    scores = scores_of("distinct")
    scores[:, 5] += 100  # few enough to be missed, and all that stay
    for sparsity in (1 - 0.4 / COLUMNS, 0.999):
        assert is_right(select(SEARCHES), scores, scores, sparsity)
