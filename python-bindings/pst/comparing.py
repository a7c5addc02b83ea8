# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst compare`: methods, sparsities and seeds on one task, as runs of `pst train`, and what came of them as a table.

Each run is a process of its own, so that its peak memory is its own, in
OUTPUT_DIR/METHOD-SPARSITY-SEED. What has ended is not run again, and what was
interrupted goes on at its checkpoint.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .callbacks import StopOnSignal
from .command import UsageError, options_of
from .data import find_task
from .errors import MissingPackageError
from .files import read_object
from .outputs import write_json, write_text
from .streams import tell

RESULTS_FILE = "compare.json"
TABLE_FILE = "compare.md"
PICTURE_FILE = "compare.png"

# What a run is told here, and must not be told in another way.
_OWN = ("method", "sparsity", "final_sparsity", "seed", "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "test_file", "config")
# Whose result does not depend on a sparsity.
_PRUNES_NOTHING = ("dense", "lora")
# What a run is judged by where no task says it: the first that it has.
_METRICS = ("perplexity", "pearson", "micro_f1", "precision", "accuracy")


@dataclass(frozen=True)
class Run:
    """One run of `pst train`; `sparsity` is None where nothing is pruned."""

    method: str
    sparsity: float | None
    seed: int

    @property
    def name(self) -> str:
        return "-".join([self.method, *([] if self.sparsity is None else [f"{self.sparsity:g}"]), str(self.seed)])

    def __str__(self) -> str:
        at = "" if self.sparsity is None else f" at {100 * self.sparsity:g} %"
        return f"{self.method}{at}, seed {self.seed}"

    def flags(self, output_dir: str) -> list[str]:
        sparsity = [] if self.sparsity is None else ["--sparsity", f"{self.sparsity:g}"]
        return ["--method", self.method, *sparsity, "--seed", str(self.seed), "--output_dir", os.path.join(output_dir, self.name)]


def add_arguments(parser) -> None:
    from .options import METHODS

    parser.add_argument("--train_file", required=True, metavar="FILE", help="training data, as of pst train")
    parser.add_argument("--validation_file", required=True, metavar="FILE", help="evaluation data")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help=f"directory of the runs, {RESULTS_FILE}, {TABLE_FILE} and {PICTURE_FILE}")
    parser.add_argument("--methods", default="dense,map,pst", metavar="NAME,...", help=f"of {', '.join(METHODS)} (default: dense,map,pst)")
    parser.add_argument("--sparsities", default="0.5,0.9", metavar="S,...", help="of the methods that prune (default: 0.5,0.9)")
    parser.add_argument("--seeds", default="1,2,3", metavar="N,...", help="of each of them (default: 1,2,3)")
    parser.add_argument("--metric", default="", metavar="NAME", help="what the table is about (default: that of --task_name, else the first that the runs have)")
    parser.epilog = "Every other flag of pst train is handed to each run."


def planned(methods: str, sparsities: str, seeds: str) -> list[Run]:
    """The runs that the flags ask for: all of a seed first. Raises UsageError."""
    from .options import METHODS

    def parse(flag: str, text: str, convert: Callable, what: str) -> list:
        try:
            values = [convert(part) for part in text.split(",")]
        except ValueError:
            values = []
        if not values or len(set(values)) < len(values):
            raise UsageError(f"--{flag} must be {what}, all different, with commas between them, but is '{text}'")
        return values

    named = parse("methods", methods, str.strip, "methods")
    for name in named:
        if name not in METHODS:
            raise UsageError(f"--methods has '{name}', which is none; there are {', '.join(METHODS)}")
    at = parse("sparsities", sparsities, float, "numbers")
    runs = []
    for seed, method in itertools.product(parse("seeds", seeds, int, "whole numbers"), named):
        runs += [Run(method, sparsity, seed) for sparsity in ([None] if method in _PRUNES_NOTHING else at)]
    return runs


def compare(args) -> int:
    """Runs `pst compare` with its flags as read; returns the exit status."""
    runs = planned(args.methods, args.sparsities, args.seeds)
    common = ["--model_name_or_path", args.model_name_or_path, "--train_file", args.train_file]
    common += ["--validation_file", args.validation_file, *args.train_flags]
    for run in runs:
        usual = _check(common, run, args)
    path = os.path.join(args.output_dir, RESULTS_FILE)
    os.makedirs(args.output_dir, exist_ok=True)
    results = _known(path, common)
    begun, done = time.monotonic(), 0
    left = [run for run in runs if run.name not in results]
    with Process() as process:
        for run in left:
            told = f"run {len(results) + 1} of {len(runs)}: {run}"
            tell(f"{told} ...\n")
            result, status = _train(common, run, args.output_dir, process)
            if status != 130:
                results[run.name] = {"method": run.method, "sparsity": run.sparsity, "seed": run.seed, **result}
                write_json(path, {"flags": common, "runs": results})
            if status == 130 or process.stopped:
                tell("stopped; the same command goes on\n")
                return 130
            done += 1
            seconds = (time.monotonic() - begun) / done * (len(left) - done)
            tell(f"{told}: {_said(result, args.metric, usual)}; about {seconds / 60:.0f} min left\n")
    chosen = {run.name: results[run.name] for run in runs}
    metric = metric_of(chosen, args.metric, usual)
    write_json(path, {"flags": common, "metric": metric, "runs": results})
    text = table(chosen, metric)
    write_text(os.path.join(args.output_dir, TABLE_FILE), text)
    print(text)
    try:
        draw(chosen, metric, os.path.join(args.output_dir, PICTURE_FILE))
    except MissingPackageError as error:
        tell(f"warning: {error}\n")
    return 1 if any("failed" in result for result in chosen.values()) else 0


def _known(path: str, common: list[str]) -> dict:
    """The results of runs that came to their end. Raises UsageError for what
    is none of compare's, or of other runs."""
    known = read_object(path)
    flags, runs = known.get("flags", common), known.get("runs", {})
    if not isinstance(flags, list) or not isinstance(runs, dict) or not all(map(_is_result, runs.values())):
        raise UsageError(f"{path}: damaged: expected what 'pst compare' writes; remove it to run everything again")
    if flags != common:
        raise UsageError(f"{path}: holds runs with other flags: {' '.join(map(str, flags))}; choose another --output_dir")
    return {name: result for name, result in runs.items() if "failed" not in result}


def _is_result(result) -> bool:
    return (
        isinstance(result, dict)
        and isinstance(result.get("method"), str)
        and (result.get("sparsity") is None) == (result["method"] in _PRUNES_NOTHING)
        and all(isinstance(value, (int, float, type(None))) for name, value in result.items() if name not in ("method", "failed"))
    )


def _check(common: list[str], run: Run, args) -> str:
    """The metric of the run's task, "" without one. What is wrong with its flags is told here, before the first run."""
    from .cli import parse

    for flag in args.train_flags:
        if flag.split("=")[0].removeprefix("--") in _OWN:
            raise UsageError(f"{flag.split('=')[0]} is what pst compare gives each run: leave it out (--methods, --sparsities, --seeds)")
    options = options_of(parse(["train", *common, *run.flags(args.output_dir)]))
    options.check()
    return find_task(options.task_name).metric if options.task_name else ""


class Process:
    """Runs commands one after the other. What would end this process, Ctrl-C
    say, is told to the command, which ends after its step with a checkpoint."""

    def __init__(self):
        self._stop = StopOnSignal(self._pass_on)
        self._child = None

    def __enter__(self):
        self._stop.__enter__()
        return self

    def __exit__(self, *error):
        self._stop.__exit__(*error)

    @property
    def stopped(self) -> bool:
        return self._stop.asked

    def _pass_on(self, told: str) -> None:
        tell(f"{told}\n")
        if self._child:
            self._child.terminate()

    def __call__(self, command: list[str], out) -> int:
        """The exit status; 130 also of a command that was stopped before it
        could answer. `out` takes what it says."""
        # In a session of its own: a terminal's Ctrl-C would be its second signal.
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = self._child.wait()
        except KeyboardInterrupt:
            self._child.kill()
            raise
        self._child = None
        return 130 if self.stopped and status else status


def _train(common: list[str], run: Run, output_dir: str, process: Callable) -> tuple[dict, int]:
    """What a run leaves, and its exit status. One that failed says why."""
    from . import _pst

    flags = [*common, *run.flags(output_dir)]
    directory = Path(output_dir, run.name)
    if directory.exists():
        flags += ["--resume_from_checkpoint", "last"] if _pst.list_checkpoints(str(directory)) else ["--overwrite_output_dir"]
    log = Path(output_dir, run.name + ".txt")
    with log.open("w", encoding="utf-8") as out:
        status = process([sys.executable, "-m", "pst", "train", *flags], out)
    if status == 0:
        result = read_object(str(directory / "train_results.json"))
        result["zeros"] = result.pop("sparsity", 0.0)
        result["file_mib"] = sum(file.stat().st_size for file in (directory / "model").glob("*.safetensors")) / 2**20
        return {name: value for name, value in result.items() if name != "model"}, 0
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return {"failed": lines[-1] if lines else f"ended with status {status}"}, status


def metric_of(results: dict, wish: str, usual: str) -> str:
    """The metric that the runs are judged by: the one wished for, else the usual
    one of their task, "" without a task. Raises UsageError."""
    for result in results.values():
        if wish and "failed" not in result and wish not in result:
            raise UsageError(f"--metric {wish} is none of the runs'; they have {', '.join(sorted(result))}")
        for name in (wish,) if wish else (usual, *_METRICS):
            if name in result:
                # Of entities, the F1 that is made of it.
                return "f1" if name == "precision" and not wish else name
    return wish or usual or "accuracy"


def _said(result: dict, wish: str, usual: str) -> str:
    if "failed" in result:
        return result["failed"]
    name = metric_of({"": result}, wish, usual)
    return f"{name} {_number(result[name])}"


def _number(value) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _mean(values: list) -> tuple[float, float] | None:
    """The mean of all seeds and their standard deviation; None if a value is missing."""
    if not values or any(not isinstance(value, (int, float)) for value in values):
        return None
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else 0.0
    return mean, spread


def grouped(results: dict) -> dict[tuple, list[dict]]:
    """The runs of each method and sparsity, in the order in which they were planned."""
    groups: dict[tuple, list[dict]] = {}
    for result in results.values():
        groups.setdefault((result["method"], result["sparsity"]), []).append(result)
    return groups


def table(results: dict, name: str) -> str:
    """Markdown: a row for each method and sparsity, means over the seeds of the metric of this name."""
    lines = [
        f"| method | sparsity | {name} | seeds | zeros | trained parameters | s/step | peak MiB | file MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (method, sparsity), runs in grouped(results).items():
        good = [run for run in runs if "failed" not in run]
        failed = len(runs) - len(good)

        def cell(key: str, form: str) -> str:
            found = _mean([run[key] for run in good if key in run])
            return "" if found is None else form.format(found[0])

        found = _mean([run.get(name) for run in good])
        value = "undefined" if found is None else _number(found[0]) + (f" ± {found[1]:.4f}" if len(good) > 1 else "")
        cells = [
            method,
            "" if sparsity is None else f"{100 * sparsity:g} %",
            value if good else "failed",
            f"{len(good)}" + (f" ({failed} failed)" if failed else ""),
            cell("zeros", "{:.2%}"),
            cell("trainable_parameters", "{:,.0f}"),
            cell("seconds_per_step", "{:.3g}"),
            cell("peak_memory_mib", "{:.0f}"),
            cell("file_mib", "{:.1f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(results: dict, name: str, path: str) -> None:
    """Writes a picture (PNG) of the metric `name` over the sparsity: a line for
    each method, bars of one standard deviation over the seeds.

    Raises MissingPackageError where Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingPackageError("pictures are drawn by Matplotlib: 'pip install matplotlib'") from None

    axes = (figure := Figure(figsize=(7, 4.5), dpi=120)).add_axes((0.11, 0.12, 0.86, 0.8))
    lines: dict[str, list] = {}
    for (method, sparsity), runs in grouped(results).items():
        found = _mean([run.get(name) for run in runs if "failed" not in run])
        if found is not None:
            lines.setdefault(method, []).append((sparsity, *found))
    for number, (method, points) in enumerate(lines.items()):
        colour = f"C{number}"
        if points[0][0] is None:
            _, mean, spread = points[0]
            axes.axhline(mean, color=colour, linestyle="--", label=method)
            axes.axhspan(mean - spread, mean + spread, color=colour, alpha=0.12)
            continue
        at, means, spreads = zip(*sorted(points))
        axes.errorbar([100 * s for s in at], means, yerr=spreads, color=colour, marker="o", capsize=3, label=method)
    axes.set(xlabel="sparsity, %", ylabel=name)
    axes.grid(alpha=0.3)
    if lines:
        axes.legend()
    figure.savefig(path, format="png")
