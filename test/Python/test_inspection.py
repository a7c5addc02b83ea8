# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""safetensors files, counts of zeros, and pictures of masks (needs Matplotlib)."""

import json
import struct
import sys

import numpy as np
import pytest

from pst import inspection, pictures, tensorfile
from pst.errors import MissingPackageError


def save(directory, tensors):
    directory.mkdir(exist_ok=True)
    tensorfile.write(directory / "model.safetensors", tensors)
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
    tensorfile.write(path, tensors, {"format": "pt"})
    file = tensorfile.TensorFile(path)
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
    assert tensorfile.TensorFile(tmp_path / "a.safetensors").read("x").tolist() == [1.0, -2.5, 0.0]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"abc", "it is cut short or no safetensors file"),
        (b"\xff" * 16, "it is cut short or no safetensors file"),
        ((4).to_bytes(8, "little") + b"{{{{", "the header is no JSON"),
    ],
)
def test_damaged_headers(tmp_path, content, message):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(tensorfile.TensorFileError, match=message):
        tensorfile.TensorFile(path)


def test_data_cut_short(tmp_path):
    path = tmp_path / "a.safetensors"
    tensorfile.write(path, {"x": np.ones((4, 4), np.float32)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(tensorfile.TensorFileError, match='tensor "x" ends at byte .* the file is cut short'):
        tensorfile.TensorFile(path)


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
        tensorfile.write(tmp_path / f"part{i}.safetensors", {name: sparse((4, 4), 0.5, i)})
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
