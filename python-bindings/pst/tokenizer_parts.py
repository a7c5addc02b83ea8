# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tokenizers from settings and vocabularies, made of the parts that the package
`tokenizers` has. A class of `transformers` takes the vocabulary, and how texts
are framed, from tokenizer.json; how they are normalized and split it knows
itself, or by its settings."""

from __future__ import annotations

import json

from .data import DataError
from .files import require_small, utf8_name
from .tokenizer_settings import NAMED, Settings

# How Qwen 2 splits texts: contractions, letters with what stands before them,
# single digits, punctuation with line breaks after it, line breaks, spaces.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build(settings: Settings):
    """A `tokenizers.Tokenizer` without padding and truncation. Raises DataError,
    or what the library raises for a damaged file."""
    import tokenizers

    if settings.kind in _MAKERS:
        impl = _MAKERS[settings.kind](settings)
        if settings.source is not None:
            # Its vocabulary is in place: to read that once more takes as long as all else.
            others = settings.source | {"model": {"type": "BPE", "vocab": {}, "merges": []}}
            impl.post_processor = tokenizers.Tokenizer.from_str(json.dumps(others)).post_processor
    else:
        impl = tokenizers.Tokenizer.from_str(json.dumps(settings.source))
    _add_tokens(impl, settings)
    impl.encode_special_tokens = bool(settings.flag("split_special_tokens", False))
    _frame(impl, settings)
    impl.no_padding()
    impl.no_truncation()
    return impl


def differing_parts(impl, settings: Settings) -> list[str]:
    """Parts of tokenizer.json that are not those that the class takes."""
    if settings.source is None or settings.kind not in _MAKERS:
        return []
    from tokenizers import Tokenizer, models

    bare = Tokenizer(models.BPE())  # without a vocabulary, which would be spelled out, too
    bare.normalizer, bare.pre_tokenizer = impl.normalizer, impl.pre_tokenizer
    made = json.loads(bare.to_str())
    return [part for part in ("normalizer", "pre_tokenizer") if not _agree(made.get(part), settings.source.get(part))]


def _agree(made, stored) -> bool:
    """Whether two parts are the same, but for what says where tokens lie."""

    def plain(part):
        if isinstance(part, dict):
            return {key: plain(value) for key, value in part.items() if key not in ("trim_offsets", "use_regex") or value is False}
        return [plain(item) for item in part] if isinstance(part, list) else part

    return plain(made) == plain(stored)


# ===----------------------------------------------------------------------=== #
# Vocabularies
# ===----------------------------------------------------------------------=== #


def _vocabulary(settings: Settings, kind: str) -> dict[str, int]:
    """tokenizer.json's, whose model must be of this kind."""
    model = settings.source["model"]
    # Older files leave out the kind.
    found = model.get("type", kind)
    vocabulary = model.get("vocab")
    if found not in (kind, "WordLevel") or not isinstance(vocabulary, dict):
        raise DataError(
            f"{settings.path('tokenizer.json')}: its model is of type {found}, but the class {settings.name} is {kind}; "
            'if the file is right, say "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json'
        )
    return vocabulary


def _pieces(settings: Settings, **more):
    """Byte pairs of tokenizer.json, or of vocab.json and merges.txt."""
    from tokenizers import Tokenizer, models

    if settings.source is None:
        files = settings.path("vocab.json"), settings.path("merges.txt")
        for file in files:
            require_small(file)
        with utf8_name(files[0]) as words, utf8_name(files[1]) as pairs:
            vocabulary, merges = models.BPE.read_file(words, pairs)
    else:
        vocabulary = _vocabulary(settings, "BPE")
        merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in settings.source["model"]["merges"]]
    return Tokenizer(models.BPE(vocab=vocabulary, merges=merges, **more))


# ===----------------------------------------------------------------------=== #
# Classes
# ===----------------------------------------------------------------------=== #


def _word_pieces(settings: Settings):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    if settings.source is None:
        require_small(settings.path("vocab.txt"))
        with utf8_name(settings.path("vocab.txt")) as name:
            vocabulary = models.WordPiece.read_file(name)
    else:
        vocabulary = _vocabulary(settings, "WordPiece")
    impl = Tokenizer(models.WordPiece(vocabulary, unk_token=str(settings.named.get("unk_token"))))
    impl.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.flag("tokenize_chinese_chars", True),
        strip_accents=settings.flag("strip_accents", None),
        lowercase=settings.flag("do_lower_case", True),
    )
    impl.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return impl


def _bytes(settings: Settings):
    """GPT-2's and RoBERTa's."""
    from tokenizers import decoders, pre_tokenizers

    impl = _pieces(settings, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    impl.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.flag("add_prefix_space", False))
    impl.decoder = decoders.ByteLevel()
    return impl


def _qwen2(settings: Settings):
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    impl = _pieces(settings, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    impl.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated")
    plain = pre_tokenizers.ByteLevel(add_prefix_space=settings.flag("add_prefix_space", False), use_regex=False)
    impl.pre_tokenizer = pre_tokenizers.Sequence([words, plain])
    impl.decoder = decoders.ByteLevel()
    return impl


def _llama(settings: Settings):
    from tokenizers import decoders, pre_tokenizers

    impl = _pieces(settings, fuse_unk=True, byte_fallback=True)
    scheme = "never"
    if settings.flag("add_prefix_space", True):
        scheme = "always" if settings.flag("legacy", False) else "first"
    impl.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    impl.decoder = decoders.Sequence(spaces if scheme == "never" else [*spaces, decoders.Strip(content=" ", left=1)])
    return impl


_MAKERS = {"wordpiece": _word_pieces, "roberta": _bytes, "gpt2": _bytes, "qwen2": _qwen2, "llama": _llama}


# ===----------------------------------------------------------------------=== #
# Special tokens
# ===----------------------------------------------------------------------=== #


def _add_tokens(impl, settings: Settings) -> None:
    """What is not in the vocabulary gets the ids after it, in the order: added
    tokens by their ids, named ones, others."""
    from tokenizers import AddedToken

    tokens = list(settings.added.values())
    there = {token.content for token in impl.get_added_tokens_decoder().values()} | {str(token) for token in tokens}
    for token in (*settings.named.values(), *settings.extra):
        # One text may come twice, as a string and as an object: the last one says its flags.
        if str(token) not in there and token not in tokens:
            tokens.append(token)
    named = {str(token) for token in settings.named.values()}
    for i, token in enumerate(tokens):
        if isinstance(token, str):
            tokens[i] = AddedToken(token, special=True)
        elif not token.special and str(token) in named:
            token.special = True
    impl.add_tokens([token for token in tokens if str(token)])


def _frame(impl, settings: Settings) -> None:
    """How a text and a pair are framed by special tokens."""
    from tokenizers import processors

    def token(name):
        text = str(settings.named[name])
        return text, impl.token_to_id(text)

    if settings.kind == "wordpiece":
        first, last = token("cls_token"), token("sep_token")
        impl.post_processor = processors.TemplateProcessing(
            single=f"{first[0]}:0 $A:0 {last[0]}:0",
            pair=f"{first[0]}:0 $A:0 {last[0]}:0 $B:1 {last[0]}:1",
            special_tokens=[first, last],
        )
    elif settings.kind == "roberta":
        impl.post_processor = processors.RobertaProcessing(
            token("sep_token"), token("cls_token"), True, settings.flag("add_prefix_space", False)
        )
    elif settings.kind == "xlm-roberta":
        first, last = token("bos_token"), token("eos_token")
        impl.post_processor = processors.TemplateProcessing(
            single=[first[0], "$A", last[0]],
            pair=[first[0], "$A", last[0], last[0], "$B", last[0]],
            special_tokens=[first, last],
        )
    elif settings.source is None or impl.post_processor is None:
        # tokenizer.json says how; "add_bos_token" beside it is not read.
        begin, end = (
            settings.source is None and settings.flag(f"add_{name}_token", False) and f"{name}_token" in settings.named
            for name in ("bos", "eos")
        )
        frame = lambda text, kind: " ".join(  # noqa: E731
            ([f"{token('bos_token')[0]}:{kind}"] if begin else [])
            + [f"{text}:{kind}"]
            + ([f"{token('eos_token')[0]}:{kind}"] if end else [])
        )
        impl.post_processor = processors.TemplateProcessing(
            single=frame("$A", 0),
            pair=frame("$A", 0) + " " + frame("$B", 1),
            special_tokens=[token(f"{name}_token") for name, has in (("bos", begin), ("eos", end)) if has],
        )


def named_id(impl, settings: Settings, name: str) -> int | None:
    """The id of a named token, if there is one."""
    assert name in NAMED
    return impl.token_to_id(str(settings.named[name])) if name in settings.named else None
