# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs of several lengths and batches over one set of weights: answers of single programs and of transformers, and one memory."""

import gc
import json
import os

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model
from test_inference import WIDE, prune, write_sparse
from test_threads import in_threads

import pst
from pst import _pst, kept

POSITIONS = WIDE["max_position_embeddings"]
LENGTHS = [3, 30, 40, 17, 1, 31, 3]
STORAGES = [{"weight_storage": "auto"}, {"weight_storage": "compressed"}, {"weight_storage": "dense"}, {"frozen_type": "int8"}]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    return write_sparse(tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def compilations(monkeypatch):
    """The settings of each compilation, as they come."""
    told = []
    compile_model = _pst.compile_model
    monkeypatch.setattr(_pst, "compile_model", lambda directory, settings: told.append(settings) or compile_model(directory, settings))
    return told


def ids_of(length, rows=1):
    return np.random.default_rng(length).integers(5, len(WORDS), (rows, length)).astype(np.int32)


def models_of(loaded):
    return dict(loaded._kept._models)


def weights_of(model):
    """The address of each parameter that a model has in memory, but for caches."""
    found = {}
    for parameter in json.loads(model.manifest)["parameters"]:
        name = parameter["name"]
        if parameter["role"] == "cache":
            continue
        try:
            found[name] = model.parameter(name).ctypes.data
        except pst.Error as error:
            assert "in memory as the program stores it" in str(error)
    assert found
    return found


def caches_of(model):
    names = [parameter["name"] for parameter in json.loads(model.manifest)["parameters"] if parameter["role"] == "cache"]
    return {name: model.parameter(name).ctypes.data for name in names}


def test_the_ladder():
    def lengths(padded, most=512, positions=512):
        return sorted({kept.length_for(longest, most, positions, padded) for longest in range(1, 513)})

    assert lengths(False) == [16, 32, 64, 128, 256, 512]
    assert lengths(True) == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert lengths(False, 100) == [16, 32, 64, 100, 128, 256, 512]  # --max_seq_length
    assert lengths(False, 512, 40) == [16, 32, *range(40, 513)]  # beyond the positions each its own
    assert all(kept.length_for(n, 128, 512, padded) >= n for n in range(1, 513) for padded in (False, True))
    assert kept.length_for(200, 128, 512, False) == 256  # token ids, longer than texts may be
    assert kept.positions_of({"n_positions": 7}) == 7
    assert kept.positions_of({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}) == 512
    assert kept.positions_of({}) == 0


@pytest.mark.parametrize("options", STORAGES, ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_answers_are_those_of_single_programs(sparse, options, padded):
    """In any order of lengths; to the bit where the program is the same."""
    options = {**options, "pad_to_max_length": padded, "per_device_eval_batch_size": 4}
    loaded = pst.load(sparse, **options)
    same = 0
    for length in LENGTHS:
        ids = ids_of(length, 5)
        found = loaded(input_ids=ids)
        single = pst.load(sparse, **options)
        wanted = single(input_ids=ids)
        ((own, alone),) = models_of(single).items()
        used, model = list(models_of(loaded).items())[-1]
        if alone.manifest == model.manifest:
            assert found.tobytes() == wanted.tobytes()
            same += 1
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert used[0] >= length and (not padded or used == own)
    assert len(models_of(loaded)) <= kept.MOST and same > 1


def test_answers_are_those_of_transformers(sparse):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(sparse).eval()
    loaded = pst.load(sparse, per_device_eval_batch_size=4)
    for length in LENGTHS:
        ids = ids_of(length, 3)
        with torch.no_grad():
            wanted = model(input_ids=torch.from_numpy(ids).long()).logits.numpy()
        np.testing.assert_allclose(loaded(input_ids=ids), wanted, rtol=1e-4, atol=1e-5)


def test_texts_compile_few_programs(sparse, compilations):
    """The first call one; a shorter text none; and one that comes again none, though another was longer meanwhile."""
    loaded = pst.load(sparse)
    for length, count in ((20, 1), (32, 1), (5, 1), (33, 2), (20, 2), (40, 2), (1, 2)):
        loaded(input_ids=ids_of(length))
        assert len(compilations) == count, length
    assert [settings["sequence_length"] for settings in compilations] == [32, POSITIONS]
    assert list(models_of(loaded)) == [(POSITIONS,), (32,)]


@pytest.mark.parametrize("options", STORAGES, ids=str)
def test_weights_are_in_memory_once(sparse, options):
    loaded = pst.load(sparse, **options)
    for length in (3, 30, 40):
        loaded(input_ids=ids_of(length))
    first, *others = map(weights_of, models_of(loaded).values())
    assert len(others) == 2 and others == [first, first]
    stored = any(name.endswith(".pst_values") for name in first)
    assert stored == (options.get("weight_storage") != "dense")


def test_what_a_further_program_takes(tmp_path):
    """Hardly more than its activations, of 24 MiB of weights."""
    config = {**CONFIG, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "num_hidden_layers": 8, "num_labels": 2}
    tensors = prune(bert_tensors(config), [0.95])
    tensors["classifier.weight"], tensors["classifier.bias"] = np.ones((2, 256), np.float32), np.zeros(2, np.float32)
    model = write_model(tmp_path / "m", config, tensors)
    settings = {"training": False, "method": "dense", "batch_size": 1, "weight_storage": "compressed", "num_labels": 2}
    programs = [_pst.compile_model(str(model), settings | {"sequence_length": length}) for length in (16, 24, 32)]
    arrays = {"input_ids": ids_of(16), "attention_mask": np.ones((1, 16), np.int32), "token_type_ids": np.zeros((1, 16), np.int32)}
    _pst.evaluate(first := _pst.Model(programs[0], str(model)), _pst.Dataset.of(arrays), 0.0)
    before = _pst.resident_bytes()
    models = [_pst.Model(program, first) for program in programs[1:]]
    assert _pst.resident_bytes() - before < 2 << 20
    own = _pst.Model(programs[1], str(model))
    assert _pst.resident_bytes() - before > 24 << 20
    assert own.parameter("bert.encoder.layer.0.output.dense.weight.pst_values").ctypes.data != weights_of(models[0])[
        "bert.encoder.layer.0.output.dense.weight.pst_values"
    ]


def test_the_first_model_may_end_first(sparse):
    settings = {"training": False, "method": "dense", "batch_size": 3, "weight_storage": "compressed"}
    first, second = (_pst.compile_model(str(sparse), settings | {"sequence_length": length}) for length in (11, 12))
    ids = np.pad(ids_of(11, 3), ((0, 0), (0, 1)))
    mask = (np.arange(12) < 11).astype(np.int32) * np.ones((3, 1), np.int32)
    data = _pst.Dataset.of({"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids})
    wanted = _pst.evaluate(_pst.Model(second, str(sparse)), data, 0.0)["logits"]
    shared = _pst.Model(second, model := _pst.Model(first, str(sparse)))
    digest = model.digest
    del model
    gc.collect()
    assert _pst.evaluate(shared, data, 0.0)["logits"].tobytes() == wanted.tobytes()
    assert shared.digest == digest


def test_parameters_that_differ_are_not_shared(sparse, tmp_path):
    settings = {"training": False, "method": "dense", "batch_size": 3, "sequence_length": 11, "weight_storage": "compressed"}

    def program(directory=sparse, **more):
        return _pst.compile_model(str(directory), settings | more)

    model = _pst.Model(program(), str(sparse))
    for other, told in (
        # The first of the layers' weights that has zeros; one that is not stored is read as it is.
        (program(weight_storage="dense"), r'here "bert\.encoder\.layer\.0\.[a-z.]*weight", frozen, .*, and there '
         r'"bert\.encoder\.layer\.0\.[a-z.]*weight", frozen and stored in another form, '),
        (program(weight_storage="bitmask"), r'here "[a-z.0-9]*\.pst_values", state at byte 0, f32\[\d+\], and there "[a-z.0-9]*\.pst_values", state'),
        (program(frozen_type="bf16"), r'here "bert\.embeddings\.word_embeddings\.weight", frozen, bf16\[\d+,96\].*, and there .* f32\[\d+,96\]'),
        (program(write_sparse(tmp_path / "denser", shares=[0.3])), r'here "[a-z.0-9]*\.pst_values", state at byte 0, f32\[\d+\], and there'),
    ):  # fmt: skip
        with pytest.raises(pst.Error, match="cannot share the parameters of another: the first that differs is " + told):
            _pst.Model(other, model)
    trained = _pst.compile_model(str(sparse), {"num_labels": 3, "sequence_length": 11})
    with pytest.raises(pst.Error, match='one of the two has "select", and those share that only evaluate'):
        _pst.Model(trained, model)
    with pytest.raises(pst.Error, match='one of the two has "select"'):
        _pst.Model(program(), _pst.Model(trained, str(sparse)))


def test_a_model_whose_files_changed_says_so(tmp_path):
    directory = write_sparse(tmp_path / "m", shares=[0.1])
    loaded = pst.load(directory, weight_storage="compressed")
    before = loaded(input_ids=ids_of(5))
    write_sparse(tmp_path / "other", shares=[0.5])
    os.replace(tmp_path / "other" / "model.safetensors", directory / "model.safetensors")
    with pytest.raises(pst.Error, match="the first that differs is here .*compile both for the same files"):
        loaded(input_ids=ids_of(30))
    assert loaded(input_ids=ids_of(5)).tobytes() == before.tobytes()


def test_storage_is_chosen_for_the_first(tmp_path):
    """For one row of a decoder's tokens another is the fastest than for 64; programs that share take one."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=61, n_positions=64, n_embd=192, n_layer=3, n_head=4)
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for share, block in zip((0.4, 0.6, 0.8), model.transformer.h):
            for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
                weight = block.get_submodule(name).weight
                weight[torch.rand_like(weight) < share] = 0
    model.save_pretrained(tmp_path)
    settings = {"training": False, "method": "dense", "task": "lm", "cache_length": 32, "sequence_length": 8}

    def program(rows, **more):
        return _pst.compile_model(str(tmp_path), settings | {"batch_size": rows, **more})

    def stored(program):
        return {p["name"] for p in json.loads(program.manifest)["parameters"] if ".pst_" in p["name"]}

    one, many = program(1), program(64)
    assert stored(one) != stored(many)
    first = _pst.Model(one, str(tmp_path))
    with pytest.raises(pst.Error, match="the first that differs is"):
        _pst.Model(many, first)
    alike = program(64, storage_tokens=1)
    assert stored(alike) == stored(one) and stored(program(1, storage_tokens=64)) == stored(many)
    shared = _pst.Model(alike, first)
    assert weights_of(shared) == weights_of(first)
    assert not set(caches_of(shared).values()) & set(caches_of(first).values())


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"training": False, "weight_storage": "dense"}, "whose --weight_storage is auto: leave it out"),
        ({"training": True}, "--storage_tokens is of a program that only evaluates"),
        ({"training": False, "target": "cuda"}, "--storage_tokens"),
    ],
)
def test_where_nothing_is_chosen_there_are_no_storage_tokens(sparse, settings, told):
    with pytest.raises(pst.CompileError, match=told):
        _pst.compile_model(str(sparse), {"storage_tokens": 9, "sequence_length": 8, **settings})


@pytest.mark.parametrize("padded", [False, True])
def test_threads_of_several_lengths(sparse, monkeypatch, padded):
    """At once, where more lengths are asked for than are kept."""
    monkeypatch.setattr(kept, "MOST", 2)
    lengths = [3, 20, 30, 40]
    options = {"pad_to_max_length": padded, "per_device_eval_batch_size": 2, "weight_storage": "compressed"}
    wanted = {length: pst.load(sparse, **options)(input_ids=ids_of(length, 3)) for length in lengths}
    loaded = pst.load(sparse, **options)

    def ask(order):
        def work():
            for length in order * 3:
                np.testing.assert_allclose(loaded(input_ids=ids_of(length, 3)), wanted[length], rtol=1e-5, atol=1e-6)

        return work

    in_threads(*(ask(lengths[i:] + lengths[:i]) for i in range(4)))
    assert len(models_of(loaded)) <= 2


@pytest.mark.parametrize("family, storage", [("gpt2", "auto"), ("llama", "compressed")])
def test_one_prompt_and_five_and_one(tmp_path, compilations, family, storage):
    """Texts are those of transformers; weights are there once, keys and values for each program."""
    pytest.importorskip("transformers")
    from test_generating import MODELS, PROMPTS, reference_ids, zero_weights

    reference = MODELS[family](tmp_path)
    zero_weights(reference, 0.6)
    reference.float().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    reference.double()
    loaded = pst.load(tmp_path, weight_storage=storage)
    several = [*PROMPTS, [9, 8, 7]]
    compiled = []
    for prompts, more in ((PROMPTS[:1], {}), (several, {}), (PROMPTS[:1], {}), (PROMPTS[1:2], {"num_beams": 3}), (several, {})):
        found = loaded.generate(prompts, max_new_tokens=9, **more)
        for prompt, row in zip(prompts, found):
            wanted, _ = reference_ids(reference, prompt, max_new_tokens=9, do_sample=False, **more)
            assert row["output_ids"] == wanted
        compiled.append(len(compilations))
    assert compiled == [1, 2, 2, 3, 3]
    models = models_of(loaded)
    assert [rows for rows, _ in models] == [1, 3, 8]
    first, *others = map(weights_of, models.values())
    assert others == [first, first] and (storage == "auto" or any(".pst_" in name for name in first))
    places = [place for model in models.values() for place in caches_of(model).values()]
    assert len(set(places)) == len(places) >= 12
