# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files as people have them: what is read is what Python's own readers of the format read."""

import csv
import io
import json

import pytest
from test_data import error_of, write

from pst.data import DataError, read_examples

ROWS = [("good, very\ngood", "pos"), ('a "bad" one', "neg"), ("two\ttabs", "neg"), ("", "pos"), ("grün;gelb", "neg")]


def check(examples, rows):
    assert list(zip(examples.texts, examples.labels)) == rows


# --- CSV


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "quoting, end",
    [(csv.QUOTE_MINIMAL, "\n"), (csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\r")],
)
def test_csv_as_pythons_module_writes_it(tmp_path, separator, quoting, end):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end).writerows([("text", "label"), *ROWS])
    check(read_examples(write(tmp_path, "a.csv", text.getvalue())), ROWS)
    marked = text.getvalue().encode("utf-8-sig")
    check(read_examples(write(tmp_path, "b.csv", marked)), ROWS)


def test_excels_line_about_its_separator(tmp_path):
    examples = read_examples(write(tmp_path, "a.csv", "sep=;\r\ntext;label\r\ngut;1,5\r\n"))
    assert (examples.texts, examples.labels, examples.lines) == (["gut"], ["1,5"], [3])


def test_long_fields_do_not_change_the_process(tmp_path):
    before = csv.field_size_limit()
    text = "good " * 40_000
    check(read_examples(write(tmp_path, "a.csv", f"text,label\n{text},1\n")), [(text, "1")])
    assert csv.field_size_limit() == before


def test_a_quotation_without_an_end_is_no_row_to_skip(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\ngood,1\n"open,0\nbad,0\nfine,1\n')
    for skip in (False, True):
        assert error_of(path, skip_bad_rows=skip) == (
            "FILE:3: malformed CSV: unexpected end of data: a quotation begins in this row and has no end"
        )


def test_malformed_rows_of_csv_are_skipped(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\ngood,1\n"so" bad,0\nbad,0\nx\n')
    assert error_of(path).startswith("FILE:3: malformed CSV: ',' expected after '\"'; --skip_bad_rows")
    examples = read_examples(path, skip_bad_rows=True)
    check(examples, [("good", "1"), ("bad", "0")])
    assert (examples.numbers, examples.skipped) == ([0, 2], [(1, 3), (3, 5)])


# --- TSV


def test_tsv_that_pandas_has_quoted(tmp_path):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([("text", "label"), *ROWS[1:2], ("plain", "pos")])
    check(read_examples(write(tmp_path, "a.tsv", text.getvalue())), [*ROWS[1:2], ("plain", "pos")])


def test_tsv_that_r_has_quoted(tmp_path):
    path = write(tmp_path, "a.tsv", '"text"\t"label"\n"good\tfilm"\t1\n"plain"\t0\n')
    check(read_examples(path), [("good\tfilm", "1"), ("plain", "0")])


def test_glues_quotation_marks_are_characters(tmp_path):
    path = write(tmp_path, "a.tsv", 'sentence\tlabel\n"good" he said\t1\n"all of it"\t0\n5\'3"\t1\n')
    check(read_examples(path), [('"good" he said', "1"), ('"all of it"', "0"), ("5'3\"", "1")])


def test_rows_that_a_line_break_cuts(tmp_path):
    path = write(tmp_path, "a.tsv", "sentence\tlabel\tid\nis it\n good ?\t1\t7\nbad\t0\t8\n")
    assert error_of(path) == (
        "FILE:2: expected 3 columns, as the header has, found 1 (a line break in a text?); --skip_bad_rows drops such rows"
    )
    path = write(tmp_path, "b.tsv", "sentence\tlabel\nis it\n good ?\t1\nbad\t0\n")
    examples = read_examples(path, skip_bad_rows=True)
    assert (examples.texts, examples.numbers, examples.skipped) == ([" good ?", "bad"], [1, 2], [(0, 2)])


def test_cola_with_header_and_its_test_file(tmp_path):
    four = "id,acceptable,source,sentence\n0,1,web,good\n1,0,web,bad\n"
    check(read_examples(write(tmp_path, "a.csv", four), task="cola"), [("good", "1"), ("bad", "0")])
    test = write(tmp_path, "test.tsv", "index\tsentence\n0\tgood\n1\tbad\n")
    assert read_examples(test, task="cola", read_labels=False).texts == ["good", "bad"]
    assert error_of(test, task="cola").startswith("FILE:1: no label column found")
    assert error_of(write(tmp_path, "b.tsv", "a\tb\tc\td\nw\t1\t\tgood\n"), task="cola").startswith("FILE:1: no text column found")


# --- JSON


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([{"text": "a", "label": 1}, {"text": "b", "label": 0}]),
        json.dumps([{"text": "a", "label": 1}, {"text": "b", "label": 0}], indent=2),
        "\n\n" + json.dumps([{"text": "a", "label": 1}, {"text": "b", "label": 0}]) + "\n",
        json.dumps({"text": "a", "label": 1}, indent=1) + "\n" + json.dumps({"text": "b", "label": 0}, indent=1),
        json.dumps({"text": ["a", "b"], "label": [1, 0]}),
        json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}),
        json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}, indent=4),
        '{"text": "a", "label": 1}\r\n\r\n{"text": "b", "label": 0}',
    ],
)
def test_json_as_pandas_and_others_write_it(tmp_path, content):
    check(read_examples(write(tmp_path, "a.json", content)), [("a", 1), ("b", 0)])


def test_rows_of_an_array_have_their_lines(tmp_path):
    content = json.dumps([{"text": "a", "label": 1}, {"text": "b", "label": None}, {"text": "c", "label": 0}], indent=2)
    path = write(tmp_path, "a.json", content)
    assert error_of(path) == "FILE:6: column 'label' has no label; --skip_bad_rows drops such rows"
    assert read_examples(path, skip_bad_rows=True).lines == [2, 10]


@pytest.mark.parametrize(
    "content, message",
    [
        ('[{"text": "a", "label": 1},\n {"text": "b" "label": 0}]', "FILE:2:15: malformed JSON: Expecting ',' delimiter; expected an array of objects"),
        ('[{"text": "a", "label": 1}\n', "FILE:2: malformed JSON: expected ',' or ']' in the array of objects"),
        ('[{"text": "a", "label": 1}\n 7]', "FILE:2: malformed JSON: expected ',' or ']' in the array of objects"),
        ('[{"text": "a", "label": 1},\n 7]', "FILE:2: expected a JSON object, found int"),
        ("[]", "FILE: no examples: the file is empty"),
        ('{"data": [{"text": "a"}], "version": [1, 2]}', "FILE:1: one JSON object: expected one object for each row: one a line, or an array of them"),
    ],
)  # fmt: skip
def test_json_that_is_no_rows(tmp_path, content, message):
    assert error_of(write(tmp_path, "a.json", content)) == message


def test_malformed_lines_of_json_are_skipped(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b" "label": 0}\n{"text": 7, "label": 0}\n{"text": "d", "label": 0}')
    examples = read_examples(path, skip_bad_rows=True)
    check(examples, [("a", 1), ("d", 0)])
    assert examples.skipped == [(1, 2), (2, 3)]


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name, separator", [("a.txt", "\t"), ("a.csv", ",")])
def test_files_with_a_mark_are_read_by_it(tmp_path, encoding, name, separator):
    content = f"text{separator}label\nGrüße €\U0001f600{separator}1\n".encode(encoding)
    check(read_examples(write(tmp_path, name, content)), [("Grüße €\U0001f600", "1")])


@pytest.mark.parametrize("encoding", ["cp1252", "latin1", "utf-16-le", "utf-16-be"])
def test_the_advice_leads_to_the_right_text(tmp_path, encoding):
    content = "text\tlabel\n" + "said “so”\t1\n" * (encoding != "latin1") + "Grüße\t1\n"
    message = error_of(write(tmp_path, "a.tsv", content.encode(encoding)))
    advised = message.split("iconv -f ")[1].split()[0]
    assert content.encode(encoding).decode(advised) == content


def test_a_damaged_character_is_no_other_encoding(tmp_path):
    content = "text\tlabel\n" + "Grüße und Küsse\t1\n" * 4
    path = write(tmp_path, "a.tsv", content.encode() + "ü\t0\n".encode()[1:] + b"gut\t0\n")
    assert error_of(path).startswith("FILE:6: invalid UTF-8: byte 0xbc at position ") and "iconv" not in error_of(path)
    examples = read_examples(path, skip_bad_rows=True)
    assert examples.texts == ["Grüße und Küsse"] * 4 + ["gut"]
    assert examples.skipped == [(4, 6)]


@pytest.mark.parametrize("begin, what", [(b"PK\x03\x04", "workbook of Excel"), (b"\x1f\x8b\x08", "gunzip"), (b"PAR1", "Parquet")])
def test_files_that_are_no_text(tmp_path, begin, what):
    assert what in error_of(write(tmp_path, "a.csv", begin + bytes(range(256))))


# --- columns


@pytest.mark.parametrize(
    "header, texts",
    [
        ("question,passage,label", ("question", "passage")),
        ("question,context,label", ("question", "context")),
        ("Sentence1,Sentence2,Label", ("Sentence1", "Sentence2")),
        ("Text ,LABEL,id", ("Text",)),
        ("id,tweet,label", ("tweet",)),
    ],
)
def test_columns_are_found_by_their_names(tmp_path, header, texts):
    names = [name.strip() for name in header.split(",")]
    examples = read_examples(write(tmp_path, "a.csv", f"{header}\n{','.join(f'{i}' for i in range(len(names)))}\n"))
    assert examples.text_columns == texts
    assert examples.texts == [str(names.index(texts[0]))] and not examples.warnings
    assert examples.labels == [str([name.lower() for name in names].index("label"))]


def test_a_second_text_that_is_not_read_is_told(tmp_path):
    examples = read_examples(write(tmp_path, "a.csv", "title,content,label\na,b,1\n"))
    assert examples.warnings[0].endswith(
        "texts are read from column 'content' alone, not from 'title'; --text_column and --text_pair_column name two"
    )


def test_two_columns_of_one_name(tmp_path):
    path = write(tmp_path, "a.csv", "text,label,label\na,1,0\n")
    assert error_of(path) == "FILE:1: 2 columns are called 'label'; rename one of them"


def test_texts_are_guessed_where_only_texts_are_wanted(tmp_path):
    path = write(tmp_path, "a.csv", "id,body,source\n1,a good film,web\n2,bad,web\n3,not good,web\n")
    examples = read_examples(path, read_labels=False, guess=True)
    assert examples.texts == ["a good film", "bad", "not good"]
    assert "texts are read from 'body', by what the file holds" in examples.warnings[0]
    with pytest.raises(DataError, match="no text column found"):
        read_examples(path, read_labels=False)
    examples = read_examples(path, read_labels=False, guess=True, remembered=("source", "body"))
    assert (examples.texts[0], examples.pairs[0]) == ("web", "a good film")


@pytest.mark.parametrize("first, count", [("good film", 2), ("text", 1), ("sentence", 1)])
def test_a_list_of_texts_has_no_header(tmp_path, first, count):
    examples = read_examples(write(tmp_path, "a.txt", f"{first}\nbad film\n"), read_labels=False, guess=True)
    assert len(examples) == count and examples.lines[-1] == 2
