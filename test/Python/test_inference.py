# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs of saved sparse models, which multiply by the elements that are not zero."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model
from test_cli import refuse, run

import pst
from pst import TensorFile, _pst, compression
from pst.compiled import compressed_weights

BATCH, LENGTH = 3, 11
WIDE = {**CONFIG, "hidden_size": 96, "intermediate_size": 161, "num_labels": 3}
# Of the layers in turn: none, all, and what a trained one keeps.
SHARES = [0.1, 0.07, 0.0, 0.1, 1.0, 0.95]
MATRICES = ("query", "key", "value", "dense", "c_attn", "c_proj", "c_fc", "_proj")


def prune(tensors, shares=SHARES, seed=3):
    """Zeroes elements of the encoder's matrices, some of them to -0."""
    rng, count = np.random.default_rng(seed), 0
    for name, tensor in sorted(tensors.items()):
        if tensor.ndim == 2 and ("layer" in name or ".h." in name) and any(part in name for part in MATRICES):
            lost = rng.random(tensor.shape) >= shares[count % len(shares)]
            tensors[name] = np.where(lost, np.copysign(np.float32(0), tensor), tensor).astype(np.float32)
            count += 1
    assert count
    return tensors


def write_sparse(directory, seed=0, shares=SHARES, convert=lambda tensor: tensor):
    tensors = prune({name: 0.5 * tensor for name, tensor in bert_tensors(WIDE, seed).items()}, shares)
    rng = np.random.default_rng(7)
    tensors["classifier.weight"] = rng.standard_normal((3, 96)).astype(np.float32)
    tensors["classifier.bias"] = rng.standard_normal(3).astype(np.float32)
    return write_model(directory, WIDE, {name: convert(tensor) for name, tensor in tensors.items()})


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    return write_sparse(tmp_path_factory.mktemp("inference") / "m")


def batch(seed=5, vocabulary=len(WORDS)):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, vocabulary, (BATCH, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH) < np.array([[LENGTH], [4], [7]])).astype(np.int32)
    return np.where(mask, ids, 0).astype(np.int32), mask


def compiled(directory, storage="compressed", **more):
    return pst.compile(directory, batch_size=BATCH, sequence_length=LENGTH, weight_storage=storage, **more)


def transformers_logits(directory):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    ids, mask = (torch.from_numpy(array).long() for array in batch())
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits.numpy()


def test_logits_are_those_of_the_dense_program_and_of_transformers(sparse):
    wanted = transformers_logits(sparse)
    found = {storage: compiled(sparse, storage) for storage in ("compressed", "bitmask", "auto", "dense")}
    logits = {storage: program(*batch()) for storage, program in found.items()}
    for storage in found:
        np.testing.assert_allclose(logits[storage], wanted, rtol=1e-4, atol=1e-5, err_msg=storage)
    stored = {storage: compressed_weights(program.manifest) for storage, program in found.items()}
    assert len(stored["compressed"]) == 10  # of 12 layers; two have no zeros
    assert stored["bitmask"].keys() == stored["compressed"].keys()
    for storage in ("compressed", "bitmask"):
        sizes = {p["name"]: pst.compiled.parse_type(p["type"]) for p in found[storage].manifest["parameters"]}
        for name, (taken, _) in stored[storage].items():
            parts = [type for part, type in sizes.items() if part.startswith(f"{name}.pst_")]
            assert taken == sum(math.prod(shape) * (1 if element == "i8" else 4) for element, shape in parts)
    assert 0 < len(stored["auto"]) < 10  # of two nearly all stay
    assert not stored["dense"] and not any(name.startswith("pack") for name in found["dense"].entry_points)


def test_bits_are_the_same_for_any_number_of_threads(sparse):
    results = []
    for threads in (1, 2):
        _pst.set_num_threads(threads)
        results.append(compiled(sparse)(*batch()).tobytes())  # packs anew
    assert results[0] == results[1]


def test_values_have_the_type_of_frozen_matrices(sparse, tmp_path):
    """Against transformers, whose matrices, but for the head's, are rounded to bf16 before."""
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    rounded = write_sparse(tmp_path / "rounded")
    tensors = safetensors.load_file(rounded / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and name != "classifier.weight":
            tensors[name] = tensor.bfloat16().float()
    safetensors.save_file(tensors, rounded / "model.safetensors", {"format": "pt"})
    wanted = transformers_logits(rounded)
    assert not np.allclose(wanted, transformers_logits(sparse), rtol=1e-4, atol=1e-4)
    for storage in ("compressed", "dense"):
        program = compiled(sparse, storage, frozen_type="bf16")
        np.testing.assert_allclose(program(*batch()), wanted, rtol=1e-4, atol=1e-5, err_msg=storage)
        types = {p["name"]: p["type"].split("[")[0] for p in program.manifest["parameters"]}
        stored = compressed_weights(program.manifest)
        assert len(stored) == (10 if storage == "compressed" else 0)
        assert all((types[f"{name}.pst_values"], types[f"{name}.pst_columns"]) == ("bf16", "i8") for name in stored)


@pytest.mark.parametrize("stored_in_parts", [False, True])
def test_weights_are_loaded_one_at_a_time(tmp_path, stored_in_parts):
    """85 MiB of weights that are nearly zero are in memory as the program has them, and never all as the file does."""
    config = {**CONFIG, "hidden_size": 480, "intermediate_size": 1920, "num_hidden_layers": 8}
    tensors = prune(bert_tensors(config), [0.05])
    tensors["classifier.weight"], tensors["classifier.bias"] = np.ones((2, 480), np.float32), np.zeros(2, np.float32)
    model = write_model(tmp_path / "m", config, tensors)
    if stored_in_parts:
        compression.write_compressed(TensorFile(model), tmp_path / "parts", None)
        (tmp_path / "parts").replace(model / "model.safetensors")
    script = (
        "import sys, pst\nfrom pst import _pst\n"
        "before = _pst.peak_resident_bytes()\n"
        "program = pst.compile(sys.argv[1], batch_size=1, sequence_length=8, weight_storage='compressed')\n"
        "plan = program.manifest['memory']\n"
        "assert plan['frozen'] < 6 << 20, plan\n"
        "program([[2, 7, 3]])\n"
        "print(_pst.peak_resident_bytes() - before)\n"
    )
    grown = []
    for _ in range(2):  # what compiling takes is not taken again
        done = subprocess.run([sys.executable, "-c", script, str(model)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        grown.append(int(done.stdout))
    assert grown[1] < 72 << 20  # code and the library included


@pytest.mark.parametrize("element", ["float16", "float64", "bfloat16"])
def test_room_is_for_the_elements_that_are_not_zero(tmp_path, element):
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    directory = write_sparse(tmp_path / "m", shares=[0.1])
    tensors = {name: tensor.to(getattr(torch, element)) for name, tensor in safetensors.load_file(directory / "model.safetensors").items()}
    safetensors.save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    program = compiled(directory)
    sizes = {p["name"]: p["type"] for p in program.manifest["parameters"]}
    largest = {}  # of each shape
    for name in compressed_weights(program.manifest):
        shape = tuple(tensors[name].shape)
        largest[shape] = max(largest.get(shape, 0), int(tensors[name].count_nonzero()))
    for name in compressed_weights(program.manifest):
        rows, columns = tensors[name].shape
        cells = -(-rows // 64) * -(-columns // 128)
        assert sizes[f"{name}.pst_values"] == f"f32[{largest[rows, columns] + 16 * cells}]"
    np.testing.assert_allclose(program(*batch()), compiled(directory, "dense")(*batch()), rtol=1e-5, atol=1e-5)


def test_a_dense_model_is_compiled_as_ever(tmp_path):
    one, other = write_sparse(tmp_path / "one", 0, [1.0]), write_sparse(tmp_path / "other", 1, [1.0])
    forced, dense = compiled(one), compiled(one, "dense")
    assert forced.entry_points == dense.entry_points and not compressed_weights(forced.manifest)
    assert forced(*batch()).tobytes() == dense(*batch()).tobytes()
    assert compiled(other).manifest == forced.manifest


def test_weights_that_change_are_packed_right_or_refused(tmp_path, capsys):
    directory = write_sparse(tmp_path / "m", shares=[0.2])
    bundle = tmp_path / "bundle"
    status, out, _ = run(
        capsys, "compile", "--for", "inference", "--model_name_or_path", directory, "--bundle", bundle, "--max_seq_length", LENGTH,
        "--per_device_eval_batch_size", BATCH, "--weight_storage", "compressed",
    )  # fmt: skip
    assert status == 0 and "compressed_weights: 12\n" in out
    program = _pst.Program.load(str(bundle))

    def logits(directory):
        ids, mask = batch()
        data = _pst.Dataset.of({"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids})
        return _pst.evaluate(_pst.Model(program, str(directory), 0), data, 0.0)["logits"]

    np.testing.assert_allclose(logits(directory), compiled(directory)(*batch()), rtol=1e-5, atol=1e-5)
    fewer = write_sparse(tmp_path / "fewer", shares=[0.15])
    np.testing.assert_allclose(logits(fewer), compiled(fewer, "dense")(*batch()), rtol=1e-5, atol=1e-5)
    more = write_sparse(tmp_path / "more", shares=[0.3])
    with pytest.raises(pst.Error, match="the weight \".*\" has [0-9]+ more elements that are not zero than the program has room for"):
        logits(more)
    # A program that is compiled anew is for the new weights.
    np.testing.assert_allclose(compiled(more)(*batch()), compiled(more, "dense")(*batch()), rtol=1e-5, atol=1e-5)


def save(directory, model):
    safetensors = pytest.importorskip("safetensors.numpy")
    model.save_pretrained(directory)
    tensors = safetensors.load_file(directory / "model.safetensors")
    safetensors.save_file(prune(tensors), directory / "model.safetensors", {"format": "pt"})


def test_a_language_model_has_the_same_loss(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.GPT2Config(vocab_size=61, n_embd=36, n_layer=2, n_head=3, n_positions=19, bos_token_id=0, eos_token_id=0)
    save(tmp_path / "m", transformers.GPT2LMHeadModel(config))
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "m").eval()
    ids = batch(vocabulary=61)[0]
    labels = np.where(batch()[1], ids, -100).astype(np.int32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(ids).long(), labels=torch.from_numpy(labels).long()).loss
    program = compiled(tmp_path / "m")
    scale = 1 / (labels[:, 1:] != -100).sum()
    loss = program.function("forward")(input_ids=ids, attention_mask=np.ones_like(ids), labels=labels, loss_scale=float(scale))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    # Columns of c_attn are weights of their own.
    assert any(name.endswith("c_attn.weight:key") for name in compressed_weights(program.manifest))


def test_a_llama_classifies_alike(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(4)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=36, intermediate_size=67, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=32, pad_token_id=0, num_labels=3, initializer_range=0.2,
    )  # fmt: skip
    save(tmp_path / "m", transformers.LlamaForSequenceClassification(config))
    program = compiled(tmp_path / "m")
    assert compressed_weights(program.manifest)
    np.testing.assert_allclose(program(*batch()), transformers_logits(tmp_path / "m"), rtol=1e-4, atol=1e-5)


def test_a_loaded_model_takes_it_by_default(sparse, monkeypatch):
    told = []
    compile_model = _pst.compile_model
    monkeypatch.setattr(_pst, "compile_model", lambda *arguments: told.append(compile_model(*arguments)) or told[-1])
    texts = [" ".join(WORDS[5:15])] * 5
    rows = [pst.load(sparse, weight_storage=storage).predict(texts) for storage in ("auto", "dense")]
    assert [bool(compressed_weights(json.loads(program.manifest))) for program in told] == [True, False]
    np.testing.assert_allclose(*([row["probability"] for row in part] for part in rows), rtol=1e-5)
    assert [row["class"] for row in rows[0]] == [row["class"] for row in rows[1]]


@pytest.mark.parametrize(
    "flags,sentence",
    [
        (["--weight_storage", "dense"], "--weight_storage is of --for inference, but the program is for training"),
        (["--for", "inference", "--method", "lora"], "--method is of --for training, but the program is for inference"),
        (["--for", "inference", "--num_labels", "3"], "--num_labels is of --for training"),
    ],
)
def test_flags_without_a_part_are_refused(sparse, tmp_path, capsys, flags, sentence):
    assert sentence in refuse(capsys, "compile", "--model_name_or_path", sparse, "--bundle", tmp_path / "b", *flags)


def test_a_training_program_has_no_fixed_zeros(sparse):
    with pytest.raises(pst.CompileError, match="--weight_storage compressed is of a program that only evaluates"):
        compiled(sparse, training=True)
