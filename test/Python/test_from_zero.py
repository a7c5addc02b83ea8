# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The commands of docs/from-zero, run as they stand there, on small models of the names that the pages use."""

import json
import os
import re
import subprocess
import sys
import textwrap

import pytest
import test_language
from conftest import CONFIG, ROOT, bert_tensors, write_data, write_model

PAGES = ROOT / "docs" / "from-zero"
CONFIG = CONFIG | {"max_position_embeddings": 128}


def blocks(page, language):
    """The fenced blocks of a page; what is indented without a fence is shown only."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    assert found, page
    return [textwrap.dedent(code) for _, code in found]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the pages' model, data and programs."""
    write_model(tmp_path / "bert-base-uncased", CONFIG, bert_tensors(CONFIG))
    lines = write_data(tmp_path / "reviews.tsv", 200).read_text(encoding="utf-8").splitlines()[1:]
    rows = ["text,label"] + ['"{}",{}'.format(*line.replace('"', "").split("\t")) for line in lines]
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pst").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pst "$@"\n')
    (programs / "pst").chmod(0o755)
    built = os.path.join(os.environ.get("PST_BUILD_DIR", ""), "bin")
    if not os.path.exists(os.path.join(built, "pst-compile")):
        pytest.skip("pst-compile is not built (PST_BUILD_DIR)")
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), built, os.environ["PATH"]]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page):
    for code in blocks(page, "sh"):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_a_csv_becomes_a_sparse_classifier(place):
    run("Classifier.md")
    assert len((place / "train.csv").read_text().splitlines()) + len((place / "dev.csv").read_text().splitlines()) == 202
    assert json.loads((place / "runs/reviews/model/config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}
    assert len((place / "predictions.tsv").read_text().splitlines()) == 21


def test_gpt2_learns_a_text(place):
    test_language.write_model(place / "gpt2")
    config = json.loads((place / "gpt2/config.json").read_text())
    config["n_positions"] = 256
    (place / "gpt2/config.json").write_text(json.dumps(config))
    test_language.write_tensors(place / "gpt2/model.safetensors", test_language.gpt2_tensors(config), {"format": "pt"})
    test_language.write_text(place / "my.txt", 300)
    run("LanguageModel.md")
    assert (place / "runs/gpt2/model/model.safetensors").exists()


def test_python_trains_and_compiles(place):
    (place / "dev.csv").write_text("text,label\nthe film was good,good\nthe film was bad,bad\n")
    variables = {}
    for code in blocks("Python.md", "python"):
        exec(compile(code, "Python.md", "exec"), variables)
    assert variables["results"]["seconds_per_step"] > 0


def test_any_machine_compiles_for_a_gpu(place):
    run("GPU.md")
    assert list((place / "bert.bundle").glob("kernels.sm_80.ptx"))
