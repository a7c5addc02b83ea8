# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The stages of run.sh that measure, in turns with PyTorch's processes.

In a dry run $PST_RIVALS=cpu lets PyTorch compute on the CPU.
"""

import concurrent.futures
import contextlib
import os
import time

from stages import WHOLE, Failed, left, standin_kernels

# Seconds of a stage.
KERNELS, STEPS = 110, 90
TURNS = 3
SPARSITY = 0.9
DEVICE = os.environ.get("PST_RIVALS", "cuda")
# What PyTorch trains, and whether it compiles that.
STEP_RIVALS = (
    ("published", True), ("kthvalue", True), ("lora", True), ("published", False), ("kthvalue", False), ("lora", False), ("mvp", False),
)  # fmt: skip
# Inputs that are zero, in a layer of which nothing has been learned.
UNLEARNED = ("v", "b", "r", "c")


def operations(settings):
    """What is measured of PyTorch beside steps: the products, and what our kernels of a layer are set against."""
    layer = settings["layer"] | {"copy_elements": 1000 if settings["tiny"] else 1 << 27}
    return settings["products"] | {name: layer | {"operation": name} for name in ("copy", "argsort", "kthvalue")}


def rivals_of(stages, settings, wanted_operations, steps):
    """Starts a process for each operation and, if `steps`, for each method; those that PyTorch compiles do so now.

    Returns futures by name, of a Worker or the text of why there is none, and why there are none at all. A worker of
    a method has in `logits` what its model says before it has trained a step, at sparsity 0.
    """
    try:
        from rivals import bench_inputs
        from rivals._pst import write_tensors
        from rivals.bench_worker import Worker, WorkerError
    except ImportError as error:
        return {}, f"absent: {error}"
    common = {"side": "eager", "threads": 4, "rank": 8, "device": DEVICE, "precision": "bf16", "compiled": False}
    wanted = {}
    for name, operation in wanted_operations.items():
        wanted[f"operation {name}"] = {"task": "Operation", "sparsity": SPARSITY} | operation
    if steps:
        model, step = stages.results / "model", settings["step"]
        bench_inputs.write_random_bert(model, settings["model"])
        batch = bench_inputs.random_batch({**step, "model": str(model)})
        write_tensors(stages.results / "batch.safetensors", batch)
        for method, compiled in STEP_RIVALS:
            more = {"model": str(model), "learning_rate": 3e-5, "attention": "sdpa", "method": method, "compiled": compiled}
            wanted[f"step {method}{', compiled' if compiled else ''}"] = {"task": "Step"} | step | more

    def start(name):
        worker = None
        try:
            worker = Worker(common | wanted[name], timeout=left(WHOLE) - 60)
            if name.startswith("step "):  # before a call trains it
                worker.logits = worker.check(0.0)
            worker.run(SPARSITY, 0)
        except WorkerError as error:
            if worker:
                worker.close()
            return str(error)
        worker.timeout = 60.0
        return worker

    pool = concurrent.futures.ThreadPoolExecutor(max(len(wanted), 1))
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


def close(started):
    """Ends the processes that are there."""
    for future in started.values():
        if future.done() and not isinstance(future.result(), str):
            future.result().close()


def turn(workers, times, seconds):
    for name, worker in workers.items():
        with contextlib.suppress(RuntimeError):  # WorkerError: counts as a turn less
            times.setdefault(name, []).append(worker.run(SPARSITY, seconds))


def flops_of(product):
    return 2 * product["rows"] * product["columns"] * product["tokens"]


def fastest_rate(products, times):
    """Flops a second of the fastest of PyTorch's products."""
    return max((flops_of(product) / min(times[name]) for name, product in products.items() if times.get(name)), default=0)


def flags_of(settings, repetitions):
    """Of `pst-run bench`."""
    if settings["tiny"]:
        return ["--repetitions", 1, "--copy-bytes", 1 << 20]
    return ["--repetitions", repetitions]


def measure_kernels(stages, settings, started):
    ready, reasons = take(started, "operation", left(60))
    folder, end = stages.here / "bench", time.monotonic() + left(KERNELS)
    bundles = [folder / name for name in settings["kernels"]]
    theirs, ours, flags, devices = {}, {}, flags_of(settings, 40), set()

    def measure(log, bundles, ending, *more):
        for name, one in stages.bench(log, bundles, *flags, *more, limit=max(1, end - time.monotonic())).items():
            (entry,) = one["entries"].values()
            ours.setdefault(name + ending, []).append(entry["seconds"]["median"])
            ours.setdefault("copy rate", []).append(one["copy_bytes_per_second"])
            ours.setdefault("bytes", {})[name + ending] = sum(op["bytes"] for op in entry["ops"])
            devices.add(one["device"])

    for i in range(TURNS):
        turn(ready, theirs, 0.01 if settings["tiny"] else 0.2)
        ceiling = ["--matrix-ceiling", fastest_rate(settings["products"], theirs)]
        measure(f"kernels-{i}", bundles, "", *ceiling)
        measure(f"unlearned-{i}", [folder / "threshold"], ", equal scores", "--zero", *UNLEARNED)
    for worker in ready.values():
        worker.close()
    return {"ours": ours, "rivals": theirs, "absent": reasons, "products": settings["products"], "devices": sorted(devices)}


def rounding_bound(layers):
    """How far the logits of two models that are the same may be apart, as a share of their length, where both round to bf16.

    In a layer some eight values on the way are rounded, by up to 2^-8 of them, and by less than half of that on average;
    the errors of both sides are independent, and norms keep them from growing.
    """
    return 2**-8 * (2 * 8 * layers) ** 0.5


def measure_steps(stages, settings, started):
    from rivals import bench_worker
    from rivals._pst import TensorFile

    ready, reasons = take(started, "step", left(STEPS))
    end = time.monotonic() + left(STEPS)
    bundle, model = stages.here / "bench" / "bert-large", stages.results / "model"
    # The model is the rivals', before anything is timed or trained.
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
    bound, found = rounding_bound(settings["model"]["num_hidden_layers"]), {"ours": logits["logits"]}
    for name in list(ready):
        found[name] = ready[name].logits["logits"]
        difference = bench_worker.differ(logits, ready[name].logits, bound)
        if difference:
            stages.found["failures"].append(f"{name}: computes another model, so it is not timed: {difference}")
            reasons[name] = "computes another model"
            ready.pop(name).close()
    theirs, ours = {}, []
    products = stages.found.get("kernels", {}).get("rivals", {})
    flags = ["--model", model, *flags_of(settings, 15), "--sparsity", SPARSITY]
    flags += ["--matrix-ceiling", fastest_rate(settings["products"], products)]
    for i in range(TURNS - 1):
        turn(ready, theirs, 0.01 if settings["tiny"] else 1.0)
        ours += stages.bench(f"step-{i}", [bundle], *flags, limit=max(1, end - time.monotonic())).values()
    # The inputs of a bench are all tokens, of which those are taken that there is room for.
    packed = stages.bench("step-packed", [bundle.with_name(f"{bundle.name}-packed")], *flags, limit=max(1, end - time.monotonic()))
    memory = {name: worker.memory() for name, worker in ready.items()}
    for worker in ready.values():
        worker.close()
    return {"ours": ours, "packed": list(packed.values()), "rivals": theirs, "memory": memory, "absent": reasons, "logits": found, "bound": bound}
