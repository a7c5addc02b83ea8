# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Language models from text files to perplexity: blocks of tokens, `pst train`
on one and on two ranks, evaluation, export, what is said of bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import gpt2_tensors, real_data

import pst
from pst import write_tensors
from pst.cli import main
from pst.language import Blocks, block_length, read_source

CONFIG = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 257,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 40,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 256,
    "eos_token_id": 256,
}


def write_model(directory, seed=0):
    """A small GPT-2 of random weights, whose tokens are bytes."""
    import tokenizers

    directory.mkdir()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)} | {"<|endoftext|>": 256}
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    (directory / "config.json").write_text(json.dumps(CONFIG))
    tensors = gpt2_tensors(CONFIG, seed)
    write_tensors(directory / "model.safetensors", tensors, {"format": "pt"})
    return directory


def write_text(path, lines, seed=0):
    """Sentences with a rule to learn: what is counted comes up again."""
    rng = np.random.default_rng(seed)
    words = ("cat", "dog", "bird", "fish")
    text = "".join(f"the {w} saw a {w}, é.\n" for w in rng.choice(words, lines))
    path.write_text(text, encoding="utf-8")
    return path


def flags(model, train, out, **more):
    given = {
        "model_name_or_path": model, "train_file": train, "output_dir": out, "block_size": 32, "sparsity": 0.5,
        "per_device_train_batch_size": 4, "learning_rate": "5e-3", "max_steps": 30, "save_strategy": "no", "report_to": "none",
        **more,
    }  # fmt: skip
    return ["train"] + [str(item) for name, value in given.items() for item in (f"--{name}", value)]


def test_blocks_hold_every_token(tmp_path):
    tokenizer = pst.Tokenizer(write_model(tmp_path / "m"))
    text = write_text(tmp_path / "a.txt", 9).read_text(encoding="utf-8")
    blocks = Blocks.of(read_source(tmp_path / "a.txt"), tokenizer, 32, 256)
    assert len(blocks.tokens) == len(text.encode())  # lines, with their breaks, as they are
    arrays = blocks.arrays()
    used = arrays["attention_mask"].astype(bool)
    np.testing.assert_array_equal(arrays["input_ids"][used], blocks.tokens)
    np.testing.assert_array_equal(arrays["labels"][used], blocks.tokens)
    assert (arrays["labels"][~used] == -100).all() and (~used).any() and (arrays["input_ids"][~used] == 256).all()
    # A single token that is left over is predicted from nothing.
    for count, expected in ((64, 2), (65, 2), (66, 3)):
        assert len(Blocks(np.arange(count, dtype=np.int32), 32, 0, "x")) == expected
    # Rows are texts of their own: an end goes between them, and columns are found by name.
    (tmp_path / "a.jsonl").write_text('{"text": "ab"}\n{"text": "c"}\n')
    rows = Blocks.of(read_source(tmp_path / "a.jsonl"), tokenizer, 32, 256).tokens
    assert rows[2] == rows[4] == 256 and len(rows) == 5


def test_texts_of_python_and_labels_that_are_not_read(tmp_path):
    assert read_source([{"text": "a b", "label": 1}, {"text": "c"}]).documents == [["a b"], ["c"]]
    assert read_source({"body": ["a", "b"]}, text_column="body", limit=1).documents == [["a"]]
    (tmp_path / "a.csv").write_text("text,label\na b,1\nc,0\n")
    texts = read_source(tmp_path / "a.csv")
    assert texts.documents == [["a b"], ["c"]]
    assert texts.warnings == [
        f"{tmp_path}/a.csv: column 'label' is not read by a language model; --task classification learns it"
    ]


def test_gpt2_tokens_are_those_of_the_vocabulary(tmp_path):
    (tmp_path / "vocab.json").write_bytes(real_data("vocab", "gpt2", "vocab.json").read_bytes())
    (tmp_path / "merges.txt").write_bytes(real_data("vocab", "gpt2", "vocab.bpe").read_bytes())
    tokenizer = pst.Tokenizer(tmp_path)
    assert tokenizer.encode_pieces(["Hello world", " the\n"], "x") == [[15496, 995], [262, 198]]
    assert tokenizer.padding == 50256


def test_train_evaluate_export(tmp_path, capsys):
    model, train = write_model(tmp_path / "m"), write_text(tmp_path / "train.txt", 60)
    dev = write_text(tmp_path / "dev.txt", 12, seed=1)
    assert main(flags(model, train, tmp_path / "run", validation_file=dev, save_strategy="epoch", num_train_epochs=2)) == 0
    results = json.loads((tmp_path / "run" / "train_results.json").read_text())
    assert results["perplexity"] == pytest.approx(np.exp(results["eval_loss"]), rel=1e-6)
    assert results["perplexity"] < 80 and results["sparsity"] == pytest.approx(0.5, abs=1e-3)
    capsys.readouterr()
    for saved in ("model", "again"):
        if saved == "again":
            assert main(["export", str(tmp_path / "run"), "--output_dir", str(tmp_path / "run" / "again")]) == 0
        out = tmp_path / f"{saved}.json"
        arguments = ["--validation_file", str(dev), "--block_size", "32", "--output_file", str(out)]
        assert main(["eval", "--model_name_or_path", str(tmp_path / "run" / saved), *arguments]) == 0
        assert json.loads(out.read_text())["loss"] == pytest.approx(results["eval_loss"], rel=1e-5)
    # A whole batch at once, eagerly, by transformers: the same mean over tokens.
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "run" / "model").double().eval()
    arrays = Blocks.of(read_source(dev), pst.Tokenizer(model), 32, 256).arrays()
    with torch.no_grad():
        loss = loaded(**{name: torch.from_numpy(value).long() for name, value in arrays.items()}).loss.item()
    assert loss == pytest.approx(results["eval_loss"], rel=1e-5)


def test_two_ranks_train_as_one_with_twice_the_batch(tmp_path):
    """Though the ranks' shares differ in the number of tokens: the last block of the data is short."""
    pytest.importorskip("torch")
    model, train = write_model(tmp_path / "m"), write_text(tmp_path / "train.txt", 13)
    losses = []
    for out, ranks, batch in (("one", 1, 4), ("two", 2, 2)):
        arguments = flags(model, train, tmp_path / out, per_device_train_batch_size=batch, max_steps=8, logging_steps=1)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
        done = subprocess.run([sys.executable, *launcher, "-m", "pst", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if line["event"] == "train"])
    assert len(losses[0]) == 8 and np.ptp(losses[0]) > 0.05
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_what_is_wrong_is_told(tmp_path, capsys):
    model, train = write_model(tmp_path / "m"), write_text(tmp_path / "train.txt", 5)
    (tmp_path / "empty.txt").write_text(" \n")
    for given, message in (
        ({"block_size": 41}, "--block_size is 41, but the model has 40 positions"),
        ({"block_size": 1}, "--block_size must be at least 2"),
        ({"train_file": tmp_path / "empty.txt"}, "empty.txt: no text: the file is empty"),
        ({"text_column": "body"}, "--text_column names a column, but the file is read as one text"),
        ({"test_file": train}, "--test_file is for models that classify"),
        ({"metric_for_best_model": "accuracy"}, "must be one of loss, perplexity for this model, but is accuracy"),
    ):
        assert main(flags(model, train, tmp_path / "run", **given)) == 1
        assert message in capsys.readouterr().err
    assert block_length(0, {"n_positions": 2048}) == 1024 and block_length(0, CONFIG) == 40


def test_a_compressed_model_is_the_same_one(tmp_path, capsys):
    """Its fused weight is read by thirds."""
    model, text = write_model(tmp_path / "m"), write_text(tmp_path / "dev.txt", 13)
    tensors, rng = gpt2_tensors(CONFIG, 0), np.random.default_rng(5)
    for name, weight in tensors.items():
        if name.startswith("h.") and weight.ndim == 2:
            weight[rng.random(weight.shape) < 0.8] = 0
    write_tensors(model / "model.safetensors", tensors, {"format": "pt"})
    argv = ["export", model, "--output_dir", tmp_path / "c", "--format", "compressed", "--value_type", "f32", "--validation_file", text, "--block_size", 32]
    assert main(list(map(str, argv))) == 0
    told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["layers"] == "8" and told["loss"] == told["loss_before"] and told["perplexity"] == told["perplexity_before"]
    outputs = []
    for directory in (model, tmp_path / "c"):
        out = tmp_path / f"run-{directory.name}"
        assert main(flags(directory, text, out, max_steps=2, method="map")) == 0
        outputs.append((out / "model" / "model.safetensors").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("method, rate", [("pst", 1e-3), ("map", 3e-4), ("lora", 1e-3), ("sparse_lora", 1e-3), ("dense", 5e-5)])
def test_a_method_has_one_rate(tmp_path, method, rate):
    """That of a language model, for the mask too."""
    model, text = write_model(tmp_path / "m"), write_text(tmp_path / "t.txt", 40)
    pruned = {} if method in ("dense", "lora") else {"sparsity": 0.5}
    runs = []
    for name, given in (("own", {}), ("given", {"learning_rate": rate, **({"mask_learning_rate": rate} if method == "pst" else {})})):
        trainer = pst.Trainer(
            model, text, output_dir=tmp_path / name, method=method, max_steps=3, block_size=16, save_strategy="no", **pruned, **given
        )
        parameters = json.loads(trainer.model.manifest)["parameters"]
        trained = [one["name"] for one in parameters if one["role"] == "trainable"]
        before = [np.array(trainer.model.parameter(name)) for name in trained]
        trainer.train()
        after = [np.array(trainer.model.parameter(name)) for name in trained]
        assert any((a != b).any() for a, b in zip(before, after))
        runs.append(b"".join(value.tobytes() for value in after))
    assert runs[0] == runs[1]
