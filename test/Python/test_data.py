# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Readers of data files, labels and the tokenizer, on good and bad input."""

import json

import numpy as np
import pytest
from conftest import WORDS, real_data

from pst.data import DataError, Examples, Labels, read_examples
from pst.tokenizer import Tokenizer


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def error_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_examples(path, **options)
    return str(caught.value).replace(str(path), "FILE")


# --- good input


def test_tsv_with_header_keeps_quotation_marks_and_windows_line_ends(tmp_path):
    path = write(tmp_path, "a.tsv", 'sentence\tlabel\r\n"so" good\t1\r\n\r\nbad \t0\r\n')
    examples = read_examples(path)
    assert examples.texts == ['"so" good', "bad "]
    assert examples.labels == ["1", "0"]
    assert examples.lines == [2, 4]
    assert examples.pairs is None


def test_csv_with_quoted_separators_and_line_breaks_counts_lines(tmp_path):
    path = write(tmp_path, "a.csv", 'label,text\npos,"good, very\ngood"\nneg,"a ""bad"" one"\n')
    examples = read_examples(path)
    assert examples.texts == ["good, very\ngood", 'a "bad" one']
    assert examples.lines == [2, 4]
    assert examples.label_column == "label"


def test_jsonl_with_labels_of_several_types(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": True}, {"text": "c", "label": "0"}, {"text": "d", "label": 0.0}]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    examples = read_examples(path)
    labels = Labels.of(examples)
    assert labels.names == ["0", "1"]
    assert labels.encode(examples).tolist() == [1, 1, 0, 0]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = write(tmp_path, "a.tsv", b"\xef\xbb\xbfsentence\tlabel\ngood\t1\n")
    assert read_examples(path).texts == ["good"]


def test_cola_is_recognized_without_header_or_task(tmp_path):
    path = write(tmp_path, "a.tsv", "gj04\t1\t\tThe weights made it stretch.\ngj04\t0\t*\tThe made it.\n")
    for options in ({}, {"task": "CoLA"}):
        examples = read_examples(path, **options)
        assert examples.texts == ["The weights made it stretch.", "The made it."]
        assert examples.labels == ["1", "0"]


@pytest.mark.parametrize(
    "task, header, row, texts",
    [
        ("mrpc", ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], ["1", "7", "8", "a", "b"], ("a", "b")),
        ("qqp", ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"], ["0", "1", "2", "a", "b", "1"], ("a", "b")),
        ("qnli", ["index", "question", "sentence", "label"], ["0", "a", "b", "entailment"], ("a", "b")),
        ("rte", ["index", "sentence1", "sentence2", "label"], ["0", "a", "b", "entailment"], ("a", "b")),
        ("wnli", ["index", "sentence1", "sentence2", "label"], ["0", "a", "b", "1"], ("a", "b")),
        (
            "mnli",
            ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse",
             "sentence1", "sentence2", "label1", "label2", "gold_label"],
            ["0", "63735", "63735n", "slate", "( p )", "( q )", "(ROOT p)", "(ROOT q)", "a", "b", "neutral", "contradiction", "entailment"],
            ("a", "b"),
        ),
    ],
)
def test_glue_columns_with_and_without_the_task(tmp_path, task, header, row, texts):
    path = write(tmp_path, "a.tsv", "\t".join(header) + "\n" + "\t".join(row) + "\n")
    for options in ({"task": task}, {}):
        examples = read_examples(path, **options)
        assert (examples.texts[0], examples.pairs[0]) == texts
        assert examples.labels[0] in ("1", "entailment")


def test_wnli_is_of_two_classes(tmp_path):
    """A sentence with its pronoun replaced follows, or does not; GLUE hands out the test set without labels."""
    rows = ["I stuck a pin through a carrot. When I pulled the pin out, it had a hole.\tThe carrot had a hole.\t1",
            "John couldn't see the stage with Billy in front of him because he is so short.\tJohn is so short.\t1",
            "Sam's drawing was hung just above Tina's and it did look much better with another one below it.\tTina's looked much better.\t0"]  # fmt: skip
    train = write(tmp_path, "train.tsv", "index\tsentence1\tsentence2\tlabel\n" + "".join(f"{i}\t{row}\n" for i, row in enumerate(rows)))
    test = write(tmp_path, "test.tsv", "index\tsentence1\tsentence2\n" + "".join(f"{i}\t{row[:-2]}\n" for i, row in enumerate(rows)))
    for name in ("wnli", "WNLI", None):
        examples, asked = read_examples(train, task=name), read_examples(test, task=name, need_labels=False)
        assert [list(row) for row in zip(examples.texts, examples.pairs, examples.labels)] == [row.split("\t") for row in rows]
        assert (asked.texts, asked.pairs, asked.labels) == (examples.texts, examples.pairs, None)
        labels = Labels.of(examples, task=name)
        assert labels.names == ["0", "1"] and labels.encode(examples).tolist() == [1, 1, 0] and not labels.regression


def test_the_diagnostic_set_is_read_as_mnli(tmp_path):
    """AX is pairs without labels, for models of MNLI."""
    path = write(tmp_path, "diagnostic.tsv", "index\tsentence1\tsentence2\n0\tThe cat sat on the mat.\tThe cat did not sit on the mat.\n")
    for name in ("mnli", None):
        examples = read_examples(path, task=name, need_labels=False)
        assert (examples.texts, examples.pairs, examples.labels) == (["The cat sat on the mat."], ["The cat did not sit on the mat."], None)


@pytest.mark.parametrize("text, label", [("review", "sentiment"), ("text", "category"), ("utterance", "intent"), ("Text", "Emotion")])
def test_usual_columns(tmp_path, text, label):
    examples = read_examples(write(tmp_path, "a.csv", f"{text},{label}\n\"good, and more\",joy\n"))
    assert (examples.texts, examples.labels) == (["good, and more"], ["joy"])


def test_named_columns_win(tmp_path):
    path = write(tmp_path, "a.csv", "sentence,label,a,b,c\nx,0,first,second,yes\n")
    examples = read_examples(path, text_column="a", text_pair_column="b", label_column="c")
    assert (examples.texts, examples.pairs, examples.labels) == (["first"], ["second"], ["yes"])


def test_limit_and_missing_labels(tmp_path):
    path = write(tmp_path, "a.csv", "text\none\ntwo\nthree\n")
    examples = read_examples(path, need_labels=False, limit=2)
    assert examples.texts == ["one", "two"]
    assert examples.labels is None


def test_bad_rows_can_be_skipped(tmp_path):
    path = write(tmp_path, "a.tsv", "sentence\tlabel\ngood\t1\nno label\nbad\t0\tx\nfine\t1\n")
    examples = read_examples(path, skip_bad_rows=True)
    assert examples.texts == ["good", "fine"]
    assert examples.warnings == [f"{path}: 2 of 4 rows are malformed and were skipped"]


@pytest.mark.parametrize(
    "parts, task, rows, labels",
    [
        (("glue", "SST-2", "dev.tsv"), "sst2", 872, ["0", "1"]),
        (("glue", "CoLA", "dev.tsv"), "cola", 1043, ["0", "1"]),
        (("glue", "RTE", "dev.tsv"), "rte", 277, ["entailment", "not_entailment"]),
        (("glue", "STS-B", "dev.tsv"), "stsb", 1500, None),
    ],
)
def test_the_real_glue_files(parts, task, rows, labels):
    path = real_data(*parts)
    for name in (task, None):
        examples = read_examples(path, task=name)
        assert len(examples) == rows
        found = Labels.of(examples, task=name)
        assert found.regression == (labels is None)
        if labels:
            assert found.names == labels
        else:
            values = found.encode(examples)
            assert values.dtype == np.float32 and values.min() >= 0 and values.max() <= 5


# --- labels


def rows(*labels):
    return Examples.of_rows([(f"text {i}", label) for i, label in enumerate(labels)])


def test_labels_are_sorted_by_value_if_they_are_numbers():
    assert Labels.of(rows("10", "9", "2")).names == ["2", "9", "10"]
    assert Labels.of(rows("b", "a", "10")).names == ["10", "a", "b"]


def test_the_models_own_labels_keep_their_order():
    config = {"id2label": {"1": "a", "0": "b"}}
    assert Labels.of(rows("a", "b"), config).names == ["b", "a"]
    assert Labels.of(rows("x", "b"), config).names == ["b", "x"]


def test_fractions_are_values_to_predict():
    labels = Labels.of(rows("0.5", "1", "-2.25"))
    assert labels.regression and labels.count == 1
    assert labels.encode(rows("3", "0.1")).tolist() == [3.0, np.float32(0.1)]


def test_a_saved_models_labels_read_names_and_ids():
    labels = Labels.of_config({"id2label": {"0": "negative", "1": "positive"}})
    assert labels.encode(rows("positive", "negative")).tolist() == [1, 0]
    assert labels.encode(rows(1, 0)).tolist() == [1, 0]
    numbers = Labels.of_config({"id2label": {"0": "1", "1": "2"}})
    assert numbers.encode(rows("2", "1")).tolist() == [1, 0]
    with pytest.raises(DataError, match="unknown label '0'"):
        numbers.encode(rows("0", "1"))


def test_unknown_label_names_file_line_column_and_choices(tmp_path):
    path = write(tmp_path, "dev.tsv", "sentence\tlabel\ngood\tpos\nodd\tneutral\n")
    with pytest.raises(DataError) as caught:
        Labels(["neg", "pos"]).encode(read_examples(path))
    assert str(caught.value) == f"{path}:3: unknown label 'neutral' in column 'label': the labels are 'neg', 'pos'"


def test_a_label_that_is_no_number_for_a_model_that_predicts_one(tmp_path):
    path = write(tmp_path, "dev.tsv", "sentence\tlabel\ngood\t1.5\nodd\tmany\n")
    with pytest.raises(DataError, match=r"dev.tsv:3: label 'many' is not a finite number"):
        Labels([], True).encode(read_examples(path))


def test_one_class_only_cannot_be_trained():
    with pytest.raises(DataError, match="every example has the label 'yes'"):
        Labels.of(rows("yes", "yes"))


def test_a_column_of_ids_is_taken_for_no_set_of_classes():
    with pytest.raises(DataError, match="1001 different values, which is no set of classes"):
        Labels.of(rows(*[f"id{i}" for i in range(1001)]))


# --- bad input


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.tsv", "", "FILE: no examples: the file is empty"),
        ("a.csv", "\n\n", "FILE: no examples: the file is empty"),
        ("a.jsonl", " \n", "FILE: no examples: the file is empty"),
        ("a.tsv", "sentence\tlabel\n", "FILE: no examples: the file has a header only"),
        (
            "a.tsv",
            "sentence\tclass_of\ngood\t1\n",
            "FILE:1: no label column found: the columns are 'sentence', 'class_of'; name yours with --label_column",
        ),
        (
            "a.csv",
            "words,label\ngood,1\n",
            "FILE:1: no text column found: the columns are 'words', 'label'; name yours with --text_column",
        ),
        (
            "a.csv",
            "1,a good film\n0,a bad one\n",
            "FILE:1: no text column found: the columns are '1', 'a good film'; name yours with --text_column; "
            "the first line looks like an example: put a line of names above it, such as text,label",
        ),
        (
            "a.tsv",
            "sentence\tlabel\ngood\t1\nbad\n",
            "FILE:3: expected 2 columns, as the header has, found 1 (a line break in a text?); --skip_bad_rows drops such rows",
        ),
        (
            "a.tsv",
            "sentence\tlabel\ngood\t\n",
            "FILE:2: column 'label' has no label; --skip_bad_rows drops such rows",
        ),
        (
            "a.csv",
            'text,label\ngood,1\n"open,0\n',
            "FILE:3: malformed CSV: unexpected end of data: a quotation begins in this row and has no end",
        ),
        (
            "a.jsonl",
            '{"text": "good", "label": 1}\n{"text": "bad" "label": 0}\n',
            "FILE:2:16: malformed JSON: Expecting ',' delimiter; expected one object a line",
        ),
        ("a.jsonl", '{"text": "good", "label": 1}\n[1]\n', "FILE:2: expected a JSON object, found list"),
        ("a.jsonl", '{"text": "good", "label": 1}\n{"text": "bad"}\n', "FILE:2: column 'label' has no label; --skip_bad_rows drops such rows"),
        ("a.jsonl", '{"text": 7, "label": 1}\n', "FILE:1: column 'text' must be a string, found int"),
        (
            "a.jsonl",
            '{"text": "x", "label": {"a": 1}}\n',
            "FILE:1: column 'label' must be a string or a number, found dict",
        ),
        (
            "a.tsv",
            b"sentence\tlabel\ngood\t1\nb\xe4d\t0\n",
            "FILE:3: invalid UTF-8: byte 0xe4 at position 23 of the file (byte 2 of the line); convert the file, "
            "for instance (if it is Western European) with 'iconv -f cp1252 -t utf-8'",
        ),
    ],
)
def test_bad_files_say_what_and_where(tmp_path, name, content, message):
    assert error_of(write(tmp_path, name, content)) == message


def test_a_named_column_that_is_missing(tmp_path):
    path = write(tmp_path, "a.tsv", "sentence\tlabel\ngood\t1\n")
    message = error_of(path, text_column="review")
    assert message == "FILE:1: there is no column 'review' for the text; the columns are 'sentence', 'label'"
    assert error_of(path, label_column="y").startswith("FILE:1: there is no column 'y' for the label")


def test_missing_files_directories_and_tasks(tmp_path):
    assert error_of(tmp_path / "none.tsv") == "FILE: cannot be read: No such file or directory"
    assert error_of(tmp_path) == "FILE: cannot be read: Is a directory"
    with pytest.raises(DataError, match="unknown task 'sst3': expected one of cola, sst2"):
        read_examples(write(tmp_path, "a.tsv", "x\n"), task="sst3")


def test_cola_with_too_few_columns(tmp_path):
    path = write(tmp_path, "a.tsv", "gj04\t1\n")
    assert error_of(path, task="cola") == "FILE:1: expected at least 4 tab-separated columns, found 2"


# --- tokens


def test_tokens_are_padded_and_pairs_have_two_types(vocabulary):
    tokenizer = Tokenizer(vocabulary)
    examples = Examples.of_rows([("The film", "was good", 1), ("bad", "films", 0)])
    encoded = tokenizer.encode(examples, 12)
    arrays = encoded.arrays(8)
    ids = [[WORDS[i] for i in row] for row in arrays["input_ids"]]
    assert ids[0] == "[CLS] the film [SEP] was good [SEP] [PAD]".split()
    assert ids[1] == "[CLS] bad [SEP] film ##s [SEP] [PAD] [PAD]".split()
    assert arrays["attention_mask"].tolist() == [[1] * 7 + [0], [1] * 6 + [0] * 2]
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, 0, 0]]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}
    assert (encoded.longest, encoded.truncated) == (7, 0)


def test_a_sentence_of_100000_words_is_cut_and_counted(vocabulary):
    examples = Examples.of_rows([("very " * 100_000, 1), ("good", 0)])
    encoded = Tokenizer(vocabulary).encode(examples, 16)
    assert encoded.truncated == 1
    assert encoded.longest == 16
    words = [WORDS[i] for i in encoded.ids[0]]
    assert words == ["[CLS]"] + ["very"] * 14 + ["[SEP]"]


def test_tokens_equal_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    vocab = real_data("vocab", "bert-base-uncased", "vocab.txt")
    (tmp_path / "vocab.txt").write_bytes(vocab.read_bytes())
    reference = transformers.BertTokenizer.from_pretrained(tmp_path)
    examples = Examples.of_rows(
        [("Élan vital: it's 你好 GOOD!", "hyphen-ated won't", 0), ("x " * 60, "unbelievably antidisestablishmentarian", 1)]
    )
    ours = Tokenizer(tmp_path).encode(examples, 24).arrays(24)
    theirs = reference(examples.texts, examples.pairs, truncation=True, max_length=24, padding="max_length")
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert ours[name].tolist() == theirs[name], name


def test_a_directory_without_or_with_a_broken_tokenizer(tmp_path):
    with pytest.raises(DataError, match="no tokenizer: expected tokenizer.json, vocab.txt, or vocab.json and merges.txt"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match="tokenizer.json: not a tokenizer: "):
        Tokenizer(tmp_path)
