# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The project's own data set: sentences with a verdict, made from a grammar.

A sentence says something about a thing, and its label is the verdict on that
thing: "positive" or "negative". Every adjective is as often flipped (by a
negation, by a contrast, by the order of a comparison) as it is meant, so the
words of a sentence without their order say next to nothing about its label.

The grammar has four families of templates:

  plain      the label is the adjective's polarity, or its opposite after one
             negation, or its polarity again after two;
  pair       two adjectives of one polarity, both meant or both negated;
  contrast   two clauses that disagree: the one that counts is the one after
             "but", and the one that "although" and "despite" do not introduce;
  compare    "this ..." is the thing judged: "this hotel was more boring than
             the film" and "the film was more boring than this hotel" differ.

Split. For each template its own share of the nouns and of the adjectives is
held out. A held-out sentence takes *all* its content words from that share, a
training sentence none, so no held-out sentence has one content word in common
with any training sentence of its template. (Every word is still trained in
other templates.) The set is a function of the seed alone.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

LABELS = ("negative", "positive")

NOUNS = (
    "hotel room food service film story music game book phone camera coffee "
    "soup bread pizza car train garden beach museum course teacher lesson "
    "doctor show song ending plot painting dress jacket chair table house "
    "city park cake breakfast dinner concert"
).split()

POSITIVE = (
    "good great wonderful excellent lovely pleasant beautiful charming "
    "delightful impressive perfect fantastic brilliant amazing superb nice "
    "enjoyable remarkable splendid attractive"
).split()

NEGATIVE = (
    "bad terrible awful horrible boring dreadful ugly dull disappointing poor "
    "annoying miserable unpleasant nasty disgusting pathetic mediocre tedious "
    "lousy disastrous"
).split()

# What may open a sentence, and what may stand before an adjective. Neither
# changes the verdict; both are part of the template, not content words.
OPENINGS = ("", "honestly , ", "in the end , ", "to me , ", "last week , ", "this time , ")
DEGREES = ("", "really ", "truly ", "so ")


@dataclass(frozen=True)
class Template:
    """One sentence pattern.

    {n} and {m} are two different nouns, {a} the adjective that counts, {b} the
    other one, {d} a word of degree. `flip` says that the verdict is the
    opposite of {a}'s polarity. `other` is the polarity of {b} relative to {a}:
    +1 the same, -1 the opposite, 0 no {b}.
    """

    family: str
    text: str
    flip: bool
    other: int = 0


TEMPLATES = (
    # One adjective, no negation, one, or two.
    Template("plain", "the {n} was {d}{a}", False),
    Template("plain", "i found the {n} {d}{a}", False),
    Template("plain", "everybody called the {n} {d}{a}", False),
    Template("plain", "it is not true that the {n} was not {a}", False),
    Template("plain", "nobody said that the {n} was not {a}", False),
    Template("plain", "the {n} was not {d}{a}", True),
    Template("plain", "i did not find the {n} {d}{a}", True),
    Template("plain", "nobody called the {n} {a}", True),
    Template("plain", "it is not true that the {n} was {d}{a}", True),
    Template("plain", "everybody said that the {n} was not {a}", True),
    # Two adjectives that agree.
    Template("pair", "the {n} was {d}{a} and the {m} was {b}", False, +1),
    Template("pair", "the {n} was not {a} and the {m} was not {b}", True, +1),
    # Two clauses that disagree; {a} stands in the one that counts.
    Template("contrast", "the {n} was {b} but the {m} was {d}{a}", False, -1),
    Template("contrast", "although the {n} was {b} , the {m} was {a}", False, -1),
    Template("contrast", "the {m} was {d}{a} although the {n} was {b}", False, -1),
    Template("contrast", "despite the {b} {n} the {m} was {d}{a}", False, -1),
    Template("contrast", "the {n} was {b} but the {m} was not {a}", True, +1),
    Template("contrast", "although the {n} was {b} , the {m} was not {a}", True, +1),
    Template("contrast", "the {m} was not {a} although the {n} was {d}{b}", True, +1),
    # The thing judged is "this" one.
    Template("compare", "this {n} was more {a} than the {m}", False),
    Template("compare", "this {n} was {d}{a} compared to the {m}", False),
    Template("compare", "the {m} was more {a} than this {n}", True),
    Template("compare", "the {m} was {d}{a} compared to this {n}", True),
)


@dataclass(frozen=True)
class Sentence:
    text: str
    label: str
    template: int  # index into TEMPLATES
    words: tuple[str, ...]  # its content words: {a}, {b}, {n}, {m}


def _polarity(word: str) -> int:
    return 1 if word in _POSITIVE_SET else -1


_POSITIVE_SET = frozenset(POSITIVE)


def _held_out(rng: random.Random, words, share: float) -> frozenset[str]:
    words = list(words)
    rng.shuffle(words)
    return frozenset(words[: max(2, round(len(words) * share))])


def generate(train: int = 4500, held_out: int = 600, seed: int = 1, share: float = 0.25):
    """Makes the two parts of the set.

    `train` and `held_out` are the numbers of sentences wanted, all distinct,
    with every template and both labels in equal parts (up to one sentence);
    `share` is the part of the words that each template holds out.

    Returns (training sentences, held-out sentences), each a list of Sentence
    in random order. Raises ValueError if the grammar cannot yield that many.
    """
    rng = random.Random(seed)
    split = [
        (
            _held_out(rng, NOUNS, share),
            _held_out(rng, POSITIVE, share) | _held_out(rng, NEGATIVE, share),
        )
        for _ in TEMPLATES
    ]
    taken: set[str] = set()
    parts = []
    for count, out in ((train, False), (held_out, True)):
        sentences = []
        while len(sentences) < count:
            # Template and label take turns, so that both come out balanced.
            turn = len(sentences)
            index = turn % len(TEMPLATES)
            positive = bool(turn // len(TEMPLATES) % 2)
            nouns, adjectives = split[index]
            sentence = _draw(
                rng,
                index,
                positive,
                [word for word in NOUNS if (word in nouns) == out],
                [word for word in POSITIVE + NEGATIVE if (word in adjectives) == out],
                taken,
            )
            taken.add(sentence.text)
            sentences.append(sentence)
        rng.shuffle(sentences)
        parts.append(sentences)
    return parts[0], parts[1]


def _draw(rng, index, positive, nouns, adjectives, taken) -> Sentence:
    template = TEMPLATES[index]
    # The polarity that {a} must have for the sentence to get its label.
    wanted = (1 if positive else -1) * (-1 if template.flip else 1)
    for _ in range(1000):
        n, m = rng.sample(nouns, 2)
        a = rng.choice([word for word in adjectives if _polarity(word) == wanted])
        b = None
        if template.other:
            b = rng.choice(
                [w for w in adjectives if w != a and _polarity(w) == wanted * template.other]
            )
        text = rng.choice(OPENINGS) + template.text.format(
            n=n, m=m, a=a, b=b, d=rng.choice(DEGREES)
        )
        if text not in taken:
            slots = (("{a}", a), ("{b}", b), ("{n}", n), ("{m}", m))
            words = tuple(word for slot, word in slots if slot in template.text)
            return Sentence(text, LABELS[positive], index, words)
    raise ValueError(
        f"the grammar has too few sentences of the template '{template.text}': "
        "ask for fewer sentences"
    )


def write(directory, train: int = 4500, held_out: int = 600, seed: int = 1) -> tuple[str, str]:
    """Writes `train.tsv` and `dev.tsv` (columns sentence, label, template).

    Returns the two paths. The directory is made if it is missing.
    """
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name, sentences in zip(("train.tsv", "dev.tsv"), generate(train, held_out, seed)):
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8", newline="\n") as out:
            out.write("sentence\tlabel\ttemplate\n")
            for s in sentences:
                out.write(f"{s.text}\t{s.label}\t{s.template}\n")
        paths.append(path)
    return paths[0], paths[1]
