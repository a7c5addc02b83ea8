# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts that a language model goes on with, against transformers' generate(), token for token; draws against NumPy."""

import json
import pathlib
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import test_gpt2  # noqa: E402
import test_llama  # noqa: E402
from test_cli import run as run_pst  # noqa: E402
from test_run_predict import BUILD  # noqa: E402

import pst  # noqa: E402
from pst import _pst  # noqa: E402

torch.set_num_threads(1)

# Of one token, of several, and of more than are read together (generating.CHUNK).
PROMPTS = [[7], [3, 17, 40, 2, 9, 11, 55, 33, 4, 4, 18], list(np.random.default_rng(0).integers(1, 60, 70)), [50, 3]]
# A table of as many words that its product is one of few rows (FewRows.h).
WORDS = 1601
MODELS = {
    "gpt2": lambda to: test_gpt2.save_model(to, n_positions=120, vocab_size=WORDS, eos_token_id=5),
    "llama": lambda to: test_llama.save_model(to, num_attention_heads=6, num_key_value_heads=2, head_dim=6, eos_token_id=5),
    "mistral": lambda to: test_llama.save_model(to, family="Mistral", sliding_window=9, eos_token_id=5),
    "qwen2": lambda to: test_llama.save_model(to, family="Qwen2", eos_token_id=5),
}


def zero_weights(reference, share):
    """Zeros among the weights of the blocks' products, by which these are compressed."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in reference.named_parameters():
            if value.dim() == 2 and (".h." in name or "layers." in name):
                value[torch.rand_like(value) < share] = 0


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By family: transformers' model in float64, and ours; each made at its first use."""
    made = {}

    def get(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            reference = MODELS[family](folder)
            zero_weights(reference, 0.6)
            reference.float().save_pretrained(folder)
            # Names end texts of their own tests only.
            (folder / "generation_config.json").unlink()
            made[family] = reference.double(), pst.load(folder, weight_storage="compressed", per_device_eval_batch_size=4)
        return made[family]

    return get


def reference_ids(reference, prompt, **options):
    ids = torch.tensor([prompt])
    found = reference.generate(
        ids, attention_mask=torch.ones_like(ids), pad_token_id=0, return_dict_in_generate=True, output_scores=True, **options
    )
    return found.sequences[0, len(prompt) :].tolist(), found


@pytest.mark.parametrize("family", MODELS)
def test_greedy_is_that_of_transformers(models, family):
    reference, ours = models(family)
    found = ours.generate(PROMPTS, max_new_tokens=24)
    for prompt, row in zip(PROMPTS, found):
        wanted, _ = reference_ids(reference, prompt, max_new_tokens=24, do_sample=False)
        assert row["output_ids"] == wanted
        assert row["finish_reason"] == ("stop" if wanted[-1] == 5 else "length")
    assert ours.last_run["prompt_tokens"] == sum(map(len, PROMPTS))
    assert ours.last_run["new_tokens"] == sum(len(row["output_ids"]) for row in found)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("beams, early", [(4, False), (4, True), (10, "never"), (10, False)])
def test_beams_are_those_of_transformers(models, family, beams, early):
    reference, ours = models(family)
    options = dict(num_beams=beams, length_penalty=0.8, no_repeat_ngram_size=4, early_stopping=early, max_new_tokens=15)
    ends = [5, 9, 23, 40]
    for prompt, row in zip(PROMPTS, ours.generate(PROMPTS, eos_token_id=ends, **options)):
        wanted, found = reference_ids(reference, prompt, eos_token_id=ends, do_sample=False, **options)
        assert row["output_ids"] == wanted
        assert row["score"] == pytest.approx(found.sequences_scores[0].item(), rel=1e-4)


def test_no_ngram_is_repeated(models):
    reference, ours = models("gpt2")
    options = dict(max_new_tokens=30, no_repeat_ngram_size=2, eos_token_id=-1)
    (row,) = ours.generate([[4, 4, 4]], **options)
    wanted, _ = reference_ids(reference, [4, 4, 4], do_sample=False, **{**options, "eos_token_id": None})
    assert row["output_ids"] == wanted
    everything = [4, 4, 4, *row["output_ids"]][1:]
    pairs = list(zip(everything, everything[1:]))
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("options", [{}, {"num_beams": 4}, {"do_sample": True}], ids=str)
def test_one_prompt_does_not_depend_on_the_others_nor_on_threads(models, options):
    _, ours = models("llama")
    together = ours.generate(PROMPTS, max_new_tokens=9, **options)
    _pst.set_num_threads(2)
    try:
        assert ours.generate(PROMPTS, max_new_tokens=9, **options) == together
    finally:
        _pst.set_num_threads(1)
    # More prompts than are gone on with at once, in another order; draws are by a prompt's number.
    several = ours.generate(PROMPTS * 3, max_new_tokens=9, **options)
    assert several[:4] == together
    if "do_sample" not in options:
        assert several[4:] == together * 2
        for prompt, row in zip(PROMPTS, together):
            assert ours.generate([prompt], max_new_tokens=9, **options)[0]["output_ids"] == row["output_ids"]


def test_draws_follow_the_seed(models):
    _, ours = models("gpt2")
    draw = lambda **options: [row["output_ids"] for row in ours.generate([[3, 7]] * 4, do_sample=True, max_new_tokens=8, **options)]  # noqa: E731
    first = draw(seed=1)
    assert draw(seed=1) == first
    assert draw(seed=2) != first
    assert len(set(map(tuple, first))) == 4


@pytest.mark.parametrize("options", [{"top_k": 0}, {"temperature": 0.5, "top_k": 7}, {"top_p": 0.6, "top_k": 0}], ids=str)
def test_draws_have_the_probabilities_of_the_softmax(models, options):
    reference, ours = models("llama")
    prompt, count = [3, 17, 40], 3000
    with torch.no_grad():
        scores = reference(torch.tensor([prompt])).logits[0, -1].numpy() / options.get("temperature", 1)
    weights = np.exp(scores - scores.max())
    order = np.argsort(-weights)
    if kept := options.get("top_k"):
        weights[order[kept:]] = 0
    if "top_p" in options:
        # The fewest that have the share together.
        shares = np.cumsum(weights[order]) / weights.sum()
        weights[order[np.searchsorted(shares, options["top_p"]) + 1 :]] = 0
    probabilities = weights / weights.sum()
    rows = ours.generate([prompt] * count, do_sample=True, max_new_tokens=1, seed=5, **options)
    found = np.bincount([row["output_ids"][0] for row in rows], minlength=len(weights)) / count
    assert (found[probabilities == 0] == 0).all()
    deviation = np.sqrt(probabilities * (1 - probabilities) / count)
    assert (np.abs(found - probabilities) <= 4.5 * deviation + 1e-9).all()


def test_weights_are_read_by_their_elements_alone(models):
    """Of a compressed weight, no step gets more than what is kept of it."""
    _, ours = models("gpt2")
    ours.generate(PROMPTS[:1], max_new_tokens=2)
    program = _pst.compile_model(ours.directory, pst.generating.program_settings(ours.options, 4, 32))
    manifest = json.loads(program.manifest)
    stored = pst.compiled.compressed_weights(manifest)
    assert len(stored) == 12
    for name in ("prefill", "decode"):
        parameters = {argument["name"] for argument in manifest["entry_points"][name]["arguments"] if argument["kind"] == "parameter"}
        assert parameters and not parameters & set(stored)


def test_what_is_wrong_is_said(models):
    _, ours = models("gpt2")
    for prompts, options, error, told in (
        ([[1], []], {}, pst.Error, "prompt 1 has no token"),
        ([[1, WORDS]], {}, pst.Error, f"prompt 0 has the token {WORDS}, but the model's are 0 to {WORDS - 1}"),
        ([[-1]], {}, pst.Error, "prompt 0 has the token -1"),
        ([[1] * 101], {"max_new_tokens": 20}, pst.DataError, "has 101 tokens, and 20 are to follow .* 120 positions"),
        ([["a"]], {}, pst.DataError, "the prompts:1: expected a text"),
        ([[1]], {"max_new_tokens": 0}, ValueError, "--max_new_tokens must be positive, but is 0"),
        ([[1]], {"temperature": 0}, ValueError, "--temperature must be positive, but is 0"),
        ([[1]], {"num_beams": 2, "do_sample": True}, ValueError, "leave one of them out"),
        ([[1]], {"max_new_token": 3}, TypeError, "did you mean 'max_new_tokens'"),
    ):
        with pytest.raises(error, match=told):
            ours.generate(prompts, **options)
    with pytest.raises(pst.CompileError, match='"n_positions" is 120, too few for the length 121'):
        pst.compile(ours.directory, cache_length=121, task="lm")
    with pytest.raises(pst.CompileError, match="which trains nothing"):
        pst.compile(ours.directory, cache_length=12, training=True)
    with pytest.raises(pst.CompileError, match="--cache_length 12 is not for --target emulated"):
        pst.compile(ours.directory, cache_length=12, target="emulated")
    program = pst.compile(ours.directory, sequence_length=8)
    with pytest.raises(pst.Error, match="the program does not generate texts"):
        _pst.generate(_pst.Model(program.program, ours.directory), [[1]], _pst.GenerationOptions(), ours.directory)


def test_end_of_text_is_that_of_the_files(models):
    """generation_config.json's tokens go before config.json's; flags go before both."""
    _, ours = models("llama")
    free = ours.generate([[3, 4]], eos_token_id=-1, max_new_tokens=12)[0]["output_ids"]
    ends = [next(token for token in free if token != 5), 59]
    file = pathlib.Path(ours.directory, "generation_config.json")
    try:
        file.write_text(json.dumps({"eos_token_id": ends}))
        row = ours.generate([[3, 4]], max_new_tokens=12)[0]
        assert row == {"output_ids": free[: free.index(ends[0]) + 1], "finish_reason": "stop"}
        assert ours.generate([[3, 4]], max_new_tokens=12, eos_token_id=-1)[0]["output_ids"] == free
        file.write_text("{")
        with pytest.raises(pst.Error, match="generation_config.json: no valid JSON"):
            ours.generate([[3, 4]])
    finally:
        file.unlink()


@pytest.fixture(scope="module")
def speaking(tmp_path_factory):
    """A model whose tokens are bytes, and the end of a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("speaking")
    test_gpt2.save_model(folder, n_positions=120, vocab_size=257, eos_token_id=256, n_layer=1)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({**{letter: i for i, letter in enumerate(alphabet)}, "<|endoftext|>": 256}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"})
    )
    return folder


def test_texts_are_those_of_the_tokenizer(speaking):
    ours = pst.load(speaking)
    pieces = {0: "", 1: ""}

    def hear(number, text):
        pieces[number] += text

    rows = ours.generate(["Käse", "a b"], max_new_tokens=40, on_text=hear)
    tokenizer = transformers.AutoTokenizer.from_pretrained(speaking)
    for number, (text, row) in enumerate(zip(["Käse", "a b"], rows)):
        ids = tokenizer(text)["input_ids"]
        assert row["text"] == tokenizer.decode([*ids, *row["output_ids"]], skip_special_tokens=True)[len(text) :]
        assert pieces[number] == row["text"]
    assert ours.generate("Käse", max_new_tokens=40)[0] == rows[0]


def test_commands_say_what_python_says(speaking, tmp_path, capsys):
    prompts = ["Käse", "a b", "x"]
    wanted = pst.load(speaking).generate(prompts, max_new_tokens=12, num_beams=3)
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    argv = ["generate", "--model_name_or_path", speaking, "--max_new_tokens", 12]
    status, out, err = run_pst(capsys, *argv, "--file", tmp_path / "p.jsonl", "--num_beams", 3)
    assert status == 0, err
    assert [json.loads(line) for line in out.splitlines()] == wanted
    assert "tokens/s" in err
    status, out, err = run_pst(capsys, *argv, "--prompt", "Käse")
    assert (status, out) == (0, pst.load(speaking).generate("Käse", max_new_tokens=12)[0]["text"] + "\n")
    status, _, err = run_pst(capsys, *argv)
    assert status == 1 and "either --prompt TEXT or --file FILE" in err

    compile_ = ["compile", "--model_name_or_path", speaking, "--bundle", tmp_path / "b", "--cache_length", 40]
    status, _, err = run_pst(capsys, *compile_, "--for", "inference")
    assert status == 1 and "--cache_length is of --for generation" in err
    status, _, err = run_pst(capsys, *compile_, "--for", "generation", "--per_device_eval_batch_size", 4)
    assert status == 0, err
    tokenizer = transformers.AutoTokenizer.from_pretrained(speaking)
    lines = "".join(json.dumps({"input_ids": tokenizer(text)["input_ids"]}) + "\n" for text in prompts)

    def pst_run(lines, *flags):
        argv = [BUILD / "bin" / "pst-run", "generate", "--bundle", tmp_path / "b", "--model", speaking, "--file", "-", *flags]
        return subprocess.run(list(map(str, argv)), input=lines, capture_output=True, text=True, env={})

    done = pst_run(lines, "--max_new_tokens", 12, "--num_beams", 3)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["output_ids"] for row in found] == [row["output_ids"] for row in wanted]
    assert "tokens/s" in done.stderr
    for text, flags, told in (
        ('{"input_ids": [1, 257]}\n', (), 'standard input:1: "input_ids" has 257'),
        (json.dumps({"input_ids": [1] * 30}), ("--max_new_tokens", 11), "prompt 0 has 30 tokens, and 11 are to follow"),
        ('{"input_ids": [1]}\n', ("--num_beams", 5), "--num_beams is 5, but the program follows 4 texts at once"),
    ):
        done = pst_run(text, *flags)
        assert done.returncode == 1 and told in done.stderr, done.stderr
