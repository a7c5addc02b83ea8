# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SmolLM2-135M-Instruct, a Llama of 30 layers with 9 heads of queries and 3 of
keys: tokens and perplexity of a text are those of transformers."""

import numpy as np
import pytest
import smollm2
from conftest import real_data

from pst import _pst
from pst.language import Blocks, Texts
from pst.tokenizer import Tokenizer

LENGTH, COUNT = 64, 4


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    if smollm2.missing():
        pytest.skip(f"SmolLM2 needs what is not installed: {smollm2.missing()}")
    path = tmp_path_factory.mktemp("smollm2")
    smollm2.write(path)
    return path


def test_tokens_are_those_of_transformers(directory):
    import transformers

    lines = real_data("nlg", "e2e_lora", "valid.txt").read_text(encoding="utf-8").splitlines()[:200]
    lines += ["", " a  b\t\n", "Ünïcödé 123456 ☃", "<|im_start|>user\nhi<|im_end|>", "def f(x):\n    return x**2"]
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    ours = Tokenizer(directory)
    assert ours.encode_pieces(lines, "") == [theirs(line, add_special_tokens=False)["input_ids"] for line in lines]
    # Padding is masked; it is the end of a text, as the vocabulary has no other.
    assert theirs.convert_ids_to_tokens(ours.padding) == "<|endoftext|>"


def test_perplexity_is_that_of_transformers(directory):
    import torch
    import transformers

    text = real_data("nlg", "e2e_lora", "valid.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    blocks = Blocks.of(Texts("valid.txt", [text[:120:10]]), Tokenizer(directory), LENGTH, None).arrays()
    blocks = {name: array[:COUNT] for name, array in blocks.items()}
    assert blocks["attention_mask"].all()
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(array).long() for name, array in blocks.items()}).loss.item()
    del model
    settings = {"training": False, "batch_size": COUNT, "sequence_length": LENGTH, "task": "lm", "method": "dense"}
    ours = _pst.Model(_pst.compile_model(str(directory), settings), str(directory), 0)
    found = _pst.evaluate(ours, _pst.Dataset.of(blocks), 0.0)
    # Both are f32; 30 layers of it differ by some 1e-6.
    assert found["loss"] == pytest.approx(expected, rel=2e-5)
    assert found["metrics"]["perplexity"] == pytest.approx(np.exp(expected), rel=1e-4)
    assert 2 < found["loss"] < 6, "a language model knows more than the frequencies of tokens"
