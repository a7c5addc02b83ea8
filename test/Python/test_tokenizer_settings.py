# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of docs/UserGuide.md, row by row: each file and each setting of a
tokenizer gives the ids of transformers' AutoTokenizer, over made-up
vocabularies and random texts, or is refused by name."""

import functools
import json

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

from made_tokenizers import metaspace_tokenizer  # noqa: E402
from tokenizers import decoders, models, pre_tokenizers, processors, trainers  # noqa: E402

from pst.data import DataError, Examples  # noqa: E402
from pst.tokenizer import Tokenizer  # noqa: E402

WORDS = "the Place is near a family friendly pub with 5 stars it's cheap isn't Café ÀÉÎ 漢字 naïve £20 don't 1999".split()
MARKS = ["[E1]", "[E2]", "<ent>", "<mask>", "[MASK]", "</s>", "<s>", "[SEP]", "<|endoftext|>", "[PAD]", "<pad>"]
CORPUS = [" ".join(np.random.default_rng(i).choice(WORDS, 9)) for i in range(200)]


def texts(seed=0, count=40):
    """Words, punctuation, marks of special tokens, odd spaces and other scripts."""
    rng = np.random.default_rng(seed)
    parts = WORDS + MARKS + ["\t", "  ", "\n", "¡Hola!", "☃", "e\u0301", "x" * 130, "...", "(a)", "\u00a0", "\u0000", "Ω\u200b"]
    return ["".join(w + rng.choice(["", " "]) for w in rng.choice(parts, rng.integers(1, 14))) for _ in range(count)] + ["", " "]


def word_pieces(directory, cased=False):
    letters = sorted(set("".join(CORPUS) + "abcdefghijklmnopqrstuvwxyz.,()¡!'[]<>/|☃"))
    words = [word if cased else word.lower() for word in WORDS]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *words]
    text = "\n".join(dict.fromkeys(v for v in vocabulary if v.strip())) + "\n"
    (directory / "vocab.txt").write_text(text, encoding="utf-8")


@functools.cache
def byte_pairs_text(special):
    impl = tokenizers.Tokenizer(models.BPE())
    impl.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    impl.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    impl.train_from_iterator(CORPUS, trainer)
    return impl.to_str()


def byte_pairs(special=("<|endoftext|>",)):
    return tokenizers.Tokenizer.from_str(byte_pairs_text(special))


ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def files_of_pairs(directory, special=("<|endoftext|>",)):
    byte_pairs(special).model.save(str(directory))


def fast_pairs(directory, special=("<|endoftext|>",), change=lambda impl: None):
    impl = byte_pairs(special)
    change(impl)
    impl.save(str(directory / "tokenizer.json"))


def fast_words(directory, change=lambda impl: None):
    word_pieces(directory)
    theirs = transformers.BertTokenizer(str(directory / "vocab.txt"))
    change(theirs._tokenizer)
    theirs._tokenizer.save(str(directory / "tokenizer.json"))


def metaspace(directory):
    metaspace_tokenizer(CORPUS).save(str(directory / "tokenizer.json"))


def unigram(directory):
    impl = tokenizers.Tokenizer(models.Unigram())
    split = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    impl.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    impl.train_from_iterator(CORPUS, trainer)
    frame = [(token, impl.token_to_id(token)) for token in ("<s>", "</s>")]
    impl.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=frame
    )
    impl.save(str(directory / "tokenizer.json"))


def token(content, **flags):
    defaults = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return {"content": content, **defaults, **flags}


def framed(impl):
    """GPT-2's with its end of text before and after."""
    frame = [("<|endoftext|>", impl.token_to_id("<|endoftext|>"))]
    both = "<|endoftext|> $A <|endoftext|>"
    impl.post_processor = processors.TemplateProcessing(single=both, pair=both + " $B", special_tokens=frame)


def roberta_types(impl):
    """As RoBERTa's, but the second text has type 1."""
    frame = [(token, impl.token_to_id(token)) for token in ("<s>", "</s>")]
    impl.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s>:0 $A:0 </s>:0 </s>:1 $B:1 </s>:1", special_tokens=frame
    )


def padded_and_cut(impl):
    impl.enable_truncation(7, direction="left")
    impl.enable_padding(direction="left", pad_id=0, pad_token="[PAD]")


def bert(**settings):
    return "bert", word_pieces, {"tokenizer_class": "BertTokenizer", **settings}, {}


def roberta(**settings):
    return "roberta", lambda d: files_of_pairs(d, ROBERTA), {"tokenizer_class": "RobertaTokenizer", **settings}, {}


def gpt2(**settings):
    return "gpt2", files_of_pairs, {"tokenizer_class": "GPT2Tokenizer", **settings}, {}


ADDED = {"4": token("[MASK]"), "300": token("[E2]"), "299": token("[E1]", special=False, normalized=True)}
STRIPS = token("<ent>", lstrip=True, rstrip=True)
E = "<|endoftext|>"

# Of each row: model_type, what writes the vocabulary, tokenizer_config.json (None: no such file), other files.
ROWS = {
    "vocab.txt alone": ("bert", word_pieces, None, {}),
    "do_lower_case": bert(do_lower_case=False),
    "do_lower_case, cased words": ("bert", lambda d: word_pieces(d, True), {"do_lower_case": False}, {}),
    "strip_accents": bert(strip_accents=False),
    "strip_accents of cased": bert(strip_accents=True, do_lower_case=False),
    "tokenize_chinese_chars": bert(tokenize_chinese_chars=False),
    "truncation_side": bert(truncation_side="left"),
    "padding_side": bert(padding_side="left"),
    "model_max_length": bert(model_max_length=9),
    "added_tokens.json": (*bert()[:3], {"added_tokens.json": {"[E2]": 300, "[E1]": 299, "<ent>": 298}}),
    "added_tokens.json of special tokens": (
        *bert(additional_special_tokens=["[E1]"])[:3], {"added_tokens.json": {"[E2]": 300, "[E1]": 299}}
    ),
    "added_tokens_decoder": bert(added_tokens_decoder=ADDED),
    "added_tokens_decoder's flags": bert(added_tokens_decoder={"300": STRIPS, "301": token("near", single_word=True)}),
    "additional_special_tokens": bert(additional_special_tokens=["[E1]", "<ent>"]),
    "extra_special_tokens": bert(extra_special_tokens=["[E1]", "[E2]"]),
    "extra_special_tokens by name": bert(extra_special_tokens={"first_token": "[E1]", "second_token": "[E2]"}),
    "extra_special_tokens as objects that are not special": bert(
        split_special_tokens=True, extra_special_tokens=[{"__type": "AddedToken", **token("[E1]", special=False)}, "[E2]"]
    ),
    "tokens of a model's own": bert(entity_token="<ent>"),
    "split_special_tokens": bert(split_special_tokens=True),
    "named tokens": bert(cls_token="[E1]", sep_token="[E2]", mask_token="<ent>"),
    "named tokens as objects": bert(mask_token={"__type": "AddedToken", **token("[MASK]", lstrip=True)}),
    "pad_token": bert(pad_token="[E1]"),
    "unk_token": bert(unk_token="[MASK]"),
    "model_input_names": bert(model_input_names=["input_ids", "attention_mask"]),
    "special_tokens_map.json": (
        *bert()[:3], {"special_tokens_map.json": {"mask_token": token("[MASK]", lstrip=True), "sep_token": "[E2]"}}
    ),
    "special_tokens_map.json's others": (*bert()[:3], {"special_tokens_map.json": {"additional_special_tokens": ["[E1]"]}}),
    "special_tokens_map.json's others beside added_tokens.json": (
        *bert()[:3], {"special_tokens_map.json": {"additional_special_tokens": ["[E1]"]}, "added_tokens.json": {"[E1]": 299}}
    ),
    "special_tokens_map.json's object for a token that has two names": (
        *roberta()[:3], {"special_tokens_map.json": {"cls_token": token("<s>", rstrip=True)}}
    ),
    "special_tokens_map.json beside added_tokens_decoder": (
        *bert(added_tokens_decoder=ADDED)[:3], {"special_tokens_map.json": {"sep_token": "[E2]"}}
    ),
    "tokenizer_class of config.json": ("roberta", word_pieces, None, {"config.json": {"tokenizer_class": "BertTokenizer"}}),
    "DistilBertTokenizer": ("bert", word_pieces, {"tokenizer_class": "DistilBertTokenizerFast"}, {}),
    "tokenizer.json of BERT": ("bert", fast_words, {"tokenizer_class": "BertTokenizerFast"}, {}),
    "do_lower_case beside tokenizer.json": ("bert", fast_words, {"do_lower_case": False}, {}),
    "padding and truncation of tokenizer.json": ("bert", lambda d: fast_words(d, padded_and_cut), {}, {}),
    "tokenizer.json alone": ("bert", fast_words, None, {}),
    "added_tokens_decoder beside tokenizer.json": ("bert", fast_words, {"added_tokens_decoder": ADDED}, {}),
    "added_tokens.json beside tokenizer.json": ("bert", fast_words, {}, {"added_tokens.json": {"[E1]": 299}}),
    "PreTrainedTokenizerFast": (
        "bert", fast_words, {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False, "pad_token": "[PAD]"}, {}
    ),
    "a class that is not known": ("bert", fast_words, {"tokenizer_class": "MadeUpTokenizer", "pad_token": "[PAD]"}, {}),
    "XLMRobertaTokenizer": ("bert", unigram, {"tokenizer_class": "XLMRobertaTokenizer", "pad_token": "<pad>"}, {}),
    "vocab.json and merges.txt of RoBERTa": roberta(),
    "vocab.json and merges.txt without settings": ("roberta", lambda d: files_of_pairs(d, ROBERTA), None, {}),
    "add_prefix_space": roberta(add_prefix_space=True),
    "mask_token of RoBERTa": roberta(mask_token={"__type": "AddedToken", **token("<mask>", lstrip=True)}),
    "truncation_side of pairs": roberta(truncation_side="left", padding_side="left"),
    "tokenizer.json of RoBERTa": (
        "roberta", lambda d: fast_pairs(d, ROBERTA, roberta_types), {"tokenizer_class": "RobertaTokenizer"}, {}
    ),
    "add_prefix_space beside tokenizer.json": (
        "roberta", lambda d: fast_pairs(d, ROBERTA, roberta_types), {"add_prefix_space": True}, {}
    ),
    "vocab.json and merges.txt of GPT-2": gpt2(pad_token=E),
    "pad_token that is added": gpt2(pad_token="[PAD]"),
    "added_tokens_decoder of GPT-2": gpt2(pad_token="[PAD]", added_tokens_decoder={"0": token(E), "400": token("[PAD]")}),
    "add_prefix_space of GPT-2": gpt2(add_prefix_space=True, pad_token=E),
    "add_bos_token": gpt2(add_bos_token=True, pad_token=E),
    "add_eos_token": gpt2(add_eos_token=True, add_bos_token=True, pad_token=E),
    "bos_token": gpt2(add_bos_token=True, bos_token="<s>", pad_token=E),
    "padding_side of GPT-2": gpt2(padding_side="left", pad_token=E),
    "tokenizer.json of GPT-2": ("gpt2", lambda d: fast_pairs(d, change=framed), {"pad_token": E, "add_bos_token": True}, {}),
    "tokenizer.json of another class's": ("llama", lambda d: fast_pairs(d, change=framed), {"pad_token": E}, {}),
    "LlamaTokenizer": ("llama", metaspace, {"tokenizer_class": "LlamaTokenizer", "pad_token": "<unk>"}, {}),
    "legacy": ("llama", metaspace, {"tokenizer_class": "LlamaTokenizerFast", "legacy": True, "pad_token": "<unk>"}, {}),
    "add_prefix_space of Llama": (
        "llama", metaspace, {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False, "pad_token": "<unk>"}, {}
    ),
    "LlamaTokenizer over bytes": ("llama", fast_pairs, {"tokenizer_class": "LlamaTokenizer", "pad_token": E}, {}),
    "mistral": ("mistral", metaspace, {"tokenizer_class": "LlamaTokenizer", "pad_token": "<unk>", "legacy": True}, {}),
    "Qwen2Tokenizer of slow files": ("qwen2", files_of_pairs, {"tokenizer_class": "Qwen2Tokenizer"}, {}),
    "Qwen2Tokenizer": ("qwen2", fast_pairs, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}, {}),
}  # fmt: skip


def write(directory, row):
    kind, make, settings, files = row
    make(directory)
    config = {"model_type": kind, **files.get("config.json", {})}
    files = {**files, "config.json": config, **({} if settings is None else {"tokenizer_config.json": settings})}
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content), encoding="utf-8")
    return directory


def examples_of(first, second=None):
    return Examples("texts", list(first), second, None, list(range(len(first))))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_ids_are_those_of_transformers(tmp_path, row):
    write(tmp_path, row)
    ours, theirs = Tokenizer(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    first, second = texts(1), texts(2)
    assert ours.encode_pieces(first, "texts") == theirs(first, add_special_tokens=False)["input_ids"]
    has_types = "token_type_ids" in theirs.model_input_names
    for pairs in (None, second):
        for length in (8, 64, 512):
            found = ours.encode(examples_of(first, pairs), length)
            wanted = theirs(first, pairs, truncation=True, max_length=length, padding=True, return_tensors="np")
            whole = theirs(first, pairs)["input_ids"]
            assert found.truncated == sum(len(ids) > length for ids in whole)
            found.reads_last_token = False
            arrays = found.arrays(found.longest)
            assert (arrays["input_ids"] == wanted["input_ids"]).all()
            assert (arrays["attention_mask"] == wanted["attention_mask"]).all()
            if has_types:
                assert (arrays["token_type_ids"] == wanted["token_type_ids"]).all()
            else:
                assert not arrays["token_type_ids"].any()
    assert ours.padding == theirs.pad_token_id and ours.end_of_text == theirs.eos_token_id
    allowed = theirs.model_max_length
    assert ours.settings.at_most(10**6) == min(10**6, allowed)


# What is refused, and what the message names.
REFUSED = {
    "a segmenter's class": ("bert", word_pieces, {"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer"),
    "a segmenter's class beside tokenizer.json": ("bert", fast_words, {"tokenizer_class": "BertweetTokenizer"}, "BertweetTokenizer"),
    "a class of other parts": ("bert", unigram, {"tokenizer_class": "AlbertTokenizerFast"}, "AlbertTokenizer"),
    "a class without its files": ("roberta", word_pieces, None, "RobertaTokenizer, which is read from tokenizer.json, or vocab.json"),
    "tokenizer.model": (
        "llama", lambda d: (d / "tokenizer.model").write_bytes(b"x"), {"tokenizer_class": "LlamaTokenizer"}, "found tokenizer.model"
    ),
    "another model": ("roberta", fast_words, {"tokenizer_class": "RobertaTokenizer"}, "its model is of type WordPiece"),
    "a side": ("bert", word_pieces, {"truncation_side": "both"}, '"truncation_side" must be "left" or "right", but is \'both\''),
    "a flag": ("bert", word_pieces, {"do_lower_case": "no"}, "\"do_lower_case\" must be true or false, but is 'no'"),
    "a length": ("bert", word_pieces, {"model_max_length": "long"}, '"model_max_length" must be a number above 0'),
    "an id": ("bert", word_pieces, {"added_tokens_decoder": {"x": token("[E1]")}}, "'x', which is no id"),
    "a token": ("bert", word_pieces, {"additional_special_tokens": [7]}, "expected a token"),
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honoured_is_refused(tmp_path, row):
    kind, make, settings, message = row
    write(tmp_path, (kind, make, settings, {}))
    with pytest.raises(DataError) as error:
        tokenizer = Tokenizer(tmp_path)
        tokenizer.encode(examples_of(["a text"]), tokenizer.settings.at_most(8))
    assert message in str(error.value) and str(tmp_path) in str(error.value)


def test_every_class_of_transformers_is_known_or_refused():
    """Whatever transformers segments by code of its own, or builds of parts
    that are not made here, must not be read as tokenizer.json says."""
    from transformers.models.auto import tokenization_auto
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    from pst.tokenizer_settings import CLASSES, _OTHERS, _SEGMENTERS

    for name in {name for name in tokenization_auto.TOKENIZER_MAPPING_NAMES.values() if name}:
        stem = name.removesuffix("Fast").removesuffix("Tokenizer")
        if name.removesuffix("Fast") in CLASSES:
            continue
        found = tokenization_auto.tokenizer_class_from_name(name)
        if found is not None and found is not TokenizersBackend:
            assert stem in _SEGMENTERS | _OTHERS, name


def test_parts_of_tokenizer_json_that_the_class_does_not_take_are_told(tmp_path):
    def digits(impl):
        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        impl.pre_tokenizer = pre_tokenizers.Sequence(parts)

    row = ("llama", lambda d: fast_pairs(d, change=digits), {"tokenizer_class": "GPT2Tokenizer"}, {})
    ours, theirs = Tokenizer(write(tmp_path, row)), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.encode_pieces(["in 1999"], "") == theirs(["in 1999"])["input_ids"]
    assert [warning.split(": ")[1] for warning in ours.warnings] == [
        "its pre_tokenizer is not that of GPT2Tokenizer, which is taken, as transformers does; if the file is right, say "
        '"tokenizer_class"'
    ]
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    ours, theirs = Tokenizer(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.encode_pieces(["in 1999"], "") == theirs(["in 1999"])["input_ids"] and not ours.warnings


def test_the_mask_of_a_decoder_ends_at_the_last_token(tmp_path):
    """transformers takes the last token that is no padding, whatever the mask."""
    ours = Tokenizer(write(tmp_path, gpt2()))
    arrays = ours.encode(examples_of(["a", f"a{E}", f"{E}a{E}{E}", E, f"a{E}b"]), 8).arrays(5)
    assert arrays["attention_mask"].tolist() == [
        [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]
    ]  # fmt: skip
