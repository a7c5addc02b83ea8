# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a language model as a GGUF file, for llama.cpp and what stands on it:
names, order of rows and metadata are those of llama.cpp's own converter
(convert_hf_to_gguf.py). docs/CheckpointFormat.md describes the file."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field

import numpy as np

from . import gguf_tokenizer
from ._pst import TensorFile
from .compression import to_bf16
from .errors import DataError, MissingPackageError
from .files import read_object
from .tokenizer import Tokenizer

FILE = "model.gguf"

# What llama.cpp calls the graphs. A Mistral without windows is a Llama to it.
_ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}

# transformers' own where config.json does not say.
_POSITIONS = {"LlamaForCausalLM": 2048, "MistralForCausalLM": 131072, "Qwen2ForCausalLM": 32768}

# The layers of a block: ours, theirs, and the sizes by name.
_BLOCK = (
    ("input_layernorm", "attn_norm", ("hidden",)),
    ("self_attn.q_proj", "attn_q", ("queries", "hidden")),
    ("self_attn.k_proj", "attn_k", ("keys", "hidden")),
    ("self_attn.v_proj", "attn_v", ("keys", "hidden")),
    ("self_attn.o_proj", "attn_output", ("hidden", "queries")),
    ("post_attention_layernorm", "ffn_norm", ("hidden",)),
    ("mlp.gate_proj", "ffn_gate", ("inner", "hidden")),
    ("mlp.up_proj", "ffn_up", ("inner", "hidden")),
    ("mlp.down_proj", "ffn_down", ("hidden", "inner")),
)

_BLOCK_OF_INT8 = 32  # Columns that share a scale.


@dataclass
class Written:
    """What was written. `dense_bytes`: of all tensors as f32. `bound`: of int8,
    what a weight may differ by; `error`: the largest difference there is."""

    bytes: int
    dense_bytes: int
    kinds: dict[str, int] = field(default_factory=dict)  # matrices by their type in the file
    bound: float = 0.0
    error: float = 0.0
    remarks: list[str] = field(default_factory=list)


def require_package():
    """The package that writes the files. Raises MissingPackageError."""
    try:
        import gguf
    except ImportError:
        raise MissingPackageError("--format gguf is written by the package gguf: 'pip install gguf'") from None
    return gguf


class _Config:
    """config.json of a model that GGUF can hold. Raises DataError for others."""

    def __init__(self, directory: str):
        self.path = os.path.join(directory, "config.json")
        self.values = read_object(self.path)
        classes = self.values.get("architectures")
        self.name = str(classes[0]) if isinstance(classes, list) and classes else "no class"
        if self.name not in _ARCHITECTURES:
            raise DataError(
                f"{self.path}: --format gguf is of language models, and the model is {self.name}; known are: "
                f"{', '.join(_ARCHITECTURES)}; --format onnx takes encoders, and --format dense any"
            )
        self.architecture = _ARCHITECTURES[self.name]
        self.hidden, self.heads, self.layers, self.inner, self.vocabulary = (
            self.number(key) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")
        )
        self.key_heads = self.number("num_key_value_heads", self.heads)
        self.width = self.number("head_dim", max(self.hidden // self.heads, 1))
        self.positions = self.number("max_position_embeddings", _POSITIONS[self.name])
        if self.width % 2:
            raise DataError(f"{self.path}: heads of {self.width} columns: rotary positions turn pairs of them")
        self.sizes = {"hidden": self.hidden, "queries": self.heads * self.width, "keys": self.key_heads * self.width,
                      "inner": self.inner, "tokens": self.vocabulary}  # fmt: skip
        self._refuse_windows()
        if (act := self.values.get("hidden_act", "silu")) not in ("silu", "swish"):
            raise DataError(f'{self.path}: "hidden_act" is {act!r}, but the runtimes of GGUF compute silu')

    def number(self, key: str, otherwise=None, kinds=int, held: dict | None = None):
        value = (self.values if held is None else held).get(key)
        value = otherwise if value is None else value
        if isinstance(value, bool) or not isinstance(value, kinds) or not (0 < value < 2**31):
            raise DataError(f'{self.path}: "{key}" must be a number above 0, but is {value!r}')
        return value

    def _refuse_windows(self) -> None:
        window = self.values.get("sliding_window", 4096 if self.name == "MistralForCausalLM" else None)
        types = self.values.get("layer_types")
        if self.architecture == "qwen2":
            slides = "sliding_attention" in types if isinstance(types, list) else self.number("max_window_layers", 28) < self.layers
            window = window if self.values.get("use_sliding_window") is True and slides else None
        if self.name != "LlamaForCausalLM" and window is not None and window < self.positions:
            raise DataError(
                f'{self.path}: "sliding_window" is {window}, but the runtimes of GGUF let this model see all of {self.positions} '
                'positions. If texts are no longer than the window, say so: "max_position_embeddings" of as many'
            )

    def rope(self) -> tuple[dict, float]:
        """How rotary frequencies are scaled, as transformers and our importer read it, and their base."""
        found = next((self.values[key] for key in ("rope_scaling", "rope_parameters") if isinstance(self.values.get(key), dict)), {})
        base = self.number("rope_theta", self.number("rope_theta", 10000.0, (int, float)), (int, float), found)
        for held in (self.values, found):
            if held.get("partial_rotary_factor") not in (None, 1):
                raise DataError(f'{self.path}: "partial_rotary_factor" is {held["partial_rotary_factor"]!r}, and must be 1')
        return found, float(base)


def write(directory: str, path: str, value_type: str | None, name: str) -> Written:
    """Writes the model and the tokenizer of a directory, one tensor after the
    other. Matrices are of `value_type` (None: of the type that they have), all
    else is f32. Raises DataError, MissingPackageError."""
    gguf = require_package()
    config, source = _Config(directory), TensorFile(directory)
    tensors = _tensors(config, source)
    writer = gguf.GGUFWriter(path, config.architecture)
    writer.add_type("model")
    # A path need not be text.
    writer.add_name(name.encode("utf-8", "backslashreplace").decode())
    frequencies = _describe(writer, gguf, config)
    kinds = {ours: _kind(source, ours, value_type) for ours in tensors}
    most = _most_frequent([kind for ours, kind in kinds.items() if len(source.shape(ours)) == 2])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if most == "F32" else gguf.LlamaFileType[f"MOSTLY_{most}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    remarks = gguf_tokenizer.describe(writer, Tokenizer(directory), config.vocabulary)
    if frequencies is not None:
        writer.add_tensor_info("rope_freqs.weight", frequencies.shape, frequencies.dtype, frequencies.nbytes)
    for ours, theirs in tensors.items():
        kind = gguf.GGMLQuantizationType[kinds[ours]]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        shape = source.shape(ours)
        writer.add_tensor_info(theirs, shape, np.dtype(np.float32), math.prod(shape) // block * size, kind)
    written = Written(0, 4 * sum(math.prod(source.shape(ours)) for ours in tensors))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if frequencies is not None:
            writer.write_tensor_data(frequencies)
        for ours in tensors:
            writer.write_tensor_data(_elements(gguf, config, source, ours, kinds[ours], written))
        writer.flush()
        os.fsync(writer.fout[0].fileno())
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        writer.close()
    matrices = [kind for ours, kind in kinds.items() if len(source.shape(ours)) == 2]
    written.kinds = {kind: matrices.count(kind) for kind in dict.fromkeys(matrices)}
    if value_type == "int8" and "BF16" in written.kinds:
        remarks.append(
            f"{written.kinds['BF16']} matrices are stored as bf16 and not as int8: their rows are no multiple of "
            f"{_BLOCK_OF_INT8} columns, which share a scale"
        )
    written.bytes, written.remarks = os.path.getsize(path), remarks
    return written


def _most_frequent(kinds: list[str]) -> str:
    return max(dict.fromkeys(kinds), key=kinds.count)


def _tensors(config: _Config, source: TensorFile) -> dict[str, str]:
    """All that the model has, by its name here, with its name there. Raises
    DataError where the files have other tensors than config.json says."""
    tied = config.values.get("tie_word_embeddings") is True
    wanted = {"model.embed_tokens.weight": ("token_embd.weight", ("tokens", "hidden"))}
    wanted["model.norm.weight"] = ("output_norm.weight", ("hidden",))
    if not tied:
        wanted["lm_head.weight"] = ("output.weight", ("tokens", "hidden"))
    biases = {}
    for i in range(config.layers):
        for ours, theirs, sizes in _BLOCK:
            wanted[f"model.layers.{i}.{ours}.weight"] = (f"blk.{i}.{theirs}.weight", sizes)
            if len(sizes) == 2:
                biases[f"model.layers.{i}.{ours}.bias"] = (f"blk.{i}.{theirs}.bias", sizes[:1])
    names = set(source.names())
    for ours, (_, sizes) in (wanted | biases).items():
        shape = [config.sizes[size] for size in sizes]
        if ours in names and list(source.shape(ours)) != shape:
            raise DataError(f"tensor {ours} has the shape {list(source.shape(ours))}, but {config.path} makes it {shape}")
        if ours in wanted and ours not in names:
            raise DataError(f"the model lacks the tensor {ours}, which {config.path} asks for")
    # Frequencies are computed, and a tied head is the table.
    more = {name for name in names - set(wanted) - set(biases) if not re.search(r"rotary_emb\.inv_freq$", name)}
    more -= {"lm_head.weight"} if tied else set()
    if more:
        raise DataError(f"the model has the tensor {min(more)}, for which GGUF has no name in a {config.name}")
    return {ours: theirs for ours, (theirs, _) in (wanted | biases).items() if ours in names}


def _kind(source: TensorFile, name: str, value_type: str | None) -> str:
    """The type that a tensor has in the file, as GGML calls it."""
    shape = source.shape(name)
    if len(shape) < 2:
        return "F32"
    if value_type is None:
        held = source.stored_dtype(name) or source.dtype(name)
        return held if held in ("F16", "BF16") else "F32"
    if value_type == "int8":
        return "Q8_0" if shape[1] % _BLOCK_OF_INT8 == 0 else "BF16"
    return value_type.upper()


def _elements(gguf, config: _Config, source: TensorFile, name: str, kind: str, written: Written) -> np.ndarray:
    """A tensor as it lies in the file."""
    values = np.ascontiguousarray(source.read(name), np.float32)
    if kind in ("BF16", "Q8_0") and not np.isfinite(values).all():
        raise DataError(f"tensor {name} holds what is no number: it cannot be stored as {kind}")
    # llama.cpp turns neighbouring columns of a Llama's heads, transformers those half a head apart.
    heads = {"q_proj": config.heads, "k_proj": config.key_heads}.get(name.split(".")[-2])
    if heads and config.architecture == "llama":
        pairs = values.reshape(heads, 2, config.width // 2, *values.shape[1:])
        values = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
    if kind == "BF16":
        return to_bf16(values)
    if kind == "F16":
        return values.astype(np.float16)
    if kind == "Q8_0":
        return _int8(gguf, name, values, written)
    return values


def _int8(gguf, name: str, values: np.ndarray, written: Written) -> np.ndarray:
    """32 columns share a scale of f16, by which their largest magnitude is 127."""
    scales = np.abs(values.reshape(-1, _BLOCK_OF_INT8)).max(axis=1).astype(np.float64) / 127
    if scales.max(initial=0) > float(np.finfo(np.float16).max):
        raise DataError(f"tensor {name} holds {np.abs(values).max():.3g}: int8 of GGUF ends at 127 times the largest number of f16")
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    # Half a step, and what the scale, rounded to f16, makes of 127 steps.
    bounds = scales * (0.5 + 2.0**-16) + 127 * np.abs(scales - scales.astype(np.float16))
    back = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType.Q8_0)
    written.bound = max(written.bound, float(bounds.max(initial=0)))
    written.error = max(written.error, float(np.abs(back - values).max(initial=0)))
    return stored


def _describe(writer, gguf, config: _Config) -> np.ndarray | None:
    """The metadata of the graph. Returns what the frequencies of llama3's
    scaling are divided by, if it is that."""
    writer.add_block_count(config.layers)
    writer.add_context_length(config.positions)
    writer.add_embedding_length(config.hidden)
    writer.add_feed_forward_length(config.inner)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.key_heads)
    if config.width * config.heads != config.hidden:
        writer.add_key_length(config.width)
        writer.add_value_length(config.width)
    writer.add_layer_norm_rms_eps(config.number("rms_norm_eps", 1e-6, (int, float)))
    writer.add_vocab_size(config.vocabulary)
    writer.add_rope_dimension_count(config.width)
    rope, base = config.rope()
    writer.add_rope_freq_base(base)
    kind = rope.get("rope_type", rope.get("type", "default"))
    real = (int, float)
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.number("factor", None, real, rope))
    elif kind == "yarn":
        _describe_yarn(writer, gguf, config, rope)
    elif kind == "llama3" and config.architecture == "llama":
        return _llama3_divisors(config, rope, base)
    elif kind != "default":
        raise DataError(
            f'{config.path}: "rope_type" is {kind!r}, for which GGUF has no word in a {config.name}; it has for default, linear, '
            f"yarn{' and llama3' if config.architecture == 'llama' else ''}. If texts are no longer than the model has seen, "
            "dynamic scaling changes nothing: say \"default\""
        )
    return None


def _original(config: _Config, rope: dict) -> int:
    """The positions that the model has seen before its frequencies were scaled."""
    key = "original_max_position_embeddings"
    return config.number(key, config.number(key, config.positions, int, rope))


def _describe_yarn(writer, gguf, config: _Config, rope: dict) -> None:
    real = (int, float)
    original = _original(config, rope)
    factor = config.number("factor", config.positions / original, real, rope)
    # Runtimes derive it from the factor, and releases differ in what they make of another one.
    derived = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    attention = config.number("attention_factor", derived, real, rope)
    weighs = all(rope.get(key) is not None for key in ("mscale", "mscale_all_dim"))
    if weighs or not math.isclose(attention, derived, rel_tol=1e-6):
        key = "mscale" if weighs else "attention_factor"
        raise DataError(
            f'{config.path}: "{key}" of "yarn" is {rope[key]!r}: the runtimes of GGUF derive it from the factor, which makes '
            f"{derived:.6g}; such a model stays with transformers (--format dense)"
        )
    if rope.get("truncate") is False:
        raise DataError(f'{config.path}: "truncate" of "yarn" is false, which the runtimes of GGUF do not know; --format dense keeps it')
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(factor)
    writer.add_rope_scaling_orig_ctx_len(original)
    for key, add in (("beta_fast", writer.add_rope_scaling_yarn_beta_fast), ("beta_slow", writer.add_rope_scaling_yarn_beta_slow)):
        if rope.get(key) is not None:
            add(config.number(key, None, real, rope))


def _llama3_divisors(config: _Config, rope: dict, base: float) -> np.ndarray:
    """f32[width / 2]: 1 for short waves, the factor for long ones, and between
    them what makes a blend of the frequencies."""
    factor, low, high = (config.number(key, None, (int, float), rope) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    if high <= low:
        raise DataError(f'{config.path}: "high_freq_factor" is {high}, which must be above "low_freq_factor" {low}')
    frequencies = base ** -(np.arange(0, config.width, 2) / config.width)
    turns = _original(config, rope) * frequencies / (2 * np.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - blend) / factor + blend)).astype(np.float32)
