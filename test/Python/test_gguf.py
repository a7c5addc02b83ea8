# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst export --format gguf`: what transformers reads of the file, and what
llama.cpp computes from it (llama_cpp.py), are our model and our tokens."""

import collections
import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("accelerate", reason="transformers reads GGUF by accelerate")

import smollm2  # noqa: E402
import tokenizers  # noqa: E402
from llama_cpp import File  # noqa: E402
from test_cli import refuse, run  # noqa: E402
from test_llama import LINEAR, LLAMA3, YARN, save_model  # noqa: E402
from test_llama_tokenizers import CORPUS, TEXTS, llama, qwen2  # noqa: E402

from pst.gguf_tokenizer import _LLAMA3_WORDS  # noqa: E402
from pst.tokenizer import Tokenizer  # noqa: E402

transformers.utils.logging.disable_progress_bar()

# Of what llama.cpp leaves as it is: it does not compose letters, and cuts special tokens out first.
PLAIN = [text for text in TEXTS if "<" not in text and text != ""]


def spelled():
    """As converted SentencePiece models are: what is merged most often comes
    first, with all pairs that make it one after the other. The library's own
    training breaks ties by chance, and this cuts the same on each day."""
    words = [["▁", *word] for text in CORPUS for word in text.split()]
    made = {}
    for _ in range(60):
        counts = collections.Counter(pair for word in words for pair in zip(word, word[1:]))
        a, b = max(counts, key=lambda pair: (counts[pair], pair))
        made[a + b] = None
        for word in words:
            for i in range(len(word) - 2, -1, -1):
                if word[i : i + 2] == [a, b]:
                    word[i : i + 2] = [a + b]
    impl, settings, kind = llama()
    spec = json.loads(impl.to_str())
    special = [token["content"] for token in spec["added_tokens"]]
    alphabet = sorted({letter for text in CORPUS for letter in text} - {" "} | {"▁"})
    tokens = dict.fromkeys([*special, *alphabet, *made, *(f"<0x{byte:02X}>" for byte in range(256))])
    spec["model"]["vocab"] = {text: i for i, text in enumerate(tokens)}
    spec["model"]["merges"] = [[text[:i], text[i:]] for text in made for i in range(1, len(text)) if {text[:i], text[i:]} <= tokens.keys()]
    return tokenizers.Tokenizer.from_str(json.dumps(spec)), settings, kind


def bytes_tokenizer(*parts, normalizer=None, **more):
    from tokenizers import models, pre_tokenizers, trainers

    impl = tokenizers.Tokenizer(models.BPE(**more))
    impl.pre_tokenizer = pre_tokenizers.Sequence(list(parts)) if len(parts) > 1 else parts[0]
    if normalizer:
        impl.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    impl.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False))
    impl.add_special_tokens(["<|endoftext|>"])
    return impl


def write(directory, make=spelled, **changes):
    """A random model with a tokenizer; returns it in float64."""
    impl, settings, _ = make()
    model = save_model(directory, vocab_size=impl.get_vocab_size() + 3, **changes)
    impl.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return model


def export(capsys, source, target, *more):
    status, out, err = run(capsys, "export", source, "--output_dir", target, "--format", "gguf", *more)
    assert status == 0, err
    return dict(line.split(": ", 1) for line in out.splitlines()), err, File(target / "model.gguf")


# name: class, changes
MODELS = {
    "llama": ("Llama", {}),
    "wide heads, biases": ("Llama", {"hidden_size": 30, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 22,
                                      "attention_bias": True, "mlp_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 70.0}}),
    "linear": ("Llama", {"rope_parameters": LINEAR, "rms_norm_eps": 1e-3}),
    "llama3": ("Llama", {"rope_parameters": LLAMA3, "num_key_value_heads": 3, "tie_word_embeddings": True}),
    "yarn": ("Llama", {"rope_parameters": YARN}),
    "mistral": ("Mistral", {"sliding_window": None, "head_dim": 10}),
    "mistral, a window that is never left": ("Mistral", {"sliding_window": 41}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, yarn": ("Qwen2", {"rope_parameters": {**YARN, "attention_factor": 0.1 * np.log(4.0) + 1}}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_ours(tmp_path, capsys, name):
    family, changes = MODELS[name]
    reference = write(tmp_path / "m", family=family, **changes)
    told, _, file = export(capsys, tmp_path / "m", tmp_path / "g")
    assert set(file.kinds.values()) == {"F32"} and told["matrices"] == f"{sum(len(v.shape) == 2 for v in file.tensors.values())} F32"
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["README.md", "model.gguf"]
    ids = np.random.default_rng(3).integers(0, reference.config.vocab_size, 37)
    with torch.no_grad():
        expected = reference(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()
    assert np.abs(expected).max() > 1
    # transformers rounds angles to f32.
    assert np.abs(file.logits(ids) - expected).max() < 5e-5
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "g", gguf_file="model.gguf").state_dict()
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m").state_dict()
    # transformers has no place for biases of a Llama, nor writes them.
    missing = set(ours) - set(read)
    assert read.keys() <= ours.keys() and (not missing or "biases" in name and all(key.endswith(".bias") for key in missing))
    assert all(torch.equal(read[key], ours[key]) for key in read)


def gpt2_like():
    from tokenizers import pre_tokenizers

    return bytes_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False)), {"tokenizer_class": "PreTrainedTokenizerFast"}, "llama"


def smollm_like():
    from tokenizers import pre_tokenizers

    parts = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    return bytes_tokenizer(*parts), {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}, "llama"


def llama3_like():
    from tokenizers import Regex, pre_tokenizers

    parts = pre_tokenizers.Split(Regex(_LLAMA3_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    impl = bytes_tokenizer(*parts, ignore_merges=True)
    return impl, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>"}, "llama"


@pytest.mark.parametrize("make, pre, family, known", [
    (gpt2_like, "gpt-2", "Llama", True), (smollm_like, "smollm", "Llama", False), (llama3_like, "llama-bpe", "Llama", True),
    (qwen2, "qwen2", "Qwen2", True), (spelled, "default", "Llama", True),
])  # fmt: skip
def test_the_tokens_are_ours(tmp_path, capsys, make, pre, family, known):
    write(tmp_path / "m", make, family=family, num_hidden_layers=1)
    _, err, file = export(capsys, tmp_path / "m", tmp_path / "g")
    ours, fields = Tokenizer(tmp_path / "m"), file.fields
    expected = ours.encode_pieces(PLAIN, "")
    assert fields["tokenizer.ggml.pre"] == pre and "warning" not in err
    assert [text for text in PLAIN if "\N{SNOWMAN}" in text] and any("123456" in text for text in PLAIN)
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == file.get("vocab_size") and tokens[-3:] == [f"[PAD{len(tokens) - i}]" for i in (3, 2, 1)]
    assert all(tokens[i] == text for text, i in ours.spec()["model"]["vocab"].items())
    types = fields["tokenizer.ggml.token_type"]
    assert types[-3:] == [5, 5, 5]
    if make is spelled:
        # A text that begins with a space gets another one from llama.cpp, as from SentencePiece, and none from us.
        space = [[tokens.index("▁")] if text.startswith(" ") else [] for text in PLAIN]
        assert any(space) and [file.pieces(text) for text in PLAIN] == [more + ids for more, ids in zip(space, expected)]
        assert (types[tokens.index("<unk>")], types[tokens.index("</s>")], types[tokens.index("<0x41>")]) == (2, 3, 6)
        assert fields["tokenizer.ggml.add_bos_token"] and not fields["tokenizer.ggml.add_eos_token"]
        assert [tokens[fields[f"tokenizer.ggml.{name}_token_id"]] for name in ("bos", "eos", "unknown")] == ["<s>", "</s>", "<unk>"]
    else:
        assert types[tokens.index("<|endoftext|>")] == 3 and not fields["tokenizer.ggml.add_space_prefix"]
    if known:  # by transformers, which takes any other for GPT-2's
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "g", gguf_file="model.gguf")
        assert [theirs(text, add_special_tokens=False)["input_ids"] for text in PLAIN] == expected


def test_a_template_and_odd_merges_are_told(tmp_path, capsys):
    write(tmp_path / "m", llama, num_hidden_layers=1)
    (tmp_path / "m" / "chat_template.jinja").write_text("{{ messages }}")
    _, err, file = export(capsys, tmp_path / "m", tmp_path / "g")
    assert "no merge for each pair that makes it" in err
    assert file.fields["tokenizer.chat_template"] == "{{ messages }}"


def test_values_are_rounded_within_what_is_told(tmp_path, capsys):
    """Rows of 64 columns share scales by halves; those of 53 stay bf16."""
    write(tmp_path / "m", hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1)
    _, _, whole = export(capsys, tmp_path / "m", tmp_path / "f")
    told, err, file = export(capsys, tmp_path / "m", tmp_path / "q", "--value_type", "int8")
    odd = "blk.0.ffn_down.weight"
    assert {name for name, kind in file.kinds.items() if kind == "BF16"} == {odd}
    assert "1 matrices are stored as bf16 and not as int8" in err and told["matrices"] == "8 Q8_0, 1 BF16"
    differences = {name: np.abs(whole.tensors[name].astype(np.float64) - value) for name, value in file.tensors.items()}
    assert all((differences[name] == 0).all() for name, kind in file.kinds.items() if kind == "F32")
    rounded = max(differences[name].max() for name, kind in file.kinds.items() if kind == "Q8_0")
    assert 0 < rounded <= float(told["int8_bound"]) * 1.00001 and float(told["int8_largest_difference"]) == pytest.approx(rounded, rel=1e-4)
    # A step is a 127th of the largest of 32.
    for name, kind in file.kinds.items():
        if kind == "Q8_0":
            steps = np.abs(whole.tensors[name].reshape(-1, 32)).max(1, keepdims=True) / 127
            assert (differences[name].reshape(-1, 32) <= steps * (0.5 + 127 * 2**-11 + 1e-3)).all()
    card = (tmp_path / "q" / "README.md").read_text()
    assert "with matrices of int8 (a weight differs by" in card and told["zeros"] in card
    _, _, narrow = export(capsys, tmp_path / "m", tmp_path / "b", "--value_type", "bf16")
    for name, value in narrow.tensors.items():
        expected = torch.tensor(whole.tensors[name])
        assert torch.equal(torch.tensor(value), expected.bfloat16().float() if expected.dim() == 2 else expected)
    assert narrow.fields["general.file_type"] == 32 and file.fields["general.file_type"] == 7 and whole.fields["general.file_type"] == 0


def test_any_source_gives_the_same_file(tmp_path, capsys):
    write(tmp_path / "m", num_hidden_layers=1, hidden_size=12, num_attention_heads=2, intermediate_size=20)
    (tmp_path / "t.txt").write_text("\n".join(CORPUS[:16]) + "\n")
    status, _, err = run(
        capsys, "train", "--model_name_or_path", tmp_path / "m", "--train_file", tmp_path / "t.txt", "--output_dir", tmp_path / "run", "--task", "lm",
        "--block_size", 16, "--max_steps", 2, "--sparsity", 0.75, "--initial_warmup", 0, "--final_warmup", 0.5, "--learning_rate", 1e-2,
        "--weight_rank", 2, "--mask_rank", 2, "--selection", "topk", "--report_to", "none",
    )  # fmt: skip
    assert status == 0, err
    for form in ("compressed", "adapter"):
        assert run(capsys, "export", tmp_path / "run", "--output_dir", tmp_path / form, "--format", form)[0] == 0
    files = {}
    for source, more in (("run", ()), ("run/model", ()), ("compressed", ()), ("adapter", ("--base", tmp_path / "m"))):
        told, _, file = export(capsys, tmp_path / source, tmp_path / "g", "--overwrite_output_dir", *more)
        del file.fields["general.name"]
        files[source] = (file.fields, {name: value.tobytes() for name, value in file.tensors.items()})
        assert (tmp_path / "g" / "README.md").read_text().count("## Files\n") == 1
    assert all(file == files["run"] for file in files.values())
    zeros = np.mean([(file.tensors[f"blk.0.{name}.weight"] == 0).mean() for name in ("attn_q", "ffn_up", "ffn_down")])
    assert zeros == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("family, changes, message", [
    ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, '"rope_type" is \'dynamic\''),
    ("Qwen2", {"rope_parameters": LLAMA3}, "it has for default, linear, yarn. If"),
    ("Llama", {"rope_parameters": {**YARN, "attention_factor": 1.5}}, '"attention_factor" of "yarn" is 1.5'),
    ("Mistral", {"sliding_window": 5}, '"sliding_window" is 5, but the runtimes of GGUF let this model see all of 41'),
    ("Qwen2", {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 0}, '"sliding_window" is 33'),
    ("Llama", {"hidden_act": "gelu"}, '"hidden_act" is \'gelu\''),
])  # fmt: skip
def test_what_the_runtimes_compute_otherwise_is_refused(tmp_path, capsys, family, changes, message):
    write(tmp_path / "m", family=family, num_hidden_layers=1, **changes)
    assert message in refuse(capsys, "export", tmp_path / "m", "--output_dir", tmp_path / "g", "--format", "gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_what_gguf_cannot_hold_is_refused(tmp_path, capsys, monkeypatch):
    from tokenizers import pre_tokenizers

    model = tmp_path / "m"

    def refused(message, *more):
        assert message in refuse(capsys, "export", model, "--output_dir", tmp_path / "g", "--format", "gguf", *more)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]

    write(model, num_hidden_layers=1)
    refused("--embedding_type is of --format compressed, not of gguf", "--embedding_type", "int8")
    refused("files of gguf are for other runtimes to evaluate", "--value_type", "int8", "--validation_file", "x")
    stored = (model / "tokenizer.json").read_text()
    (model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    bytes_tokenizer(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)).save(str(model / "tokenizer.json"))
    refused("in a way for which --format gguf knows no name of llama.cpp's: WhitespaceSplit, ByteLevel; known are those of: gpt-2, smollm")
    spec = json.loads(stored)
    spec["model"]["vocab"]["far"] = 9999
    (model / "tokenizer.json").write_text(json.dumps(spec))
    refused("gives 'far' the id 9999, but the model has")
    (model / "tokenizer.json").write_text(stored)
    config = json.loads((model / "config.json").read_text())
    for changes, message in (({"architectures": ["LlamaForSequenceClassification"]}, "the model is LlamaForSequenceClassification; known are: LlamaForC"),
                             ({"intermediate_size": 54}, "has the shape [53, 42], but "),
                             ({"num_hidden_layers": 2}, "the model lacks the tensor model.layers.1."),
                             ({"tie_word_embeddings": None, "partial_rotary_factor": 0.5}, '"partial_rotary_factor" is 0.5')):  # fmt: skip
        (model / "config.json").write_text(json.dumps(config | changes))
        refused(message)
    (model / "config.json").write_text(json.dumps(config))
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused("--format gguf is written by the package gguf: 'pip install gguf'")


def test_smollm2_is_what_its_makers_wrote(tmp_path, capsys):
    """Their file, read by transformers, and written again. What is lost on the
    way: names of the model, and how its tokenizer finds words."""
    if smollm2.missing():
        pytest.skip(f"SmolLM2 needs what is not installed: {smollm2.missing()}")
    smollm2.write(tmp_path / "m")
    _, _, ours = export(capsys, tmp_path / "m", tmp_path / "g")
    theirs = File(smollm2._file())
    differing = {key for key in theirs.fields | ours.fields if theirs.fields.get(key) != ours.fields.get(key)}
    names = {f"general.{name}" for name in "name organization finetune basename size_label license languages file_type".split()}
    assert differing <= names | {"GGUF.kv_count", "tokenizer.ggml.pre", "tokenizer.ggml.add_eos_token"}
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all((ours.tensors[name] == theirs.tensors[name]).all() for name in ours.tensors)
