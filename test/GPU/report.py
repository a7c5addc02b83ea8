# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares run.sh's losses with the recorded ones, and writes its results as JSON and as tables."""

import json
import pathlib
import sys

# Of a loss: in the first steps, and later, when a weight at the threshold may
# have gone the other way by a rounding.
EARLY, LATE, EARLY_STEPS = 1e-4, 2e-2, 30


def losses(directory):
    lines = map(json.loads, (directory / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "grad_norm" in line]


def ceilings():
    """What PyTorch reaches on this GPU: bytes and operations per second. Empty without it."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}

    def seconds(action, repetitions=20):
        action()
        times = []
        for _ in range(repetitions):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            action()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) * 1e-3)
        return sorted(times)[len(times) // 2]

    found = {"gpu": torch.cuda.get_device_name()}
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    found["copy, bytes/s"] = 2 * source.nbytes / seconds(lambda: target.copy_(source))
    a, b = (torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    found["matmul bf16 4096, flop/s"] = 2 * 4096**3 / seconds(lambda: torch.matmul(a, b.T))
    return found


def main():
    here, results = map(pathlib.Path, sys.argv[1:3])
    checks = json.loads((results / "checks.json").read_text())
    wanted, found = losses(here / "bert" / "recorded"), losses(results / "bert")
    errors = [abs(a - b) for a, b in zip(wanted, found)]
    early, late = (max(part, default=float("inf")) for part in (errors[:EARLY_STEPS], errors[EARLY_STEPS:]))
    same = len(found) == len(wanted) and early <= EARLY and late <= LATE
    summary = {
        "checks": len(checks),
        "failed checks": sum(not check["passed"] for check in checks),
        "steps": len(found),
        f"largest difference of a loss, {EARLY_STEPS} steps": early,
        "largest difference of a loss, later": late,
        "losses agree": same,
        "ceilings": ceilings(),
    }
    (results / "results.json").write_text(json.dumps(summary | {"kernels": checks}, indent=1) + "\n")
    lines = ["| what | found |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in (summary | summary.pop("ceilings")).items()]
    times = {}
    for check in checks:
        for kernel, seconds in check.get("launches", []):
            times[kernel] = max(times.get(kernel, 0), seconds)
    lines += ["", "| kernel | microseconds, median |", "|---|---|"]
    lines += [f"| {kernel} | {seconds * 1e6:.1f} |" for kernel, seconds in sorted(times.items()) if kernel]
    (results / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[: len(summary) + 4]))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
