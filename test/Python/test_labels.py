# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Labels are values and not spellings; missing ones are told and are no class."""

import json
import math

import numpy as np
import pytest
from test_data import rows, write

from pst.data import DataError, Examples, Labels, read_examples
from pst.label_values import missing_in, number_of, spelled


@pytest.mark.parametrize(
    "label, name",
    [
        (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" 1 ", "1"), ("+1", "1"), ("1e0", "1"), (True, "1"),
        (0, "0"), (-0.0, "0"), (False, "0"), ("-1", "-1"), ("-1.0", "-1"), (0.5, "0.5"), (".5", "0.5"), ("pos ", "pos"),
        ("True", "True"), ("007", "007"), ("12345678901234567890", "12345678901234567890"), ("1_000", "1_000"), ("inf", "inf"),
        ("1,5", "1,5"), ("\u0663", "\u0663"),
    ],
)  # fmt: skip
def test_one_spelling_for_a_value(label, name):
    assert spelled(label) == name


def test_numbers_are_those_that_files_mean():
    texts = ["1", "1.", ".5", "1e3", "-2", "0x1", "nan", "1 2", "", "1_0", "١"]
    assert [number_of(text) for text in texts] == [1, 1, 0.5, 1000, -2, None, None, None, None, None, None]


@pytest.mark.parametrize(
    "labels, missing",
    [
        # As pandas' read_csv has it, and `datasets` by it.
        (["a", "", " ", "nan", "NaN", "null", "NULL", "None", "NA", "N/A", "<NA>", "b"], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        # But words that are classes somewhere (SemEval's stance has NONE) stay.
        (["FAVOR", "AGAINST", "NONE", "none", "na", "?", "."], []),
        ([1, None, math.nan, 0], [1, 2]),
        # SNLI in words and in numbers, GLUE's test sets.
        (["entailment", "-", "neutral"], [1]),
        ([0, 1, 2, -1], [3]),
        (["0", "1", "-1.0"], [2]),
        ([-1, -1, -1], [0, 1, 2]),
        (["pos", "-1"], [1]),
        # Signs and scales.
        (["+", "-"], []),
        ([-1, 1], []),
        ([-2, -1, 0, 1, 2], []),
        ([0.5, -1.0, 0.25], []),
    ],
)
def test_which_labels_are_missing(labels, missing):
    assert [i for i, gone in enumerate(missing_in(labels)) if gone] == missing


def test_what_is_a_class_is_not_missing():
    assert not any(missing_in(["None", "Mild", "-1", "-"], classes=["None", "-1", "-"]))
    # STS-B's test set, whose values are 0 to 5.
    assert missing_in([2.5, -1.0, 0.0], positive=True) == [False, True, False]


def test_pandas_agrees_about_missing_words(tmp_path):
    pandas = pytest.importorskip("pandas")
    words = ["a", "nan", "NaN", "null", "NULL", "None", "NA", "N/A", "<NA>", "#N/A", "n/a", "none", "NONE", "na"]
    path = write(tmp_path, "a.csv", "text,label\n" + "".join(f"x,{word}\n" for word in words))
    assert missing_in(words) == pandas.read_csv(path).label.isna().tolist()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_missing_labels_are_told_with_their_line_and_skipped(tmp_path, name):
    labels = ["0", "1", "2", "-1", "1"]
    separator = "," if name == "a.csv" else "\t"
    if name == "a.jsonl":
        content = "".join(json.dumps({"text": f"text {i}", "label": int(label)}) + "\n" for i, label in enumerate(labels))
        line = 4
    else:
        content = f"text{separator}label\n" + "".join(f"text {i}{separator}{label}\n" for i, label in enumerate(labels))
        line = 5
    path = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value) == (
        f"{path}:{line}: column 'label' has no label: '-1' stands for a missing one; --skip_bad_rows drops such rows, "
        "--classes=-1,... makes it a class"
    )
    examples = read_examples(path, skip_bad_rows=True)
    assert (len(examples), examples.numbers, examples.skipped) == (4, [0, 1, 2, 4], [(3, line)])
    assert examples.warnings == [f"{path}: 1 of 5 rows have no label and were skipped"]
    assert Labels.of(examples).names == ["0", "1", "2"]
    assert Labels.of(read_examples(path, classes=["-1", "0", "1", "2"])).names == ["-1", "0", "1", "2"]


def test_labels_that_are_not_needed_may_be_missing(tmp_path):
    path = write(tmp_path, "a.tsv", "sentence\tlabel\ngood\t-1\nbad\t\n")
    assert read_examples(path, need_labels=False).labels == [None, None]
    assert read_examples(path, read_labels=False).labels is None
    with pytest.raises(DataError, match="a.tsv:2: column 'label' has no label"):
        read_examples(path)


def test_no_class_is_made_of_a_missing_label():
    examples = Examples("f", ["a", "b"], None, ["x", None], [2, 3])
    for use in (Labels.of, Labels(["x", "y"]).encode):
        with pytest.raises(DataError, match="^f:3: no label"):
            use(examples)


# --- the classes of a file, and of a model


def test_spellings_of_one_value_are_one_class():
    labels = Labels.of(rows(1, "1", 1.0, True, "0", False, " 0.0 "))
    assert labels.names == ["0", "1"]
    assert labels.encode(rows(True, "1.0", 0, "0 ")).tolist() == [1, 1, 0, 0]
    assert Labels.of(rows("pos ", "neg", " pos")).names == ["neg", "pos"]


def test_codes_keep_their_zeros_and_are_found_without():
    labels = Labels.of(rows("01", "02", "10"))
    assert labels.names == ["01", "02", "10"]
    assert labels.encode(rows(1, "02", 10.0)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "names, found",
    [(["False", "True"], [False, True, "true", 0, "1"]), (["0", "1"], ["false", "True", "TRUE", "FALSE", 1])],
)
def test_words_for_true_and_false_are_these_values(names, found):
    wanted = [0, 1, 1, 0, 1]
    assert Labels(names).encode(rows(*found)).tolist() == wanted


def test_true_is_a_word_where_there_are_more_than_two_classes():
    labels = Labels(["false", "half-true", "true"])
    assert labels.encode(rows("true", "false")).tolist() == [2, 0]
    assert labels.encode(rows(1, 2)).tolist() == [1, 2]  # ids


@pytest.mark.parametrize(
    "config, found, names",
    [
        ({"id2label": {"0": "neg", "1": "neu", "2": "pos"}}, ["pos", "neg"], ["neg", "neu", "pos"]),
        ({"id2label": {"0": "neg", "1": "neu", "2": "pos"}}, [0, 2], ["neg", "neu", "pos"]),
        ({"id2label": {"0": "neg", "1": "pos"}}, ["a", "b"], ["a", "b"]),
        ({"num_labels": 3}, [0, 1], ["0", "1", "2"]),
        ({"num_labels": 3}, [0, 1, 2], ["0", "1", "2"]),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, [0, 1], ["0", "1"]),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ["LABEL_1", "LABEL_0"], ["LABEL_0", "LABEL_1"]),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, [1, 2, 3], ["1", "2", "3"]),
        ({}, [0, 1], ["0", "1"]),
    ],
)
def test_the_models_classes_hold_where_they_fit_the_data(config, found, names):
    assert Labels.of(rows(*found), config).names == names


def test_a_model_of_one_output_predicts_a_number():
    for config in ({"num_labels": 1}, {"id2label": {"0": "LABEL_0"}}, {"problem_type": "regression"}):
        assert Labels.of(rows(1, 2, 3), config).regression
        assert Labels.of_config(config).regression


def test_num_labels_counts_as_in_transformers():
    transformers = pytest.importorskip("transformers")
    for config in ({"num_labels": 3}, {"id2label": {0: "a", 1: "b", 2: "c", 3: "d"}}, {}):
        assert Labels.of_config({k: v for k, v in config.items()}).count == transformers.BertConfig(**config).num_labels


def test_named_classes_are_the_classes_in_their_order():
    labels = Labels.of(rows("pos", "neg"), classes=["pos", "neu", "neg"])
    assert labels.names == ["pos", "neu", "neg"]
    assert labels.encode(rows("pos", "neg")).tolist() == [0, 2]
    with pytest.raises(DataError, match="unknown label 'odd'"):
        labels.encode(rows("odd"))


def test_more_than_a_thousand_classes_of_a_named_column():
    many = rows(*[f"id{i}" for i in range(1500)])
    with pytest.raises(DataError, match="1500 different values, which is no set of classes.*--label_column"):
        Labels.of(many)
    labels = Labels.of(many, named=True)
    assert labels.count == 1500 and len(set(labels.encode(many).tolist())) == 1500


# --- what Python has


TEXTS = ["the film was good", "bad", "good , very good", "not great"]


@pytest.mark.parametrize(
    "source",
    [
        [{"text": text, "label": label} for text, label in zip(TEXTS, "1010")],
        {"text": TEXTS, "label": [1, 0, 1, 0]},
        {"text": np.array(TEXTS), "label": np.array([1.0, 0, 1, 0])},
        list(zip(TEXTS, np.array([1, 0, 1, 0]))),
        list(zip(TEXTS, np.array([True, False, True, False]))),
        np.array(list(zip(TEXTS, [1, 0, 1, 0])), object),
        (row for row in zip(TEXTS, [1, 0, 1, 0])),
    ],
)
def test_rows_of_python(source):
    examples = Examples.of(source)
    labels = Labels.of(examples)
    assert examples.texts == TEXTS and labels.names == ["0", "1"] and labels.encode(examples).tolist() == [1, 0, 1, 0]


def test_pairs_of_python_and_their_columns():
    examples = Examples.of([{"question": "a", "passage": "b", "label": 1}, {"question": "c", "passage": "d", "label": 0}])
    assert (examples.texts, examples.pairs, examples.text_columns) == (["a", "c"], ["b", "d"], ("question", "passage"))


@pytest.mark.parametrize(
    "source, message",
    [
        ([], "the data: no examples"),
        (7, "the data: expected rows, found int"),
        ("train.tsv", "the data: expected rows, found str"),
        (["a", "b"], "the data:1: expected (text, label) or (text, text, label), found 'a'"),
        ([("a", 1), ("b", 0, 1)], "the data:2: expected (text, label) or (text, text, label), found ('b', 0, 1)"),
        ([{"text": "a", "label": 1}, ("b", 0)], "the data:2: expected a dictionary, as the first row is, found ('b', 0)"),
        ([{"text": "a", "label": 1}, {"text": "b"}], "the data:2: column 'label' has no label; --skip_bad_rows drops such rows"),
        ([{"text": None, "label": 1}], "the data:1: column 'text' is missing"),
        ([{"text": math.nan, "label": 1}], "the data:1: column 'text' is missing"),
        (
            [("a\ud83d", 1)],
            "the data:1: column 'text' holds half of a surrogate pair, \\ud83d, which is no character; "
            "--skip_bad_rows drops such rows",
        ),
        ({"text": ["a"], "label": [1, 2]}, "the data: expected rows, or columns of one length"),
        (
            [{"body": "a", "label": 1}],
            "the data:1: no text column found: the columns are 'body', 'label'; name yours with --text_column",
        ),
    ],
)  # fmt: skip
def test_rows_that_are_none(source, message):
    with pytest.raises(DataError) as caught:
        Examples.of(source)
    assert str(caught.value) == message


def test_frames_and_their_rows():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": pandas.array([1, None, 1, 0], dtype="Int64")})
    for source in (frame, frame.to_dict("records"), frame.itertuples(), frame.iterrows(), frame.values):
        with pytest.raises(DataError, match="^the data:2: column 'label' has no label"):
            Examples.of(source)
    examples = Examples.of(frame, skip_bad_rows=True)
    assert Labels.of(examples).encode(examples).tolist() == [1, 1, 0]


class ClassLabel:
    """As `datasets` has it."""

    names = ["neg", "pos"]


class DataSet(list):
    """As much of datasets.Dataset as is looked at."""

    features = {"text": None, "label": ClassLabel()}


def test_a_data_sets_ids_have_names():
    examples = Examples.of(DataSet({"text": text, "label": label} for text, label in zip(TEXTS, [1, 0, 1, 0])))
    assert Labels.of(examples).names == ["neg", "pos"]
    assert Labels.of(examples).encode(examples).tolist() == [1, 0, 1, 0]
    # The model's order is its own.
    assert Labels.of(examples, {"id2label": {"0": "pos", "1": "neg"}}).encode(examples).tolist() == [0, 1, 0, 1]
    assert Labels(["0", "1"]).encode(examples).tolist() == [1, 0, 1, 0]
    with pytest.raises(DataError, match="^the data:1: column 'label' has no label: '-1'"):
        Examples.of(DataSet([{"text": "a", "label": -1}]))


def test_the_real_datasets_library():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0, 1, 0]}, features=features)
    assert Labels.of(Examples.of(data)).names == ["neg", "pos"]
    with pytest.raises(DataError, match="several data sets, train: give one of them"):
        Examples.of(datasets.DatasetDict({"train": data}))
