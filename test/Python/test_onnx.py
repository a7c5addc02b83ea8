# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst export --format onnx`: ONNX Runtime gives our logits, for every head,
of batches and lengths other than those that the file was made with."""

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from conftest import WORDS  # noqa: E402
from test_cli import refuse, run  # noqa: E402

import pst  # noqa: E402

transformers.utils.logging.disable_progress_bar()

SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 18,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 26,
    "max_position_embeddings": 43,
}


def write(directory, family="Bert", head="Sequence", **changes):
    """A random encoder, nine tenths of its layers zeros."""
    torch.manual_seed(3)
    config = getattr(transformers, family + "Config")(**{**SIZES, **changes})
    model = getattr(transformers, f"{family}For{head}Classification")(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.4 + ("LayerNorm.weight" in name))
            if value.dim() == 2 and ".layer." in name:
                value[torch.rand_like(value) < 0.9] = 0
    model.save_pretrained(directory)
    if family == "Bert":
        (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        settings = {"tokenizer_class": "BertTokenizer"}
    else:
        (directory / "vocab.json").write_text(json.dumps({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5}))
        (directory / "merges.txt").write_text("#version: 0.2\n")
        settings = {"tokenizer_class": "RobertaTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return model


# A head: labels, and what config.json says of them.
@pytest.mark.parametrize("family, head, changes", [
    ("Bert", "Sequence", {"num_labels": 3}),
    ("Bert", "Token", {"num_labels": 5, "hidden_act": "gelu_new"}),
    ("Roberta", "Sequence", {"num_labels": 1, "problem_type": "regression", "type_vocab_size": 1}),
    ("Roberta", "Token", {"num_labels": 4, "type_vocab_size": 1}),
])  # fmt: skip
def test_logits_are_ours(tmp_path, capsys, family, head, changes):
    model = write(tmp_path / "m", family, head, **changes)
    status, out, err = run(capsys, "export", tmp_path / "m", "--output_dir", tmp_path / "o", "--format", "onnx")
    assert status == 0 and err == "", err
    told = dict(line.split(": ", 1) for line in out.splitlines())
    assert 0 <= float(told["largest_difference"]) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "o" / "model.onnx", providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    assert names == ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "Bert")
    assert {tuple(node.shape) for node in session.get_inputs()} == {("batch_size", "sequence_length")}
    rng, pad = np.random.default_rng(5), model.config.pad_token_id
    compiled = pst.compile(tmp_path / "m", batch_size=5, sequence_length=23)
    for shape in ((5, 23), (1, 1), (3, 2)):
        ids = rng.integers(5, len(WORDS), shape)
        mask = (np.arange(shape[1]) < rng.integers(1, shape[1] + 1, shape[0])[:, None]).astype(np.int64)
        batch = {"input_ids": np.where(mask, ids, pad), "attention_mask": mask, "token_type_ids": rng.integers(0, 2, shape)}
        batch = {name: batch[name] for name in names}
        (found,) = session.run(["logits"], batch)
        with torch.no_grad():
            expected = model.double()(**{name: torch.from_numpy(value) for name, value in batch.items()}).logits.numpy()
        kept = mask.astype(bool) if head == "Token" else slice(None)
        assert np.abs(expected).max() > 0.1 and np.abs(found - expected)[kept].max() < 1e-4
        if shape == (5, 23):
            ours = compiled(**{name: value.astype(np.int32) for name, value in batch.items()})
            assert np.abs(ours.reshape(found.shape) - found)[kept].max() < 1e-4
    # As transformers and Optimum look for them.
    assert transformers.AutoConfig.from_pretrained(tmp_path / "o").num_labels == changes["num_labels"]
    assert (tmp_path / "o" / "tokenizer_config.json").exists() and not list((tmp_path / "o").glob("*.safetensors"))
    card = (tmp_path / "o" / "README.md").read_text()
    assert "ONNX Runtime multiplies them like any number" in card and told["zeros"] in card


def test_a_compressed_model_gives_the_same_file(tmp_path, capsys):
    write(tmp_path / "m", num_labels=2)
    assert run(capsys, "export", tmp_path / "m", "--output_dir", tmp_path / "c", "--format", "compressed")[0] == 0
    ones = np.ones((2, 7), np.int64)
    batch = {"input_ids": np.arange(5, 19).reshape(2, 7), "attention_mask": ones, "token_type_ids": 0 * ones}
    logits, files = [], []
    for source in ("m", "c"):  # the second over the first
        argv = ["export", tmp_path / source, "--output_dir", tmp_path / "o", "--format", "onnx", "--overwrite_output_dir"]
        assert run(capsys, *argv)[0] == 0
        logits += onnxruntime.InferenceSession(tmp_path / "o" / "model.onnx").run(["logits"], batch)
        files.append(sorted(path.name for path in (tmp_path / "o").iterdir()))
    assert (logits[0] == logits[1]).all() and files[0] == files[1]
    assert "quantization_config" not in json.loads((tmp_path / "o" / "config.json").read_text())


def test_what_it_cannot_do_is_refused(tmp_path, capsys, monkeypatch):
    write(tmp_path / "m", num_labels=2)

    def refused(message, *more):
        assert message in refuse(capsys, "export", tmp_path / "m", "--output_dir", tmp_path / "o", "--format", "onnx", *more)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]

    refused("--value_type is of --format compressed and gguf, not of onnx", "--value_type", "bf16")
    config = tmp_path / "m" / "config.json"
    stored = config.read_text()
    config.write_text(stored.replace("BertForSequenceClassification", "LlamaForCausalLM"))
    refused("the model is LlamaForCausalLM; known are: BertForSequenceClassification, BertForTokenClassification, Roberta")
    config.write_text(json.dumps(json.loads(stored) | {"num_hidden_layers": 2}))
    refused("the model lacks the tensor bert.encoder.layer.1.")
    config.write_text(stored)

    class Other(onnxruntime.InferenceSession):
        def run(self, *args):
            return [super().run(*args)[0] * 1.01]

    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", Other)
        refused("gives other logits than PyTorch")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused("'pip install torch transformers onnx onnxscript'")
