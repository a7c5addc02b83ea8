# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What follows a training run from Python, and may end it: callbacks, metrics
of one's own, signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable

from . import _pst

HOOKS = ("on_step_end", "on_log", "on_evaluate", "on_save", "on_train_end")


class Callback:
    """What `pst.Trainer(callbacks=[...])` takes: an object that has some of
    these methods, whether this is its base or not.

    Each may return "stop": then the run ends after the current step, as it
    would after its last one. What one raises ends the run, too. Of several
    ranks, each calls its own; whichever wants to stop stops all.
    """

    def on_step_end(self, record: dict) -> str | None:
        """After every step: step, total_steps, epoch, loss, learning_rate,
        sparsity, grad_norm, seconds_per_step, tokens_per_second, memory_bytes,
        seconds_left."""

    def on_log(self, record: dict) -> str | None:
        """After every logging_steps steps: the same, with the mean loss since
        the last time."""

    def on_evaluate(self, record: dict) -> str | None:
        """After an evaluation: step, epoch, sparsity, loss, metrics, examples,
        seconds, eligible (at the final sparsity), best (of those so far)."""

    def on_save(self, path: str) -> str | None:
        """After a checkpoint was written, on the rank that wrote it."""

    def on_train_end(self, result: dict) -> None:
        """With what train() returns."""


class Callbacks:
    """Those of a run, called one after the other."""

    def __init__(self, callbacks: Iterable):
        self.want_end = False
        self._callbacks = list(callbacks)
        for callback in self._callbacks:
            if not any(callable(getattr(callback, name, None)) for name in HOOKS):
                raise ValueError(f"a callback must have a method {', '.join(HOOKS[:-1])} or {HOOKS[-1]}, but {callback!r} has none")

    def hook(self, name: str) -> Callable:
        """A function of one value that calls this method of each."""

        def call(value) -> None:
            for callback in self._callbacks:
                wish = getattr(callback, name, lambda value: None)(value)
                if wish not in (None, "stop"):
                    raise TypeError(f"{type(callback).__name__}.{name} must return None or 'stop', but returned {wish!r}")
                self.want_end |= wish == "stop"

        return call


def own_metrics(compute: Callable, predictions, labels) -> dict[str, float]:
    """What a `compute_metrics` gives, by the names of metrics. Raises TypeError."""
    found = compute(predictions, labels)
    if not isinstance(found, dict):
        raise TypeError(f"compute_metrics must return a dictionary of names and numbers, but returned {found!r}")
    metrics = {}
    for name, value in found.items():
        try:
            metrics[str(name).removeprefix("eval_")] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"compute_metrics must return numbers, but '{name}' is {value!r}") from None
    return metrics


class StopOnSignal:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a wish to stop, and tells it."""

    def __init__(self, tell: Callable[[str], None]):
        self.asked = False
        self._tell = tell
        self._previous: dict = {}
        self._saved = None

    def __enter__(self):
        # Only the main thread may set handlers.
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            # nohup's wish, that a run outlives its terminal, stands.
            numbers += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
            # Another library's handlers, in C, are none that Python could put back.
            self._saved = _pst.SavedHandlers(numbers)
            for number in numbers:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number, frame):
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.asked = True
        self._tell("stopping after this step, with a checkpoint (once more: at once)")

    def __exit__(self, *unused):
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._saved:
            self._saved.restore()
