# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the files of a model directory say of its tokenizer, read as
`transformers` reads them: `tokenizer_config.json`, `special_tokens_map.json`,
`added_tokens.json`, and `config.json` for the class.

What is read here is made by `tokenizer_parts`. Classes whose words cannot be
made of the parts of `tokenizers` are refused, by name."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from .data import DataError
from .files import read_object

# The named special tokens, in the order in which they enter the vocabulary.
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# Models of which transformers classifies by the last token of a text.
DECODERS = ("gpt2", "llama", "mistral", "qwen2")

# What a class's tokenizer is made of. "file": tokenizer.json as it stands; so is
# "xlm-roberta", but for named tokens and the frame.
CLASSES = {
    "BertTokenizer": "wordpiece",
    **dict.fromkeys(("DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"), "wordpiece"),
    **dict.fromkeys(("LxmertTokenizer", "SqueezeBertTokenizer"), "wordpiece"),
    **dict.fromkeys(("RobertaTokenizer", "LongformerTokenizer", "BartTokenizer", "LEDTokenizer", "MvpTokenizer"), "roberta"),
    "GPT2Tokenizer": "gpt2",
    "Qwen2Tokenizer": "qwen2",
    "LlamaTokenizer": "llama",
    "XLMRobertaTokenizer": "xlm-roberta",
    **dict.fromkeys(("TokenizersBackend", "PreTrainedTokenizerFast"), "file"),
}

# The class of a model whose files name none.
_OF_MODEL = {"bert": "BertTokenizer", "roberta": "RobertaTokenizer", "gpt2": "GPT2Tokenizer", "qwen2": "Qwen2Tokenizer"}

# Classes of transformers that segment texts by code of their own.
_SEGMENTERS = frozenset(
    "Bartpho BertJapanese Bertweet BioGpt BlenderbotSmall ByT5 CTRL Canine Clvp CpmAnt Cpm Dia Esm FSMT Flaubert "
    "GPTNeoXJapanese Mgpstr MyT5 PLBart Perceiver Phobert ProphetNet Rag RoCBert Tapas Vits Wav2Vec2CTC "
    "Wav2Vec2PhonemeCTC XLM BertGeneration CodeGen FastSpeech2Conformer GPTSw3 MLuke Marian Pop2Piano Tipsv2 Siglip Speech2Text SpeechT5 MecabBert TransfoXL GPTSanJapanese "
    "Jukebox".split()
)
# Classes that transformers builds anew from their vocabulary, of parts that are
# not made here: tokenizer.json alone does not say what they do.
_OTHERS = frozenset(
    "Albert Barthez ConvBert LayoutLMv2 LayoutLMv3 LayoutXLM MarkupLM Udop Luke BigBird Blenderbot CLIP Camembert CodeLlama Cohere DPRQuestionEncoder DPRContextEncoder DPRReader "
    "Deberta DebertaV2 Esmc FNet Funnel Gemma GPTNeoX Herbert Lasr MBart50 MBart MPNet M2M100 Nllb Nougat OpenAIGPT "
    "Parakeet Pegasus Qwen3_5 Reformer RemBert RoFormer SeamlessM4T Siglip2 Splinter T5 VideoPrism Whisper XGLM "
    "XLNet".split()
)

# The named tokens that a class has if its files do not say.
_DEFAULTS = {
    "wordpiece": {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"},
    "roberta": {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>",
        "cls_token": "<s>", "mask_token": "<mask>",
    },
    "gpt2": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    "qwen2": dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "file": {},
}
  # fmt: skip
_DEFAULTS["xlm-roberta"] = _DEFAULTS["roberta"]


@dataclass
class Settings:
    """What is to be made. Tokens are strings, or `tokenizers.AddedToken`s."""

    directory: str
    name: str  # the class
    kind: str  # a value of CLASSES
    values: dict  # of tokenizer_config.json
    source: dict | None  # tokenizer.json, if it is there
    model: str = ""  # "model_type" of config.json
    vocabulary: int | None = None  # its "vocab_size"
    named: dict = field(default_factory=dict)  # those of NAMED that there are, and a model's own
    added: dict = field(default_factory=dict)  # by id
    extra: list = field(default_factory=list)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def flag(self, name: str, otherwise: bool | None) -> bool | None:
        """A setting that is true, false or, if it is left open, `otherwise`."""
        value = self.values.get(name)
        if value is None:
            return otherwise
        if not isinstance(value, bool):
            raise DataError(f"{self.path('tokenizer_config.json')}: \"{name}\" must be true or false, but is {value!r}")
        return value

    def side(self, name: str, otherwise: str) -> str:
        """A setting that is "left" or "right"."""
        value = self.values.get(name, otherwise)
        if value not in ("left", "right"):
            raise DataError(f'{self.path("tokenizer_config.json")}: "{name}" must be "left" or "right", but is {value!r}')
        return value

    @property
    def padding_side(self) -> str:
        return self.side("padding_side", self._stored("padding", "left" if self.kind == "llama" else "right"))

    @property
    def truncation_side(self) -> str:
        return self.side("truncation_side", self._stored("truncation", "right"))

    def _stored(self, part: str, otherwise: str) -> str:
        """The side that tokenizer.json has its padding or truncation on."""
        found = (self.source or {}).get(part)
        return found.get("direction", otherwise).lower() if isinstance(found, dict) else otherwise

    @property
    def has_types(self) -> bool:
        """Whether the class tells the first text from the second."""
        return self.kind == "wordpiece" and self.name != "DistilBertTokenizer"

    @property
    def reads_last_token(self) -> bool:
        """Whether the model classifies by the last token of a text."""
        return self.model in DECODERS

    @property
    def limit(self) -> int | None:
        """`model_max_length`: tokens that a text has at most, if any number is meant."""
        value = self.values.get("model_max_length", self.values.get("max_len"))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1:
            raise DataError(f'{self.path("tokenizer_config.json")}: "model_max_length" must be a number above 0, but is {value!r}')
        # "No limit" is spelled as a number that no model has.
        return int(value) if value < 2**31 else None

    def at_most(self, wanted: int) -> int:
        """`wanted` tokens, or as many as `model_max_length` allows."""
        return min(wanted, self.limit or wanted)


def read_settings(directory: str) -> Settings:
    """Raises DataError for files that are damaged, and for what is not known."""
    values = read_object(os.path.join(directory, "tokenizer_config.json"))
    config = read_object(os.path.join(directory, "config.json"))
    file = os.path.join(directory, _file_name(values))
    try:
        source = read_object(file) if os.path.exists(file) else None
    except DataError as error:
        raise DataError(f"{file}: not a tokenizer: {str(error).removeprefix(file + ': ')}") from None
    name, kind = _class_of(directory, values, config, source)
    settings = Settings(directory, name, kind, values, source, str(config.get("model_type", "")))
    if isinstance(config.get("vocab_size"), int):
        settings.vocabulary = config["vocab_size"]
    if source is not None and not isinstance(source.get("model"), dict):
        raise DataError(f'{file}: not a tokenizer: it has no "model"')
    _read_tokens(settings)
    return settings


def _file_name(values: dict) -> str:
    """The newest of the files that are for versions of transformers, if there are such."""
    versions = [name for name in values.get("fast_tokenizer_files") or [] if isinstance(name, str)]

    def key(name):
        parts = name.removeprefix("tokenizer.").removesuffix(".json").split(".")
        return [int(part) for part in parts] if all(part.isdigit() for part in parts) else []

    newest = max((name for name in versions if key(name)), key=key, default="tokenizer.json")
    return newest


def _class_of(directory, values, config, source) -> tuple[str, str]:
    """The class that transformers takes, and what it is made of."""
    where = os.path.join(directory, "tokenizer_config.json")
    told = values.get("tokenizer_class") or config.get("tokenizer_class")
    if told is not None and not isinstance(told, str):
        raise DataError(f'{where}: "tokenizer_class" must be a string, but is {told!r}')
    model = config.get("model_type")
    told = told and told.removesuffix("Fast") if told != "PreTrainedTokenizerFast" else told
    own = _OF_MODEL.get(model) if isinstance(model, str) else None
    name = told or own or ("TokenizersBackend" if source else None)
    if told == "LlamaTokenizer" and own is None and _has_bytes(source):
        # Files of Llama 3 name the older class.
        name = "TokenizersBackend"
    if model == "mistral" or name == "PreTrainedTokenizer":
        name = "TokenizersBackend"
    if own == "Qwen2Tokenizer" and told != own:
        # Many of its files name a wrong one.
        name = own
    if name is None:
        # No config.json: by the files that are there.
        name = "BertTokenizer" if os.path.exists(os.path.join(directory, "vocab.txt")) else "GPT2Tokenizer"
        if name == "GPT2Tokenizer" and _has_frame(os.path.join(directory, "vocab.json")):
            name = "RobertaTokenizer"
    stem = name.removesuffix("Tokenizer")
    if stem in _SEGMENTERS or stem in _OTHERS:
        why = "finds words by code of its own" if stem in _SEGMENTERS else "is made of parts that are not known here"
        raise DataError(
            f"{where if values.get('tokenizer_class') else os.path.join(directory, 'config.json')}: the tokenizer class "
            f"is {name}, which {why}; known are: {', '.join(CLASSES)}"
        )
    kind = CLASSES.get(name, "file")
    if source is None:
        _require_files(directory, name, kind)
    return name, kind


# What a class is read from where there is no tokenizer.json.
_FILES = {"wordpiece": ("vocab.txt",), **dict.fromkeys(("roberta", "gpt2", "qwen2"), ("vocab.json", "merges.txt"))}


def _require_files(directory: str, name: str, kind: str) -> None:
    there = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    if kind in _FILES and all(file in there for file in _FILES[kind]):
        return
    others = [file for file in there if file in ("vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "tokenizer.model")]
    if not others:
        raise DataError(f"{directory}: no tokenizer: expected tokenizer.json, vocab.txt, or vocab.json and merges.txt")
    wanted = "tokenizer.json" + (", or " + " and ".join(_FILES[kind]) if kind in _FILES else "")
    raise DataError(
        f"{directory}: no tokenizer: the class is {name}, which is read from {wanted}; found {', '.join(others)}. "
        "If transformers reads it, save it as tokenizer.json: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    )


def _has_bytes(source: dict | None) -> bool:
    return source is not None and '"ByteLevel"' in json.dumps([source.get("pre_tokenizer"), source.get("decoder")])


def _has_frame(path: str) -> bool:
    return {"<s>", "</s>"} <= set(read_object(path))


def _read_tokens(settings: Settings) -> None:
    """The named, added and extra tokens. As in transformers, tokenizer_config's
    "added_tokens_decoder" stands for all older files."""
    values = settings.values
    named: dict = {**_DEFAULTS[settings.kind], **{key: values[key] for key in values if key.endswith("_token")}}
    extra = values.get("extra_special_tokens") or values.get("additional_special_tokens") or []
    where = settings.path("tokenizer_config.json")
    added = {}
    # What makes a token of added_tokens.json special: its text, where these files give it.
    given = [values.get(key) for key in NAMED] + (extra if isinstance(extra, list) else [])
    decoder = values.get("added_tokens_decoder")
    if decoder is not None:
        for number, token in _table(decoder, "added_tokens_decoder", where).items():
            if not str(number).isdigit():
                raise DataError(f'{where}: "added_tokens_decoder" has the key {number!r}, which is no id')
            added[int(number)] = _token(token, where, special=None)
    else:
        path = settings.path("special_tokens_map.json")
        older = read_object(path)
        named.update({key: older[key] and _token(older[key], path) for key in older if key.endswith("_token")})
        more = older.get("extra_special_tokens")
        given += [named[key] for key in NAMED if key in older]
        given += [_token(token, path) for token in more] if isinstance(more, list) else []
        if isinstance(more, list) and isinstance(extra, list):
            extra = extra + [_token(token, path) for token in more]
        else:
            extra = more or extra or older.get("additional_special_tokens") or []
    if isinstance(extra, dict):
        named.update(extra)
        extra = []
    if not isinstance(extra, list):
        raise DataError(f'{where}: "extra_special_tokens" must be a list of tokens, but is {extra!r}')
    settings.extra = [_token(token, where, special=None) for token in extra]
    padding = (settings.source or {}).get("padding")
    if isinstance(padding, dict) and settings.kind == "file":
        named.setdefault("pad_token", padding.get("pad_token"))
    settings.named = {key: _token(token, where) for key, token in named.items() if _is_token(token)}
    if decoder is None:
        _read_older(settings, added, {str(token) for token in given})
    settings.added = dict(sorted(added.items()))
    # What is known of a token beside its text.
    known = {str(token): token for token in added.values()}
    settings.named = {key: known.get(str(token), token) if key in NAMED else token for key, token in settings.named.items()}


def _read_older(settings: Settings, added: dict, special: set[str]) -> None:
    """added_tokens.json, and the added tokens of tokenizer.json."""
    from tokenizers import AddedToken

    path = settings.path("added_tokens.json")
    for text, number in read_object(path).items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise DataError(f"{path}: the id of {text!r} must be a whole number, but is {number!r}")
        added[number] = AddedToken(text, normalized=text not in special, special=text in special)
    for token in (settings.source or {}).get("added_tokens") or []:
        added[token["id"]] = _token(token, settings.path("tokenizer.json"), special=None)


def _is_token(value) -> bool:
    """Settings like "add_bos_token" have such names too."""
    from tokenizers import AddedToken

    return isinstance(value, (str, AddedToken)) or (isinstance(value, dict) and "content" in value)


def _token(value, where: str, special: bool | None = True):
    """A token as it is in a file: its text, or an object. `special` is what an
    object's is if it is there to name one; None: as the object says."""
    from tokenizers import AddedToken

    if isinstance(value, (str, AddedToken)):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise DataError(f'{where}: expected a token (a string, or an object with "content"), found {value!r}')
    flags = {key: bool(value[key]) for key in ("single_word", "lstrip", "rstrip", "normalized", "special") if key in value}
    if special is not None:
        flags["special"] = special
    return AddedToken(value["content"], **flags)


def _table(value, name: str, where: str) -> dict:
    if not isinstance(value, dict):
        raise DataError(f'{where}: "{name}" must be an object, but is {type(value).__name__}')
    return value
