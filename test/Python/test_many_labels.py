# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Several labels an example: how files and Python say them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from test_data import write

from pst.data import DataError, Examples, Labels, read_examples

TEXTS = ["one", "two", "three", "four"]
WHICH = [["b"], [], ["a", "c"], ["c"]]
BITS = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]], np.float32)
NAMED = {"id2label": {"0": "c", "1": "a", "2": "b"}, "problem_type": "multi_label_classification"}


def jsonl(tmp_path, labels, name="a.jsonl"):
    return write(tmp_path, name, "".join(json.dumps({"text": t, "labels": v}) + "\n" for t, v in zip(TEXTS, labels)))


def read(path, config=None, classes=(), **more):
    examples = read_examples(path, **more)
    labels = Labels.of(examples, config, classes=classes)
    assert labels.multiple and labels.task == "multi_label_classification"
    return labels.names, labels.encode(examples)


def test_lists_of_names(tmp_path):
    names, values = read(jsonl(tmp_path, WHICH))
    assert names == ["a", "b", "c"] and values.dtype == np.float32
    np.testing.assert_array_equal(values, BITS)
    # In the model's order where it has all of them; a model without them gets new ones.
    names, values = read(jsonl(tmp_path, WHICH), NAMED)
    assert names == ["c", "a", "b"]
    np.testing.assert_array_equal(values, BITS[:, [2, 0, 1]])
    assert read(jsonl(tmp_path, WHICH), {"id2label": {"0": "x", "1": "y"}})[0] == ["a", "b", "c"]
    assert read(jsonl(tmp_path, WHICH), classes=["c", "b", "a", "d"])[0] == ["c", "b", "a", "d"]


def test_lists_of_ids(tmp_path):
    ids = [["abc".index(name) for name in row] for row in WHICH]
    names, values = read(jsonl(tmp_path, ids))
    assert names == ["0", "1", "2"]
    np.testing.assert_array_equal(values, BITS)
    # Of a model whose labels have names.
    names, values = read(jsonl(tmp_path, ids), NAMED)
    assert names == ["c", "a", "b"]
    np.testing.assert_array_equal(values, BITS)


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_lists_of_bits(tmp_path, kind):
    names, values = read(jsonl(tmp_path, [[kind(int(bit)) for bit in row] for row in BITS]))
    assert names == ["LABEL_0", "LABEL_1", "LABEL_2"]
    np.testing.assert_array_equal(values, BITS)
    names, values = read(jsonl(tmp_path, BITS.tolist()), NAMED)
    assert names == ["c", "a", "b"]
    np.testing.assert_array_equal(values, BITS)
    assert read(jsonl(tmp_path, BITS.tolist()), classes=["x", "y", "z"])[0] == ["x", "y", "z"]


def test_columns_of_bits(tmp_path):
    path = write(tmp_path, "a.csv", "text,b,a,c\none,1,0,0\ntwo,0,0.0, 0\nthree,False,True,1\nfour,0,0,1\n")
    names, values = read(path, label_columns=["a", "b", "c"])
    assert names == ["a", "b", "c"]
    np.testing.assert_array_equal(values, BITS)
    names, values = read(path, NAMED, label_columns=["A", "b", "c"])  # as they are spelled in the file
    assert names == ["c", "a", "b"]
    np.testing.assert_array_equal(values, BITS[:, [2, 0, 1]])
    # Of a model that knows its labels nobody has to name them.
    labels = Labels.of_config(NAMED)
    examples = read_examples(path, many=True, classes=labels.names)
    assert examples.label_columns == ("c", "a", "b")
    np.testing.assert_array_equal(labels.encode(examples), BITS[:, [2, 0, 1]])


@pytest.mark.parametrize("spell", [json.dumps, repr])
def test_lists_in_cells_of_text(tmp_path, spell):
    """As JSON writes lists, and as pandas does."""
    rows = "".join(f'{text}\t{spell(row)}\n' for text, row in zip(TEXTS, WHICH))
    names, values = read(write(tmp_path, "a.tsv", "text\tlabels\n" + rows), many=True)
    assert names == ["a", "b", "c"]
    np.testing.assert_array_equal(values, BITS)
    # Where no lists are asked for, such a cell is a class as ever.
    plain = read_examples(tmp_path / "a.tsv")
    assert not plain.has_lists and not Labels.of(plain).multiple


def test_what_python_has():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "labels": [np.array(row) for row in BITS.astype(np.int64)]})
    rows = [(text, row) for text, row in zip(TEXTS, WHICH)]
    for source, names in (
        (frame, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        (rows, ["a", "b", "c"]),
        ([(text, tuple(row)) for text, row in rows], ["a", "b", "c"]),
        ([{"text": text, "labels": set(row)} for text, row in rows], ["a", "b", "c"]),
    ):
        examples = Examples.of(source)
        labels = Labels.of(examples)
        assert labels.names == names
        np.testing.assert_array_equal(labels.encode(examples), BITS)


def test_class_names_of_a_data_set():
    class DataSet(list):
        """As one of `datasets`, of a Sequence (or List) of ClassLabel."""
        features = {"text": None, "labels": SimpleNamespace(feature=SimpleNamespace(names=["b", "c", "a"]))}

    examples = Examples.of(DataSet({"text": t, "labels": ["bca".index(name) for name in row]} for t, row in zip(TEXTS, WHICH)))
    labels = Labels.of(examples)
    assert labels.names == ["b", "c", "a"]
    np.testing.assert_array_equal(labels.encode(examples), BITS[:, [1, 2, 0]])
    # A model that was trained with another order of them keeps its own.
    labels = Labels.of(examples, NAMED)
    assert labels.names == ["c", "a", "b"]
    np.testing.assert_array_equal(labels.encode(examples), BITS[:, [2, 0, 1]])


def test_missing_and_malformed_labels_are_told_with_their_line(tmp_path):
    def told(labels, **more):
        with pytest.raises(DataError) as error:
            read(jsonl(tmp_path, labels), **more)
        return str(error.value).removeprefix(f"{tmp_path / 'a.jsonl'}:")

    assert told([["a"], None, ["b"]]).startswith("2: column 'labels' has no label; --skip_bad_rows drops such rows")
    assert told([["a"], ["b"], "c"]).startswith("3: column 'labels' is 'c'; expected a list, as [0, 1, 0]")
    assert told([["a"], [None], ["b"]]).startswith("2: column 'labels' holds None in its list; expected a list")
    assert told([["a"], ["b", " "]]).startswith("2: column 'labels' holds ' ' in its list")
    assert told([["a"], [["b"]]]).startswith("2: column 'labels' holds ['b'] in its list")
    assert told([["a", "a"], ["b"]]).startswith("1: column 'labels' holds the label 'a' twice")
    assert told([["a"], ["b", "x"]], classes=["a", "b"]) == "2: column 'labels' holds the unknown label 'x': the labels are 'a', 'b'"
    bits = told([[0, 1, 0], [1, 0]], classes=["a", "b", "c"])
    assert bits.startswith("1: column 'labels' holds the label '0' twice; lists of 0 and 1 for each class have 3 of them, and these have 2, 3")
    with pytest.raises(DataError, match="no example has a label"):
        read(jsonl(tmp_path, [[], []]))
    skipped = read_examples(jsonl(tmp_path, [["a"], None, [None], ["b"]]), skip_bad_rows=True)
    assert skipped.labels == [["a"], ["b"]] and skipped.skipped == [(1, 2), (2, 3)]


def test_columns_that_are_wrong(tmp_path):
    def told(rows, columns=("a", "b"), config=None, **more):
        path = write(tmp_path, "a.csv", "text,a,b\n" + rows)
        with pytest.raises(DataError) as error:
            read(path, config, label_columns=columns, **more)
        return str(error.value).removeprefix(str(path) + ":")

    assert told("x,1,0\ny,2,0\n") == "3: column 'a' must be 0 or 1, whether the example has the label, found '2'"
    assert told("x,1,0\ny,1,yes\n").startswith("3: column 'b' must be 0 or 1")
    assert told("x,1,0\ny,1,\n").startswith("3: column 'b' has no label; --skip_bad_rows drops such rows")
    assert told("x,1,0\n", ("a", "c")) == "1: there is no column 'c' for the label; the columns are 'text', 'a', 'b'"
    assert told("x,1,0\n", classes=["a", "d"]).strip() == "the columns of labels are 'a', 'b', but --classes names 'a', 'd'"
    path = write(tmp_path, "a.csv", "text,a,b\nx,1,0\n")
    with pytest.raises(DataError, match="the columns of labels are 'a', 'b', but the model's labels are 'c', 'a', 'b'"):
        Labels.of_config(NAMED).encode(read_examples(path, label_columns=["a", "b"]))
    with pytest.raises(DataError, match="name yours with --label_column, or --label_columns, one for each label"):
        read_examples(path, many=True)
    kept = read_examples(write(tmp_path, "a.csv", "text,a,b\nx,1,0\ny,,1\nz,0,1\n"), label_columns=["a", "b"], skip_bad_rows=True)
    assert kept.texts == ["x", "z"] and kept.warnings == [f"{tmp_path / 'a.csv'}: 1 of 3 rows have no label and were skipped"]


def test_single_labels_where_several_are_expected(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\nx,pos\n")
    with pytest.raises(DataError, match="a.csv:2: column 'label' is 'pos'; expected a list"):
        read_examples(path, many=True)


def test_configs_say_it():
    assert Labels.of_config(NAMED) == Labels(["c", "a", "b"], multiple=True)
    assert Labels.of_config({"id2label": {"0": "x"}, "problem_type": "multi_label_classification"}) == Labels(["x"], multiple=True)
    assert Labels.of_config({"id2label": {"0": "x", "1": "y"}}, "multi_label_classification") == Labels(["x", "y"], multiple=True)
