# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every file that a command reads, broken in every way: the command ends well or in one sentence."""

import contextlib
import io
import json
import re

import numpy as np
import pytest
from conftest import CONFIG, bert_tensors, write_data, write_model

from pst import _pst, cli

VALUES = ("null", '{"a": {"b": 1}}', "-1", str(2**70), r'["a", "\ud800"]')
NUMBERS = (b"-1", b"0.5", b"4611686018427387904", b"9223372036854775808", b"1e400", b"null", b"[]")


def ways(whole):
    """The contents of a file, as names and bytes, in the place of `whole`."""
    yield from {
        "empty": b"", "zeros": bytes(4096), "half": whole[: len(whole) // 2], "less": whole[:-2], "twice": whole + whole,
        "random": np.random.default_rng(1).bytes(700), "list": b"[]", "number": b"5", "string": b'"x"', "null": b"null", "object": b"{}",
        "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000, "deep list": b"[" * 100_000, "NaN": b'{"a": NaN}', "mark": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode("latin1").encode("utf-16"), "Latin 1": whole + b"\xe9\xff", "long": b"a" * 300_000,
        "returns": whole.replace(b"\n", b"\r"), "half characters": b'{"sentence": "\\ud800", "label": "\\udfff"}\n' * 3,
        "blank lines": b"\n" * 100, "quotes": b'"' * 101, "digits": b'{"a": ' + b"9" * 5000 + b"}",
    }.items()  # fmt: skip
    try:
        value = json.loads(whole)
    except ValueError:
        return
    for number in NUMBERS:
        yield f"numbers {number.decode()}", re.sub(rb'(?<![\w."])-?\d+(\.\d+)?(e-?\d+)?(?![\w."])', number, whole)
    if isinstance(value, dict):
        yield "keys twice", whole.rstrip()[:-1] + b"," + whole.strip()[1:]
        for key in value:
            yield f"no {key}", json.dumps({name: value[name] for name in value if name != key}).encode()
            for odd in VALUES:
                yield f"{key} {odd}", json.dumps({**value, key: json.loads(odd)}).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, a run, its adapter, and files of rows and options."""
    root = tmp_path_factory.mktemp("broken")
    config = {**CONFIG, "num_hidden_layers": 1}
    model = write_model(root / "model", config, bert_tensors(config))
    rows = write_data(root / "rows.tsv", 12)
    pairs = [dict(zip(("sentence", "label"), line.split("\t"))) for line in rows.read_text().splitlines()[1:]]
    (root / "rows.csv").write_text(rows.read_text().replace("\t", ","))
    (root / "rows.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (root / "rows.json").write_text(json.dumps(pairs))
    (root / "rows.txt").write_text(rows.read_text())
    (root / "flags.json").write_text(json.dumps({"learning_rate": 1e-4, "sparsity": 0.5, "seed": 3, "bf16": False, "method": "pst"}))
    (root / "flags.yaml").write_text("learning_rate: 1e-4\nseed: 3\n")
    (root / "layers.json").write_text(json.dumps({"query": 0.5}))
    (root / "criterion.mlir").write_text(_pst.recipe_text("pst"))
    (root / "table.json").write_text(json.dumps({"suite": "cpu", "rows": [], "machine": {}, "versions": {}, "command": "", "date": ""}))
    assert run(root, TRAIN + ["--save_steps", "1"])[0] == 0
    assert run(root, "export {0}/run --format adapter --output_dir {0}/adapter".split())[0] == 0
    assert model == root / "model"
    return root


TRAIN = "train --model_name_or_path {0}/model --train_file {0}/rows.tsv --output_dir {0}/run --max_steps 1 --max_seq_length 8 --report_to none".split()
PLAN = ["--plan_only", "--output_dir", "{0}/plan"]
EXPORT = "--output_dir {0}/exported --overwrite_output_dir".split()
PLACES = {
    **{f"rows.{kind}": [f"eval --model_name_or_path {{0}}/run/model --skip_bad_rows --validation_file {{0}}/rows.{kind}".split(),
                        f"predict --model_name_or_path {{0}}/run/model --file {{0}}/rows.{kind} --output_file {{0}}/out.jsonl".split(),
                        f"prepare --model_name_or_path {{0}}/model --train_file {{0}}/rows.{kind} --output_dir {{0}}/prepared".split()]
       for kind in ("tsv", "csv", "jsonl", "json", "txt")},
    "flags.json": [[*TRAIN, *PLAN, "--config", "{0}/flags.json"]],
    "flags.yaml": [[*TRAIN, *PLAN, "--config", "{0}/flags.yaml"]],
    "layers.json": [[*TRAIN, *PLAN, "--layer_sparsity", "{0}/layers.json"]],
    "criterion.mlir": [[*TRAIN, *PLAN, "--criterion", "{0}/criterion.mlir"]],
    "table.json": [["bench", "--table", "{0}/table.json"]],
    **{f"run/model/{name}": ["predict --model_name_or_path {0}/run/model --file {0}/rows.tsv".split(), ["export", "{0}/run/model", *EXPORT],
                             ["inspect", "{0}/run/model"]]
       for name in ("model.safetensors", "vocab.txt", "tokenizer_config.json", "README.md")},
    # Each other configuration that is right would be compiled.
    "run/model/config.json": [["export", "{0}/run/model", *EXPORT]],
    **{f"run/{name}": [["export", "{0}/run/checkpoint-1", *EXPORT]]
       for name in ("run.json", "checkpoint-1/trainer_state.json", "checkpoint-1/trainable.safetensors")},
    **{f"run/{name}": [[*TRAIN, "--max_steps", "1", "--resume_from_checkpoint", "last"]] for name in ("log.jsonl", "checkpoint-1/optimizer.safetensors")},
    **{f"adapter/{name}": [["export", "{0}/adapter", "--base", "{0}/model", *EXPORT]] for name in ("adapter_config.json", "adapter_model.safetensors")},
}  # fmt: skip


def run(root, words):
    """The status of a command, and what it said on standard error. What is no sentence is raised."""
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main([word.format(root) for word in words])
        except SystemExit as ended:  # flags of a file are those of a command line
            status = ended.code
    return status, heard.getvalue()


@pytest.mark.parametrize("place", PLACES)
def test_a_broken_file_is_a_sentence(made, place):
    path = made / place
    whole = path.read_bytes()
    ended = {0: 0, 1: 0, 2: 0}
    try:
        for name, content in ways(whole):
            path.write_bytes(content)
            for words in PLACES[place]:
                status, told = run(made, words)
                assert status in ended, (name, words, told)
                assert status == 0 or "error: " in told and len(told) < 4000, (name, words, told)
                ended[status] += 1
    finally:
        path.write_bytes(whole)
    assert ended[1] + ended[2] > 0 or place.endswith(("README.md", "log.jsonl")), ended
