# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst-run predict`: a saved model's bundle on JSON lines of tokens, without Python and LLVM."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model
from test_cli import run as run_pst

import pst

BUILD = pathlib.Path(os.environ.get("PST_BUILD_DIR", pathlib.Path(__file__).parents[2] / "build"))
LENGTH = 9
PLAIN = "the film was good bad not great awful very and".split()
NAMES = ["good", "bad", "öde"]
HEADS = {
    "classes": ({"id2label": dict(enumerate(NAMES))}, []),
    "regression": ({"problem_type": "regression", "num_labels": 1, "id2label": {"0": "x"}}, []),
    "several": ({"problem_type": "multi_label_classification", "id2label": dict(enumerate(NAMES))}, []),
    "tokens": ({"architectures": ["BertForTokenClassification"], "id2label": dict(enumerate(NAMES))}, ["--task", "token_classification"]),
}


def made(folder, kind, capsys):
    """A model with such a head, and its bundle."""
    more, flags = HEADS[kind]
    config, width = {**CONFIG, "num_hidden_layers": 1, **more}, len(more["id2label"])
    tensors, rng = bert_tensors(config, 3), np.random.default_rng(7)
    tensors["classifier.weight"] = rng.standard_normal((width, config["hidden_size"])).astype(np.float32)
    tensors["classifier.bias"] = rng.standard_normal(width).astype(np.float32)
    directory = write_model(folder / "m", config, tensors)
    argv = ["compile", "--for", "inference", "--model_name_or_path", directory, "--bundle", folder / "b",
            "--per_device_eval_batch_size", 4, "--max_seq_length", LENGTH, *flags]  # fmt: skip
    status, _, err = run_pst(capsys, *argv)
    assert status == 0, err
    return directory, folder / "b"


def predict(directory, bundle, lines, *flags):
    """Without a word of the environment. `lines`: a text, or an open file."""
    argv = [BUILD / "bin" / "pst-run", "predict", "--bundle", bundle, "--model", directory, "--file", "-", *flags]
    given = {"input": lines} if isinstance(lines, str) else {"stdin": lines}
    return subprocess.run(list(map(str, argv)), **given, capture_output=True, text=True, env={})


@pytest.mark.parametrize("kind", HEADS)
def test_says_what_python_says(kind, tmp_path, capsys):
    directory, bundle = made(tmp_path, kind, capsys)
    rng = np.random.default_rng(1)
    texts = [[str(word) for word in rng.choice(PLAIN, count)] for count in (1, 3, 7, 2, 5, 4)]
    ids = [[WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")] for words in texts]
    types = [[0] * len(row) for row in ids]
    lines = "".join(json.dumps({"id": i, "input_ids": row, "token_type_ids": types[i]}) + "\n" for i, row in enumerate(ids))
    done = predict(directory, bundle, lines)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(texts)
    model = pst.load(directory)
    expected = model.tag(texts) if kind == "tokens" else model.predict([" ".join(words) for words in texts])
    for ours, theirs in zip(found, expected):
        if kind == "tokens":  # [CLS] and [SEP] have one, too
            assert ours["tags"][1:-1] == theirs["tags"]
            np.testing.assert_allclose(ours["probabilities"][1:-1], theirs["probabilities"], rtol=1e-5)
            continue
        assert set(ours) == set(theirs)
        for key, value in theirs.items():
            assert ours[key] == (pytest.approx(value, rel=1e-5) if key not in ("class", "classes") else value)
    # Token types are all 0 where a line has none; and to a file, of more lines than are read at once.
    lines = "".join(json.dumps({"input_ids": row}) + "\n" for row in ids) * 200
    assert predict(directory, bundle, lines, "--output_file", tmp_path / "out.jsonl").stdout == ""
    assert (tmp_path / "out.jsonl").read_text() == done.stdout * 200


def test_what_is_wrong_with_a_line_is_told(tmp_path, capsys):
    directory, bundle = made(tmp_path, "classes", capsys)
    first = json.dumps({"input_ids": [2, 5, 3]}) + "\n"
    for line, message in [
        ('{"text": "a film"}', 'expected an object with "input_ids"'),
        ("[2, 5]", 'expected an object with "input_ids"'),
        ('{"input_ids": []}', "an array of one whole number"),
        ('{"input_ids": [2.5]}', "an array of one whole number"),
        ('{"input_ids": [4294967298]}', "an array of one whole number"),
        ('{"input_ids": [18446744073709551614]}', "an array of one whole number"),
        ('{"input_ids": [2, -1]}', '"input_ids" has -1, but the model\'s are 0 to'),
        ('{"input_ids": [2, 99999]}', '"input_ids" has 99999, but the model\'s are 0 to'),
        ('{"input_ids": [2, 5], "token_type_ids": [0]}', "an array of 2 whole numbers"),
        ('{"input_ids": [2, 5], "token_type_ids": [0, 7]}', '"token_type_ids" has 7'),
        (json.dumps({"input_ids": [5] * (LENGTH + 1)}), f"has {LENGTH + 1} tokens, but the program has room for {LENGTH}"),
        ("", "an empty line"),
        ('{"input_ids": [2', "no valid JSON"),
    ]:
        done = predict(directory, bundle, first + line + "\n", "--output_file", tmp_path / "out.jsonl")
        assert done.returncode == 1 and done.stderr.startswith("pst-run: error: standard input:2: ") and message in done.stderr, done.stderr
        assert not (tmp_path / "out.jsonl").exists()


def test_a_line_without_an_end(tmp_path, capsys):
    directory, bundle = made(tmp_path, "classes", capsys)
    with open("/dev/zero", "rb") as zeros:
        done = predict(directory, bundle, zeros)
    assert done.returncode == 1 and done.stderr == "pst-run: error: standard input:1: the line has more than 268435456 bytes\n"


@pytest.mark.parametrize("name, told", [("nowhere/out.jsonl", "there is no directory"), (".", "is a directory")])
def test_where_the_results_go_is_checked_at_the_start(tmp_path, capsys, name, told):
    directory, bundle = made(tmp_path, "classes", capsys)
    done = predict(directory, bundle, "no JSON\n", "--output_file", tmp_path / name)
    assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1, done.stderr
