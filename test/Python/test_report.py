# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run prints, on a terminal and elsewhere."""

import io

import pytest

from pst import report

RECORD = {
    "step": 120,
    "total_steps": 400,
    "epoch": 0.8,
    "loss": 0.51234,
    "learning_rate": 3e-4,
    "sparsity": 0.6042,
    "grad_norm": 1.5,
    "seconds_per_step": 0.25,
    "tokens_per_second": 1666.4,
    "memory_bytes": 300 * 2**20,
    "seconds_left": 70.2,
}
EVALUATION = {
    "step": 120,
    "epoch": 0.8,
    "loss": 0.4,
    "sparsity": 0.6,
    "metrics": {"accuracy": 0.875, "f1": 0.8},
    "best": True,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_where_there_is_no_terminal():
    out = io.StringIO()
    progress = report.Progress(stream=out)
    progress.on_step_end(RECORD)
    assert out.getvalue() == ""
    progress.on_log(RECORD)
    progress.on_evaluate(EVALUATION)
    progress.close()
    assert out.getvalue().splitlines() == [
        "step 120/400  loss 0.5123  sparsity 0.604  lr 3.00e-04  1666 tokens/s  300 MiB  1:10 left",
        "evaluation at step 120 (epoch 0.80): loss 0.4000  accuracy 0.8750  f1 0.8000  sparsity 0.600  (best)",
    ]


def test_a_bar_on_a_terminal_gives_way_to_lines():
    out = Terminal()
    progress = report.Progress(stream=out)
    progress.on_step_end(RECORD)
    first = out.getvalue()
    assert first.startswith("\r 30% |") and "\n" not in first
    progress.on_log(RECORD)
    assert out.getvalue() == first
    progress.on_evaluate(EVALUATION)
    assert out.getvalue()[len(first) :].startswith("\r\x1b[Kevaluation at step 120")
    progress.on_step_end({**RECORD, "step": 400})
    progress.close()
    assert out.getvalue().endswith("\n")


@pytest.mark.parametrize("width", [20, 60, 80, 100, 119, 200])
def test_the_bar_fits_the_terminal(width):
    text = report.bar(RECORD, width)
    assert len(text) <= width
    assert text.startswith(" 30%")
    if width >= 100:
        assert "loss 0.512" in text and "sparsity 0.604" in text and "300 MiB" in text and "1:10 left" in text


@pytest.mark.parametrize(
    "seconds, text", [(-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (3599, "59:59"), (3723, "1:02:03")]
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text
