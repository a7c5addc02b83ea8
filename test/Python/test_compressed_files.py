# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights stored small: what is written is what is read, by us and by the library compressed-tensors; and files that do harm."""

import json

import numpy as np
import pytest

from pst import Error, TensorFile, compression, write_tensors

VALUE_TYPES = (None, "f32", "bf16", "int8")


def sparse(shape, share, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape).astype(np.float32)
    weight.ravel()[rng.permutation(weight.size)[: int(weight.size * share)]] = 0
    return weight


def odd_tensors():
    tensors = {
        "a.weight": sparse((7, 13), 0.6, 1),
        "one.weight": sparse((1, 1), 0, 2),
        "prime.weight": sparse((3, 97), 0.9, 3),
        "zero.weight": np.zeros((5, 11), np.float32),
        "zero_one.weight": np.zeros((1, 1), np.float32),
        "column.weight": sparse((31, 1), 0.8, 4),
        "kept.weight": sparse((4, 9), 0, 5),
        "wide.weight": sparse((2, 64), 0.75, 6),
        "norm.weight": sparse((6,), 0.5, 7),
        "ids": np.arange(5),
    }
    # -0, the smallest and other denormal numbers, the smallest normal one, the largest.
    tensors["prime.weight"][1, :6] = [-0.0, 1e-45, -1e-40, 2**-126, 3e38, -3e38]
    tensors["a.weight"][2] = np.where(np.arange(13) % 3, 0, 1e-44)
    return tensors


def stored(tmp_path, tensors, value_type, name="s"):
    """What compression makes of the tensors: its account, and the file."""
    write_tensors(tmp_path / "model.safetensors", tensors)
    path = tmp_path / f"{name}.safetensors"
    return compression.write_compressed(TensorFile(tmp_path / "model.safetensors"), path, value_type), path


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def bf16(weight):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(weight.copy()).bfloat16().float().numpy()


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_odd_shapes_and_values_come_back(tmp_path, value_type):
    tensors = odd_tensors()
    if value_type == "bf16":
        # Halves between two numbers: to the even one.
        tensors["a.weight"].view(np.uint32)[3, :4] = [0x3F808000, 0x3F818000, 0x3F808001, 0xBF817FFF]
    written, path = stored(tmp_path, tensors, value_type)
    file, accounts = TensorFile(path), {w.module + ".weight": w for w in written.weights}
    assert set(file.names()) == set(tensors)
    # All but what a mask would make larger.
    assert set(accounts) == {"a.weight", "prime.weight", "zero.weight", "wide.weight"}
    for name, weight in tensors.items():
        found = file.read(name)
        assert (file.stored_dtype(name) is not None) == (name in accounts)
        if name in accounts and value_type == "bf16":
            assert same_bits(found, bf16(weight))
        elif name in accounts and value_type == "int8":
            scale = np.abs(weight).max(axis=1, keepdims=True) / 127
            assert found.shape == weight.shape and (np.abs(found - weight) <= scale * 0.50001 + 2.0**-126).all()
            assert np.abs(found.astype(np.float64) - weight).max(initial=0) <= accounts[name].bound
        else:
            assert same_bits(found, weight)
    compression.write_dense(file, tmp_path / "dense.safetensors")
    dense = TensorFile(tmp_path / "dense.safetensors")
    assert all(same_bits(dense.read(name), file.read(name)) and dense.stored_dtype(name) is None for name in tensors)
    # Compressed again it is the same file, int8 as f32 included.
    again, second = stored(tmp_path, {name: np.array(file.read(name)) for name in tensors}, "f32", "again")
    assert all(same_bits(TensorFile(second).read(name), file.read(name)) for name in tensors)


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_what_has_parts_keeps_them(tmp_path, value_type):
    """Files that another program made, in shards, of weights that a mask makes larger too."""
    tensors = {name: value for name, value in odd_tensors().items() if value.ndim == 2}
    parts, types = {}, {}
    for name, weight in tensors.items():
        more, kinds, _ = compression.compress(name.removesuffix(".weight"), weight, value_type)
        parts, types = parts | more, types | kinds
    index = {}
    for i in range(2):
        half = dict(list(parts.items())[i::2])
        write_tensors(tmp_path / f"m-{i}.safetensors", half, {}, {name: kind for name, kind in types.items() if name in half})
        index |= dict.fromkeys(half, f"m-{i}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    source = TensorFile(tmp_path)
    assert source.names() == sorted(tensors)
    if value_type != "int8":
        assert all(same_bits(source.read(name), bf16(weight) if value_type == "bf16" else weight) for name, weight in tensors.items())
    written = compression.write_compressed(source, tmp_path / "one.safetensors", None)
    assert len(written.weights) == len(tensors)
    assert all(same_bits(TensorFile(tmp_path / "one.safetensors").read(name), source.read(name)) for name in tensors)


def test_two_of_four_is_told(tmp_path):
    weight = sparse((6, 16), 0, 8).reshape(-1, 4)
    weight[:, :2] = 0
    written, path = stored(tmp_path, {"w.weight": weight.reshape(6, 16)}, None)
    config = written.config()["sparsity_config"]
    assert (config["sparsity_structure"], config["format"]) == ("2:4", "sparse-24-bitmask")
    assert "w.row_offsets" not in path.read_bytes().decode("latin-1")
    written, _ = stored(tmp_path, odd_tensors(), None)
    config = written.config()["sparsity_config"]
    assert (config["sparsity_structure"], config["format"]) == ("unstructured", "sparse-bitmask")
    # A weight of zeros is smaller without values than with half of them.
    written, _ = stored(tmp_path, {"zero.weight": np.zeros((5, 12), np.float32)}, None)
    config = written.config()["sparsity_config"]
    assert (config["sparsity_structure"], config["format"]) == ("2:4", "sparse-bitmask")


def two_of_four_config():
    from compressed_tensors.config import Sparse24BitMaskConfig

    return Sparse24BitMaskConfig(sparsity_structure="2:4")


def two_of_four_tensors():
    """At most two of each four are kept; some fours have one or none, and values that no other bits equal."""
    rng = np.random.default_rng(10)
    tensors = {}
    for i, (rows, columns) in enumerate([(1, 64), (7, 12), (3, 92), (31, 8)]):
        weight = rng.standard_normal((rows * columns // 4, 4)).astype(np.float32)
        order = rng.permuted(np.tile(np.arange(4), (len(weight), 1)), axis=1)
        np.put_along_axis(weight, order[:, :2], 0, axis=1)
        weight[3::37] = 0
        weight[4::37, 1:] = 0
        tensors[f"w{i}.weight"] = weight.reshape(rows, columns)
    tensors["w1.weight"][0, :4] = [0, 1e-45, -0.0, 0]
    tensors["bias"] = rng.standard_normal(7).astype(np.float32)
    return tensors


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_two_of_four_comes_back(tmp_path, library, value_type):
    """By us, by the library, and from the library's own file."""
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    from safetensors.torch import load_file

    tensors = two_of_four_tensors()
    written, path = stored(tmp_path, tensors, value_type)
    assert written.layout == "sparse-24-bitmask" and len(written.weights) == 4
    raw, file = load_file(path), TensorFile(path)
    assert written.bytes == sum(t.numel() * t.element_size() for name, t in raw.items() if name != "bias")
    reader = library.Sparse24BitMaskCompressor(config=two_of_four_config())
    theirs = dict(reader.decompress(str(path), params_to_skip_load=("weight_scale",)))
    for name, weight in tensors.items():
        expected = bf16(weight) if value_type == "bf16" and weight.ndim == 2 else weight
        tensor = theirs[name]
        if value_type == "int8" and weight.ndim == 2:
            tensor = dequantize(tensor, raw[name.removesuffix("weight") + "weight_scale"])
            assert (np.abs(file.read(name) - weight) <= np.abs(weight).max(axis=1, keepdims=True) / 127 * 0.50001).all()
        else:
            assert same_bits(np.asarray(file.read(name), np.float32), expected)
        assert same_bits(tensor.float().numpy(), np.asarray(file.read(name), np.float32))
    again, _ = stored(tmp_path, {name: np.asarray(file.read(name), np.float32) for name in tensors}, None, "again")
    assert again.layout == "sparse-24-bitmask"


def test_we_read_the_librarys_two_of_four(tmp_path, library):
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.from_numpy(value) for name, value in two_of_four_tensors().items() if value.ndim == 2}
    tensors["w1.weight"][0, 2] = 0  # it may lose the sign of a zero
    writer = library.Sparse24BitMaskCompressor(config=two_of_four_config())
    save_file(writer.compress(tensors), tmp_path / "l.safetensors")
    file = TensorFile(tmp_path / "l.safetensors")
    assert set(file.names()) == set(tensors)
    assert all(same_bits(file.read(name), value.numpy()) for name, value in tensors.items())


def test_file_ratios_at_ninety_percent(tmp_path):
    """The layers of a MiniLM: what docs/Benchmarks.md says."""
    tensors = {f"l{i}.weight": sparse(shape, 0.9, i) for i, shape in enumerate([(384, 384), (1536, 384), (384, 1536)])}
    ratios = {}
    for value_type in ("f32", "bf16", "int8"):
        written, _ = stored(tmp_path, tensors, value_type)
        ratios[value_type] = written.dense_bytes / written.bytes
    assert ratios["f32"] > 7 and ratios["bf16"] > 12 and ratios["int8"] > 16


@pytest.fixture(scope="module")
def library():
    """The last release of compressed-tensors that reads sparse-bitmask."""
    pytest.importorskip("torch")
    pytest.importorskip("compressed_tensors")
    return pytest.importorskip("compressed_tensors.compressors.sparse_compressors")


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_the_library_reads_ours(tmp_path, library, value_type):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    from safetensors.torch import load_file

    tensors = odd_tensors()
    written, path = stored(tmp_path, tensors, value_type)
    config = ModelCompressor.parse_sparsity_config(written.config())
    compressor = ModelCompressor.from_compression_config(written.config())
    assert config["targets"] == compressor.sparsity_config.targets == [w.module for w in written.weights]
    assert (compressor.quantization_config is not None) == (value_type == "int8")
    raw, ours = load_file(path), TensorFile(path)
    reader = library.BitmaskCompressor(config=compressor.sparsity_config)
    found = dict(reader.decompress(str(path), params_to_skip_load=("weight_scale",)))
    assert set(found) == set(tensors)
    for name, tensor in found.items():
        if value_type == "int8" and ours.stored_dtype(name):
            tensor = dequantize(tensor, raw[name.removesuffix("weight") + "weight_scale"])
        assert same_bits(tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy(), ours.read(name))


def test_we_read_the_librarys(tmp_path, library):
    import torch
    from safetensors.torch import save_file

    tensors = {name: value for name, value in odd_tensors().items() if value.ndim == 2}
    del tensors["prime.weight"]  # the library loses the sign of a zero
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        given = {name: torch.from_numpy(value).to(dtype) for name, value in tensors.items()}
        config = {"format": "sparse-bitmask"}
        save_file(library.BitmaskCompressor(config=config).compress(given), tmp_path / "l.safetensors")
        file = TensorFile(tmp_path / "l.safetensors")
        assert set(file.names()) == set(tensors)
        for name, value in given.items():
            assert same_bits(np.asarray(file.read(name), np.float32), value.float().numpy())


# Files that do harm.


def parts_of(shape=(5, 11), value_type=None):
    parts, _, _ = compression.compress("m", sparse(shape, 0.5, 9), value_type)
    return parts


def refuse(tmp_path, tensors, message):
    path = tmp_path / "x.safetensors"
    write_tensors(path, tensors)
    with pytest.raises(Error) as error:
        file = TensorFile(path)
        for name in file.names():
            file.read(name)
    assert message in str(error.value) and str(path) in str(error.value)


def changed(parts, name, change):
    value = parts["m." + name].copy()
    return {**parts, "m." + name: change(value)}


def set_at(index, value):
    def change(array):
        array[index] = value(array[index]) if callable(value) else value
        return array

    return change


CASES = {
    "a bit more than values": ("bitmask", lambda a: set_at((4, 0), 255)(set_at((4, 1), 7)(a)), "but \"m.compressed\" has"),
    "a value less": ("compressed", lambda a: a[:-1], "but \"m.compressed\" has"),
    "more values than elements": ("compressed", lambda a: np.ones(56, np.float32), "has more values than the 55 elements"),
    "a bit past the last column": ("bitmask", set_at((1, 1), lambda b: b | 8), "has bits past the last of 11 columns in row 1"),
    "offsets out of order": ("row_offsets", lambda a: a[::-1].copy(), "values come before row 0, but the bitmask has 0"),
    "offset too far": ("row_offsets", set_at(3, 2**31 - 1), "says that 2147483647 values come before row 3"),
    "offset below 0": ("row_offsets", set_at(0, -1), "says that -1 values come before row 0"),
    "offsets of another type": ("row_offsets", lambda a: a.astype(np.float32), "expected I64[5] or I32[5]"),
    "too few offsets": ("row_offsets", lambda a: a[:-1], "expected I64[5] or I32[5]"),
    "mask of another width": ("bitmask", lambda a: a[:, :1].copy(), "expected U8[5, 2]"),
    "mask of another type": ("bitmask", lambda a: a.astype(np.int8), "expected U8[5, 2]"),
    "a shape that overflows": ("shape", lambda a: np.array([2**62, 2**62]), "which overflow 64 bits"),
    "a shape that overflows as bytes": ("shape", lambda a: np.array([2**60, 3]), "which overflow 64 bits"),
    "a shape below 0": ("shape", lambda a: np.array([-5, 11]), "which are no rows and columns"),
    "a shape too large": ("shape", lambda a: np.array([2**40, 2**10]), "expected U8[1099511627776, 128]"),
    "a shape of three": ("shape", lambda a: np.array([5, 11, 1]), "expected I64[2] or I32[2]"),
    "values of two dimensions": ("compressed", lambda a: a[:, None].copy(), "but 11 columns are no multiple of 4"),
    "values of three dimensions": ("compressed", lambda a: a[:, None, None].copy(), "must have one dimension"),
    "values of another type": ("compressed", lambda a: a.astype(np.int64), "does not fit"),
    "whole numbers without scales": ("compressed", lambda a: a.astype(np.int8), "lacks its part \"m.weight_scale\""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_parts_that_disagree_are_refused(tmp_path, case):
    part, change, message = CASES[case]
    refuse(tmp_path, changed(parts_of(), part, change), message)


def two_of_four_parts():
    parts, _, _ = compression.compress("m", two_of_four_tensors()["w1.weight"], None)
    return compression.as_two_of_four("m", parts)


TWO_OF_FOUR_CASES = {
    "three of four": ("bitmask", set_at((2, 0), 0x37), "keeps 3 elements of the four from column 0 on in row 2"),
    "one of four": ("bitmask", set_at((6, 1), 0x01), "keeps 1 elements of the four from column 8 on in row 6"),
    "a bit past the last column": ("bitmask", set_at((1, 1), 0x13), "keeps 1 elements past the last of 12 columns in row 1"),
    "a column less": ("compressed", lambda a: a[:, :-1].copy(), "expected F32[7, 6]"),
    "a row less": ("compressed", lambda a: a[:-1].copy(), "expected F32[7, 6]"),
    "a shape of 9 columns": ("shape", lambda a: np.array([7, 9]), "but 9 columns are no multiple of 4"),
    "a shape that overflows": ("shape", lambda a: np.array([2**62, 2**62]), "which overflow 64 bits"),
}  # fmt: skip


@pytest.mark.parametrize("case", TWO_OF_FOUR_CASES)
def test_parts_of_two_of_four_that_disagree_are_refused(tmp_path, case):
    part, change, message = TWO_OF_FOUR_CASES[case]
    refuse(tmp_path, changed(two_of_four_parts(), part, change), message)


def test_offsets_beside_two_of_four_are_refused(tmp_path):
    refuse(tmp_path, {**two_of_four_parts(), "m.row_offsets": np.arange(0, 42, 6)}, "belongs to values of one dimension")


def test_parts_that_are_missing_or_too_many_are_refused(tmp_path):
    parts = parts_of()
    for name in ("compressed", "bitmask", "row_offsets", "shape"):
        refuse(tmp_path, {k: v for k, v in parts.items() if k != "m." + name}, f'lacks its part "m.{name}"')
    refuse(tmp_path, {**parts, "m.weight": np.ones((5, 11), np.float32)}, "is there twice: as a tensor, and in parts")
    refuse(tmp_path, {**parts, "m.weight_scale": np.ones((5, 1), np.float32)}, "belongs to values of I8")
    quantized = parts_of(value_type="int8")
    refuse(tmp_path, {**quantized, "m.weight_zero_point": np.zeros((5, 1), np.int8)}, "only symmetric ones are")
    refuse(tmp_path, {**quantized, "m.weight_scale": np.ones((4, 1), np.float32)}, "expected F32[5, 1]")
    refuse(tmp_path, {"q.weight": np.ones((2, 3), np.int8)}, 'lacks its part "q.weight_scale"')
    refuse(tmp_path, {"q.weight": np.ones(3, np.int8), "q.weight_scale": np.ones(3, np.float32)}, "must have two dimensions")


@pytest.mark.parametrize("kind", ["f32", "bf16", "int8", "two of four", "two of four, bf16", "two of four, int8"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, kind):
    """At every byte, of header and data."""
    weight = two_of_four_tensors()["w1.weight"] if "four" in kind else sparse((3, 29), 0.5, 9)
    written, path = stored(tmp_path, {"m.weight": weight, "n.bias": np.ones(3, np.float32)}, kind.removeprefix("two of four").removeprefix(", ") or "f32")
    assert written.layout == ("sparse-24-bitmask" if "four" in kind else "sparse-bitmask") and len(written.weights) == 1
    whole, cut_short = path.read_bytes(), tmp_path / "x.safetensors"
    assert TensorFile(path).read("m.weight").shape == weight.shape
    for cut in range(len(whole)):
        cut_short.write_bytes(whole[:cut])
        with pytest.raises(Error) as error:
            TensorFile(cut_short).read("m.weight")
        assert str(cut_short) in str(error.value)


def test_a_byte_that_is_changed_is_refused_or_read_as_a_value(tmp_path):
    """Whatever is changed, what is read has the shape that the file tells."""
    path = tmp_path / "x.safetensors"
    write_tensors(path, parts_of())
    whole, rng, read = path.read_bytes(), np.random.default_rng(4), 0
    for at in rng.permutation(len(whole))[:400]:
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            file = TensorFile(path)
            arrays = [file.read(name) for name in file.names()]
            read += [a.shape for a in arrays] == [(5, 11)]
        except Error:
            continue
    assert 0 < read < 400
