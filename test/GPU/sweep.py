# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run.sh --sweep: the variants of make_sweep.py, each by itself first, then all in turns with PyTorch's products.

A variant that fails, or whose product is wrong, is told and not ranked.
"""

import concurrent.futures
import json
import os
import shutil
import time

import times
from stages import left, standin_kernels

# Seconds: of the whole, and of the first runs, in which the driver compiles.
SWEEP, FIRST = 165, 80
TURNS = 3
# Elements of a product that are compared.
ELEMENTS = 1024


def write_check(path, product):
    """Random operands of a product, in bf16, and some of its elements, for `pst-run check`."""
    import numpy as np
    from rivals._pst import write_tensors

    rng = np.random.default_rng(1)

    def random(rows, columns):
        """As the bits of bf16, and as numbers."""
        bits = rng.standard_normal((rows, columns), np.float32).view(np.uint32) >> 16
        return bits.astype(np.uint16), (bits << 16).view(np.float32)

    n, m, tokens = product["rows"], product["columns"], product["tokens"]
    left_shape, right_shape = {"nt": ((tokens, m), (n, m)), "nn": ((tokens, n), (n, m)), "tn": ((tokens, n), (tokens, m))}[
        product["operation"]
    ]
    (a_bits, a), (b_bits, b) = random(*left_shape), random(*right_shape)
    if product["operation"] == "tn":
        a = a.T
    if product["operation"] == "nt":
        b = b.T
    size = a.shape[0] * b.shape[1]
    elements = np.unique(np.concatenate([rng.integers(0, size, ELEMENTS), [0, size - 1]]))
    rows, columns = np.divmod(elements, b.shape[1])
    wanted = np.array([a[i].astype(np.float64) @ b[:, j].astype(np.float64) for i, j in zip(rows, columns)])
    # One rounding to bf16, and the sum in f32 of as many terms, each about 1.
    allowed = 2.0**-8 * np.abs(wanted) + 2.0**-22 * a.shape[1]
    tensors = {"input.a": a_bits, "input.b": b_bits, "elements.result0": elements}
    write_tensors(path, tensors | {"wanted.result0": wanted, "allowed.result0": allowed}, {"entry": "product"})


def first_runs(run, folder, settings, environment):
    """Every variant by itself, so that one that ends its process ends no other; returns what is wrong, by bundle."""
    checks, end = {}, time.monotonic() + left(FIRST)
    for name, group in settings["groups"].items():
        if "product" in group:
            checks[name] = run.results / f"{name}.safetensors"
            write_check(checks[name], group["product"])

    def first(variant):
        bundle, log = folder / variant["bundle"], f"first-{variant['bundle']}"
        arguments = ["bench", bundle, *times.flags_of(settings, 1)]
        if variant["group"] in checks:
            link = bundle / "check.safetensors"
            link.unlink(missing_ok=True)
            link.symlink_to(checks[variant["group"]])
            arguments = ["check", bundle]
        kernels = standin_kernels([folder / f"{variant['bundle']}.so"])
        if not run.pst_run(log, *arguments, limit=max(1, end - time.monotonic()), environment=environment | kernels):
            return ""
        lines = (run.results / f"{log}.txt").read_text(errors="replace").splitlines()
        failed = [line.removeprefix("FAILED").strip() for line in lines if line.startswith("FAILED")]
        return (failed or [run.last_line(log)])[0]

    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        errors = list(pool.map(first, settings["variants"]))
    for path in checks.values():
        path.unlink()
    return {variant["bundle"]: error for variant, error in zip(settings["variants"], errors)}


def measure(run):
    folder = run.here / "bench" / "sweep"
    settings = json.loads((folder / "settings.json").read_text())
    end = time.monotonic() + left(SWEEP)
    rivals = {name: group.get("product") or group.get("rival") for name, group in settings["groups"].items()}
    wanted = {name: rival for name, rival in rivals.items() if rival and "product" in settings["groups"][name]}
    started, absent = times.rivals_of(run, settings, wanted, False)
    # The driver keeps what it compiled for those that come later.
    jit = run.results / "jit"
    environment = {"CUDA_CACHE_PATH": str(jit)}
    errors = first_runs(run, folder, settings, environment)
    ready, reasons = times.take(started, "operation", left(60))
    theirs, found, devices = {}, {}, set()
    for turn in range(TURNS):
        for name, group in settings["groups"].items():
            good = [folder / one["bundle"] for one in settings["variants"] if one["group"] == name and not errors[one["bundle"]]]
            if time.monotonic() > end:
                break
            times.turn({name: ready[name]} if name in ready else {}, theirs, 0.01 if settings["tiny"] else 0.1)
            flags = [*times.flags_of(settings, 20), *(("--zero", *group["zero"]) if "zero" in group else ())]
            # The stand-in tells kernels by their names, which variants share.
            parts = [[one] for one in good] if settings["tiny"] else [good] * bool(good)
            for part, bundles in enumerate(parts):
                log, limit = f"sweep-{turn}-{name}-{part}", max(1, end - time.monotonic())
                for bundle, one in run.bench(log, bundles, *flags, limit=limit, environment=environment).items():
                    found.setdefault(bundle, []).append(one)
                    devices.add(one["device"])
    times.close(started)
    shutil.rmtree(jit, ignore_errors=True)
    groups = {name: {"rivals": {}, "variants": []} for name in settings["groups"]}
    for name, rival in rivals.items():
        same = [theirs[other] for other, product in wanted.items() if product == rival and other in theirs]
        groups[name]["rivals"] = {"cuBLAS": same[0]} if same else {}
    for variant in settings["variants"]:
        entries = [entry for one in found.get(variant["bundle"], ()) for entry in one["entries"].values()]
        told = {"seconds": [entry["seconds"]["median"] for entry in entries], "error": errors[variant["bundle"]]}
        for kind in ("flops", "bytes"):
            told[kind] = sum(op[kind] for op in entries[0]["ops"]) if entries else 0
        groups[variant["group"]]["variants"].append(variant | told)
        if told["error"]:
            run.found["failures"].append(f"{variant['group']}, {variant['name']}: {told['error']}")
    return {"groups": groups, "devices": sorted(devices), "absent": absent or reasons}
