# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Errors that speak to the user."""

from __future__ import annotations


class DataError(ValueError):
    """Something in a data file, or in what was asked of it, is wrong."""


class MissingPackageError(ImportError):
    """A package that only a part of pst needs is not installed; the text says which and how to get it."""


_LONGEST_LINE = 300  # What is shown of one.


class CompileError(ValueError):
    """A model or program that cannot be compiled.

    `message` says what is wrong; `file`, `line` and `column` (from 1; 0 if not
    known) where; `source_line` is the text of that line. As text it shows the
    line with a caret under the column.
    """

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0, source_line: str = ""):
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source_line = source_line

    def __str__(self) -> str:
        place = self.file
        if self.line > 0:
            place += f":{self.line}"
            if self.column > 0:
                place += f":{self.column}"
        text = f"{place}: error: {self.message}" if place else self.message
        if self.source_line and self.line > 0:
            # Of a line without an end, what is around the column.
            line, begin = self.source_line.rstrip("\n"), 0
            if len(line) > _LONGEST_LINE:
                begin = max(0, self.column - 1 - _LONGEST_LINE // 2)
            text += "\n" + line[begin : begin + _LONGEST_LINE]
            if self.column > 0:
                # Tabs stay tabs, so that the caret stands under its column.
                before = line[begin : self.column - 1]
                text += "\n" + "".join("\t" if c == "\t" else " " for c in before) + "^"
        return text
