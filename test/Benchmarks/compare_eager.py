#!/usr/bin/env python3
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Our training step against eager PyTorch's, of PST as it was published.

    python test/Benchmarks/compare_eager.py --model DIR [--batch 32] [--length 64] [--threads 2]

Two processes, one each, take turns, so that what else the machine does hits
both alike and the peak of memory (VmHWM) is each one's own. A step is all of
it: masks, forward, backward, clipping, AdamW, at the final sparsity and with
the model's dropout. Prints JSON: the median seconds per step of each, their
ratio, and the peaks.

Eager is the reference's way (per forward a sort of all scores, a float mask,
W' and M * W' kept for autograd) on transformers' BERT, but without gradients
for what is frozen, which the reference collects and throws away.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SPARSITY, RANK, LABELS, RATE = 0.9, 8, 2, 1e-4


def random_batch(arguments):
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (arguments.batch, arguments.length)
    with open(os.path.join(arguments.model, "config.json"), encoding="utf-8") as file:
        vocabulary = json.load(file)["vocab_size"]
    return {
        "input_ids": rng.integers(0, vocabulary, shape).astype(np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "labels": rng.integers(0, LABELS, arguments.batch).astype(np.int32),
    }


def compiled_step(arguments):
    """As `pst train` runs it, compiled in this process; or from a bundle."""
    from pst import _pst

    _pst.set_num_threads(arguments.threads)
    settings = {"batch_size": arguments.batch, "sequence_length": arguments.length, "num_labels": LABELS}
    if arguments.bundle:
        program = _pst.Program.load(arguments.bundle)
    else:
        program = _pst.compile_model(arguments.model, {**settings, "weight_rank": RANK, "mask_rank": RANK})
    model = _pst.Model(program, arguments.model, 1)
    data = _pst.Dataset.of(random_batch(arguments))
    rows = list(range(arguments.batch))
    count = 0

    def step():
        nonlocal count
        count += 1
        model.select(SPARSITY)
        loss = model.forward_backward(data, rows, 1 / arguments.batch, count)
        model.apply(RATE, count, max_grad_norm=1.0)
        return loss

    return step, {"planned_bytes": json.loads(program.manifest)["memory"]}


def eager_step(arguments):
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    class Binarize(torch.autograd.Function):
        @staticmethod
        def forward(context, scores):
            mask = torch.ones_like(scores).flatten()
            order = torch.argsort(scores.flatten())
            mask[order[: int(scores.numel() * SPARSITY)]] = 0.0
            return mask.view_as(scores)

        @staticmethod
        def backward(context, gradient):
            return gradient

    class SparseLinear(torch.nn.Module):
        def __init__(self, linear):
            super().__init__()
            rows, columns = linear.weight.shape
            self.weight, self.bias = linear.weight, linear.bias
            self.U, self.A = (torch.nn.Parameter(torch.randn(rows, RANK)) for _ in range(2))
            self.V, self.B = (torch.nn.Parameter(torch.zeros(RANK, columns)) for _ in range(2))
            self.R = torch.nn.Parameter(torch.zeros(rows, 1))
            self.C = torch.nn.Parameter(torch.zeros(1, columns))

        def forward(self, x):
            weight = self.weight + self.U @ self.V
            scores = weight.abs() + self.A @ self.B + (self.R + self.C)
            return torch.nn.functional.linear(x, Binarize.apply(scores) * weight, self.bias)

    model = transformers.BertForSequenceClassification.from_pretrained(arguments.model, num_labels=LABELS).train()
    model.bert.requires_grad_(False)
    for parent in list(model.bert.encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(parent, name, SparseLinear(child))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, weight_decay=0.0)
    batch = {name: torch.from_numpy(value).long() for name, value in random_batch(arguments).items()}

    def step():
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return loss.item()

    return step, {}


def peak_mib():
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def work(arguments):
    """Sets up, then runs as many steps as each line of the input says."""
    begin = time.perf_counter()
    step, more = (compiled_step if arguments.worker == "compiled" else eager_step)(arguments)
    answer = {"first_loss": step(), "setup_seconds": time.perf_counter() - begin, **more}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            loss = step()
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds, "last_loss": loss, "peak_mib": peak_mib()}), flush=True)


class Worker:
    def __init__(self, name, arguments):
        command = [sys.executable, __file__, "--worker", name]
        for key in ("model", "batch", "length", "threads", "bundle"):
            command += [f"--{key}", str(getattr(arguments, key))]
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.result = self.read()
        self.seconds = []

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the process of {self.process.args[3]} ended with status {self.process.wait()}")
        return json.loads(line)

    def turn(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.read()
        self.seconds += answer.pop("seconds")
        self.result.update(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.result["seconds_per_step"] = statistics.median(self.seconds)
        self.result["seconds_per_step_range"] = [min(self.seconds), max(self.seconds)]
        return self.result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a BERT's directory, for instance all-MiniLM-L6-v2's")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--bundle", default="", help="use this bundle ('pst compile') instead of compiling")
    parser.add_argument("--worker", choices=("compiled", "eager"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments)
    workers = {name: Worker(name, arguments) for name in ("compiled", "eager")}
    for _ in range(arguments.turns):
        for worker in workers.values():
            worker.turn(arguments.steps)
            # The threads of this one come to rest before the other starts.
            time.sleep(0.5)
    results = {name: worker.close() for name, worker in workers.items()}
    compiled, eager = results["compiled"], results["eager"]
    results["speedup"] = eager["seconds_per_step"] / compiled["seconds_per_step"]
    results["memory_ratio"] = compiled["peak_mib"] / eager["peak_mib"]
    shape = {name: getattr(arguments, name) for name in ("batch", "length", "threads")}
    print(json.dumps({**shape, "load": os.getloadavg()[0], **results}, indent=2))


if __name__ == "__main__":
    main()
