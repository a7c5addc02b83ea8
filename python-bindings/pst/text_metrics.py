# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How close generated texts are to references. BLEU and TER are sacrebleu's,
ROUGE-L and CIDEr those of coco-caption (pycocoevalcap), as the E2E challenge has
them; NIST is that of mteval-v13a, since NLTK's counts matches with one reference only."""

from __future__ import annotations

import collections
import functools
import importlib
import math
import re

from .errors import MissingPackageError

# Words as coco-caption has them, by the Penn Treebank's rules: its tokenizer,
# which is Java, makes two of these, and leaves those out.
_APART = re.compile(r"(?<=\w)(?=n't\b)|(?<=\w)(?='(?:s|re|ve|ll|d|m)\b)|(?<=[£$€%()\[\]{}])|(?=[£$€%()\[\]{}])|(?<=\bcan)(?=not\b)")
_LEFT_OUT = re.compile(
    r"""["`“”?!;:–—]|\.\.+|--+|,(?!\d)|(?<!\w)-(?!\d)|-(?!\w)|(?<!\w)\.(?!\d)|(?<!\b[^\W\d_])\.(?!\w)|(?<!\w)'(?!(?:s|re|ve|ll|d|m)\b)|'(?!\w)"""
)

_LONGEST = 5  # n-grams of NIST


@functools.lru_cache(2**15)
def _tokens(text: str) -> list[str]:
    """mteval-v13a's, without case."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()(text.lower()).split()


def bleu(texts: list[str], references: list[list[str]]) -> float:
    from sacrebleu.metrics import BLEU

    return BLEU(lowercase=True, force=True).corpus_score(texts, _streams(references)).score


def ter(texts: list[str], references: list[list[str]]) -> float:
    from sacrebleu.metrics import TER

    return TER().corpus_score(texts, _streams(references)).score


def _streams(references: list[list[str]]) -> list[list[str | None]]:
    """The first reference of each text, the second, and so on, as sacrebleu has them."""
    return [[row[i] if i < len(row) else None for row in references] for i in range(max(map(len, references)))]


def nist(texts: list[str], references: list[list[str]]) -> float:
    """Doddington 2002: the information of the n-grams that a text shares with
    its references, by how often these have them."""
    found = [_tokens(text) for text in texts]
    wanted = [[_tokens(text) for text in row] for row in references]
    counts: collections.Counter = collections.Counter()
    for words in (words for row in wanted for words in row):
        counts.update(_grams(words))
    total = sum(len(words) for row in wanted for words in row)
    shared, possible = [0.0] * _LONGEST, [0] * _LONGEST
    for words, row in zip(found, wanted):
        # As often as the reference has it that has it most often.
        most = collections.Counter()
        for reference in row:
            most |= _grams(reference)
        for gram, count in (_grams(words) & most).items():
            before = counts[gram[:-1]] if len(gram) > 1 else total
            shared[len(gram) - 1] += count * math.log2(before / counts[gram])
        for n in range(_LONGEST):
            possible[n] += max(len(words) - n, 0)
    length, expected = sum(map(len, found)), sum(sum(map(len, row)) / len(row) for row in wanted)
    if not length:
        return 0.0
    # Half for texts of two thirds of the length.
    penalty = math.exp(-math.log(2) / math.log(1.5) ** 2 * math.log(min(length / expected, 1)) ** 2)
    return penalty * sum(each / count for each, count in zip(shared, possible) if count)


def _grams(words: list[str]) -> collections.Counter:
    return collections.Counter(tuple(words[i : i + n]) for n in range(1, _LONGEST + 1) for i in range(len(words) - n + 1))


def _coco(scorer, texts: list[str], references: list[list[str]]) -> float:
    """By a scorer of coco-caption, which takes words with spaces between."""

    wanted = {i: [_words(text) for text in row] for i, row in enumerate(references)}
    return float(scorer.compute_score(wanted, {i: [_words(text)] for i, text in enumerate(texts)})[0])


def _words(text: str) -> str:
    """Those of coco-caption, with spaces between."""
    apart = _APART.sub(" ", text.lower().replace("’", "'"))
    return " ".join(_LEFT_OUT.sub(" ", apart).split())


def rouge_l(texts: list[str], references: list[list[str]]) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return _coco(Rouge(), texts, references)


def cider(texts: list[str], references: list[list[str]]) -> float:
    from pycocoevalcap.cider.cider import Cider

    return _coco(Cider(), texts, references)


METRICS = {"bleu": bleu, "ter": ter, "nist": nist, "rouge_l": rouge_l, "cider": cider}
_MODULES = {"rouge_l": "pycocoevalcap.rouge.rouge", "cider": "pycocoevalcap.cider.cider"}


def require(names) -> None:
    """Whether the packages of these metrics are there. Raises MissingPackageError."""
    for module in dict.fromkeys(["sacrebleu", *(_MODULES[name] for name in names if name in _MODULES)]):
        try:
            importlib.import_module(module)
        except ImportError:
            package = module.partition(".")[0]
            flags = "" if package == "sacrebleu" else "--no-deps "
            others = ",".join(name for name in METRICS if name not in _MODULES)
            raise MissingPackageError(
                f"{', '.join(names)} of --metrics need the package {package}: 'pip install {flags}{package}'"
                + (f"; --metrics {others} do without" if flags else "")
            ) from None
