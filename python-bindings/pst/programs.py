# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The programs that come with the package: pst-run, pst-opt, pst-compile, pst-bench.

An installed package has them in its `bin` folder, and commands of their names
beside `pst`, which call `run`.
"""

import os
import shutil
import sys
from pathlib import Path

_PACKAGE = Path(__file__).absolute().parent


def find(name: str) -> str:
    """The path of the program; empty if there is none.

    In the package, in the build tree that the package lies in, or on PATH.
    """
    for folder in (_PACKAGE / "bin", _PACKAGE.parents[1] / "bin"):
        if (folder / name).is_file():
            return str(folder / name)
    return shutil.which(name) or ""


def run() -> None:
    """Becomes the program that this process was called as."""
    name = Path(sys.argv[0]).name
    program = _PACKAGE / "bin" / name
    if not program.is_file():
        sys.exit(f"error: {name} is not part of this installation ({program}): install the package as the README says")
    os.execv(program, [str(program), *sys.argv[1:]])
