# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst eval --generate`: metrics against published scores, the formats of
E2E, WebNLG and DART, and the command on a small model."""

import csv
import itertools
import json
import sys

import numpy as np
import pytest
from conftest import gpt2_tensors, real_data
from test_cli import refuse, run

import pst
from pst import text_metrics, write_tensors
from pst.data import DataError
from pst.language import read_source

pytest.importorskip("sacrebleu")


def golden(which):
    cases = json.loads(real_data("golden_metrics", "EXPECTED.json").read_text())["cases"]
    return [case for case in cases if case["hyp"].startswith(which)]


def lines(*parts):
    return real_data(*parts).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def e2e():
    """The references of the E2E challenge."""
    with open(real_data("nlg", "e2e", "devset.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    references = [[row[1] for row in group] for _, group in itertools.groupby(rows, key=lambda row: row[0])]
    assert len(references) == 547
    return references


@pytest.mark.parametrize("number", range(4))
def test_scores_of_the_e2e_challenge(e2e, number):
    case = golden("ukp_e2e_dev")[number]
    texts = lines("golden_metrics", *case["hyp"].split("/"))
    assert text_metrics.bleu(texts, e2e) == pytest.approx(100 * case["score"], abs=0.006)
    assert text_metrics.nist(texts, e2e) == pytest.approx(case["nist"], abs=6e-4)


@pytest.mark.parametrize("number", range(4))
def test_rouge_and_cider_of_the_e2e_challenge(e2e, number):
    """They were published of words that a tokenizer in Java made: ours are others in 5 of the 4,672 references."""
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed: ROUGE-L and CIDEr are not checked")
    case = golden("ukp_e2e_dev")[number]
    texts = lines("golden_metrics", *case["hyp"].split("/"))
    assert text_metrics.rouge_l(texts, e2e) == pytest.approx(case["rouge_l"], abs=6e-5)
    assert text_metrics.cider(texts, e2e) == pytest.approx(case["cider"], abs=5e-4)


def test_scores_of_coco_caption():
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed: ROUGE-L and CIDEr are not checked")
    (case,) = golden("nlg_eval")
    texts, *references = (lines("golden_metrics", "nlg_eval", name) for name in ("hyp.txt", "ref1.txt", "ref2.txt"))
    references = [list(row) for row in zip(*references)]
    assert text_metrics.rouge_l(texts, references) == pytest.approx(case["ROUGE_L"], abs=1e-6)
    assert text_metrics.cider(texts, references) == pytest.approx(case["CIDEr"], abs=1e-6)
    assert text_metrics.bleu(texts, references) == pytest.approx(100 * case["Bleu_4"], abs=1e-3)


@pytest.mark.parametrize("text, words", [
    ("A (cheap) pub; 50% off, $5.50 or 1,000!", "a -lrb- cheap -rrb- pub 50 % off $ 5.50 or 1,000"),
    ("Smith's isn't \"can't\" cannot a/b", "smith 's is n't ca n't can not a/b"),
    ("the 'Wrestlers', well-known in the U.S. & x@y.com.", "the wrestlers well-known in the u.s. & x@y.com"),
    ("It is 20-25, family -friendly ... and 5 out of 5.", "it is 20-25 family friendly and 5 out of 5"),
    ("The length is 2776.0; 20 -25, by J. Smith, e.g. -- now.", "the length is 2776.0 20 -25 by j. smith e.g. now"),
    ("caf\u00e9 \u2013 \u201cquoted\u201d it\u2019s high-", "caf\u00e9 quoted it 's high"),
])  # fmt: skip
def test_words_are_those_of_coco_caption(text, words):
    """Of coco-caption's own tokenizer, which is Java, with brackets as it spells them."""
    assert text_metrics._words(text).replace("(", "-lrb-").replace(")", "-rrb-") == words


def test_metrics_of_one_text():
    references = [["the pub is near the river", "a pub"], ["it is cheap ."]]
    same = [row[0] for row in references]
    assert text_metrics.ter(same, references) == 0 and text_metrics.bleu(same, references) == pytest.approx(100)
    # One word of the six, and none of the four; on average a text's references have 4 words here, and 4 there.
    assert text_metrics.ter(["the pub is near a river", same[1]], references) == pytest.approx(100 / 8)
    assert text_metrics.nist(["", ""], references) == 0


E2E = "name : Alimentum | area : city centre||There is Alimentum in the city centre . \n\nname : Zizzi||A pub , Zizzi . \nname : Zizzi||Zizzi is a pub .\n"
WEB_NLG = {"entries": [
    {"1": {"category": "Airport", "modifiedtripleset": [{"subject": "Aarhus", "property": "leader", "object": "Jacob"},
                                                        {"subject": "Aarhus", "property": "cityOf", "object": "Denmark"}],
           "lexicalisations": [{"comment": "good", "lex": "Jacob leads Aarhus, Denmark."}, {"comment": "bad", "lex": "no"},
                               {"comment": "good", "lex": "Aarhus's leader is Jacob."}]}},
    {"2": {"category": "Food", "modifiedtripleset": [{"subject": "Bacon", "property": "is", "object": "food"}],
           "lexicalisations": [{"comment": "good", "lex": "Bacon is food."}]}},
]}  # fmt: skip
DART = [{"tripleset": [["Mars Hill", "JOINED", "1973"], ["[TABLECONTEXT]", "[TITLE]", "South"]], "annotations": [{"source": "x", "text": "It joined in 1973."}]}]


def test_files_of_loras_repository(tmp_path):
    """As its scripts make prompts and completions of them."""
    def read(name, content):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        rows = read_source(tmp_path / name)
        return list(zip(rows.texts, rows.pairs))

    assert read("e.txt", E2E) == [("name : Alimentum | area : city centre ", "There is Alimentum in the city centre ."),
                                  ("name : Zizzi ", "A pub , Zizzi ."), ("name : Zizzi ", "Zizzi is a pub .")]  # fmt: skip
    prompt = "Aarhus : leader : Jacob | Aarhus : cityOf : Denmark "
    assert read("w.json", WEB_NLG) == [(prompt, "Jacob leads Aarhus, Denmark."), (prompt, "Aarhus's leader is Jacob."), ("Bacon : is : food ", "Bacon is food.")]
    assert read("d.json", DART) == [("Mars Hill : joined : 1973 | [TABLECONTEXT] : [title] : South ", "It joined in 1973.")]
    # A text in which some lines have the mark is a text.
    (tmp_path / "t.txt").write_text(E2E + "no mark\n")
    assert read_source(tmp_path / "t.txt").documents
    for content in ({"entries": [3]}, {"entries": [{"1": {"modifiedtripleset": []}}]}, [{"tripleset": [["a", "b"]], "annotations": []}]):
        with pytest.raises(DataError, match="d.json: damaged: not what WebNLG's or DART's files have"):
            read("d.json", content)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small GPT-2 of letters."""
    from tokenizers import pre_tokenizers

    directory = tmp_path_factory.mktemp("gpt2") / "m"
    directory.mkdir()
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 257, "n_embd": 12, "n_layer": 1, "n_head": 2, "n_positions": 128,
              "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "eos_token_id": 256}  # fmt: skip
    write_tensors(directory / "model.safetensors", {f"transformer.{name}": value for name, value in gpt2_tensors(config, 3).items()}, {"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    (directory / "vocab.json").write_text(json.dumps({text: i for i, text in enumerate([*letters, "<|endoftext|>"])}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}))
    return directory


def test_the_command(model, tmp_path, capsys):
    (tmp_path / "e.txt").write_text(E2E)
    argv = ["eval", "--model_name_or_path", model, "--validation_file", tmp_path / "e.txt", "--generate", "--metrics", "bleu,ter,nist",
            "--num_beams", 3, "--max_new_tokens", 9, "--per_device_eval_batch_size", 2]  # fmt: skip
    status, out, err = run(capsys, *argv, "--predictions", tmp_path / "p.jsonl", "--output_file", tmp_path / "o.json")
    assert status == 0, err
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["references"]) for row in rows] == [
        ("name : Alimentum | area : city centre", ["There is Alimentum in the city centre ."]), ("name : Zizzi", ["A pub , Zizzi .", "Zizzi is a pub ."]),
    ]  # fmt: skip
    search = {"num_beams": 3, "max_new_tokens": 9, "length_penalty": 0.8, "no_repeat_ngram_size": 4}
    expected = pst.load(model, per_device_eval_batch_size=2).generate([row["prompt"] for row in rows], **search)
    assert [row["prediction"] for row in rows] == [row["text"].strip() for row in expected] and all(len(row["prediction"]) > 3 for row in rows)
    told = json.loads((tmp_path / "o.json").read_text())
    assert list(told) == ["texts", "references", "bleu", "ter", "nist", "seconds", "predictions"] and (told["texts"], told["references"]) == (2, 3)
    texts, references = [row["prediction"] for row in rows], [row["references"] for row in rows]
    for name in ("bleu", "ter", "nist"):
        assert told[name] == text_metrics.METRICS[name](texts, references) and f"\n{name}: {told[name]:.6g}\n" in out
    assert np.isfinite(told["ter"]) and told["ter"] > 0


def test_what_means_nothing_is_refused(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "e.txt").write_text(E2E)
    (tmp_path / "t.txt").write_text("only a text\n")
    argv = ["eval", "--model_name_or_path", model, "--validation_file", tmp_path / "e.txt"]
    assert "--num_beams is of --generate" in refuse(capsys, *argv, "--num_beams", 3)
    assert "--metrics: 'meteor' is none of bleu, ter, nist, rouge_l, cider" in refuse(capsys, *argv, "--generate", "--metrics", "meteor")
    text = [*argv[:-1], tmp_path / "t.txt", "--generate", "--metrics", "bleu"]
    assert "t.txt: --generate needs prompts with completions" in refuse(capsys, *text)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    assert "'pip install --no-deps pycocoevalcap'; --metrics bleu,ter,nist do without" in refuse(capsys, *argv, "--generate", "--metrics", "cider")
