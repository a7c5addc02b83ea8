# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Standard streams that are closed, full, or whose reader has gone: what nobody can read ends no run.
And texts of a command line, whatever the system makes of them."""

from __future__ import annotations

import os
import sys


def tell(text: str, stream=None) -> None:
    """Writes to standard error, or to `stream`, what may be lost."""
    stream = sys.stderr if stream is None else stream
    try:
        stream.write(text)
        stream.flush()
    except (AttributeError, OSError, ValueError):
        # None, as pythonw's; a full disk, a terminal that hung up; closed.
        pass


def is_terminal(stream) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, OSError, ValueError):
        return False


def speak_utf8() -> None:
    """Begins the program anew in UTF-8 mode where Python takes the command line
    and the names of files for ASCII: in the C locale, if the environment forbids
    the mode. Names of classes and columns would not be those of the files."""
    if sys.getfilesystemencoding() == "ascii" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def open_standard_streams() -> None:
    """Gives streams that are closed to the null device. A program calls it
    first: the next file opened would be taken for the stream."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)


def give_up(stream) -> None:
    """What a stream still holds goes nowhere: at the end of a process Python
    would try again, and make another status of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def flush_standard_streams() -> bool:
    """At the end of a program. Whether standard output took all of it."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        give_up(sys.stderr)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        give_up(sys.stdout)
        return False
    return True
