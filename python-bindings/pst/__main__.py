# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m pst`, and so `torchrun -m pst`."""

import sys

from .cli import program

sys.exit(program())
