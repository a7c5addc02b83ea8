# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The stages of run.sh, as they are asked for, and the report."""

import argparse
import json
import os
import pathlib
import shutil
import sys
import time

import report
import stages
import sweep
import times

STAGES = ("checks", "training", "parity", "sanitizer", "kernels", "steps")


def parse(arguments):
    parser = argparse.ArgumentParser("run.sh", description="Shows that the kernels are right, and how fast they are.")
    parser.add_argument("results", nargs="?", type=pathlib.Path, help="where results.json and results.md go")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--only", metavar="STAGE,...", help=f"some of {', '.join(STAGES)} (default: all)")
    choice.add_argument("--sweep", action="store_true", help="measure and rank the variants of pack.sh --sweep, and nothing else")
    options = parser.parse_args(arguments)
    options.stages = options.only.split(",") if options.only else [] if options.sweep else list(STAGES)
    for name in options.stages:
        if name not in STAGES:
            parser.error(f"there is no stage '{name}': there are {', '.join(STAGES)}")
    return options


def run_stages(run, chosen):
    """The stages that are chosen, in their order; returns the settings of the benchmark."""
    settings = json.loads((run.here / "bench" / "settings.json").read_text())
    started, absent = {}, ""
    times_steps, times_kernels = "steps" in chosen, "kernels" in chosen

    def start():
        nonlocal started, absent
        wanted = times.operations(settings) if times_kernels else {}
        started, absent = times.rivals_of(run, settings, wanted, times_steps)
        return absent or sorted(started)

    if times_steps or times_kernels:
        run.run("rivals", start)
    for name in ("checks", "training", "parity", "sanitizer"):
        if name in chosen:
            run.run(name, getattr(run, name))
    # What PyTorch compiles would disturb what is timed.
    times.take(started, "step", stages.left(100))
    if times_kernels:
        run.run("kernels", lambda: times.measure_kernels(run, settings, started))
    if times_steps and not absent:  # else there is no model
        run.run("steps", lambda: times.measure_steps(run, settings, started))
    times.close(started)  # also what came too late
    shutil.rmtree(run.results / "model", ignore_errors=True)
    return settings


def main():
    here = pathlib.Path(sys.argv[1])
    options = parse(sys.argv[2:])
    results = (options.results or here / "results").absolute()
    results.mkdir(parents=True, exist_ok=True)
    run = stages.Stages(here, results)
    if options.sweep:
        run.run("sweep", lambda: sweep.measure(run))
        settings = {}
    else:
        settings = run_stages(run, options.stages)
    run.found["seconds"]["whole"] = round(time.monotonic() - stages.BEGIN, 1)
    print(report.write(run.found, settings, results), flush=True)
    # A rival that still compiles must not keep this process.
    os._exit(1 if run.found["failures"] else 0)


if __name__ == "__main__":
    main()
