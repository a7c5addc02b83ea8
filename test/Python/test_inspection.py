# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""safetensors files, counts of zeros, and pictures of masks."""

import json
import struct
import zlib

import numpy as np
import pytest

from pst import inspection, png, tensorfile


def decode(data):
    """uint8[height, width, 3] of a PNG without filters; checks every chunk."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, colour, rest) == (8, 2, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (64, 3)])
def test_png_round_trip(shape):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert (decode(png.encode(pixels)) == pixels).all()


def test_pillow_reads_it(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(2).integers(0, 256, (31, 17, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(png.encode(pixels))
    assert (np.asarray(image.open(tmp_path / "a.png")) == pixels).all()


def test_text_is_clipped_at_the_edges():
    canvas = png.Canvas(20, 9)
    canvas.text(-3, -2, "WWWWWWWW", (0, 0, 0))
    assert (canvas.pixels[:5] == 0).any()
    assert (canvas.pixels[5:] == 255).all()
    assert png.text_width("abc", 2) == 34


def test_glyphs_are_different_and_not_empty():
    glyphs = {c: png._glyph(c).tobytes() for c in png._FONT_ROWS}
    assert len(set(glyphs.values())) == len(glyphs)
    assert all(any(g) for c, g in glyphs.items() if c != " ")
    assert all(len(rows) == 7 for rows in png._FONT_ROWS.values())


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
    path = tmp_path / "a.png"
    inspection.draw(sparse(shape, 0.9, 4), "a layer with a rather long name.of.many.parts", path)
    pixels = decode(path.read_bytes())
    assert pixels.shape[0] < 1000 and pixels.shape[1] < 1200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 3


def test_the_mask_is_drawn_where_weights_are_kept():
    kept = np.zeros((10, 20), bool)
    kept[3], kept[:, 7] = True, True
    image = inspection._shade(kept, 640)
    factor = image.shape[0] // 10
    cells = image[factor // 2 :: factor, factor // 2 :: factor]
    assert ((cells[..., 0] < 128) == kept).all()
    # Of a large mask, a cell is the mean of its block: full rows stay darkest.
    large = np.kron(kept, np.ones((200, 200), bool))
    image = inspection._shade(large, 640)
    assert image.shape[:2] == (286, 572)
    assert (image[100, 50] == inspection._INK).all() and (image[5, 5] == 255).all()


def test_drawing_all_layers_of_a_directory(tmp_path):
    tensors = {f"encoder.layer.{i}.a/b.weight": sparse((8, 6), 0.5, i) for i in range(2)}
    paths = inspection.draw_layers(save(tmp_path / "m", tensors), "all", tmp_path / "pictures")
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "encoder.layer.0.a_b.png",
        "encoder.layer.1.a_b.png",
    ]
    assert len(paths) == 2
