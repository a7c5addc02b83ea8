# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The stages of run.sh that look at numbers, each within its time, and what all stages share."""

import concurrent.futures
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import time

import report

# Seconds: of the whole, and of each stage.
WHOLE, CHECKS, TRAINING, SANITIZER = 345, 120, 60, 40
BEGIN = time.monotonic()


def left(limit):
    """What a stage may take."""
    return max(1.0, min(limit, WHOLE - (time.monotonic() - BEGIN)))


def standin_kernels(files):
    """The variable that names a dry run's kernels, of those files that are there."""
    there = [str(file) for file in files if file.exists()]
    return {"PST_STANDIN_KERNELS": ":".join(dict.fromkeys(there))} if there else {}


def kernels_of(bundle):
    """A dry run's kernels of a case; those of a second function, NAME-FUNCTION, are its bundle's."""
    own = bundle.parent / f"{bundle.name}.so"
    return own if own.exists() else bundle.parent / f"{bundle.name.rpartition('-')[0]}.so"


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
        if any((self.here / "checks").glob("*.so")):  # a dry run, whose kernels are found by names that cases share
            parts = len(bundles)

        def check(log, some):
            file = self.results / f"{log}.json"
            file.unlink(missing_ok=True)
            libraries = standin_kernels(map(kernels_of, some))
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
        absent = sorted(path.stem for path in (self.here / "checks").glob("*.absent"))
        return {"cases": len(bundles), "failed": failed, "worst": worst, "absent": absent}

    def of_small_models(self, name, arguments, found_of):
        """By its name, what found_of(folder, precision, name) finds after pst-run, with what arguments(folder, precision, name) says,
        of each small model and precision that pack.sh leaves."""
        found = {}
        for model, precision in itertools.product(("bert", "gpt2", "bert-packed", "gpt2-packed"), ("f32", "bf16")):
            folder, log = self.here / model, f"{name}{model}-{precision}"
            libraries = standin_kernels([folder / f"{precision}.so"])
            if self.pst_run(log, *arguments(folder, precision, log), limit=left(TRAINING), environment=libraries):
                self.found["failures"].append(f"{log}: {self.last_line(log)}")
            else:
                found[log] = found_of(folder, precision, log)
        return found

    def training(self):
        def arguments(folder, precision, log):
            settings = json.loads((folder / "train.json").read_text())
            return [
                *("train", "--bundle", folder / precision, "--model", folder / "model", "--overwrite_output_dir"),
                *("--train", folder / "data.safetensors", "--output_dir", self.results / log),
                *(text for key, value in settings.items() for text in (f"--{key}", value)),
            ]

        def losses(folder, precision, log):
            found = report.compare_losses(folder / f"recorded-{precision}", self.results / log, precision)
            if not found["agree"]:
                self.found["failures"].append(f"{log}: the losses are not the CPU's: {found}")
            return found

        return self.of_small_models("", arguments, losses)

    def parity(self):
        """One step of each bundle against the CPU's, element by element."""

        def arguments(folder, precision, log):
            return [
                *("check", folder / precision, "--against", folder / f"cpu-{precision}", "--model", folder / "model"),
                *("--train", folder / "data.safetensors", "--precision", precision),
                *("--json", self.results / f"{log}.json"),
            ]

        def worst(folder, precision, log):
            return {one["quantity"]: one["worst"] for one in json.loads((self.results / f"{log}.json").read_text())}

        return self.of_small_models("step-", arguments, worst)

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

    def bench(self, log, bundles, *flags, limit, environment=None):
        """By bundle, what `pst-run bench` found."""
        file = self.results / f"{log}.json"
        file.unlink(missing_ok=True)
        libraries = standin_kernels(map(kernels_of, bundles))
        environment = (environment or {}) | libraries
        status = self.pst_run(log, "bench", *bundles, "--json", file, *flags, limit=limit, environment=environment)
        found = json.loads(file.read_text()) if file.exists() else []
        if status:
            self.found["failures"].append(f"{log}: {self.last_line(log)}")
        return {pathlib.Path(one["bundle"]).name: one for one in found if "error" not in one}
