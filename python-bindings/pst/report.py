# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run says while it runs: a bar on a terminal, lines elsewhere. (The
JSON-lines log is the runtime's; other places are reporters.py's.)"""

from __future__ import annotations

import shutil
import sys
import time

from .streams import is_terminal, tell


def duration(seconds: float) -> str:
    """ "42 s", "3:07", "1:02:03". """
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def metrics_line(metrics: dict) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


class Progress:
    """A callback that tells how a run goes on.

    On a terminal one line is rewritten at each step; elsewhere a line is
    printed at each logging step. `stream` gets the text (default: standard
    error).
    """

    def __init__(self, stream=None, quiet: bool = False):
        self._stream = stream or sys.stderr
        self._terminal = is_terminal(self._stream)
        self._quiet = quiet
        self._drawn = 0.0
        self._bar_shown = False

    def on_step_end(self, record: dict) -> None:
        if self._quiet or not self._terminal:
            return
        now = time.monotonic()
        # A terminal need not be redrawn more than ten times a second.
        if now - self._drawn < 0.1 and record["step"] != record["total_steps"]:
            return
        self._drawn = now
        columns = shutil.get_terminal_size().columns
        tell("\r" + bar(record, columns - 1) + "\x1b[K", self._stream)
        self._bar_shown = True

    def on_log(self, record: dict) -> None:
        if not self._terminal:
            self.line(
                f"step {record['step']}/{record['total_steps']}  loss {record['loss']:.4f}  "
                f"sparsity {record['sparsity']:.3f}  lr {record['learning_rate']:.2e}  "
                f"{record['tokens_per_second']:.0f} tokens/s  "
                f"{record['memory_bytes'] / 2**20:.0f} MiB  "
                f"{duration(record['seconds_left'])} left"
            )

    def on_evaluate(self, record: dict) -> None:
        self.line(
            f"evaluation at step {record['step']} (epoch {record['epoch']:.2f}): "
            f"loss {record['loss']:.4f}  {metrics_line(record['metrics'])}  "
            f"sparsity {record['sparsity']:.3f}" + ("  (best)" if record["best"] else "")
        )

    def on_save(self, path: str) -> None:
        self.line(f"saved {path}")

    def on_message(self, text: str) -> None:
        self.line(text)

    def line(self, text: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self._quiet:
            return
        lead = "\r\x1b[K" if self._bar_shown else ""
        self._bar_shown = False
        tell(f"{lead}{text}\n", self._stream)

    def close(self) -> None:
        if self._bar_shown:
            tell("\n", self._stream)
            self._bar_shown = False


def bar(record: dict, width: int) -> str:
    """The progress line of a step, at most `width` characters."""
    share = record["step"] / max(record["total_steps"], 1)
    tail = (
        f" {record['step']}/{record['total_steps']}  loss {record['loss']:.3f}  "
        f"sparsity {record['sparsity']:.3f}  {record['tokens_per_second']:.0f} tok/s  "
        f"{record['memory_bytes'] / 2**20:.0f} MiB  {duration(record['seconds_left'])} left"
    )
    room = min(width - len(tail) - 7, 40)
    if room < 4:
        return (f"{share:4.0%}" + tail)[:width]
    full = round(share * room)
    return f"{share:4.0%} |" + "#" * full + "." * (room - full) + "|" + tail
