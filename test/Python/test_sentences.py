# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The project's own data set: its split, its balance, its difficulty."""

import collections

import numpy as np
import pytest

from pst import sentences
from pst.data import Labels, read_examples


@pytest.fixture(scope="module")
def parts():
    return sentences.generate()


def test_enough_distinct_sentences(parts):
    train, held_out = parts
    texts = [s.text for s in train + held_out]
    assert (len(train), len(held_out)) == (4500, 600)
    assert len(set(texts)) == len(texts)
    assert max(len(text.split()) for text in texts) <= 18


def test_no_held_out_sentence_shares_its_template_and_a_word_with_a_training_one(parts):
    train, held_out = parts
    trained = collections.defaultdict(set)
    for s in train:
        trained[s.template].update(s.words)
    for s in held_out:
        shared = trained[s.template] & set(s.words)
        assert not shared, (s, shared)


def test_every_held_out_word_and_template_is_trained_somewhere(parts):
    train, held_out = parts
    words = {word for s in train for word in s.words}
    assert {word for s in held_out for word in s.words} <= words
    assert {s.template for s in held_out} == {s.template for s in train} == set(range(len(sentences.TEMPLATES)))


def test_the_words_of_a_sentence_are_in_its_text(parts):
    for s in parts[0][:500] + parts[1]:
        assert s.words and set(s.words) <= set(s.text.split()), s


def test_labels_and_templates_are_balanced(parts):
    for part in parts:
        labels = collections.Counter(s.label for s in part)
        assert abs(labels["positive"] - labels["negative"]) <= len(sentences.TEMPLATES)
        templates = collections.Counter(s.template for s in part).values()
        assert max(templates) - min(templates) <= 1


@pytest.mark.parametrize(
    "text, label",
    [
        # Written down by hand, not computed: one reading of each template.
        ("the {n} was {d}{a}", "positive"),
        ("i found the {n} {d}{a}", "positive"),
        ("everybody called the {n} {d}{a}", "positive"),
        ("it is not true that the {n} was not {a}", "positive"),
        ("nobody said that the {n} was not {a}", "positive"),
        ("the {n} was not {d}{a}", "negative"),
        ("i did not find the {n} {d}{a}", "negative"),
        ("nobody called the {n} {a}", "negative"),
        ("it is not true that the {n} was {d}{a}", "negative"),
        ("everybody said that the {n} was not {a}", "negative"),
        ("the {n} was {d}{a} and the {m} was {b}", "positive"),
        ("the {n} was not {a} and the {m} was not {b}", "negative"),
        ("the {n} was {b} but the {m} was {d}{a}", "positive"),
        ("although the {n} was {b} , the {m} was {a}", "positive"),
        ("the {m} was {d}{a} although the {n} was {b}", "positive"),
        ("despite the {b} {n} the {m} was {d}{a}", "positive"),
        ("the {n} was {b} but the {m} was not {a}", "negative"),
        ("although the {n} was {b} , the {m} was not {a}", "negative"),
        ("the {m} was not {a} although the {n} was {d}{b}", "negative"),
        ("this {n} was more {a} than the {m}", "positive"),
        ("this {n} was {d}{a} compared to the {m}", "positive"),
        ("the {m} was more {a} than this {n}", "negative"),
        ("the {m} was {d}{a} compared to this {n}", "negative"),
    ],
)
def test_the_verdict_of_each_template_with_a_good_word_in_the_clause_that_counts(parts, text, label):
    index = next(i for i, t in enumerate(sentences.TEMPLATES) if t.text == text)
    for s in parts[0]:
        if s.template == index:
            adjectives = [w for w in s.words if w in sentences.POSITIVE + sentences.NEGATIVE]
            good = adjectives[0] in sentences.POSITIVE  # {a} comes first in `words`
            assert s.label == (label if good else {"positive": "negative", "negative": "positive"}[label]), s


def test_the_same_seed_gives_the_same_set(parts, tmp_path):
    assert sentences.generate() == parts
    other = sentences.generate(seed=2)[0]
    assert {s.text for s in other} != {s.text for s in parts[0]}
    paths = sentences.write(tmp_path / "set", train=50, held_out=30, seed=3)
    first = [open(path, "rb").read() for path in paths]
    sentences.write(tmp_path / "set", train=50, held_out=30, seed=3)
    assert [open(path, "rb").read() for path in paths] == first


def test_the_files_are_read_by_the_readers(tmp_path):
    train, held_out = sentences.write(tmp_path, train=100, held_out=46)
    examples = read_examples(train)
    labels = Labels.of(examples)
    assert labels.names == ["negative", "positive"]
    assert len(examples) == 100
    assert set(labels.encode(read_examples(held_out)).tolist()) == {0, 1}


def test_too_many_sentences_are_refused():
    with pytest.raises(ValueError, match="the grammar has too few sentences of the template '"):
        sentences.generate(train=23, held_out=2_000_000)


def test_a_bag_of_words_does_not_solve_it(parts):
    """Logistic regression on word counts, with the best of several weights of
    its penalty chosen on the held-out set itself."""
    train, held_out = parts
    vocabulary = {word: i for i, word in enumerate(sorted({w for s in train for w in s.text.split()}))}

    def features(part):
        x = np.zeros((len(part), len(vocabulary) + 1))
        x[:, -1] = 1
        for row, s in enumerate(part):
            for word in s.text.split():
                x[row, vocabulary[word]] += 1
        return x, np.array([s.label == "positive" for s in part], float)

    x, y = features(train)
    x_out, y_out = features(held_out)
    best = 0.0
    for penalty in (1e-6, 1e-3, 1e-2):
        w = np.zeros(x.shape[1])
        for _ in range(12):  # Newton's method
            p = 1 / (1 + np.exp(-x @ w))
            slope = x.T @ (p - y) / len(y) + penalty * w
            curvature = (x.T * (p * (1 - p))) @ x / len(y) + penalty * np.eye(len(w))
            w -= np.linalg.solve(curvature, slope)
        assert np.abs(slope).max() < 1e-6
        best = max(best, float(((x_out @ w > 0) == y_out).mean()))
    assert best < 0.65, best
