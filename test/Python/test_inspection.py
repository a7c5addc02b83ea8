# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""safetensors files, counts of zeros, and pictures of masks (needs Matplotlib)."""

import json
import struct
import sys

import numpy as np
import pytest

from pst import Error, TensorFile, cli, inspection, pictures, write_tensors
from pst.errors import MissingPackageError


def save(directory, tensors):
    directory.mkdir(exist_ok=True)
    write_tensors(directory / "model.safetensors", tensors)
    return directory


def sparse(shape, share, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape).astype(np.float32)
    weight.ravel()[rng.permutation(weight.size)[: int(weight.size * share)]] = 0
    return weight


def test_tensor_file_round_trip_and_the_safetensors_package(tmp_path):
    rng = np.random.default_rng(3)
    tensors = {
        "a": rng.standard_normal((3, 5)).astype(np.float32),
        "b": rng.integers(-9, 9, (7,)).astype(np.int32),
        "scalar": np.array(2.5, np.float64),
        "empty": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "a.safetensors"
    write_tensors(path, tensors, {"format": "pt"})
    file = TensorFile(path)
    assert file.metadata == {"format": "pt"}
    for name, tensor in tensors.items():
        assert file.shape(name) == tensor.shape
        assert (file.read(name) == tensor).all() and file.read(name).dtype == tensor.dtype
    package = pytest.importorskip("safetensors.numpy")
    theirs = package.load_file(path)
    assert {name: value.tolist() for name, value in theirs.items()} == {k: v.tolist() for k, v in tensors.items()}


def test_bf16_is_widened(tmp_path):
    header = json.dumps({"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    data = struct.pack("<HHH", 0x3F80, 0xC020, 0x0000)
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    assert TensorFile(tmp_path / "a.safetensors").read("x").tolist() == [1.0, -2.5, 0.0]


def tensors_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, begin, end, **more):
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end], **more}


NAME = "encoder.layer.0.a.weight"


@pytest.mark.parametrize("content, message", [
    (b"abc", "not a safetensors file, or cut short: it has 3 bytes"),
    (b"\xff" * 16, "not a safetensors file: its header would have 18446744073709551615 bytes"),
    (tensors_of(b"{{{{"), "the header is not valid JSON"),
    (tensors_of(b"[" * 5000), "the header"),
    (tensors_of(b"[]"), "the header must be a JSON object"),
    (tensors_of({NAME: entry([2, 2], 0, 16)}), "ends at byte 16 of the data, past the end of the file"),
    (tensors_of({NAME: entry([-2, -2], 0, 16)}, bytes(16)), "has -2 in .*, where only whole numbers from 0"),
    (tensors_of({NAME: entry([2**40, 2**40], 0, 16)}, bytes(16)), "is too large"),
    (tensors_of({NAME: entry([2, 2], 16, 0)}, bytes(16)), "must have two data_offsets, begin <= end"),
    (tensors_of({NAME: entry([2, 2], 0, 16), "b": entry([2, 2], 8, 24)}, bytes(24)), "overlaps tensor"),
    (tensors_of({NAME: entry([2, 2], 0, 16, dtype="F4")}, bytes(16)), "has the unknown dtype"),
    (tensors_of({NAME: 3}), "must be an object with dtype, shape and data_offsets"),
    (tensors_of(b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', bytes(4)),
     "occurs twice"),
])  # fmt: skip
def test_hostile_files_are_told_in_a_sentence(tmp_path, capsys, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(Error, match=message):
        TensorFile(path)
    assert cli.main(["inspect", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"pst: error: {path}: ") and told.count("\n") == 1


@pytest.mark.parametrize("shard, message", [
    ("../x.safetensors", "must lie in the directory of the index"),
    ("..", "must lie in the directory of the index"),
    ("missing.safetensors", "missing.safetensors: cannot open: No such file"),
    (3, 'the shard of ".*" must be a file\'s name'),
])  # fmt: skip
def test_hostile_indices(tmp_path, capsys, shard, message):
    write_tensors(tmp_path / "x.safetensors", {NAME: np.ones((2, 2), np.float32)})
    directory = tmp_path / "m"
    directory.mkdir()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {NAME: shard}}))
    with pytest.raises(Error, match=message):
        inspection.layers(directory)
    assert cli.main(["inspect", str(directory)]) == 1 and capsys.readouterr().err.count("\n") == 1


def test_an_index_beside_the_one_file_is_left_over(tmp_path):
    write_tensors(tmp_path / "model.safetensors", {NAME: np.eye(2, dtype=np.float32)})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {NAME: "gone.safetensors"}}))
    assert [report.zeros for report in inspection.layers(tmp_path)] == [2]


def test_a_directory_without_tensors(tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path)]) == 1
    assert "holds neither model.safetensors nor model.safetensors.index.json" in capsys.readouterr().err
    assert cli.main(["inspect", str(tmp_path / "gone")]) == 1
    assert "gone: no such file or directory" in capsys.readouterr().err


def test_arrays_are_read_where_they_lie_or_copied(tmp_path):
    # 1 byte of a, so that b lies at an odd address.
    tensors = {"a": np.array([True]), "b": np.arange(3, dtype=np.float64), "c": np.arange(4, dtype=np.uint16)}
    path = tmp_path / "a.safetensors"
    write_tensors(path, tensors)
    file = TensorFile(path)
    found = {name: file.read(name) for name in file.names()}
    del file
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and found[name].tolist() == tensor.tolist()
        assert found[name].flags.aligned
    assert not found["a"].flags.writeable
    strided = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    write_tensors(path, {"s": strided})
    assert TensorFile(path).read("s").tolist() == strided.tolist()
    with pytest.raises(Error, match='tensor "x": files hold no elements of type'):
        write_tensors(path, {"x": np.ones(2, np.complex64)})
    assert TensorFile(path).names() == ["s"], "the file is as it was"


def test_zeros_are_counted_per_layer_in_order(tmp_path):
    tensors = {
        "bert.encoder.layer.10.output.dense.weight": sparse((5, 3), 0.4, 1),
        "bert.encoder.layer.2.output.dense.weight": sparse((7, 11), 0.9, 2),
        "bert.encoder.layer.2.output.dense.bias": np.zeros(7, np.float32),
        "bert.embeddings.word_embeddings.weight": np.zeros((9, 3), np.float32),
        "classifier.weight": np.zeros((2, 3), np.float32),
    }
    reports = inspection.layers(save(tmp_path / "m", tensors))
    assert [(r.name.split(".")[3], r.rows, r.columns, r.zeros) for r in reports] == [("2", 7, 11, 69), ("10", 5, 3, 6)]
    table = inspection.table(reports).splitlines()
    assert table[-1].split() == ["total", "92", "75", "81.5217%"]
    assert table[1].split()[-2:] == ["69", "89.6104%"]


def test_sharded_models_are_one(tmp_path):
    names = ["encoder.layer.0.a.weight", "encoder.layer.1.a.weight"]
    for i, name in enumerate(names):
        write_tensors(tmp_path / f"part{i}.safetensors", {name: sparse((4, 4), 0.5, i)})
    index = {"weight_map": {name: f"part{i}.safetensors" for i, name in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [(r.name, r.zeros) for r in inspection.layers(tmp_path)] == [(name, 8) for name in names]


def test_layers_are_chosen_by_name_or_part():
    names = ["h.0.attn.weight", "h.0.mlp.weight", "h.1.mlp.weight"]
    assert inspection.choose(names, "all") == names
    assert inspection.choose(names, "mlp") == names[1:]
    assert inspection.choose(names, "h.0.mlp") == names[1:2]
    with pytest.raises(ValueError, match="there is no layer 'mpl'; the first ones are: h.0.attn.weight"):
        inspection.choose(names, "mpl")


@pytest.mark.parametrize("shape", [(1, 1), (37, 61), (384, 1536), (2000, 3), (1, 700)])
def test_pictures_of_every_shape(tmp_path, shape):
    image = pytest.importorskip("matplotlib.image")
    path = tmp_path / "a.png"
    pictures.draw(sparse(shape, 0.9, 4), "a layer with a rather long name.of.many.parts", path)
    pixels = image.imread(path)
    assert pixels.shape[:2] == (550, 1100)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 3


def test_the_mask_is_drawn_where_weights_are_kept():
    kept = np.zeros((10, 20), bool)
    kept[3], kept[:, 7] = True, True
    assert (pictures.shade(kept) == kept).all()
    # Of a large mask, a cell is the mean of its block: full rows stay darkest.
    large = pictures.shade(np.kron(kept, np.ones((200, 200), bool)))
    assert large.shape == (286, 572)
    assert large[100, 50] == 1 and large[5, 5] == 0
    # A last block of fewer rows and columns is the mean of what it holds.
    assert (pictures.shade(np.ones((643, 1283), bool)) == 1).all()


def test_without_matplotlib_a_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match="pip install matplotlib"):
        pictures.draw(np.ones((2, 2)), "a", tmp_path / "a.png")


def test_drawing_all_layers_of_a_directory(tmp_path):
    pytest.importorskip("matplotlib")
    tensors = {f"encoder.layer.{i}.a/b.weight": sparse((8, 6), 0.5, i) for i in range(2)}
    paths = inspection.draw_layers(save(tmp_path / "m", tensors), "all", tmp_path / "pictures")
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "encoder.layer.0.a_b.png",
        "encoder.layer.1.a_b.png",
    ]
    assert len(paths) == 2
