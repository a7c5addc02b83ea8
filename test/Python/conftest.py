# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests share."""

import json
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def real_data(*parts) -> pathlib.Path:
    """A file of the real data sets; the test is skipped where it is missing."""
    folder = pathlib.Path(os.environ.get("PST_DATA", ROOT / ".." / "shared" / "data"))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the real data set {'/'.join(parts)} is not there (set PST_DATA)")
    return path


# A vocabulary for the sentences of the tests; the first five are special.
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was good bad not great awful , . ##s very and but food ü".split()


@pytest.fixture
def vocabulary(tmp_path):
    """A model directory that holds a tokenizer only (vocab.txt)."""
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return directory
