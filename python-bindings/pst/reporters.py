# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the numbers of a run go: TensorBoard, wandb, trackio, or an object of
one's own with `log(step, values)` and `close()`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable
from typing import Protocol

from .tensorboard import EventWriter, remove_events

KINDS = ("none", "tensorboard", "wandb", "trackio")


class Reporter(Protocol):
    """What `pst.Trainer(reporters=[...])` takes."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Numbers by name ("train/loss", "eval/accuracy", ...) after `step` steps;
        a step may come twice, with other names, and none comes after a later one."""

    def close(self) -> None:
        """The run is over, or has failed."""


class _TensorBoard:
    def __init__(self, directory: str):
        self._directory = directory
        self._events: EventWriter | None = None

    def log(self, step: int, values: dict[str, float]) -> None:
        if self._events is None:
            self._events = EventWriter(self._directory)
        self._events.add(step, values)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


class _Tracker:
    """wandb or trackio: one interface."""

    def __init__(self, module: str, name: str, config: dict):
        self._module = importlib.import_module(module)
        project = os.environ.get(f"{module.upper()}_PROJECT", "pst")
        self._module.init(project=project, name=name, config=config)

    def log(self, step: int, values: dict[str, float]) -> None:
        self._module.log(values, step=step)

    def close(self) -> None:
        self._module.finish()


def kinds(text: str) -> list[str]:
    """The names in --report_to, each of which can be had. Raises ValueError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in KINDS]:
        raise ValueError(f"--report_to must be some of {', '.join(KINDS)}, with commas between them, but is '{', '.join(unknown)}'")
    if "none" in names and len(names) > 1:
        raise ValueError(f"--report_to none leaves no room for others, but is '{text}'")
    for name in names:
        if name in ("wandb", "trackio") and importlib.util.find_spec(name) is None:
            raise ValueError(f"--report_to {name} needs the package {name}, which is not installed: 'pip install {name}'")
    return [name for name in names if name != "none"]


class Reports:
    """A callback that hands a run's numbers to reporters."""

    def __init__(self, own: Iterable[Reporter] = ()):
        self._reporters = list(own)

    def open(self, options, config: dict) -> None:
        """Those of --report_to, when it is sure that there is a run."""
        directory = options.logging_dir or os.path.join(options.output_dir, "tensorboard")
        if options.overwrite_output_dir:
            remove_events(directory)
        name = options.run_name or os.path.basename(os.path.abspath(options.output_dir))
        for kind in kinds(options.report_to):
            self._reporters.append(_TensorBoard(directory) if kind == "tensorboard" else _Tracker(kind, name, config))

    def on_log(self, record: dict) -> None:
        names = ("loss", "learning_rate", "sparsity", "grad_norm", "epoch", "tokens_per_second", "seconds_per_step")
        values = {f"train/{name}": record[name] for name in names}
        self._log(record["step"], {**values, "train/memory_mib": record["memory_bytes"] / 2**20})

    def on_evaluate(self, record: dict) -> None:
        values = {f"eval/{name}": value for name, value in record["metrics"].items()}
        self._log(record["step"], {**values, "eval/loss": record["loss"], "eval/sparsity": record["sparsity"]})

    def _log(self, step: int, values: dict) -> None:
        for reporter in self._reporters:
            reporter.log(step, values)

    def close(self) -> None:
        for reporter in self._reporters:
            reporter.close()
