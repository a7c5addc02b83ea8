# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst bench`: runs the rows of bench_rows.py, and says which bars hold.

A benchmark is no test: a missed bar is told, and the exit status stays 0.
"""

from __future__ import annotations

import datetime
import fnmatch
import os
import platform
import sys
import time
from importlib import metadata

import numpy as np

from .bench_inference import inference_rows
from .bench_rows import Absent, Context, Row, Sizes, all_rows, openblas_libraries
from .bench_worker import WorkerError
from .errors import DataError
from .files import object_in, read_small
from .outputs import write_json

_DESCRIPTION = """\
Times kernels and whole training steps against their rivals and says, for each
row, its value, its bar, and whether it holds. Contestants take turns: products
in one process (pst-bench, whose --help says how the libraries' threads are kept
apart), what is measured against PyTorch in two processes of which one sleeps.
Needs torch for the latter. With one thread the clock is the
process's own; with more, wait for a quiet machine."""


def add_arguments(parser) -> None:
    parser.formatter_class = _formatter()
    parser.description = _DESCRIPTION
    parser.add_argument("--suite", default="cpu", choices=["cpu", "inference"], help="kernels and training steps, or saved models (default: cpu)")
    parser.add_argument("--json", metavar="FILE", help="write the results here, after every row")
    parser.add_argument("--rows", metavar="PATTERN", help="only rows whose name matches, as '*threshold*' or 'gemm'; '!torch': all others")
    parser.add_argument("--list", action="store_true", help="print the rows and their bars, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--threads", default="1,2", metavar="N,N", help="threads of kernels; steps take the most (default: 1,2)")
    parser.add_argument("--table", metavar="FILE", help="print the results in FILE as a Markdown table, and measure nothing")
    parser.add_argument("--openblas", action="append", default=[], metavar="FILE", help="an OpenBLAS library, instead of the system's and NumPy's")
    parser.add_argument("--pst_bench", default="", metavar="FILE", help="the program pst-bench (default: the package's, or on PATH)")
    parser.add_argument("--model", default="", metavar="DIR", help="model of the whole steps (default: BERT-base, random weights)")
    parser.add_argument("--batch_size", type=int, default=32, metavar="N", help="examples of a whole step (default: 32)")
    parser.add_argument("--sequence_length", type=int, default=128, metavar="N", help="their tokens (default: 128)")
    parser.add_argument(
        "--lengths",
        metavar="N,N",
        help="tokens of the examples, in turn (default: all of --sequence_length): ours without padding, a rival's batch as long as its longest",
    )
    parser.add_argument(
        "--data", metavar="FILE", help="the lengths of a data file's examples by --model's tokenizer, drawn at random: --batches of them, in turn"
    )
    parser.add_argument("--batches", type=int, default=16, metavar="N", help="of --data: steps that a measurement takes in turn (default: 16)")
    parser.add_argument(
        "--attention",
        default="sdpa",
        choices=["sdpa", "eager"],
        help="attention of the eager BERT (default: sdpa, PyTorch's fused one)",
    )
    parser.add_argument("--tiny", action="store_true", help="tiny sizes without bars: shows that everything runs")


def _formatter():
    import argparse

    return argparse.RawDescriptionHelpFormatter


def main(args) -> int:
    if args.table:
        try:
            print(table(object_in(read_small(args.table), args.table)))
        except (AttributeError, KeyError, TypeError):
            raise DataError(f"{args.table}: expected what 'pst bench --json FILE' writes") from None
        return 0
    try:
        threads = tuple(int(part) for part in args.threads.split(","))
    except ValueError:
        threads = ()
    if not threads or min(threads) < 1:
        raise ValueError(f"--threads must be numbers of threads, as in 1,2, but is '{args.threads}'")
    try:
        lengths = tuple(int(part) for part in args.lengths.split(",")) if args.lengths else ()
    except ValueError:
        lengths = (0,)
    if args.data:
        lengths = _drawn(args)
    elif lengths and not 1 <= min(lengths) <= max(lengths) <= args.sequence_length:
        raise ValueError(f"--lengths must be numbers from 1 to --sequence_length ({args.sequence_length}), but is '{args.lengths}'")
    context = Context(
        sizes=Sizes.tiny() if args.tiny else Sizes(batch=args.batch_size, length=args.sequence_length, lengths=lengths),
        threads=threads,
        samples=3 if args.quick or args.tiny else 7,
        turns=1 if args.tiny else 2 if args.quick else 3,
        seconds=0.001 if args.tiny else 0.05,
        openblas=tuple(args.openblas) or openblas_libraries(),
        pst_bench=args.pst_bench,
        model=args.model,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
        attention=args.attention,
    )
    every = all_rows(context) if args.suite == "cpu" else inference_rows(context)
    rows = [row for row in every if matches(row.name, args.rows)]
    if not rows:
        raise ValueError(f"no row matches '{args.rows}'; --list prints them")
    if args.list:
        for row in rows:
            print(row.name + ("" if row.bar is None else f": {row.kind} {row.bar:g}"))
        return 0
    results = {
        "suite": args.suite,
        "command": "pst bench " + " ".join(sys.argv[2:]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "rows": [],
    }
    begin = time.monotonic()
    for number, row in enumerate(rows, 1):
        print(f"[{number}/{len(rows)}] {row.name}", file=sys.stderr, flush=True)
        results["rows"].append(run(row))
        results["seconds"] = time.monotonic() - begin
        if args.json:
            write_json(args.json, results)
    print(table(results))
    return 0


def _drawn(args) -> tuple:
    """Tokens of --batches x --batch_size examples of --data, drawn without repetition, the same ones every time."""
    from .classifier import encode
    from .data import read_examples
    from .options import Options
    from .tokenizer import Tokenizer

    if args.lengths or not args.model:
        raise ValueError("--data needs --model, whose tokenizer says how long its examples are" if not args.model else "--data and --lengths go not together")
    examples = read_examples(args.data, need_labels=False, read_labels=False)
    counts = encode(Tokenizer(args.model), examples, args.sequence_length, Options.make())[0].counts(args.sequence_length)
    wanted = args.batches * args.batch_size
    if not 1 <= wanted <= len(counts):
        raise ValueError(f"--batches {args.batches} of {args.batch_size} examples are {wanted}, but {args.data} has {len(counts)}")
    return tuple(map(int, np.random.default_rng(0).permutation(counts)[:wanted]))


def matches(name: str, pattern: str | None) -> bool:
    if pattern and pattern.startswith("!"):
        return not matches(name, pattern[1:])
    return pattern is None or pattern in name or fnmatch.fnmatchcase(name, pattern)


def run(row: Row) -> dict:
    """Measures a row. Its "status" is "measured"; "absent" where something that
    it needs is not there; "failed" where a contestant did not run or gave
    another result."""
    result = {"name": row.name, "value": None, "bar": row.bar, "kind": row.kind, "holds": None, "spread": None}
    begin = time.monotonic()
    load = os.getloadavg()[0]
    try:
        measured = row.measure()
    except Absent as error:
        result.update(status="absent", reason=str(error))
    except (WorkerError, OSError) as error:
        result.update(status="failed", reason=str(error))
    else:
        result.update(status="measured", **measured)
        if row.bar is not None and "undecided" not in measured:
            value = measured["value"]
            result["holds"] = value >= row.bar if row.kind == "at least" else value <= row.bar
    result.update(row_seconds=time.monotonic() - begin, load=load)
    said = f"{result['value']:.4g}" if result["value"] is not None else f"{result['status']}: {result['reason']}"
    print(f"    {said}{_verdict(result)}", file=sys.stderr, flush=True)
    return result


def _verdict(row: dict) -> str:
    if row["holds"] is None:
        return ""
    return ", holds" if row["holds"] else f", misses {row['kind']} {row['bar']:g}"


def table(results: dict) -> str:
    """The results as Markdown, what misses its bar included."""
    machine_, versions_ = results["machine"], results["versions"]
    lines = [
        f"`{results['command']}`, {results['date'][:10]}, {results.get('seconds', 0) / 60:.0f} minutes. "
        f"{machine_['cpu']}, {machine_['cores']} cores, {machine_['memory_gib']:.0f} GiB; "
        + ", ".join(f"{name} {version}" for name, version in versions_.items())
        + ".",
        "",
        "| measure | value | spread | bar | holds |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        bar = "" if row["bar"] is None else f"{row['kind']} {row['bar']:g}"
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        if row["status"] == "measured":
            value = f"{row['value']:.3g}"
            edges = f"{row['spread'][0]:.3g} to {row['spread'][1]:.3g}"
            if "undecided" in row:
                holds = "not decided: " + row["undecided"]
        else:
            value, edges = f"{row['status']}: {row['reason']}".replace("|", "\\|"), ""
        lines.append(f"| {row['name']} | {value} | {edges} | {bar} | {holds} |")
    held = [row["holds"] for row in results["rows"] if row["bar"] is not None]
    lines += [
        "",
        f"{held.count(True)} of {len(held)} bars hold, {held.count(False)} are missed, {held.count(None)} were not decided.",
    ]
    return "\n".join(lines)


def machine() -> dict:
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), cpu)
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gib": memory, "system": platform.platform()}


def versions() -> dict:
    found = {}
    for name in ("pst", "torch", "transformers", "numpy", "onnxruntime"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name == "pst":
                from . import __version__

                found[name] = __version__
    return found


