# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rows of `pst bench`: what is measured, against whom, and the bar."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import programs
from .bench_inputs import BERT_BASE, HEAD_WIDTH, HEADS, write_random_bert
from .bench_worker import Worker, WorkerError, differ

LEARNING_RATE = 3e-5


class Absent(Exception):
    """What a row needs is not there; the message says what."""


@dataclass
class Sizes:
    """What is measured: the standard sizes, which the bars are for."""

    gemm: tuple = ((4096, 768, 768), (4096, 3072, 768), (4096, 768, 3072), (512, 3072, 768), (2048, 4096, 4096))
    layer: tuple = (3072, 768)
    tokens: tuple = (4096, 512)
    sparsity: float = 0.9
    batch: int = 32
    length: int = 128
    standard: bool = True
    attention: tuple = ((8, 512), (1, 4096))  # sequences x tokens
    lengths: tuple = ()  # of the examples of a whole step, or of several, in turn; none: `length`

    @staticmethod
    def tiny() -> Sizes:
        """Shows that the machinery works; has no bars, and means nothing."""
        return Sizes(((48, 32, 40),), (48, 32), (40, 24), 0.9, 3, 8, False, ((2, 7),))


@dataclass
class Context:
    """What all rows share."""

    sizes: Sizes
    threads: tuple
    samples: int  # of kernels
    turns: int  # of whole steps
    seconds: float  # of a sample
    openblas: tuple = ()
    pst_bench: str = ""
    model: str = ""
    progress: object = print
    attention: str = "sdpa"
    _memory: dict = field(default_factory=dict)

    def kernel(self, *arguments: str) -> dict:
        """Runs pst-bench; returns what it wrote."""
        program = self.pst_bench or programs.find("pst-bench")
        if not program:
            raise Absent("pst-bench was not found: it comes with the package (pip install .); or name it with --pst_bench")
        with tempfile.TemporaryDirectory() as directory:
            output = os.path.join(directory, "results.json")
            command = [program, *arguments, "--json", output, "--samples", str(self.samples)]
            command += ["--sample", str(1e3 * self.seconds)]
            if arguments[0] != "step":
                command += [part for file in self.openblas for part in ("--openblas", file)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise WorkerError((done.stderr.strip() or f"pst-bench ended with status {done.returncode}").splitlines()[-1])
            with open(output, encoding="utf-8") as file:
                return json.load(file)

    def worker(self, side: str, task: str, threads: int, **more) -> Worker:
        if side != "ours":
            need("torch")
        settings = {"side": side, "task": task, "threads": threads, "rank": 8, "method": "published"}
        settings.update(compiled=False, products="auto", recompute="cheap", attention=self.attention)
        if task == "Step":
            settings.update(
                model=self.model_directory(), batch=self.sizes.batch, length=self.sizes.length, lengths=self.sizes.lengths,
                learning_rate=LEARNING_RATE,
            )  # fmt: skip
        elif task not in ("Forward", "Decode"):
            settings.update(rows=self.sizes.layer[0], columns=self.sizes.layer[1], tokens=1)
        settings.update(more)
        return Worker(settings)

    def model_directory(self) -> str:
        """A BERT-base of random weights, unless a model was named."""
        if not self.model:
            self._memory["directory"] = directory = tempfile.TemporaryDirectory(prefix="pst-bench-")
            self.model = directory.name
            self.progress("    writing a BERT-base of random weights")
            write_random_bert(self.model, BERT_BASE)
        return self.model


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise Absent(f"the Python package {package} is not installed (pip install {package})")


def openblas_libraries() -> tuple:
    """The system's OpenBLAS, and the one that NumPy's wheels bring: the faster one counts."""
    import numpy

    brought = Path(numpy.__file__).parent.parent / "numpy.libs"
    return ("libopenblas.so.0", *map(str, sorted(brought.glob("libscipy_openblas*.so"))))


@dataclass
class Row:
    """One measure. `kind`: "at least" or "at most" the bar; a row without a
    bar informs only."""

    name: str
    measure: object  # () -> dict with "value", "spread" and more
    bar: float | None = None
    kind: str = "at least"


def spread(values) -> list:
    """The quartiles; of fewer than four values, the least and the largest."""
    values = sorted(values)
    if len(values) < 4:
        return [values[0], values[-1]]
    quarters = statistics.quantiles(values, n=4, method="inclusive")
    return [quarters[0], quarters[2]]


def all_rows(context: Context) -> list[Row]:
    """Bars are for the standard sizes, and those of steps for BERT-base."""
    kernels = [*_products(context), *_selection(context), *_layer_steps(context), *_attention(context)]
    steps = list(_steps(context))
    other_step = context.model or (context.sizes.batch, context.sizes.length) != (Sizes.batch, Sizes.length)
    for row in kernels + steps:
        if not context.sizes.standard or (other_step and row in steps):
            row.bar = None
    return kernels + steps


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


# --- Products, by pst-bench


def _from_kernel(case: dict, chosen: list, inverse: bool = False) -> dict:
    """The row of our time against the fastest of the chosen rivals."""
    fastest = min(chosen, key=lambda c: c["seconds"])
    ratio = fastest["over_ours"]
    value, edges = ratio["median"], [ratio["low"], ratio["high"]]
    if inverse:
        value, edges = 1 / value, [1 / edges[1], 1 / edges[0]]
    return {
        "value": value,
        "spread": edges,
        "rival": fastest["name"],
        "contestants": {
            c["name"]: {key: c[key] for key in ("seconds", "gflops", "share_of_peak", "samples") if key in c}
            for c in case["contestants"]
        },
        "peak_gflops": case["peak_gflops"],
        "error": case["error"],
    }


def _named(case: dict, *prefixes: str) -> list:
    return [c for c in case["contestants"] if c["name"].startswith(prefixes)]


def _products(context: Context):
    sizes = context.sizes

    def gemm(shape, threads):
        tokens, out, columns = map(str, shape)
        result = context.kernel("gemm", "--tokens", tokens, "--out", out, "--in", columns, "--threads", str(threads))
        case = result["cases"][0]
        row = _from_kernel(case, _named(case, "OpenBLAS", "oneDNN"))
        if not _named(case, "OpenBLAS") or not _named(case, "oneDNN"):
            row["undecided"] = "a rival is absent: " + "; ".join(result["absent"])
        return row

    for shape in sizes.gemm:
        for threads in context.threads:
            name = "x".join(map(str, shape))
            yield Row(f"gemm {name}, {_count(threads)}", lambda s=shape, t=threads: gemm(s, t), 1.0)

    def masked(tokens, threads, sparsity, products, form):
        case = context.kernel(
            *("masked", "--tokens", str(tokens), "--out", str(sizes.layer[0]), "--in", str(sizes.layer[1])),
            *("--threads", str(threads), "--sparsity", str(sparsity), "--products", products, "--form", form),
        )["cases"][0]
        blas = _named(case, "OpenBLAS")
        if not blas:
            raise Absent("OpenBLAS was not found (Debian: libopenblas-dev; or --openblas FILE)")
        return _from_kernel(case, blas)

    layer = "x".join(map(str, sizes.layer))
    for tokens, bar in zip(sizes.tokens, (1.0, 0.95)):
        for threads in context.threads:
            yield Row(
                f"masked product {tokens}x{layer} (packed), {_count(threads)}",
                lambda k=tokens, t=threads: masked(k, t, sizes.sparsity, "packed", "nt"),
                bar,
            )

    def accumulate(tokens, threads):
        case = context.kernel(
            *("accumulate", "--tokens", str(tokens), "--out", str(sizes.layer[0]), "--in", str(sizes.layer[1])),
            *("--threads", str(threads)),
        )["cases"][0]
        return _from_kernel(case, _named(case, "our G alone", "OpenBLAS"), inverse=True)

    for tokens, bar in zip(sizes.tokens, (1.03, 1.15)):
        for threads in context.threads:
            yield Row(
                f"G with accumulation / plain G, {tokens}x{layer}, {_count(threads)}",
                lambda k=tokens, t=threads: accumulate(k, t),
                bar,
                "at most",
            )

    for percent, bar in ((80, 2.2), (90, 3.5), (95, 6.0)):
        for form, what in (("nt", "Y"), ("nn", "dX")):
            for threads in context.threads:
                yield Row(
                    f"compressed {what} at {percent} %, {sizes.tokens[0]}x{layer}, {_count(threads)}",
                    lambda p=percent, f=form, t=threads: masked(sizes.tokens[0], t, p / 100, "compressed", f),
                    bar,
                )


# --- Against PyTorch, in turns


def take_turns(context: Context, ours: Worker, rival: Worker, sparsities, turns: int, tolerance: float = 2e-3) -> dict:
    """Times the rival at `sparsities[1]` against ours at `sparsities[0]`, after
    the results at the rival's sparsity have been compared."""
    found = differ(ours.check(sparsities[1]), rival.check(sparsities[1]), tolerance)
    if found:
        raise WorkerError(f"the results differ, so nothing was timed: {found}")
    # A first turn of each does not count.
    samples = [[], []]
    for turn in range(turns + 1):
        pair = [worker.run(s, context.seconds) for worker, s in zip((ours, rival), sparsities)]
        if turn:
            context.progress(f"    ours {pair[0]:.4g} s, rival {pair[1]:.4g} s")
            for kept, value in zip(samples, pair):
                kept.append(value)
    ratios = [theirs / mine for mine, theirs in zip(*samples)]
    return {
        "value": statistics.median(ratios),
        "spread": spread(ratios),
        "samples": {"ours": samples[0], "rival": samples[1]},
        "seconds": {"ours": statistics.median(samples[0]), "rival": statistics.median(samples[1])},
    }


def _selection(context: Context):
    def measure(warm, threads):
        with context.worker("ours", "Selection", threads, warm=warm) as ours:
            with context.worker("eager", "Selection", threads) as rival:
                return take_turns(context, ours, rival, [context.sizes.sparsity] * 2, context.samples)

    layer = "x".join(map(str, context.sizes.layer))
    for warm, bar in ((True, 100.0), (False, 45.0)):
        for threads in context.threads:
            name = f"exact threshold, {'warm' if warm else 'cold'}, against argsort, {layer}, {_count(threads)}"
            yield Row(name, lambda w=warm, t=threads: measure(w, t), bar)


def _layer_steps(context: Context):
    sizes = context.sizes

    def measure(tokens, method, compiled, threads):
        with context.worker("ours", "Layer", threads, tokens=tokens, products="compressed") as ours:
            with context.worker("eager", "Layer", threads, tokens=tokens, method=method, compiled=compiled) as rival:
                return take_turns(context, ours, rival, [sizes.sparsity] * 2, max(3, context.samples // 2))

    layer = "x".join(map(str, sizes.layer))
    for tokens, bar in zip(sizes.tokens, (3.0, 6.0)):
        for threads in context.threads:
            name = f"layer step {layer}, {tokens} tokens, {_count(threads)}: eager as published / ours"
            yield Row(name, lambda k=tokens, t=threads: measure(k, "published", False, t), bar)


def _attention(context: Context):
    def measure(batch, length, threads):
        with context.worker("ours", "Attention", threads, batch=batch, length=length) as ours:
            with context.worker("eager", "Attention", threads, batch=batch, length=length) as rival:
                return take_turns(context, ours, rival, [0.0, 0.0], context.samples)

    for (batch, length), bar in zip(context.sizes.attention, (1.2, None)):
        for threads in context.threads:
            name = f"attention {batch} x {length}, {HEADS} heads of {HEAD_WIDTH}, forward and backward, {_count(threads)}: PyTorch's fused one / ours"
            yield Row(name, lambda b=batch, n=length, t=threads: measure(b, n, t), bar)


# --- Whole steps


def _steps(context: Context):
    sizes = context.sizes
    threads = max(context.threads)
    what = f"BERT-base step, {sizes.batch} x {sizes.length}" if not context.model else f"step, {sizes.batch} x {sizes.length}"
    if sizes.lengths:
        what += " of real lengths"
    if len(sizes.lengths) > sizes.batch:
        what += f", {-(-len(sizes.lengths) // sizes.batch)} batches in turn"

    def measure(method, compiled, ours_at, rival_at):
        with context.worker("ours", "Step", threads, method="pst") as ours:
            with context.worker("eager", "Step", threads, method=method, compiled=compiled) as rival:
                # Compiling takes most of a compiled rival's minutes.
                turns = min(2, context.turns) if compiled else context.turns
                row = take_turns(context, ours, rival, [ours_at, rival_at], turns)
                row["peak_bytes"] = {"ours": ours.peak_bytes(), "rival": rival.peak_bytes()}
                row["memory_plan"] = ours.about["memory_plan"]
                row["setup_seconds"] = {"ours": ours.about["setup_seconds"], "rival": rival.about["setup_seconds"]}
                context._memory[method] = row["peak_bytes"]
                return row

    at = sizes.sparsity
    percent = f"{100 * at:.0f} %"
    timed = (
        (f"{what}, {percent}: eager as published / ours", "published", False, at, at, 3.0),
        (f"{what}, {percent}: eager with kthvalue / ours", "kthvalue", False, at, at, 2.2),
        (f"{what}, {percent}: dense LoRA eager / ours", "lora", False, at, 0.0, 1.2),
        (f"{what}, sparsity 0: dense LoRA eager / ours", "lora", False, 0.0, 0.0, 0.7),
        (f"{what}, {percent}: movement pruning eager / ours", "mvp", False, at, 0.0, None),
        (f"{what}, {percent}: torch.compile, as published / ours", "published", True, at, at, None),
        (f"{what}, {percent}: torch.compile, kthvalue / ours", "kthvalue", True, at, at, None),
        (f"{what}, {percent}: torch.compile, dense LoRA / ours", "lora", True, at, 0.0, None),
        (f"{what}, {percent}: torch.compile, movement pruning / ours", "mvp", True, at, 0.0, None),
    )
    for name, method, compiled, ours_at, rival_at, bar in timed:
        yield Row(name, lambda m=method, c=compiled, o=ours_at, r=rival_at: measure(m, c, o, r), bar)

    def beyond_activations():
        with context.worker("ours", "Step", threads, method="pst") as ours:
            plan = ours.about["memory_plan"]
        total = sum(plan[kind] for kind in ("frozen", "trainable", "gradients", "optimizer", "state", "workspace"))
        return {"value": total / plan["frozen"], "spread": [total / plan["frozen"]] * 2, "memory_plan": plan}

    yield Row(f"{what}: memory beyond activations / frozen weights", beyond_activations, 1.15, "at most")

    def rival_peak():
        # The row of movement pruning's time has it already, if it ran.
        if "mvp" not in context._memory:
            with context.worker("eager", "Step", threads, method="mvp") as rival:
                rival.run(at, 0)
                context._memory["mvp"] = {"rival": rival.peak_bytes()}
        return context._memory["mvp"]["rival"]

    def peak_memory(recompute):
        with context.worker("ours", "Step", threads, method="pst", recompute=recompute) as ours:
            ours.run(at, 0)
            peaks = {"ours": ours.peak_bytes(), "rival": rival_peak()}
        ratio = peaks["rival"] / peaks["ours"]
        return {"value": ratio, "spread": [ratio, ratio], "peak_bytes": peaks}

    name = f"{what}: peak memory, movement pruning eager / ours"
    yield Row(name, lambda: peak_memory("cheap"), None)
    yield Row(f"{name} with --recompute all", lambda: peak_memory("all"), 6.0)

    def price():
        with context.worker("ours", "Step", threads, method="pst") as ours:
            with context.worker("ours", "Step", threads, method="pst", recompute="all") as rival:
                return take_turns(context, ours, rival, [at, at], context.turns)

    yield Row(f"{what}, {percent}: step with --recompute all / without", price, None)

    def outside():
        result = context.kernel(
            *("step", context.model_directory(), "--batch-size", str(sizes.batch), "--sequence-length", str(sizes.length)),
            *("--sparsity", str(at), "--threads", str(threads), "--profile"),
        )["steps"][0]
        share = result["share_outside_products"]
        kernels = result["kernels"]
        whole = sum(kernel["seconds"] for kernel in kernels)
        attention = sum(kernel["seconds"] for kernel in kernels if kernel["name"].startswith("attention"))
        return {
            "value": share,
            "spread": [share, share],
            "kernels": kernels,
            "attention_share": attention / whole,
            "note": "attention counted as outside; its own products are part of it",
        }

    yield Row(f"{what}, {percent}: share outside products with weights", outside, 0.15, "at most")
