# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tokenizers of Llama's kind (pieces of whole texts, bytes where it has none)
and of Qwen's (bytes, words found by a pattern) give the ids of transformers."""

import json

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

from made_tokenizers import metaspace_tokenizer  # noqa: E402
from tokenizers import models, normalizers, pre_tokenizers, trainers  # noqa: E402

from pst.data import Examples  # noqa: E402
from pst.language import Blocks, Texts, end_of_text  # noqa: E402
from pst.tokenizer import Tokenizer  # noqa: E402

_WORDS = "the place is near a family friendly pub with 5 stars ; it's cheap , isn't it ? Café Adriatic £ 20".split()
CORPUS = [" ".join(np.random.default_rng(i).choice(_WORDS, 12)) for i in range(300)]
TEXTS = CORPUS[:20] + ["", " a  b\t\n", "Ünïcödé 123456 ☃", "def f(x):\n    return x**2", "</s> x", "<|im_end|>it's"]


def llama():
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return metaspace_tokenizer(CORPUS), {**settings, "add_bos_token": True, "add_eos_token": False, "legacy": False}, "llama"


def qwen2():
    impl = tokenizers.Tokenizer(models.BPE())
    impl.normalizer = normalizers.NFC()
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(tokenizers.Regex(words), "isolated")
    impl.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    impl.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    impl.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return impl, settings, "qwen2"


@pytest.mark.parametrize("make, padding", [(llama, "</s>"), (qwen2, "<|endoftext|>")])
def test_ids_are_those_of_transformers(tmp_path, make, padding):
    impl, settings, kind = make()
    impl.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), Tokenizer(tmp_path)
    framed = ours.encode(Examples("texts", list(TEXTS), None, None, list(range(len(TEXTS)))), 64)
    assert framed.ids == [theirs(text, truncation=True, max_length=64)["input_ids"] for text in TEXTS]
    assert ours.encode_pieces(TEXTS, "texts") == [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert theirs.convert_ids_to_tokens(ours.padding) == padding
    # A text that ends within a block goes on with padding that is no label.
    end = end_of_text({"eos_token_id": [2, 7]}, ours)
    arrays = Blocks.of(Texts("texts", [[CORPUS[0]], [CORPUS[1]]]), ours, 64, end).arrays()
    kept = arrays["attention_mask"] == 1
    assert (arrays["labels"] == np.where(kept, arrays["input_ids"], -100)).all() and not kept.all()
    assert (arrays["input_ids"][~kept] == ours.padding).all() and (arrays["input_ids"] == end).sum() >= 1
