# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Prompts with completions: what is read of them, the loss on the completion alone, and batches of them without padding."""

import csv
import gzip
import json

import numpy as np
import pytest
from conftest import real_data
from test_language import flags, write_model

import pst
from pst import TensorFile, Trainer, _pst
from pst.cli import main
from pst.errors import DataError
from pst.language import Answers, Blocks, read_language
from pst.options import Options

LENGTH, END = 40, 256


def pairs(count, seed=0):
    """Prompts and completions of 1 to 30 bytes, one of each among them."""
    rng = np.random.default_rng(seed)

    def text(size):
        return "".join(rng.choice(list("abcde é,"), size))

    sizes = [(1, 1), (1, 30), (30, 1), (1, 38), *rng.integers(1, 13, (count - 4, 2))]
    return [(text(a), text(b)) for a, b in sizes]


def write_pairs(path, rows, names=("prompt", "completion")):
    path.write_text("".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows))
    return path


def read(source, model, length=LENGTH, **options):
    return read_language(source, pst.Tokenizer(model), {"vocab_size": 257}, Options.make(**options), length)


def as_trl(model, rows, length=LENGTH):
    """input_ids and labels of each example, as TRL's SFTTrainer makes them with transformers' tokenizer."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    made = []
    for prompt, completion in rows:
        start = tokenizer(prompt)["input_ids"]
        ids = tokenizer(prompt + completion + tokenizer.eos_token)["input_ids"]
        assert ids[: len(start)] == start
        labels = [-100] * len(start) + ids[len(start) :]
        made.append((ids[:length], labels[:length]))
    return made


def test_rows_are_those_of_trl(tmp_path):
    model, rows = write_model(tmp_path / "m"), pairs(20)
    arrays = read(write_pairs(tmp_path / "a.jsonl", rows), model).arrays()
    expected = as_trl(model, rows)
    assert arrays["input_ids"].shape == (20, max(len(ids) for ids, _ in expected)) == (20, LENGTH)
    for i, (ids, labels) in enumerate(expected):
        size = arrays["attention_mask"][i].sum()
        assert arrays["attention_mask"][i, :size].all()
        assert arrays["input_ids"][i, :size].tolist() == ids and arrays["labels"][i, :size].tolist() == labels
        assert (arrays["labels"][i, size:] == -100).all()
    # A tokenizer that frames texts, and joins letters across the two.
    from made_tokenizers import metaspace_tokenizer

    (tmp_path / "llama").mkdir()
    impl = metaspace_tokenizer(["say hello world", "answer yes or no"] * 50)
    impl.save(str(tmp_path / "llama" / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "llama" / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "llama" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    texts = [("say", " hello"), ("answer", " yes or no"), ("answer ye", "s"), ("", "hello")]
    found = read(texts, tmp_path / "llama")
    whole = [impl.encode(a + b).ids + [impl.token_to_id("</s>")] for a, b in texts]
    assert found.ids == whole and whole[0][0] == impl.token_to_id("<s>")
    assert found.firsts[0] == len(impl.encode("say").ids) and found.firsts[3] == 1
    # One token holds letters of both: what is learnt begins where the prompt alone has another.
    for ids, first, prompt in zip(whole[1:3], found.firsts[1:3], ("answer", "answer ye")):
        alone = impl.encode(prompt).ids
        assert ids[:first] == alone[:first] and ids[first] != alone[first]


def test_columns_have_the_names_that_others_give_them(tmp_path):
    model = write_model(tmp_path / "m")

    def text(answers, i=0):
        ids, first = answers.ids[i], answers.firsts[i]
        alphabet = json.loads((model / "vocab.json").read_text())
        letters = {number: letter for letter, number in alphabet.items()}
        whole = ["".join(letters[id] for id in part) for part in (ids[:first], ids[first:])]
        return tuple(part.replace("Ġ", " ").replace("Ċ", "\n") for part in whole)

    end = "<|endoftext|>"
    assert text(read([{"prompt": "a ", "completion": "b"}], model)) == ("a ", "b" + end)
    assert text(read([("a ", "b")], model)) == ("a ", "b" + end)
    assert text(read([{"context": "a", "completion": "b"}], model)) == ("a ", "b" + end)
    alpaca = [{"instruction": "a", "input": "x", "output": "b"}, {"instruction": "c", "input": "", "output": "d"}]
    found = read(alpaca, model)
    assert text(found) == ("a\nx\n", "b" + end) and text(found, 1) == ("c\n", "d" + end)
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([("q", "a", "b"), ("x", "no", "y")])
    named = read(tmp_path / "a.csv", model, text_column="q", completion_column="b")
    assert text(named) == ("x", "y" + end)
    # A column "text" is the whole text, and so is one that is named.
    assert isinstance(read([{"prompt": "a", "completion": "b", "text": "ab"}], model), Blocks)
    assert isinstance(read([{"prompt": "abc", "completion": "b"}], model, text_column="prompt"), Blocks)


def test_what_is_cut_or_wrong_is_told(tmp_path, capsys):
    model = write_model(tmp_path / "m")
    rows = [("a" * 4, "b" * 3), ("a" * 8, "b" * 20), ("a" * 12, "b"), ("a" * 10, "b")]
    found = read(write_pairs(tmp_path / "a.jsonl", rows), model, length=10)
    assert [len(ids) for ids in found.ids] == [8, 10] and found.firsts == [4, 8] and found.length == 10
    assert found.warnings == [
        f"{tmp_path}/a.jsonl: 3 of 4 examples are longer than 10 tokens and were cut",
        f"{tmp_path}/a.jsonl: of 2 of 4 examples no token of the completion is within 10 tokens: they were left out",
    ]
    with pytest.raises(DataError, match="of 1 of 1 examples no token of the completion is within 10 tokens: nothing can be learnt"):
        read(rows[2:3], model, length=10)
    with pytest.raises(DataError, match="the data:2: column 'completion' is missing"):
        read([{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": None}], model)
    for given, message in (
        ({"completion_column": "b"}, "--completion_column needs --text_column"),
        ({"completion_column": "b", "text_column": "prompt"}, "there is no column 'b' for the completion; the columns are 'prompt', 'completion'"),
        ({"completion_column": "b", "text_column": "a", "task": "classification"}, "--completion_column is of a language model, but the task is"),
        ({"completion_column": "b", "text_column": "a", "label_column": "c"}, "--completion_column is of a language model, but --label_column is of"),
    ):
        assert main(flags(model, tmp_path / "a.jsonl", tmp_path / "run", **given)) == 1
        assert message in capsys.readouterr().err


def test_prepared_data_are_the_same(tmp_path):
    model = write_model(tmp_path / "m")
    files = [write_pairs(tmp_path / "train.jsonl", [("ab", "c"), ("d", "efg")]), write_pairs(tmp_path / "dev.jsonl", [("abcdefg", "h")])]
    argv = ["prepare", "--model_name_or_path", model, "--train_file", files[0], "--validation_file", files[1], "--output_dir", tmp_path / "out"]
    assert main(list(map(str, argv))) == 0
    for name, file in zip(("train", "validation"), files):
        expected = read(file, model)
        expected.length = 9  # with the end, of the longer one
        found = TensorFile(tmp_path / "out" / f"{name}.safetensors")
        for key, array in expected.arrays().items():
            np.testing.assert_array_equal(np.array(found.read(key)), array)


@pytest.mark.parametrize("packed", [True, False])
def test_the_loss_is_that_of_transformers(tmp_path, capsys, packed):
    """Of a batch of examples, and of each alone; `pst train`, `pst eval` and what it saves."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model, rows = write_model(tmp_path / "m"), pairs(30)
    train, dev = write_pairs(tmp_path / "train.jsonl", rows), write_pairs(tmp_path / "dev.jsonl", pairs(14, seed=1))
    more = {"validation_file": dev, "max_steps": 6, "block_size": LENGTH} | ({} if packed else {"pad_to_max_length": True})
    assert main(flags(model, train, tmp_path / "run", **more)) == 0
    assert ("without padding (room for " in capsys.readouterr().out) == packed
    results = json.loads((tmp_path / "run" / "train_results.json").read_text())
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "run" / "model").double().eval()
    total = count = 0
    with torch.no_grad():
        for ids, labels in as_trl(model, pairs(14, seed=1)):
            logits = loaded(torch.tensor([ids])).logits[0, :-1]
            wanted = torch.tensor(labels)[1:]
            total += torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum").item()
            count += int((wanted != -100).sum())
    assert results["eval_loss"] == pytest.approx(total / count, rel=1e-5)
    out = tmp_path / "eval.json"
    arguments = ["--validation_file", str(dev), "--block_size", str(LENGTH), "--output_file", str(out)]
    assert main(["eval", "--model_name_or_path", str(tmp_path / "run" / "model"), *arguments]) == 0
    assert json.loads(out.read_text())["loss"] == pytest.approx(total / count, rel=1e-5)


def examples(rng, rows, length, vocabulary):
    """Arrays as Answers has them, with an example of two tokens, one that is full, and completions of one token."""
    counts = np.concatenate([[2, length], rng.integers(2, length // 2 + 2, rows - 2)])
    firsts = [1, length - 1, *(rng.integers(1, count) for count in counts[2:])]
    ids = [rng.integers(0, vocabulary, count).tolist() for count in counts]
    return Answers(ids, list(map(int, firsts)), length, 0, "made", []).arrays()


@pytest.mark.parametrize("family", ["gpt2", "llama3", "qwen2", "mistral"])
def test_25_packed_steps_follow_the_eager_model(tmp_path, family):
    """To 90 %, which is padded and in float64: losses, norms of the gradients, masks."""
    pytest.importorskip("torch")
    import test_gpt2
    import test_llama

    arrays = examples(np.random.default_rng(3), 40, 12, 61)
    if family == "gpt2":
        test_gpt2.check_steps(tmp_path, 25, arrays, token_capacity=61)
    else:
        test_llama.check_steps(tmp_path, family, 25, arrays, token_capacity=61)


@pytest.mark.parametrize("kind", ["random", "equal", "alone"])
@pytest.mark.parametrize("family", ["gpt2", "llama3"])
def test_a_packed_step_is_a_padded_one(tmp_path, family, kind):
    pytest.importorskip("torch")
    import test_gpt2
    import test_llama
    import test_parity as parity

    if family == "gpt2":
        test_gpt2.save_model(tmp_path / "m", 2)
    else:
        test_llama.save_model(tmp_path / "m", 2, **test_llama.FAMILIES["llama3"][1])
    rng = np.random.default_rng(8)
    counts = {"random": [2, 19, 3, 11, 7], "equal": [9] * 5, "alone": [19]}[kind]
    ids = [rng.integers(0, 61, count).tolist() for count in counts]
    data = _pst.Dataset.of(Answers(ids, [count // 2 for count in counts], 19, 0, "made", []).arrays())
    found = []
    for capacity in (0, 53):
        _, model = parity.build(tmp_path / "m", 5, 19, token_capacity=capacity, **parity.PST)
        parity.randomise(model, 1)
        model.select(0.8)
        loss = model.forward_backward(data, list(range(len(counts))), 0.1, 0)
        found.append((loss, np.array(model.gradient), _pst.evaluate(model, data, 0.8)["loss"]))
    (expected, right, evaluated), (loss, gradient, alone) = found
    assert (loss, alone) == (pytest.approx(expected, rel=3e-6), pytest.approx(evaluated, rel=3e-6))
    np.testing.assert_allclose(gradient, right, rtol=2e-4, atol=4e-6 * np.abs(right).max())
    assert np.abs(right).max() > 0


def test_nearly_all_that_is_computed_is_there(tmp_path):
    """On E2E as Li et al. have it, of its training data the first 4,000: tokens there of those that a batch has room for."""
    model = write_model(tmp_path / "m")
    lines = gzip.decompress(real_data("nlg", "e2e_lora", "train.txt.gz").read_bytes()).decode().splitlines()[:4000]
    (model / "vocab.json").write_bytes(real_data("vocab", "gpt2", "vocab.json").read_bytes())
    (model / "merges.txt").write_bytes(real_data("vocab", "gpt2", "vocab.bpe").read_bytes())
    train = write_pairs(tmp_path / "train.jsonl", [line.split("||") for line in lines], ("context", "completion"))
    answers = read_language(train, pst.Tokenizer(model), {"vocab_size": 50257}, Options.make(), 512)
    batch, counts = 16, answers.counts()
    rows = np.random.default_rng(0).permutation(len(counts))
    sums = counts[rows][: len(rows) // batch * batch].reshape(-1, batch).sum(1)
    from pst.packing import room_for

    room = room_for(counts, batch, answers.length)
    assert (sums <= room).mean() > 0.99
    # Loops end at the tokens that there are; padding is what they would compute besides.
    assert sums.mean() / room > 0.8 and sums.mean() / (batch * answers.length) < 0.7


def test_a_run_of_two_texts_each_in_python(tmp_path):
    model, rows = write_model(tmp_path / "m"), pairs(24)
    trainer = Trainer(model, rows, pairs(9, 1), output_dir=tmp_path / "run", max_steps=2, tokens_per_batch=70, report_to="none", save_strategy="no")
    counts = read(rows, model).counts()
    assert trainer.plan["batch_size"] == round(70 / counts.mean()) and trainer.token_capacity and trainer.length == LENGTH
    trainer.train()
    again = trainer.evaluate(rows)["loss"]
    assert np.isfinite(again) and again != trainer.evaluate()["loss"]
    # Plain texts are blocks, for a program of completions too.
    assert np.isfinite(trainer.evaluate(["abc" * 30])["loss"])
