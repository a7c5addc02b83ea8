# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst.compile`: a model directory or MLIR text becomes a callable."""

from __future__ import annotations

import json
import math
import os
import threading
from dataclasses import dataclass

import numpy as np

from . import _pst, torch
from .files import read_text
from .tasks import TOKEN_CLASSES
from .token_arrays import rows_and_tokens, whole_numbers
from .tokenizer import end_at_last_token
from .tokenizer_settings import DECODERS

# What a Python process needs beside a program's plan, about: the interpreter,
# NumPy, tokenizers, and what the compiler leaves behind.
LIBRARY_BYTES = 112 * 2**20

_NUMPY = {"f32": np.float32, "f64": np.float64, "i8": np.int8, "i32": np.int32, "i64": np.int64}


@dataclass(frozen=True)
class Tensor:
    """The type of one input or output; an empty shape is a scalar."""

    name: str
    element: str  # "f32", "f64", "bf16", "i8", "i32", "i64"
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.element}{list(self.shape)}"


class Function:
    """One entry point, callable with arrays by position or by name.

    Inputs are NumPy arrays, torch tensors or anything with DLPack, contiguous
    and of the declared type: they are used in place, never copied or
    converted. Numbers are taken for scalars. Returns the output, or a tuple of
    them, as torch tensors if an input was one, else as NumPy arrays. Outputs
    may be given as `out=[...]`, which are then written in place; one that
    shares memory with an input, or with another output, is an error.

    Threads may call one function at once: they take turns.

    A function on a GPU takes arrays in the GPU's memory too: they are read and
    written in the order of its stream (`use_stream`), without waiting.
    """

    def __init__(self, program: "_pst.Program", name: str, model_dir: str = "", seed: int = 42):
        manifest = json.loads(program.manifest)
        entry = manifest["entry_points"][name]
        self._on_gpu = manifest["triple"].startswith("nvptx")
        self.name = name
        self.inputs = _tensors(entry, "input")
        self.outputs = _tensors(entry, "output")
        self._call = _pst.Function(program, name, model_dir, seed)

    def use_stream(self, stream: int | None) -> None:
        """Gives the GPU's work to this stream from now on, such as
        torch.cuda.current_stream().cuda_stream; None: to one of its own."""
        self._call.use_stream(stream)

    def __call__(self, *args, out=None, **kwargs):
        arrays = self._bind(args, kwargs)
        device = torch.gpu_of(arrays)
        if out is not None:
            if not isinstance(out, (list, tuple)):
                raise TypeError(f"out must be a list of '{self.name}'s outputs, out=[{', '.join(o.name for o in self.outputs)}]")
            outputs = list(out)
            for tensor, value in zip(self.outputs, outputs):
                torch.check(value, f"output '{tensor.name}'", self._on_gpu)
        elif device is not None:
            outputs = [torch.empty(o.shape, o.element, device) for o in self.outputs]
        else:
            outputs = [np.empty(o.shape, _numpy_type(o)) for o in self.outputs]
        self._call(arrays, outputs)
        if device is not None:
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        if out is None and any(torch.is_tensor(value) for value in (*args, *kwargs.values())):
            outputs = [torch.from_numpy(value) for value in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _bind(self, args, kwargs):
        names = [tensor.name for tensor in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"'{self.name}' has {len(names)} inputs ({', '.join(names)}), but {len(args)} were given")
        values = dict(zip(names, args))
        for name, value in kwargs.items():
            if name not in names:
                raise TypeError(f"'{self.name}' has no input '{name}'; its inputs are {', '.join(names)}")
            if name in values:
                raise TypeError(f"input '{name}' of '{self.name}' was given twice")
            values[name] = value
        missing = [name for name in names if name not in values]
        if missing:
            raise TypeError(f"'{self.name}' lacks the input{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
        arrays = []
        for tensor in self.inputs:
            value = values[tensor.name]
            if not tensor.shape and isinstance(value, (int, float)):
                value = np.array(value, _numpy_type(tensor))
            elif not hasattr(value, "__dlpack__"):
                raise TypeError(
                    f"input '{tensor.name}' of '{self.name}' must be an array or a tensor ({tensor}), "
                    f"not {type(value).__name__}"
                )
            if isinstance(value, np.ma.MaskedArray):
                raise ValueError(f"input '{tensor.name}' is masked, which a program cannot see: pass .filled(VALUE) of it")
            torch.check(value, f"input '{tensor.name}'", self._on_gpu)
            arrays.append(value)
        return arrays

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        return f"<pst function {self.name}({inputs}) -> ({', '.join(map(str, self.outputs))})>"


def _tensors(entry: dict, kind: str) -> list[Tensor]:
    return [Tensor(a["name"], *parse_type(a["type"])) for a in entry["arguments"] if a["kind"] == kind]


def parse_type(text: str) -> tuple[str, tuple[int, ...]]:
    """A manifest's "f32[3,5]" as ("f32", (3, 5))."""
    element, _, shape = text.rstrip("]").partition("[")
    return element, tuple(int(size) for size in shape.split(",")) if shape else ()


def compressed_weights(manifest: dict) -> dict[str, tuple[int, int]]:
    """The weights that a program multiplies by compressed: the bytes that each takes, and would take as it is."""
    return _sizes_of_stored(manifest, ".pst_used")


def quantized_weights(manifest: dict) -> dict[str, tuple[int, int]]:
    """The same of the weights that a program holds in 8 bits, compressed or whole."""
    return _sizes_of_stored(manifest, ".pst_scales")


def _sizes_of_stored(manifest: dict, ending: str) -> dict[str, tuple[int, int]]:
    """Of the weights of which a part is called so."""
    sizes = {}
    for parameter in manifest["parameters"]:
        element, shape = parse_type(parameter["type"])
        sizes[parameter["name"]] = math.prod(shape) * int(element.lstrip("bfi")) // 8
    parts = ("values", "columns", "cells", "bits", "starts", "used", "scales")
    names = [name.removesuffix(ending) for name in sizes if name.endswith(ending)]
    return {name: (sum(sizes.get(f"{name}.pst_{part}", 0) for part in parts), sizes[name]) for name in names}


def _numpy_type(tensor: Tensor):
    if tensor.element not in _NUMPY:
        raise TypeError(f"{tensor} has no NumPy type; give it as an array of another library, or as out=[...]")
    return _NUMPY[tensor.element]


class Compiled:
    """A compiled program: its functions by name, and callable itself.

    Calling it runs its only function, or the one named "main". A compiled
    model takes `input_ids` (and, if they are to be other than all ones and all
    zeros, `attention_mask` and `token_type_ids`): whole numbers of any type, up
    to as long as it was compiled for. They are converted and padded, and run in
    batches. It returns the logits, float32[rows, labels]; where tokens have
    classes float32[rows, tokens, labels]. Only arrays on a GPU must be
    int32[batch, length], and are used in place (then tokens of all rows are one
    dimension).
    """

    def __init__(self, program: "_pst.Program", model_dir: str = "", seed: int = 42):
        self.program = program
        self.manifest = json.loads(program.manifest)
        self.entry_points = tuple(program.entry_points)
        self._model_dir = model_dir
        self._seed = seed
        self._functions: dict[str, Function] = {}
        self._making = threading.Lock()

    def function(self, name: str) -> Function:
        """The entry point of that name. Its memory is made at the first use."""
        if name not in self.entry_points:
            raise ValueError(f"the program has no function '{name}'; it has {', '.join(self.entry_points)}")
        with self._making:
            if name not in self._functions:
                self._functions[name] = Function(self.program, name, self._model_dir, self._seed)
            return self._functions[name]

    def memory_plan(self) -> str:
        """Bytes by kind, as text, known before anything runs."""
        return self.program.memory_plan()

    def __call__(self, *args, **kwargs):
        if not self._model_dir:
            if len(self.entry_points) == 1:
                return self.function(self.entry_points[0])(*args, **kwargs)
            if "main" in self.entry_points:
                return self.function("main")(*args, **kwargs)
            raise TypeError(f"the program has several functions, {', '.join(self.entry_points)}: use function(name)")
        return self._logits(*args, **kwargs)

    def _logits(self, input_ids, attention_mask=None, token_type_ids=None):
        forward = self.function("forward")
        if all(tensor.name != "logits" for tensor in forward.outputs):
            raise TypeError(
                "the program is a language model's, which has a loss and no logits: "
                "function('forward')(input_ids=..., labels=...) gives the loss; task=\"classification\" compiles a classifier"
            )
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        given = {name: value for name, value in given.items() if value is not None}
        if torch.gpu_of(given.values()) is not None:
            return self._run(forward, given)
        shape = next(tensor.shape for tensor in forward.inputs if tensor.name == "input_ids")
        arrays = {name: whole_numbers(name, value) for name, value in given.items()}
        rows = self._check_shapes(arrays, shape)
        arrays.setdefault("attention_mask", np.ones_like(arrays["input_ids"]))
        config = json.loads(self.manifest.get("config") or "{}")
        padding = config.get("pad_token_id")
        padding = padding if isinstance(padding, int) else 0
        if config.get("model_type") in DECODERS and isinstance(config.get("pad_token_id"), int):
            # As transformers finds the token that it classifies by.
            arrays["attention_mask"] = arrays["attention_mask"].copy()
            end_at_last_token(arrays["input_ids"], arrays["attention_mask"], padding)
        results = []
        for first in range(0, rows, shape[0]):
            part = {name: _padded(array[first : first + shape[0]], shape, padding if name == "input_ids" else 0)
                    for name, array in arrays.items()}  # fmt: skip
            result = self._run(forward, part)
            if self.manifest.get("task") == TOKEN_CLASSES:
                result = np.asarray(result).reshape(*shape, -1)[:, : arrays["input_ids"].shape[1]]
            results.append(result[: rows - first])
        logits = np.concatenate(results)
        return torch.from_numpy(logits) if any(map(torch.is_tensor, given.values())) else logits

    def _check_shapes(self, arrays: dict, shape: tuple[int, ...]) -> int:
        """The number of rows. Raises ValueError."""
        rows, tokens = rows_and_tokens(arrays)
        if not rows or not tokens or tokens > shape[1]:
            raise ValueError(
                f"input_ids is {[rows, tokens]}, and the program takes rows of 1 to {shape[1]} tokens: "
                f"cut them, or compile with sequence_length={max(tokens, 1)}"
            )
        return rows

    def _run(self, forward: Function, given: dict):
        """The logits of one batch; what is not given is as for plain texts."""
        values = {}
        for tensor in forward.inputs:
            value = given.get(tensor.name)
            if value is None:
                # A label of -100, or NaN, is no example and adds no loss.
                fill = {
                    "attention_mask": 1,
                    "labels": np.nan if tensor.element == "f32" else -100,
                    "loss_scale": 1,
                }.get(tensor.name, 0)
                value = np.full(tensor.shape, fill, _numpy_type(tensor))
            values[tensor.name] = value
        outputs = forward(**values)
        return outputs[[tensor.name for tensor in forward.outputs].index("logits")]

    def __repr__(self) -> str:
        return f"<pst program with {', '.join(self.entry_points)}>"


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: int) -> np.ndarray:
    """Filled up to `shape`: with `fill` to the right, with the last row below."""
    short = shape[1] - array.shape[1], shape[0] - array.shape[0]
    array = np.pad(array, ((0, 0), (0, short[0])), constant_values=fill)
    return np.ascontiguousarray(np.pad(array, ((0, short[1]), (0, 0)), mode="edge"))


def compile(source, *, batch_size: int = 1, sequence_length: int = 128, seed: int = 42, **options) -> Compiled:
    """Compiles a model or a program for this machine.

    `source` is a Hugging Face model directory, a `.mlir` file, or MLIR text in
    `nn`, `pst` and upstream dialects. `batch_size` and `sequence_length` are
    the shape of a model's inputs; further `options` go to the compiler. What
    was compiled before is taken from a cache on disk (docs/UserGuide.md);
    `cache=False` compiles anew. Of a sparse model, layers that are faster so are
    multiplied by their elements that are not zero (`weight_storage="dense"`: none is). A model whose files lack the head that it is to
    have is refused, unless it is compiled with `training=True`, or
    `new_head=True`: then the head starts from random values. Raises
    CompileError.
    """
    text = os.fspath(source)
    options = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()}
    if "\n" not in text and os.path.isdir(text):
        settings = {
            "batch_size": batch_size,
            "sequence_length": sequence_length,
            "training": False,
            "new_head": bool(options.get("training", False)),
            **options,
        }
        return Compiled(_pst.compile_model(text, settings), text, seed)
    if "\n" not in text and not text.lstrip().startswith(("func", "module", "builtin", "//", "#", "pst.")):
        if not os.path.exists(text):
            raise FileNotFoundError(f"{text}: no such file or model directory")
        return Compiled(_pst.compile_text(read_text(text), {"file": text, **options}), "", seed)
    return Compiled(_pst.compile_text(text, options), "", seed)
