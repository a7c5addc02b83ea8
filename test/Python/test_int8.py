# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models whose matrices are held in 8 bits, against transformers with the weights that NumPy makes of the numbers."""

import json
import math

import numpy as np
import pytest
from test_cli import refuse, run
from test_generating import MODELS, PROMPTS, reference_ids, zero_weights
from test_inference import LENGTH, batch, compiled, transformers_logits, write_sparse
from test_kernels_int8 import quantized

import pst
from pst import _pst
from pst.compiled import compressed_weights, parse_type, quantized_weights

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
OUTPUT_COLUMNS = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2's lie inputs x outputs


def rounded(name, weight):
    """What a matrix is once it is held in 8 bits: a scale for each output feature, or row of a table."""
    turned = name.endswith(OUTPUT_COLUMNS)
    matrix = weight.float().numpy()
    values, scales = quantized(matrix.T if turned else matrix)
    result = values.astype(np.float64) * scales[:, None]
    return torch.from_numpy(np.ascontiguousarray(result.T if turned else result))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """A classifier with zeros, and the logits of the same rounded before, but for the head."""
    folder = tmp_path_factory.mktemp("int8")
    sparse, dense = write_sparse(folder / "m"), write_sparse(folder / "rounded")
    tensors = safetensors.load_file(dense / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and name != "classifier.weight":
            tensors[name] = rounded(name, tensor).float()
    safetensors.save_file(tensors, dense / "model.safetensors", {"format": "pt"})
    return sparse, transformers_logits(dense)


@pytest.fixture(scope="module")
def programs(sparse):
    return {storage: compiled(sparse[0], storage, frozen_type="int8") for storage in ("compressed", "dense")}


def test_logits_are_those_of_the_rounded_weights(sparse, programs):
    directory, wanted = sparse
    assert not np.allclose(wanted, transformers_logits(directory), rtol=1e-3, atol=1e-3)
    for storage, program in programs.items():
        np.testing.assert_allclose(program(*batch()), wanted, rtol=1e-4, atol=1e-5, err_msg=storage)
        assert len(compressed_weights(program.manifest)) == (10 if storage == "compressed" else 0)
        assert len(quantized_weights(program.manifest)) == 12 + 3 + 1  # layers, tables, pooler
    packed = compiled(directory, frozen_type="int8", token_capacity=25)
    np.testing.assert_allclose(packed(*batch()), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stored", ["whole", "as int8", "in parts"])
def test_a_table_longer_than_what_is_read_at_once(tmp_path, stored):
    """3,000 rows are stored 2,688 at a time, so that the second time begins among the first's. What is no number is told
    with its place in all of them."""
    rng, rows = np.random.default_rng(2), 3000
    table = np.where(rng.random((rows, 96)) < 0.9, 0, rng.standard_normal((rows, 96)) * rng.uniform(1, 9, (rows, 1))).astype(np.float32)
    values, scales = quantized(table)
    files = {"whole": {"table.weight": table}, "as int8": {"table.weight": values, "table.weight_scale": scales[:, None]}}
    files["in parts"] = {
        "table.compressed": table[table != 0], "table.bitmask": np.packbits(table != 0, axis=1, bitorder="little"),
        "table.row_offsets": np.cumsum([0, *np.count_nonzero(table, axis=1)[:-1]]), "table.shape": np.array(table.shape),
    }  # fmt: skip
    pst.write_tensors(tmp_path / "model.safetensors", files[stored])
    text = f"""
pst.parameter @table frozen init<file "table.weight"> : tensor<{rows}x96xf32>
func.func @forward(%ids: tensor<1x6xi32>) -> tensor<6x96xf32> {{
  %table = pst.load @table : tensor<{rows}x96xf32>
  %e = nn.embedding %ids, %table : tensor<1x6xi32>, tensor<{rows}x96xf32> -> tensor<6x96xf32>
  return %e : tensor<6x96xf32>
}}"""
    program = _pst.compile_text(text, {"training": False, "frozen_type": "int8"})
    ids = np.array([[0, 311, 312, 2687, 2688, rows - 1]], np.int32)
    found = pst.Function(program, "forward", str(tmp_path))(ids)
    np.testing.assert_array_equal(found, values[ids[0]] * scales[ids[0], None])

    row = rows - 2
    column = 0 if stored == "as int8" else np.flatnonzero(table[row])[0]
    spoiled = {"whole": table[row, column:], "as int8": files["as int8"]["table.weight_scale"][row]}
    spoiled["in parts"] = files["in parts"]["table.compressed"][np.count_nonzero(table[:row]) :]
    spoiled[stored][0] = np.nan
    pst.write_tensors(tmp_path / "model.safetensors", files[stored])
    with pytest.raises(pst.Error, match=rf'tensor "table.weight" holds nan at \[{row}, {column}\]'):
        pst.Function(program, "forward", str(tmp_path))

def test_bits_are_the_same_for_any_number_of_threads(sparse, programs):
    for storage, program in programs.items():
        results = []
        for threads in (1, 2):
            _pst.set_num_threads(threads)
            again = compiled(sparse[0], storage, frozen_type="int8")  # quantizes anew
            results.append(again(*batch()).tobytes())
        assert results[0] == results[1] == program(*batch()).tobytes()


def test_the_plan_has_a_byte_for_each_element(sparse, programs):
    """Of whole matrices values and scales, each from a cache line on, and nothing else that was not there before."""
    manifest = programs["dense"].manifest
    types = {p["name"]: parse_type(p["type"]) for p in manifest["parameters"]}
    expected = 0
    for name in quantized_weights(manifest):
        rows, columns = types[name][1]
        assert types[f"{name}.pst_values"] == ("i8", (rows, columns)) and types[f"{name}.pst_scales"] == ("f32", (rows,))
        expected += sum(math.ceil(size / 64) * 64 for size in (rows * columns, 4 * rows))
    before = compiled(sparse[0], "dense").manifest["memory"].get("state", 0)
    assert manifest["memory"]["state"] - before == pytest.approx(expected, abs=64)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_texts_are_those_of_transformers(tmp_path, family):
    """Token for token, none twice: by few rows and by many, compressed and whole, with the head tied and not."""
    options = dict(max_new_tokens=24, no_repeat_ngram_size=1)
    reference = MODELS[family](tmp_path)
    zero_weights(reference, 0.6)
    reference.float().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    with torch.no_grad():
        free = [reference_ids(reference, prompt, do_sample=False, **options)[0] for prompt in PROMPTS]
        reference.double()
        for name, value in reference.named_parameters():
            if value.dim() == 2:
                value.copy_(rounded(name, value))
    wanted = [reference_ids(reference, prompt, do_sample=False, **options)[0] for prompt in PROMPTS]
    assert wanted != free
    for storage in ("compressed", "bitmask"):
        ours = pst.load(tmp_path, frozen_type="int8", weight_storage=storage, per_device_eval_batch_size=4)
        assert [row["output_ids"] for row in ours.generate(PROMPTS, **options)] == wanted
        for prompt, row in zip(PROMPTS, wanted):  # by itself
            assert ours.generate([prompt], **options)[0]["output_ids"] == row
    dense = pst.load(tmp_path, frozen_type="int8", weight_storage="dense", per_device_eval_batch_size=1)
    assert dense.generate(PROMPTS[1:2], **options)[0]["output_ids"] == wanted[1]


def test_the_loss_of_a_language_model(tmp_path):
    """`pst eval` reads the head in 8 bits too."""
    reference = MODELS["gpt2"](tmp_path)
    ids = batch(vocabulary=61)[0]
    program = compiled(tmp_path, "dense", task="lm", frozen_type="int8")
    loss = program.function("forward")(input_ids=ids, attention_mask=np.ones_like(ids), labels=ids, loss_scale=1 / ids[:, 1:].size)
    with torch.no_grad():
        reference.double()
        for name, value in reference.named_parameters():
            if value.dim() == 2:
                value.copy_(rounded(name, value))
        wanted = reference(torch.from_numpy(ids).long(), labels=torch.from_numpy(ids).long()).loss
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert "transformer.wte.weight" in quantized_weights(program.manifest)


def test_a_bundle_says_what_it_holds_and_others_places_are_refused(sparse, tmp_path, capsys):
    directory, wanted = sparse
    bundle = tmp_path / "bundle"
    status, out, _ = run(
        capsys, "compile", "--for", "inference", "--model_name_or_path", directory, "--bundle", bundle, "--max_seq_length", LENGTH,
        "--per_device_eval_batch_size", 3, "--frozen_type", "int8", "--weight_storage", "dense",
    )  # fmt: skip
    assert status == 0 and "compressed_weights: 0\n" in out and "int8_weights: 16\n" in out
    ids, mask = batch()
    data = _pst.Dataset.of({"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids})
    program = _pst.Program.load(str(bundle))
    found = _pst.evaluate(_pst.Model(program, str(directory), 0), data, 0.0)["logits"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    scales = next(p for p in manifest["parameters"] if p["name"].endswith("pooler.dense.weight.pst_scales"))
    scales["type"] = "f32[960000]"
    file.write_text(json.dumps(manifest))
    with pytest.raises(pst.Error, match="overlaps another parameter|past the end of the space"):
        _pst.Program.load(str(bundle))


def test_programs_that_train_and_gpus_refuse_it(sparse, tmp_path, capsys):
    directory, _ = sparse
    with pytest.raises(pst.CompileError, match="--frozen_type int8 is of a program that only evaluates"):
        compiled(directory, "auto", training=True, frozen_type="int8")
    with pytest.raises(pst.CompileError, match="--frozen_type int8 is not for --target emulated"):
        compiled(directory, "auto", target="emulated", frozen_type="int8")
    assert "--frozen_type int8 is of a program that only evaluates" in refuse(
        capsys, "compile", "--model_name_or_path", directory, "--bundle", tmp_path / "b", "--frozen_type", "int8", "--max_seq_length", LENGTH
    )
