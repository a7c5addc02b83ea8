# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The handlers of signals are the program's: a library leaves them as it found them."""

import os
import subprocess
import sys

import pytest
from conftest import write_data, write_model

# Reads what the kernel knows, for handlers that are not Python's.
SCRIPT = """
import ctypes, os, signal, sys

libc = ctypes.CDLL(None)
HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
raised = []
ours = HANDLER(raised.append)
NUMBERS = [n for n in range(1, signal.NSIG) if n not in (signal.SIGKILL, signal.SIGSTOP, 32, 33)]
FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP)

def actions():
    found = []
    for number in NUMBERS:
        action = ctypes.create_string_buffer(256)
        assert libc.sigaction(number, None, action) == 0
        found.append(action.raw[:16] + action.raw[136:140])  # handler, mask, flags
    return found

import numpy, tokenizers  # what they change is theirs
for number in NUMBERS:
    if number not in FATAL:
        assert libc.signal(number, ours) != -1
before = actions()
import pst
from pst import _pst
work, directory = sys.argv[1:3]
if work == "compile":
    _pst.compile_model(directory, {"num_labels": 2, "sequence_length": 5})
    assert len([name for name in os.listdir(os.environ["PST_CACHE_DIR"]) if name.startswith("llvmcache-")]) == 1
    _pst.compile_model(directory, {"num_labels": 2, "sequence_length": 5})
elif work == "bundle":
    _pst.compile_model(directory, {"num_labels": 2, "sequence_length": 5, "bundle": directory + "/bundle", "profile": True})
    _pst.Program.load(directory + "/bundle")
elif work == "errors":
    for text in ("func.func @main(", "func.func @f(%x: tensor<2xi8>) -> tensor<2xi8> { return %x : tensor<2xi8> }"):
        try:
            pst.compile(text)
        except pst.CompileError:
            pass
elif work == "train":
    trainer = pst.Trainer(directory, directory + "/train.tsv", output_dir=directory + "/run", max_steps=2, method="pst")
    trainer.train()
    trainer.save()
changed = [number for number, old, new in zip(NUMBERS, before, actions()) if old != new]
assert not changed, f"the handlers of {changed} changed"
del raised[:]  # SIGCHLD, of the linker
for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP):
    libc.raise_signal = libc["raise"]
    libc.raise_signal(number)
assert raised == [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP], raised
"""


@pytest.mark.parametrize("work", ["compile", "bundle", "errors", "train"])
def test_a_library_leaves_handlers_as_it_found_them(tmp_path, work):
    model = write_model(tmp_path / "model")
    write_data(model / "train.tsv")
    environment = {**os.environ, "PST_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", SCRIPT, work, str(model)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
