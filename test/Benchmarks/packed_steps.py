# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""packed_steps.py BATCHxLENGTH... [--model DIR]: what it costs that batches are stored without padding where there is none.

Steps of PST at 90 % with and without padding, of examples that are all whole, take turns: the median of packed / padded of five
turns, and the least and the most. BERT-base's shape with random weights, unless a model is named. Two threads; of one the clock is
the process's own.
"""

import argparse
import statistics
import tempfile
import time

from pst import _pst, bench_ours
from pst.bench_inputs import BERT_BASE, random_batch, write_random_bert

SPARSITY, TURNS = 0.9, 5


def ratios(model, batch, length, clock):
    """Of each turn, packed / padded."""

    def seconds(step):
        begin = clock()
        step.call(SPARSITY)
        return clock() - begin

    settings = {"model": model, "batch": batch, "length": length, "method": "pst", "rank": 8, "products": "auto", "recompute": "cheap", "learning_rate": 1e-4}
    data = random_batch(settings)
    padded = bench_ours.Step(settings, data)
    packed = bench_ours.Step(settings | {"token_capacity": batch * length}, data)
    for step in (padded, packed):
        step.call(SPARSITY)
    return [seconds(packed) / seconds(padded) for _ in range(TURNS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    _pst.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.model:
            write_random_bert(folder, BERT_BASE)
        for size in arguments.sizes:
            found = ratios(arguments.model or folder, *map(int, size.split("x")), clock)
            print(f"{size}: {statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})", flush=True)


main()
