# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A model's tokenizer as the metadata of a GGUF file. Its runtimes know byte
pairs of bytes ("gpt2"), with words found in one of some ways that have names,
and byte pairs over metaspaces ("llama")."""

from __future__ import annotations

import json
import os

from .errors import DataError
from .files import read_object, read_text
from .tokenizer import Tokenizer
from .tokenizer_parts import QWEN2_WORDS

# How Llama 3 splits texts: as Qwen 2, but digits up to three together.
_LLAMA3_WORDS = QWEN2_WORDS.replace(r"|\p{N}", r"|\p{N}{1,3}")

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6

_METASPACE = "▁"


def _bytes(use_regex: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


def _words(pattern: str) -> list[dict]:
    return [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, _bytes(False)]


# Names of llama.cpp: how words are found, what is normalized before, and
# whether a word that is a token is taken before any merge is asked.
_PRE = {
    "gpt-2": ([_bytes(True)], None, False),
    "smollm": ([{"type": "Digits", "individual_digits": True}, _bytes(True)], None, False),
    "llama-bpe": (_words(_LLAMA3_WORDS), None, True),
    "qwen2": (_words(QWEN2_WORDS), "NFC", False),
}


def describe(writer, tokenizer: Tokenizer, size: int) -> list[str]:
    """Tells a gguf.GGUFWriter all of a tokenizer, for a table of `size` tokens.
    Returns what is to be said of it. Raises DataError for one that GGUF's
    runtimes do not know."""
    where, spec = tokenizer.directory, tokenizer.spec()
    model = spec["model"]
    remarks = []
    if model["type"] != "BPE" or model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise DataError(
            f"{where}: the tokenizer is of the kind {model['type']}, or has options for which GGUF has no word: it takes plain byte pairs "
            "(BPE). --format dense keeps it"
        )
    tokens, types = _tokens(spec, size, where)
    if _is_metaspace(spec):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        scores = _scores(model, tokens)
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(_with_bytes(model["vocab"], types, tokenizer.named_id("unk_token")))
        writer.add_add_space_prefix(_has_prefix(spec))
        if (missing := _missing_merges(model)) is not None:
            remarks.append(
                f"{where}: the tokenizer has {missing!r}, but no merge for each pair that makes it, as SentencePiece's have: "
                "llama.cpp, which goes by tokens and not by merges, may cut some texts otherwise"
            )
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pre(spec, where))
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges([" ".join(pair) for pair in _merges(model)])
        writer.add_add_space_prefix(False)
    _add_special(writer, tokenizer, size)
    if (template := _template(where, tokenizer.settings.values)) is not None:
        writer.add_chat_template(template)
    return remarks


def _merges(model: dict) -> list[list[str]]:
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]


def _tokens(spec: dict, size: int, where: str) -> tuple[list[str], list[int]]:
    """The text and the type of each id."""
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [_UNUSED] * size

    def put(text: str, number: int, kind: int) -> None:
        if number >= size:
            raise DataError(
                f'{where}: the tokenizer gives {text!r} the id {number}, but the model has {size} tokens ("vocab_size" in config.json)'
            )
        tokens[number], types[number] = text, kind

    for text, number in spec["model"]["vocab"].items():
        put(text, number, _NORMAL)
    for token in spec["added_tokens"]:
        text = token["content"]
        # As llama.cpp's converter: what looks like a token of a chat is one.
        special = token["special"] or text.startswith("<|") and text.endswith("|>")
        put(text, token["id"], _CONTROL if special else _USER_DEFINED)
    return tokens, types


def _is_metaspace(spec: dict) -> bool:
    parts = json.dumps([spec["pre_tokenizer"], spec["normalizer"]], ensure_ascii=False)
    return bool(spec["model"].get("byte_fallback")) and _METASPACE in parts


def _parts(part: dict | None, key: str) -> list[dict]:
    """A part of tokenizer.json, or those of a sequence."""
    if part is None:
        return []
    return part[key] if part["type"] == "Sequence" else [part]


def _has_prefix(spec: dict) -> bool:
    """Whether a text is read as if a space came before it."""
    for part in _parts(spec["pre_tokenizer"], "pretokenizers") + _parts(spec["normalizer"], "normalizers"):
        if part["type"] == "Prepend" or part["type"] == "Metaspace" and part["prepend_scheme"] != "never":
            return True
    return False


def _scores(model: dict, tokens: list[str]) -> list[float]:
    """What is merged first is best: the rank of a token's first merge. Others are
    never the result of one."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(model)):
        ranks.setdefault(left + right, rank)
    # One more number for each kind of token, so that none is beside another by chance.
    last = len(ranks)
    order = {text: i for i, text in enumerate(sorted(ranks, key=ranks.get))}
    return [-float(order.get(text, last)) for text in tokens]


def _with_bytes(vocabulary: dict, types: list[int], unknown: int | None) -> list[int]:
    types = list(types)
    for byte in range(256):
        number = vocabulary.get(f"<0x{byte:02X}>")
        if number is not None:
            types[number] = _BYTE
    if unknown is not None and unknown < len(types):
        types[unknown] = _UNKNOWN
    return types


def _missing_merges(model: dict) -> str | None:
    """A token that other pairs of tokens make than the merges have."""
    there = {(left, right) for left, right in _merges(model)}
    made = {left + right for left, right in there}
    vocabulary = model["vocab"]
    for text in made:
        if any(text[:i] in vocabulary and text[i:] in vocabulary and (text[:i], text[i:]) not in there for i in range(1, len(text))):
            return text
    return None


def _pre(spec: dict, where: str) -> str:
    """llama.cpp's name for the way in which words are found."""

    def plain(part: dict) -> dict:
        return {key: value for key, value in part.items() if key != "trim_offsets"}

    found = [plain(part) for part in _parts(spec["pre_tokenizer"], "pretokenizers")]
    before = [part["type"] for part in _parts(spec["normalizer"], "normalizers")]
    ignores = bool(spec["model"].get("ignore_merges"))
    for name, (parts, normalizer, takes_words) in _PRE.items():
        if found == parts and before == ([normalizer] if normalizer else []) and ignores == takes_words:
            return name
    kinds = [part["type"] for part in found]
    raise DataError(
        f"{where}: the tokenizer finds words in a way for which --format gguf knows no name of llama.cpp's: {', '.join(kinds) or 'none'}"
        f"{' after ' + ', '.join(before) if before else ''}{', with ignore_merges' if ignores else ''}; known are those of: "
        f"{', '.join(_PRE)}, and metaspaces with bytes for what is unknown. llama.cpp's own converter knows more: it takes --format dense"
    )


def _add_special(writer, tokenizer: Tokenizer, size: int) -> None:
    config = read_object(tokenizer.settings.path("config.json"))
    ids = {}
    for name in ("bos", "eos", "unk", "pad"):
        number = tokenizer.named_id(f"{name}_token")
        if number is None:
            told = config.get(f"{name}_token_id")
            number = told[0] if isinstance(told, list) and told else told
        if type(number) is int and 0 <= number < size:
            ids[name] = number
            getattr(writer, f"add_{name}_token_id")(number)
    # Behaviour says more than the files' words for it.
    text, framed = (tokenizer.encode_pieces(["a"], tokenizer.directory, framed)[0] for framed in (False, True))
    begin = next((i for i in range(len(framed)) if framed[i : i + len(text)] == text), 0)
    before, after = framed[:begin], framed[begin + len(text) :]
    if before not in ([], [ids.get("bos")]) or after not in ([], [ids.get("eos")]):
        raise DataError(
            f"{tokenizer.directory}: the tokenizer frames a text by the tokens {before} and {after}, but GGUF has words for its bos and "
            "eos tokens alone; --format dense keeps it"
        )
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(bool(after))


def _template(directory: str, values: dict):
    """How a chat becomes a text, if the files say: a template, or several with names."""
    path = os.path.join(directory, "chat_template.jinja")
    found = values.get("chat_template") or (read_text(path) if os.path.exists(path) else None)
    if isinstance(found, list):
        named = all(isinstance(item, dict) and all(isinstance(item.get(key), str) for key in ("name", "template")) for item in found)
        return found if named else None
    return found if isinstance(found, str) else None
