# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the cases of the emulated tests as bundles that a machine with a GPU can check.

With $PST_CHECK_BUNDLES naming a folder (and $PST_CHECK_ARCH an architecture,
default sm_90a), each program that a test compiles for the emulator becomes a
bundle for a GPU there, with the inputs of its last call and the state that this
starts from, what should come out and be left as state, and how far from it a
result may be: from the test's own comparison with float64, where it makes one
of that result, else what the emulator found.
`pst-run check FOLDER/*` checks them. With $PST_CHECK_EMULATION the emulated
kernels lie beside each bundle. A test that names an architecture has its own.
Of a program that the emulator runs, but that does more than launch kernels,
and of a call with very large inputs, NAME.absent says why there is no bundle.
"""

import json
import os
import pathlib
import shutil

import numpy as np

from pst import compiled, errors, write_tensors

# Of a result that the test compares with float64 by means of its own: the
# order of a tensor core's additions may differ.
ROUNDING = 1e-5
# A GPU's tensor cores may add less precisely than the emulator's, which the
# tests' bounds are for.
HARDWARE = 4
# What the compiler says of a program that has more than kernels.
NO_KERNEL = "may only launch kernels"
# Of a larger result so many elements are recorded; a case with more bytes of
# inputs is not, for all of them are to be carried.
ELEMENTS = 1024
INPUT_BYTES = 8_000_000


class Recorder:
    """What one test does, case by case."""

    def __init__(self, folder, test, compile_text):
        safe = "".join(c if c.isalnum() else "-" for c in test)
        self.prefix = pathlib.Path(folder) / safe.strip("-")
        self.compile_text = compile_text
        self.bundles, self.absent = {}, 0  # by program, and how many have none
        self.calls = {}  # the last one, by (program, entry)
        self.wanted = {}  # by id of the result
        self.kept = []  # so that ids stay

    def compile(self, text, options):
        program = self.compile_text(text, options)
        # Of a test that is run for two kinds of CPU, the kernels of a GPU are the same.
        if options.get("target") != "emulated" or options.get("cpu"):
            return program
        bundle = pathlib.Path(f"{self.prefix}-{len(self.bundles) + self.absent}")
        bundle.parent.mkdir(parents=True, exist_ok=True)
        arch = options.get("gpu_arch") or os.environ.get("PST_CHECK_ARCH", "sm_90a")
        more = {"target": "cuda", "gpu_arch": arch, "bundle": str(bundle)}
        if os.environ.get("PST_CHECK_EMULATION"):  # to be checked with the stand-in
            more["emulation"] = str(bundle) + ".so"
        self.kept.append(program)
        try:
            self.compile_text(text, {**options, **more})
            self.bundles[id(program)] = bundle
        except errors.CompileError as error:
            if NO_KERNEL not in error.message:
                raise
            bundle.with_name(f"{bundle.name}.absent").write_text(f"{error}\n")
            self.absent += 1
        return program

    def called(self, function, program, inputs, outputs, before, after):
        """`before` and `after`: what was and is in the spaces of the entry point, by name."""
        self.calls[id(program), function.name] = function, inputs, outputs, before, after
        self.kept.append((function, inputs, outputs))

    def compared(self, actual, expected, allowed):
        self.wanted[id(actual)] = np.broadcast_to(expected, actual.shape), np.broadcast_to(allowed, actual.shape)
        self.kept.append(actual)

    def write(self):
        entries = {}
        for (program, _), call in self.calls.items():
            entries.setdefault(program, []).append(call)
        for program, bundle in self.bundles.items():
            calls = entries.get(program, [])
            targets = [bundle] + [pathlib.Path(f"{bundle}-{function.name}") for function, *_ in calls[1:]]
            for target, (function, *call) in zip(targets, calls):
                if target != bundle:
                    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns("check.safetensors"))
                self._write(target, function, *call)
            for target in targets:
                if not (target / "check.safetensors").exists():
                    shutil.rmtree(target)

    def _write(self, target, function, inputs, outputs, before, after):
        size = sum(_bytes(value).size for value in inputs)
        if size > INPUT_BYTES:
            target.with_name(f"{target.name}.absent").write_text(f"its inputs take {size} bytes\n")
            return
        tensors = {f"before.{space}": np.frombuffer(values, np.uint8) for space, values in before.items()}
        for tensor, value in zip(function.inputs, inputs):
            tensors[f"input.{tensor.name}"] = _bytes(value)
        for tensor, value in zip(function.outputs, outputs):
            pair = self.wanted.get(id(value)) or _found(_double(value), tensor.element)
            _record(tensors, tensor.name, *(np.array(values, np.float64).reshape(tensor.shape) for values in pair))
        for space, values in after.items():
            for name, element, value in _parameters(function.recorded, space, values):
                _record(tensors, f"{space}/{name}", *_found(value, element))
        write_tensors(target / "check.safetensors", tensors, {"entry": function.name})


def _found(wanted, element):
    """What the emulator found, and what a GPU may find instead."""
    finite = np.where(np.isfinite(wanted), np.abs(wanted), 0)
    exact = element in ("i8", "i32", "i64")
    allowed = np.full(wanted.shape, 0 if exact else ROUNDING * max(finite.max(initial=0), 1e-30))
    if not exact and _is_bf16(wanted):  # where a sum that differs a little is rounded the other way
        allowed = allowed + 2.0**-7 * finite
    return wanted, allowed


def _record(tensors, name, wanted, allowed):
    if wanted.size > ELEMENTS:
        chosen = np.random.default_rng(0).choice(wanted.size, ELEMENTS, replace=False)
        chosen = np.unique(np.concatenate([chosen, [0, wanted.size - 1]])).astype(np.int64)
        tensors[f"elements.{name}"] = chosen
        wanted, allowed = wanted.reshape(-1)[chosen], allowed.reshape(-1)[chosen]
    tensors[f"wanted.{name}"] = _shortened(wanted, 20)
    tensors[f"allowed.{name}"] = _shortened(allowed, 44) * (1 + 2.0**-7)


def _shortened(values, bits):
    """Without the last bits of their mantissas, of 52, which say nothing here and do not compress."""
    whole = np.ascontiguousarray(values, np.float64)
    return (whole.view(np.int64) >> bits << bits).view(np.float64).reshape(whole.shape)


def _spaces(function):
    """What the entry point keeps between calls; the arena it does not."""
    arguments = json.loads(function.recorded.manifest)["entry_points"][function.name]["arguments"]
    names = [argument["name"] for argument in arguments if argument["kind"] == "space" and argument["name"] != "arena"]
    return {name: function._call.read_space(name) for name in names}


def _parameters(program, space, values):
    """Of each parameter in a space: name, type of its elements, and these as float64."""
    for parameter in json.loads(program.manifest)["parameters"]:
        if parameter["role"] != ("state" if space == "state" else "trainable"):
            continue
        element, shape = compiled.parse_type(parameter["type"])
        found = np.frombuffer(values, compiled._NUMPY[element], int(np.prod(shape, dtype=np.int64)), parameter["offset"])
        yield parameter["name"], element, found.astype(np.float64)


def _bytes(value):
    """The bytes of an array as they are, also of a torch tensor of bf16."""
    if not isinstance(value, np.ndarray):
        import torch

        value = value.detach().contiguous().view(torch.uint8).numpy() if value.dim() else value.reshape(1).view(torch.uint8).numpy()
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)


def _is_bf16(values):
    """Whether bf16 holds them, and not just small whole numbers."""
    bits = values.astype(np.float32).view(np.uint32)
    return not (bits & 0xFFFF).any() and bool((values != np.round(values)).any())


def _double(value):
    return np.asarray(value if isinstance(value, np.ndarray) else value.double().numpy(), np.float64)


def record(monkeypatch, test, compile_text, modules):
    """Watches what a test compiles, calls and compares; returns what to do at its end."""
    recorder = Recorder(os.environ["PST_CHECK_BUNDLES"], test, compile_text)
    construct, call = compiled.Function.__init__, compiled.Function.__call__

    def init(self, program, *args, **kwargs):
        construct(self, program, *args, **kwargs)
        self.recorded = program

    def run(self, *args, out=None, **kwargs):
        inputs = [np.array(v, copy=True) if isinstance(v, np.ndarray) else v for v in self._bind(args, kwargs)]
        before = _spaces(self)
        result = call(self, *args, out=out, **kwargs)
        outputs = list(out) if out is not None else list(result) if isinstance(result, tuple) else [result]
        recorder.called(self, self.recorded, inputs, outputs, before, _spaces(self))
        return result

    monkeypatch.setattr(compiled.Function, "__init__", init)
    monkeypatch.setattr(compiled.Function, "__call__", run)
    for module in modules:
        close = module.close

        def closer(actual, expected, *args, close=close, allowed=module.allowed, **kwargs):
            close(actual, expected, *args, **kwargs)
            wanted = np.asarray(expected.detach().numpy() if hasattr(expected, "detach") else expected, np.float64)
            recorder.compared(actual, wanted, HARDWARE * allowed(wanted, *args, **kwargs))

        monkeypatch.setattr(module, "close", closer)
    return recorder.compile, recorder.write
