# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Words with tags: how files and Python say them, where their tokens are, and entities."""

import json

import numpy as np
import pytest
from test_data import write

from pst.data import DataError
from pst.entities import entities, entity_metrics, is_scheme, remarks
from pst.tagged import NO_LABEL, Tagged
from pst.tokenizer import Tokenizer

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
, , O O
"""
WORDS = [["EU", "rejects"], ["Peter", "Blackburn", ","]]
TAGS = [["B-ORG", "O"], ["B-PER", "I-PER", "O"]]
NAMES = ["B-ORG", "B-PER", "I-PER", "O"]


@pytest.mark.parametrize("content", [
    CONLL, CONLL.replace(" ", "\t"), CONLL.replace("\n", "\r\n"), "\n\n" + CONLL + "\n\n", CONLL.replace("\n\n", "\n \t\n"), CONLL.rstrip(),
])  # fmt: skip
def test_conll(tmp_path, content):
    found = Tagged.of(write(tmp_path, "a.conll", content))
    assert (found.words, found.tags) == (WORDS, TAGS)
    assert found.names(None, ()) == NAMES
    assert found.ids(NAMES) == [[0, 3], [1, 2, 3]]


def test_lines_of_conll(tmp_path):
    assert Tagged.of(write(tmp_path, "a.conll", CONLL)).lines == [3, 6]
    only = Tagged.of(write(tmp_path, "words.txt", "Peter\nBlackburn\n\nEU\n"), need_tags=False)
    assert only.words == [["Peter", "Blackburn"], ["EU"]] and only.tags is None
    # Words with a space in them, between tabs.
    assert Tagged.of(write(tmp_path, "b.tsv", "New York\tB-LOC\n")).words == [["New York"]]


@pytest.mark.parametrize("words, tags", [("tokens", "ner_tags"), ("words", "labels"), ("tokens", "tags")])
def test_jsonl(tmp_path, words, tags):
    rows = [{"id": str(i), words: w, tags: t} for i, (w, t) in enumerate(zip(WORDS, TAGS))]
    found = Tagged.of(write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert (found.words, found.tags, found.lines) == (WORDS, TAGS, [1, 2])
    own = Tagged.of(write(tmp_path, "b.jsonl", 2 * (json.dumps({"w": ["a"], "t": [1]}) + "\n")), words_column="w", tags_column="t")
    assert own.words == [["a"], ["a"]] and own.tags == [[1], [1]]


def test_what_python_has():
    for source in (
        list(zip(WORDS, TAGS)),
        [{"tokens": words, "ner_tags": np.array(tags)} for words, tags in zip(WORDS, TAGS)],
        {"words": WORDS, "tags": TAGS},
    ):
        found = Tagged.of(source)
        assert (found.words, found.tags) == (WORDS, TAGS)
    assert Tagged.of(["a b", ["c", "d e"]], need_tags=False).words == [["a", "b"], ["c", "d e"]]


def test_ids_and_names(tmp_path):
    ids = Tagged.of([(["a", "b"], [0, 2]), (["c"], [NO_LABEL])])
    assert ids.tags == [[0, 2], [None]]
    assert ids.names(None, ()) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    config = {"id2label": {"0": "O", "1": "B-X", "2": "I-X"}}
    assert ids.names(config, ()) == ["O", "B-X", "I-X"]
    assert ids.ids(["O", "B-X", "I-X"]) == [[0, 2], [NO_LABEL]]
    named = Tagged.of([(["a", "b"], ["I-X", "O"])])
    assert named.names(config, ()) == ["O", "B-X", "I-X"] and named.ids(["O", "B-X", "I-X"]) == [[2, 0]]
    assert named.names({"id2label": {"0": "other"}}, ()) == ["I-X", "O"]
    assert named.names(config, ["O", "I-X", "B-Y"]) == ["O", "I-X", "B-Y"]


def test_what_is_wrong_is_told_with_its_line(tmp_path):
    def told(name, content, **more):
        path = write(tmp_path, name, content)
        with pytest.raises(DataError) as error:
            found = Tagged.of(path, **more)
            found.ids(["O"])
        return str(error.value).removeprefix(str(path) + ":")

    assert told("a.conll", "a O\nb\n").startswith("2: expected a word and its tag, with a tab or a space between them, found 'b'")
    assert told("a.conll", "a O\n\nb B-X\n") == "3: unknown tag 'B-X' in the sentence of this line: the tags are 'O'"
    assert told("a.conll", "\n\n").strip() == "no sentences"
    assert told("a.csv", "tokens,tags\n").strip() == "sentences of words and tags are read from .jsonl and CoNLL files, not from .csv"
    assert "a CoNLL file has none" in told("a.conll", "a O\n", tags_column="x")
    row = {"tokens": ["a", "b"], "tags": ["O", "O"]}
    for change, message in (
        ({"tags": ["O"]}, "2: column 'tags' has 1 tags, but the sentence has 2 words"),
        ({"tags": ["O", None]}, "2: column 'tags' holds None, which is no tag"),
        ({"tags": ["O", 1.5]}, "2: column 'tags' holds 1.5, which is no tag"),
        ({"tags": "O O"}, "2: column 'tags' must be a list of tags, one for each word, found 'O O'"),
        ({"tokens": "a b"}, "2: column 'tokens' must be a list of words, found 'a b'"),
        ({"tokens": []}, "2: column 'tokens' must be a list of words, found []"),
        ({"tokens": ["a", 1]}, "2: column 'tokens' must be a list of words"),
    ):
        assert told("a.jsonl", json.dumps(row) + "\n" + json.dumps({**row, **change}) + "\n").startswith(message)
    assert told("a.jsonl", 2 * (json.dumps({"text": "a"}) + "\n")).startswith("1: no column of words found: the columns are 'text'")
    assert told("a.jsonl", 2 * (json.dumps({"tokens": ["a"]}) + "\n")).startswith("1: no column of tags found")
    kept = Tagged.of(write(tmp_path, "b.conll", "a O\n\nb\nc O\n\nd O\n"), skip_bad_rows=True)
    assert kept.words == [["a"], ["d"]] and kept.numbers == [0, 2] and kept.skipped == [(1, 3)]
    assert kept.warnings == [f"{tmp_path / 'b.conll'}: 1 of 3 sentences are malformed and were skipped"]


SCHEME_NAMES = {
    "IOB": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "IOE": ["O", "I-PER", "E-PER", "I-LOC", "E-LOC"],
    "BIOES": ["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in ("PER", "LOC"))],
    "BILOU": ["O", *(f"{letter}-{kind}" for letter in "BILU" for kind in ("PER", "LOC"))],
}


def spans(tags):
    """Another way to the same: the words between which a run of a type is broken."""
    tags = [tag.replace("L-", "E-").replace("U-", "S-") for tag in tags]
    types = [None if tag == "O" else tag[2:] for tag in tags]
    cuts = {i for i in range(1, len(tags)) if types[i] != types[i - 1] or tags[i][0] in "BS" or tags[i - 1][0] in "ES"}
    ordered = sorted({0, len(tags)} | cuts)
    return {(types[a], a, b - 1) for a, b in zip(ordered, ordered[1:]) if types[a] is not None}


def tags_of(scheme, kinds):
    """How a scheme says what is at each place: None or (type, number of the entity)."""
    tags = []
    for i, here in enumerate(kinds):
        before, after = (kinds[j] if 0 <= j < len(kinds) else None for j in (i - 1, i + 1))
        begins, ends = before != here, after != here
        beside_before, beside_after = (bool(here and other) and other[0] == here[0] for other in (before, after))
        letter = {
            "IOB1": "B" if begins and beside_before else "I",
            "IOB2": "B" if begins else "I",
            "IOE1": "E" if ends and beside_after else "I",
            "IOE2": "E" if ends else "I",
            "BIOES": "S" if begins and ends else "B" if begins else "E" if ends else "I",
            "BILOU": "U" if begins and ends else "B" if begins else "L" if ends else "I",
        }[scheme]
        tags.append("O" if here is None else f"{letter}-{here[0]}")
    return tags


def random_kinds(rng, length=9):
    kinds = []
    while len(kinds) < length:
        kinds += int(rng.integers(1, 4)) * [[None, ("PER", len(kinds)), ("LOC", len(kinds))][rng.integers(3)]]
    return kinds[:length]


def test_entities():
    assert entities(["B-PER", "I-PER", "O", "B-LOC"]) == {("PER", 0, 1), ("LOC", 3, 3)}
    assert entities(["I-PER", "B-PER", "I-LOC"]) == {("PER", 0, 0), ("PER", 1, 1), ("LOC", 2, 2)}
    assert entities([]) == set()
    rng = np.random.default_rng(0)
    for names in SCHEME_NAMES.values():
        for _ in range(150):
            tags = [names[i] for i in rng.integers(0, len(names), 9)]
            assert entities(tags) == spans(tags), tags


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOE1", "IOE2", "BIOES", "BILOU"])
def test_entities_of_each_scheme(scheme):
    """What a scheme says is read as it was meant; seqeval's class of the scheme agrees where it is there."""
    rng = np.random.default_rng(5)
    sentences = [random_kinds(rng) for _ in range(100)]
    tags = [tags_of(scheme, kinds) for kinds in sentences]
    assert is_scheme({tag for row in tags for tag in row})
    for kinds, row in zip(sentences, tags):
        meant = {}
        for i, kind in enumerate(kinds):
            if kind:
                meant.setdefault(kind, []).append(i)
        assert entities(row) == {(kind[0], places[0], places[-1]) for kind, places in meant.items()}, row
    seqeval = pytest.importorskip("seqeval.scheme")
    if scheme == "IOE1":
        return  # its class finds no entity that is one E- after an O
    strict = seqeval.Entities(tags, {"BIOES": seqeval.IOBES}.get(scheme) or getattr(seqeval, scheme))
    for row, found in zip(tags, strict.entities):
        assert entities(row) == {(entity.tag, entity.start, entity.end - 1) for entity in found}, row


def test_which_tags_are_of_entities():
    assert all(map(is_scheme, SCHEME_NAMES.values())) and is_scheme(["O", "I-X"])
    for names in ["NOUN", "O"], ["O"], ["O", "BX"], ["O", "B-X", "M-X", "E-X"], ["O", "B-X", "E-X", "L-X"]:
        assert not is_scheme(names), names
    assert remarks(["O", "B-X", "M-X"]) == [
        "no f1 of entities: the tags are 'O', 'B-X', 'M-X', which none of the known schemes has (IOB1, IOB2, IOE1, IOE2, BIOES, BILOU)"
    ]
    assert not remarks(SCHEME_NAMES["BILOU"]) and not remarks(["NOUN", "O"])


@pytest.mark.parametrize("scheme", ["IOB", "BIOES"])
def test_entity_metrics(scheme):
    """By hand, and by seqeval where it is there."""
    rng = np.random.default_rng(1)
    names = SCHEME_NAMES[scheme]
    labels = rng.integers(0, len(names), (17, 11)).astype(np.int32)
    labels[:, 0], labels[3, 4:], labels[5] = -100, -100, -100
    logits = rng.standard_normal((17, 11, len(names))).astype(np.float32)
    logits[:8] += 3 * np.eye(len(names), dtype=np.float32)[np.maximum(labels[:8], 0)]
    ours = entity_metrics(names, logits, labels)
    truth = [[names[i] for i in row[row >= 0]] for row in labels]
    guess = [[names[i] for i in best[row >= 0]] for best, row in zip(logits.argmax(-1), labels)]
    hits = sum(len(spans(a) & spans(b)) for a, b in zip(truth, guess))
    precision, recall = hits / sum(map(len, map(spans, guess))), hits / sum(map(len, map(spans, truth)))
    assert hits and ours == pytest.approx({"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)})
    nothing = entity_metrics(names, np.eye(len(names), dtype=np.float32)[np.zeros((2, 3), int)], np.ones((2, 3), np.int32))
    assert nothing == {"precision": 0, "recall": 0, "f1": 0}
    seqeval = pytest.importorskip("seqeval.metrics")
    for name in ours:
        assert ours[name] == pytest.approx(getattr(seqeval, f"{name}_score")(truth, guess))


@pytest.mark.parametrize("side", ["right", "left"])
def test_labels_stand_at_the_first_token_of_each_word(vocabulary, side):
    """And nowhere else, as Hugging Face's run_ner has them."""
    settings = json.loads((vocabulary / "tokenizer_config.json").read_text())
    (vocabulary / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": side, "tokenizer_class": "BertTokenizer"}))
    sentences = [["films", "was", "good"], ["the", "goods", "filmss", "and", "bad", "great"], ["good"]]
    labels = [[i + 1 for i in range(len(words))] for words in sentences]
    encoded = Tokenizer(vocabulary, of_words=True).encode_words(sentences, 7, "x")
    assert encoded.truncated == 1
    array, ids = encoded.label_array(labels, 9), encoded.arrays(9)
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(vocabulary)
    batch = reference(sentences, is_split_into_words=True, truncation=True, max_length=7, padding=True)
    for i, row in enumerate(labels):
        words = batch.word_ids(i)
        expected = [NO_LABEL if w is None or w in words[:place] else row[w] for place, w in enumerate(words)]
        pad = [NO_LABEL] * (9 - len(expected))
        assert array[i].tolist() == (pad + expected if side == "left" else expected + pad)
        inputs = [0] * len(pad) + batch["input_ids"][i] if side == "left" else batch["input_ids"][i] + [0] * len(pad)
        assert ids["input_ids"][i].tolist() == inputs


@pytest.mark.parametrize("kind", ["word pieces", "byte pairs", "byte pairs of tokenizer.json"])
def test_ids_of_words_are_transformers(tmp_path, kind):
    """Words with letters of all kinds, marks, spaces inside and nothing at all; RoBERTa as it wants words."""
    transformers = pytest.importorskip("transformers")
    import test_tokenizer_settings as made

    model, settings = ("bert", {"tokenizer_class": "BertTokenizer"}) if kind == "word pieces" else ("roberta", {"tokenizer_class": "RobertaTokenizer"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    if kind == "word pieces":
        made.word_pieces(tmp_path)
    elif kind == "byte pairs":
        made.files_of_pairs(tmp_path, made.ROBERTA)
    else:
        made.fast_pairs(tmp_path, made.ROBERTA, made.roberta_types)
    rng = np.random.default_rng(0)
    words = [*made.WORDS, "...", "(a)", "New York", "\u00a0", "x" * 130, "e\u0301", "", "<mask>"]
    sentences = [[str(word) for word in rng.choice(words, rng.integers(1, 12))] for _ in range(40)]
    encoded = Tokenizer(tmp_path, of_words=True).encode_words(sentences, 40, "x")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=True)
    batch = theirs(sentences, is_split_into_words=True, truncation=True, max_length=40)
    assert encoded.ids == batch["input_ids"]
    for i, (sentence, places) in enumerate(zip(sentences, encoded.firsts)):
        ids = batch.word_ids(i)
        assert places == [ids.index(w) if w in ids else -1 for w in range(len(sentence))]
