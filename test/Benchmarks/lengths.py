# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""lengths.py MODEL [OPTION=VALUE...]: a saved model is asked for texts of several lengths, or if it generates, several numbers of prompts.

For each, in this order: the processor's seconds of the first call, which may compile, and of the least of three further ones. Then the
process's peak of memory, and what of it was there before the model was loaded. The second time programs come from the cache. One thread.
"""

import sys
import time

import numpy as np

import pst
from pst import _pst


def seconds(call):
    begin = time.process_time()
    call()
    return time.process_time() - begin


def main(directory, *options):
    _pst.set_num_threads(1)
    before = _pst.peak_resident_bytes()
    model = pst.load(directory, **{"max_seq_length": 256} | dict(option.split("=") for option in options))
    generates = hasattr(model, "generate")
    rng = np.random.default_rng(0)
    for size in (1, 5, 1, 5) if generates else (20, 200, 30, 20, 200):
        ids = rng.integers(5, model.config["vocab_size"], (size, 20) if generates else (1, size))
        if generates:
            call = lambda: model.generate(ids.tolist(), max_new_tokens=4, eos_token_id=[-1])  # noqa: E731, B023
        else:
            call = lambda: model(input_ids=ids)  # noqa: E731, B023
        first = seconds(call)
        print(f"{size} {'prompts' if generates else 'tokens'}: {first:.3f} s, then {min(seconds(call) for _ in range(3)):.4f} s")
    print(f"peak {_pst.peak_resident_bytes() >> 20} MiB, before loading {before >> 20} MiB")


main(*sys.argv[1:])
