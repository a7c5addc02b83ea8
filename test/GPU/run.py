# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run.py FOLDER RESULTS: the stages of run.sh, each within its time.

In a dry run $PST_RIVALS=cpu lets PyTorch compute on the CPU.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import report

# Seconds: of the whole, and of each stage.
WHOLE, CHECKS, TRAINING, SANITIZER, KERNELS, STEPS = 450, 150, 60, 40, 110, 150
TURNS = 3
SPARSITY = 0.9
# What is measured of PyTorch, beside steps.
OPERATIONS = ("nt", "nn", "tn", "copy", "argsort", "kthvalue")
DEVICE = os.environ.get("PST_RIVALS", "cuda")
BEGIN = time.monotonic()


def left(limit):
    """What a stage may take."""
    return max(1.0, min(limit, WHOLE - (time.monotonic() - BEGIN)))


def standin_kernels(files):
    """The variable that names a dry run's kernels, of those files that are there."""
    there = [str(file) for file in files if file.exists()]
    return {"PST_STANDIN_KERNELS": ":".join(there)} if there else {}


class Failed(Exception):
    """A stage failed; the message says what."""


class Stages:
    def __init__(self, here, results):
        self.here, self.results = here, results
        self.found = {"failures": [], "seconds": {}}

    def run(self, name, function):
        """Notes what the stage finds under its name."""
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        try:
            self.found[name] = function()
        except Exception as error:  # whatever it is, the other stages go on
            self.found["failures"].append(f"{name}: {error}")
            print(f"FAILED: {error}", flush=True)
        self.found["seconds"][name] = round(time.monotonic() - begin, 1)

    def pst_run(self, log, *arguments, limit, environment=None, before=()):
        """Runs pst-run, or `before` with it; its output goes to the file `log`. Returns its status."""
        with open(self.results / f"{log}.txt", "w", encoding="utf-8") as output:
            try:
                return subprocess.run(
                    [*before, self.here / "pst-run", *map(str, arguments)],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                    env=os.environ | (environment or {}),
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                output.write(f"\nstopped after {limit:.0f} s\n")
                return -1

    def last_line(self, log):
        lines = (self.results / f"{log}.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    # --- Numbers

    def checks(self):
        """Several processes take a part each. What fails does so again by itself: after some errors nothing runs any more."""
        bundles = sorted(path.parent for path in (self.here / "checks").glob("*/check.safetensors"))
        end = time.monotonic() + left(CHECKS)
        parts = min(max(2, (os.cpu_count() or 2) // 2), 8, len(bundles))

        def check(log, some):
            file = self.results / f"{log}.json"
            file.unlink(missing_ok=True)
            libraries = standin_kernels(bundle.parent / f"{bundle.name}.so" for bundle in some)
            limit = max(1, end - time.monotonic())
            self.pst_run(log, "check", *some, "--json", file, limit=limit, environment=libraries)
            found = json.loads(file.read_text()) if file.exists() else []
            return {pathlib.Path(one["bundle"]).name: one for one in found}

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = {}
            for part in pool.map(lambda i: check(f"checks-{i}", bundles[i::parts]), range(parts)):
                found |= part
            again = [bundle for bundle in bundles if not found.get(bundle.name, {}).get("passed")][:100]
            for part in pool.map(lambda i: check(f"again-{i}", [again[i]]), range(len(again))):
                found |= part
        failed = [bundle.name for bundle in bundles if not found.get(bundle.name, {}).get("passed")]
        for name in failed[:20]:
            print("FAILED", name, found.get(name, {}).get("error", ""))
        if failed or not bundles:
            self.found["failures"].append(f"checks: {len(failed)} of {len(bundles)} failed, such as {failed[:5]}")
        worst = max((one.get("worst") or 0 for one in found.values()), default=0)
        return {"cases": len(bundles), "failed": failed, "worst": worst}

    def small_models(self):
        """Name, precision and folder of those that pack.sh leaves."""
        return [(model, precision, self.here / model) for model in ("bert", "gpt2") for precision in ("f32", "bf16")]

    def training(self):
        settings = json.loads((self.here / "train.json").read_text())
        flags = [text for key, value in settings.items() for text in (f"--{key}", value)]
        found = {}
        for model, precision, folder in self.small_models():
            name = f"{model}-{precision}"
            status = self.pst_run(
                name,
                *("train", "--bundle", folder / precision, "--model", folder / "model", "--overwrite_output_dir"),
                *("--train", folder / "data.safetensors", "--output_dir", self.results / name, *flags),
                limit=left(TRAINING),
                environment=standin_kernels([folder / f"{precision}.so"]),
            )
            if status:
                self.found["failures"].append(f"{name}: {self.last_line(name)}")
                continue
            found[name] = report.compare_losses(folder / f"recorded-{precision}", self.results / name, precision)
            if not found[name]["agree"]:
                self.found["failures"].append(f"{name}: the losses are not the CPU's: {found[name]}")
        return found

    def steps(self):
        """One step of each bundle against the CPU's, element by element."""
        found = {}
        for model, precision, folder in self.small_models():
            name = f"step-{model}-{precision}"
            status = self.pst_run(
                name,
                *("check", folder / precision, "--against", folder / f"cpu-{precision}", "--model", folder / "model"),
                *("--train", folder / "data.safetensors", "--precision", precision),
                *("--json", self.results / f"{name}.json"),
                limit=left(TRAINING),
                environment=standin_kernels([folder / f"{precision}.so"]),
            )
            if status:
                self.found["failures"].append(f"{name}: {self.last_line(name)}")
            else:
                quantities = json.loads((self.results / f"{name}.json").read_text())
                found[name] = {one["quantity"]: one["worst"] for one in quantities}
        return found

    def sanitizer(self):
        program = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
        if not program:
            return {"absent": "compute-sanitizer was not found"}
        # A few of each kind, the smallest.
        checks = sorted((self.here / "checks").glob("*/check.safetensors"), key=lambda path: path.stat().st_size)
        kinds = {}
        for path in checks:
            kinds.setdefault("-".join(path.parent.name.split("-")[:5]), path.parent)
        bundles, found = list(kinds.values())[:24], {}

        def run(tool):
            flags = (program, "--tool", tool, "--error-exitcode", "9")
            return tool, self.pst_run(tool, "check", *bundles, limit=left(SANITIZER), before=flags)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for tool, status in pool.map(run, ("memcheck", "racecheck")):
                found[tool] = {"status": status, "says": self.last_line(tool)}
                if status == 9:
                    self.found["failures"].append(f"{tool}: {found[tool]['says']}")
        return found

    # --- Times

    def bench(self, log, bundles, *flags, limit):
        """By bundle, what `pst-run bench` found."""
        file = self.results / f"{log}.json"
        file.unlink(missing_ok=True)
        libraries = standin_kernels(bundle.parent / f"{bundle.name}.so" for bundle in bundles)
        status = self.pst_run(log, "bench", *bundles, "--json", file, *flags, limit=limit, environment=libraries)
        found = json.loads(file.read_text()) if file.exists() else []
        if status:
            self.found["failures"].append(f"{log}: {self.last_line(log)}")
        return {pathlib.Path(one["bundle"]).name: one for one in found if "error" not in one}


def rivals_of(stages, settings):
    """Starts a process for each rival; those that PyTorch compiles do so now."""
    try:
        from rivals import bench_inputs
        from rivals._pst import write_tensors
        from rivals.bench_worker import Worker, WorkerError
    except ImportError as error:
        return {}, f"absent: {error}"
    common = {"side": "eager", "threads": 4, "rank": 8, "device": DEVICE, "precision": "bf16", "compiled": False}
    model, step, layer = stages.results / "model", settings["step"], settings["layer"]
    bench_inputs.write_random_bert(model, settings["model"])
    batch = bench_inputs.random_batch({**step, "model": str(model)})
    write_tensors(stages.results / "batch.safetensors", batch)
    wanted = {}
    for operation in OPERATIONS:
        copied = 1000 if settings["tiny"] else 1 << 27
        wanted[f"operation {operation}"] = {"task": "Operation", "operation": operation, "sparsity": SPARSITY, "copy_elements": copied} | layer
    for method, compiled in (
        ("published", True), ("kthvalue", True), ("published", False), ("kthvalue", False), ("lora", False), ("mvp", False),
    ):  # fmt: skip
        more = {"model": str(model), "learning_rate": 3e-5, "attention": "sdpa", "method": method, "compiled": compiled}
        wanted[f"step {method}{', compiled' if compiled else ''}"] = {"task": "Step"} | step | more

    def start(name):
        worker = None
        try:
            worker = Worker(common | wanted[name], timeout=left(WHOLE) - 60)
            worker.run(SPARSITY, 0)
        except WorkerError as error:
            if worker:
                worker.close()
            return str(error)
        worker.timeout = 60.0
        return worker

    pool = concurrent.futures.ThreadPoolExecutor(len(wanted))
    started = {name: pool.submit(start, name) for name in wanted}
    pool.shutdown(wait=False)
    return started, ""


def take(started, kind, limit):
    """The workers of a kind ("operation" or "step") that are ready, and why others are not, by the rest of their names."""
    ready, reasons = {}, {}
    wanted = {name.removeprefix(f"{kind} "): future for name, future in started.items() if name.startswith(kind)}
    concurrent.futures.wait(wanted.values(), limit)
    for name, future in wanted.items():
        result = future.result() if future.done() else "was not ready in time"
        if isinstance(result, str):
            reasons[name] = result
        else:
            ready[name] = result
    return ready, reasons


def turn(workers, times, seconds):
    for name, worker in workers.items():
        with contextlib.suppress(RuntimeError):  # WorkerError: counts as a turn less
            times.setdefault(name, []).append(worker.run(SPARSITY, seconds))


def measure_kernels(stages, settings, started):
    ready, reasons = take(started, "operation", left(60))
    folder, end = stages.here / "bench", time.monotonic() + left(KERNELS)
    bundles = [folder / name for name in settings["kernels"]]
    layer = settings["layer"]
    flops = 2 * layer["rows"] * layer["columns"] * layer["tokens"]
    theirs, ours, flags = {}, {}, ["--repetitions", 2 if settings["tiny"] else 40]
    flags += ["--copy-bytes", 1 << 20] if settings["tiny"] else []
    for i in range(TURNS):
        turn(ready, theirs, 0.01 if settings["tiny"] else 0.3)
        ceiling = max((flops / min(times) for name, times in theirs.items() if name in ("nt", "nn", "tn")), default=0)
        found = stages.bench(f"kernels-{i}", bundles, *flags, "--matrix-ceiling", ceiling, limit=max(1, end - time.monotonic()))
        for name, one in found.items():
            (entry,) = one["entries"].values()
            ours.setdefault(name, []).append(entry["seconds"]["median"])
            ours.setdefault("copy rate", []).append(one["copy_bytes_per_second"])
            ours.setdefault("bytes", {})[name] = sum(op["bytes"] for op in entry["ops"])
    for worker in ready.values():
        worker.close()
    return {"ours": ours, "rivals": theirs, "absent": reasons, "flops": flops}


def measure_steps(stages, settings, started, matrix_rate):
    from rivals import bench_worker
    from rivals._pst import TensorFile

    ready, reasons = take(started, "step", left(STEPS))
    end = time.monotonic() + left(STEPS)
    bundle, model = stages.here / "bench" / "bert-large", stages.results / "model"
    # The model is the rivals', before anything is timed.
    predictions = stages.results / "logits.safetensors"
    status = stages.pst_run(
        "eval",
        *("eval", "--bundle", bundle, "--model", model, "--eval", stages.results / "batch.safetensors"),
        *("--sparsity", 0, "--predictions", predictions),
        limit=max(1, end - time.monotonic()),
        environment=standin_kernels([stages.here / "bench" / "bert-large.so"]),
    )
    if status:
        raise Failed(stages.last_line("eval"))
    logits = bench_worker.summarize({"logits": TensorFile(predictions).read("logits")})
    for name in list(ready):
        difference = bench_worker.differ(logits, ready[name].check(0.0), 4e-2)
        if difference:
            stages.found["failures"].append(f"{name}: computes another model, so it is not timed: {difference}")
            reasons[name] = "computes another model"
            ready.pop(name).close()
    theirs, ours = {}, []
    for i in range(TURNS - 1):
        turn(ready, theirs, 0.01 if settings["tiny"] else 1.0)
        flags = ["--model", model, "--repetitions", 1 if settings["tiny"] else 15, "--sparsity", SPARSITY]
        flags += ["--copy-bytes", 1 << 20] if settings["tiny"] else []
        flags += ["--matrix-ceiling", matrix_rate] if matrix_rate else []
        found = stages.bench(f"step-{i}", [bundle], *flags, limit=max(1, end - time.monotonic()))
        ours += found.values()
    memory = {name: worker.memory() for name, worker in ready.items()}
    for worker in ready.values():
        worker.close()
    return {"ours": ours, "rivals": theirs, "memory": memory, "absent": reasons}


def main():
    here, results = map(pathlib.Path, sys.argv[1:3])
    stages = Stages(here, results)
    settings = json.loads((here / "bench" / "settings.json").read_text())
    started, absent = {}, ""

    def start():
        nonlocal started, absent
        started, absent = rivals_of(stages, settings)
        return absent or sorted(started)

    stages.run("rivals", start)
    stages.run("checks", stages.checks)
    stages.run("training", stages.training)
    stages.run("a step", stages.steps)
    stages.run("sanitizer", stages.sanitizer)
    # What PyTorch compiles would disturb what is timed.
    take(started, "step", left(100))
    stages.run("kernels", lambda: measure_kernels(stages, settings, started))
    products = stages.found.get("kernels", {}).get("rivals", {})
    rates = [stages.found["kernels"]["flops"] / statistics.median(products[name]) for name in ("nt", "nn", "tn") if name in products]
    if not absent:  # else there is no model
        stages.run("steps", lambda: measure_steps(stages, settings, started, max(rates, default=0)))
    for future in started.values():  # what came too late
        if future.done() and not isinstance(future.result(), str):
            future.result().close()
    shutil.rmtree(results / "model", ignore_errors=True)
    stages.found["seconds"]["whole"] = round(time.monotonic() - BEGIN, 1)
    text = report.write(stages.found, settings, results)
    print(text)
    # A rival that still compiles must not keep this process.
    os._exit(1 if stages.found["failures"] else 0)


if __name__ == "__main__":
    main()
