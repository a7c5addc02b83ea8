# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Contestants in processes of their own that take turns.

So each has its own pool of threads, asleep while the others run, and its own
peak of memory. A worker reads one command per line and answers with one line
of JSON:

    {"do": "check", "sparsity": 0.9}               results, reduced to a few numbers
    {"do": "run", "sparsity": 0.9, "seconds": 0.2} seconds per call, of calls that take about so long
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time

import numpy as np

from . import bench_inputs

# Threads of a pool spin for up to 200 ms (libomp) after their last work.
QUIET_SECONDS = 0.3


class WorkerError(RuntimeError):
    """A contestant did not run; the message says why."""


class Worker:
    """The caller's end. `settings`: "side" ("ours", "eager" or "onnx"), "task"
    ("Selection", "Layer", "Step", "Forward", "Decode" or, eager only, "Operation"), "threads", and what the task reads."""

    def __init__(self, settings: dict, timeout: float = 600.0):
        self.settings = settings
        self.timeout = timeout
        threads = str(settings["threads"])
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
        )
        self.pending = b""
        try:
            self.about = self._read()
        except WorkerError:
            self.close()
            raise

    def check(self, sparsity: float) -> dict:
        return self._ask({"do": "check", "sparsity": sparsity})

    def run(self, sparsity: float, seconds: float) -> float:
        """Seconds per call."""
        time.sleep(QUIET_SECONDS)
        return self._ask({"do": "run", "sparsity": sparsity, "seconds": seconds})["seconds"]

    def memory(self) -> dict:
        """The peak in "bytes"; of a rival on a GPU, also what it holds between steps ("held")."""
        return self._ask({"do": "memory"})

    def peak_bytes(self) -> int:
        return self.memory()["bytes"]

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ask(self, command: dict) -> dict:
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._reason()) from None
        return self._read()

    def _read(self) -> dict:
        end = time.monotonic() + self.timeout
        output = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                self.process.kill()
                raise WorkerError(f"gave no answer in {self.timeout:.0f} s")
            part = os.read(output, 1 << 16)
            if not part:
                raise WorkerError(self._reason())
            self.pending += part
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def _reason(self) -> str:
        status = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line or "error" in line]
        return (errors or lines or [f"ended with status {status}"])[-1][:300]


def summarize(arrays: dict) -> dict:
    """Of each array its length as a vector and its product with a fixed one:
    enough to tell two results apart."""
    summary = {}
    for name, array in arrays.items():
        flat = array.astype(np.float64).ravel()
        direction = np.cos(np.arange(flat.size) * 0.7)
        summary[name] = [float(np.linalg.norm(flat)), float(flat @ direction)]
    return summary


def differ(ours: dict, theirs: dict, tolerance: float) -> str:
    """What differs between two summaries, or an empty text."""
    for name in sorted(ours.keys() & theirs.keys()):
        (norm, product), (other_norm, other_product) = ours[name], theirs[name]
        bound = tolerance * max(norm, other_norm)
        if not (abs(norm - other_norm) <= bound and abs(product - other_product) <= bound):
            return f"{name}: ours has length {norm:.7g} and product {product:.7g}, theirs {other_norm:.7g} and {other_product:.7g}"
    return ""


def _make(settings: dict):
    make_inputs = {
        "Attention": bench_inputs.random_attention, "Step": bench_inputs.random_batch, "Forward": bench_inputs.random_batch,
        "Decode": bench_inputs.random_batch,
        "Operation": lambda settings: {},
    }  # fmt: skip
    inputs = make_inputs.get(settings["task"], bench_inputs.random_factors)(settings)
    if settings["side"] == "ours":
        from . import _pst, bench_ours

        _pst.set_num_threads(settings["threads"])
        return getattr(bench_ours, settings["task"])(settings, inputs)
    import torch

    from . import bench_eager

    torch.set_num_threads(settings["threads"])
    side = bench_eager
    if settings["side"] == "onnx":
        from . import bench_onnx as side
    return getattr(side, settings["task"])(settings, inputs)


def main() -> None:
    settings = json.loads(sys.argv[1])
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    # With one thread the process's own time, which other processes do not add to.
    clock = time.process_time if settings["threads"] == 1 else time.perf_counter
    begin = time.perf_counter()
    task = _make(settings)
    answer({"setup_seconds": time.perf_counter() - begin, **getattr(task, "about", {})})
    took = None
    # What a GPU was given must be done when a clock is read.
    wait = getattr(task, "wait", lambda: None)

    def seconds(calls):
        wait()
        start = clock()
        for _ in range(calls):
            task.call(command["sparsity"])
        wait()
        return clock() - start

    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "check":
            answer(summarize(task.check(command["sparsity"])))
        elif command["do"] == "memory":
            answer(task.memory() if hasattr(task, "memory") else {"bytes": bench_inputs.peak_resident_bytes()})
        else:
            if took is None:
                # The first call touches its memory and compiles, the second
                # is the measure; where that takes long the first will do.
                for _ in range(2):
                    took = seconds(1)
                    if took > 2 and not settings.get("compiled"):
                        break
            calls = max(1, int(command["seconds"] / max(took, 1e-7)))
            # Wakes the threads, of which the second comes late after a rest; to a
            # whole step that is nothing.
            if calls > 2 or (settings["threads"] > 1 and took < 0.5):
                seconds(1)
            answer({"seconds": seconds(calls) / calls})


if __name__ == "__main__":
    main()
