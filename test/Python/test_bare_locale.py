# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Paths and texts beyond ASCII where the system names no encoding, and bytes that are no UTF-8."""

import json
import os
import subprocess
import sys

import pytest
from conftest import write_data, write_model

import pst
from pst import _pst, cli

# As in a container whose image forbids Python to help itself.
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*words, cwd, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "PST_CACHE_DIR", "PST_BUILD_DIR") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True,
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_WAIT_POLICY": "passive", **BARE, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def test_the_command(tmp_path):
    """Names of files, of a column and of classes come from the command line, and are those in the files."""
    write_model(tmp_path / "mödell")
    rows = write_data(tmp_path / "rows.tsv", 16).read_text().replace("sentence\tlabel", "Übung\tUrteil")
    (tmp_path / "dätä.tsv").write_text(rows.replace("\tyes", "\tschön").replace("\tno", "\thäßlich"), encoding="utf-8")
    words = [
        "-m", "pst", "train", "--model_name_or_path", "mödell", "--train_file", "dätä.tsv", "--validation_file", "dätä.tsv",
        "--text_column", "Übung", "--label_column", "Urteil", "--classes", "häßlich,schön", "--output_dir", "läufe",
        "--max_steps", "2", "--save_strategy", "steps", "--save_steps", "1", "--report_to", "none",
    ]  # fmt: skip
    assert "model: läufe/model" in run(*words, cwd=tmp_path).decode()
    config = json.loads((tmp_path / "läufe" / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "häßlich", "1": "schön"}
    out = run("-m", "pst", "predict", "--model_name_or_path", "läufe/model", "--file", "dätä.tsv", cwd=tmp_path).decode()
    assert out.splitlines()[1].split(",")[1] in ("häßlich", "schön")


PROGRAM = """
import json, os, sys
import pst
from pst import _pst

directory, text = sys.argv[1:]
assert sys.getfilesystemencoding() == "ascii" and not text.isascii()
options = _pst.TrainingOptions()
options.output_dir = directory
assert options.output_dir.encode() == os.fsencode(directory), ascii(options.output_dir)
scale = pst.compile("// " + text + '''
func.func @scale(%x: tensor<3xf32> {pst.name = "''' + text + '''"}) -> tensor<3xf32> {
  %y = arith.addf %x, %x : tensor<3xf32>
  return %y : tensor<3xf32>
}''')
print(json.dumps(scale.function("scale").inputs[0].name))
for call in (lambda: _pst.Program.load(directory + "/none"), lambda: pst.compile(directory, task=text)):
    try:
        call()
    except (pst.Error, pst.CompileError, ValueError) as error:
        print(ascii(str(error)))
program = _pst.compile_model(directory, {"training": True, "batch_size": 2, "sequence_length": 4, "num_labels": 2})
model = _pst.Model(program, directory, 1)
_pst.export_model(model, 0.5, directory + "/out", False, "{}")
assert os.path.exists(directory + "/out/model.safetensors")
"""


def test_python(tmp_path):
    write_model(tmp_path / "mödell")
    out = run("-c", PROGRAM, "mödell", "Größe", cwd=tmp_path).decode().splitlines()
    assert json.loads(out[0]) == "Größe"
    assert len(out) == 3 and "m\\xf6dell/none" in out[1] and "Gr\\xf6\\xdfe" in out[2], out


def test_bytes_that_are_no_utf8(tmp_path):
    """A file system has names in any encoding: they are read, and told, as Python has them."""
    name = os.fsdecode(b"l\xe4ufe")
    directory = tmp_path / name
    with pytest.raises(pst.Error) as error:
        _pst.Program.load(directory)
    assert name in str(error.value)
    write_model(directory)
    data = write_data(tmp_path / f"{name}.tsv", 8)
    words = ["--model_name_or_path", directory, "--train_file", data, "--output_dir", tmp_path / f"{name}.run", "--max_steps", 1]
    assert cli.main(["train", *map(str, words), "--report_to", "none"]) == 0
    assert "l\\udce4ufe" in (tmp_path / f"{name}.run" / "model" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="must be one of") as error:
        _pst.compile_model(str(directory), {"method": name})
    assert name in str(error.value)
    options = _pst.TrainingOptions()
    options.output_dir = name
    assert options.output_dir == name
