# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The bits of small runs, as they were kept: a change that should move code only must leave them as they are.

Losses, norms of gradients, logits, masks, trained parameters and exported weights of six steps, for each model and
method, against the digests in Inputs/digests.json. The other tests say whether numbers are right; these say whether
they are the same as before.

A change that is meant to change bits (another order of additions, another formula) writes the digests anew, and says so
in its commit:

    python test/Python/test_digests.py --write             # all
    python test/Python/test_digests.py --write bert-pst    # those whose name holds one of the words

Digests do not depend on the machine: CPU, vectors and blocks are fixed. So that a library that draws other random
numbers does not look like a compiler that computes others, the models and batches have digests too.
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, gpt2_tensors, llama_tensors, write_model

from pst import TensorFile, _pst, write_tensors

KEPT = pathlib.Path(__file__).with_name("Inputs") / "digests.json"
CPU = "x86-64-v3"  # 8 lanes, as in most machines; others need not apply
BATCH, LENGTH, EXAMPLES = 4, 9, 12
# The sparsity of each step: from dense to where products take their compressed form.
SPARSITIES = (0.0, 0.3, 0.5, 0.7, 0.9, 0.9)

BERT = CONFIG | {"hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 1, "num_labels": 3}
GPT2 = {"model_type": "gpt2", "vocab_size": len(WORDS), "n_positions": 13, "n_embd": 24, "n_layer": 1, "n_head": 3}
GPT2 |= {"pad_token_id": 0, "num_labels": 3} | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.1)
ROBERTA = BERT | {"architectures": ["RobertaForSequenceClassification"], "model_type": "roberta", "type_vocab_size": 1}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(WORDS), "hidden_size": 24}
LLAMA |= {"intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1}
LLAMA |= {"max_position_embeddings": 13, "pad_token_id": 0}
MODELS = {
    "bert": (BERT, lambda: bert_tensors(BERT), {}),
    "roberta": (ROBERTA, lambda: bert_tensors(ROBERTA, prefix="roberta."), {}),
    "gpt2": (GPT2 | {"architectures": ["GPT2ForSequenceClassification"]}, lambda: gpt2_tensors(GPT2), {}),
    "gpt2lm": (GPT2 | {"architectures": ["GPT2LMHeadModel"]}, lambda: gpt2_tensors(GPT2), {"task": "lm"}),
    "llama": (LLAMA, lambda: llama_tensors(LLAMA), {"task": "lm"}),
}  # fmt: skip
RANKS = {"weight_rank": 3, "mask_rank": 5, "weight_beta": 0.75, "mask_alpha1": 0.5, "mask_alpha2": 1.25}
METHODS = {
    "pst": RANKS | {"selection": "topk"},
    "dense": {},
    "lora": {"weight_rank": 4, "weight_beta": 1.5},
    "map": {"selection": "topk"},
    "mvp": {},
}
# Of the parts of those, with other scores or another selection: for one model.
VARIANTS = {
    "global": RANKS | {"method": "pst"},
    "pst_wanda": RANKS,
    "sparse_lora": {"weight_rank": 4, "weight_beta": 1.5},
    "wanda": {"weight_rank": 4, "weight_beta": 1.5},
    "ria": {"weight_rank": 4, "weight_beta": 1.5},
}
MEASURED = ("pst_wanda", "wanda", "ria")  # what layers have read is in their scores
NOT_PRUNING = ("dense", "lora")
TARGETS = {
    "cpu": {},
    "emulated": {"target": "emulated", "gpu_arch": "sm_80"},
    "tf32": {"target": "emulated", "gpu_arch": "sm_80", "precision": "tf32"},
    "bf16": {"target": "emulated", "gpu_arch": "sm_90a", "precision": "bf16", "frozen_type": "bf16"},
}
CASES = [(model, method, "cpu") for model in MODELS for method in METHODS] + [("bert", method, "cpu") for method in VARIANTS]
CASES += [("bert", method, "emulated") for method in (*METHODS, "global")]
CASES += [("gpt2lm", "pst", "emulated"), ("gpt2", "map", "emulated"), ("llama", "pst", "emulated")]
CASES += [("bert", "pst", "bf16"), ("gpt2lm", "mvp", "bf16"), ("roberta", "lora", "bf16"), ("gpt2lm", "pst", "tf32")]
NAMES = ["-".join(case) for case in CASES]


def supported():
    """Whether code for CPU runs here."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return {"avx2", "fma", "bmi2", "f16c"} <= set(flags)


def digest(arrays):
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def batch(config, task):
    """Examples with padding at their ends."""
    rng = np.random.default_rng(2)
    ids = rng.integers(5, config["vocab_size"], (EXAMPLES, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH) < rng.integers(2, LENGTH + 1, (EXAMPLES, 1))).astype(np.int32)
    ids *= mask  # 0 pads
    if task == "lm":
        return {"input_ids": ids, "attention_mask": mask, "labels": np.where(mask, ids, -100).astype(np.int32)}
    labels = rng.integers(0, config["num_labels"], EXAMPLES).astype(np.int32)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids), "labels": labels}


def calibration(tensors):
    """What a calibration would have measured of a BERT's layers."""
    rng = np.random.default_rng(3)
    measured = {}
    for name, weight in tensors.items():
        if ".encoder." in name and weight.ndim == 2:
            rows, columns = weight.shape
            for suffix, size in (("", columns), (".relative", columns), (".rows", rows), (".columns", columns)):
                measured[name + suffix] = rng.uniform(0.2, 3.0, size).astype(np.float32)
    return measured


def digests(folder, model, method, target):
    """Trains, and digests what can be seen of it."""
    config, tensors, options = MODELS[model]
    tensors = tensors()
    directory = write_model(folder / "model", config, tensors)
    options = options | TARGETS[target] | {"method": method, "training": True} | (METHODS | VARIANTS)[method]
    options |= {"batch_size": BATCH, "sequence_length": LENGTH}
    options |= {"cpu": CPU}
    if target == "cpu":
        options |= {"vector_width": 8, "blocks": (24, 64, 400)}
    measured = calibration(tensors) if method in MEASURED else {}
    if measured:
        options["calibration_file"] = str(folder / "calibration.safetensors")
        write_tensors(options["calibration_file"], measured)
    trained = _pst.Model(_pst.compile_model(str(directory), options), str(directory), 5)
    inputs = batch(config, options.get("task"))
    data = _pst.Dataset.of(inputs)
    losses, norms = [], []
    sparsities = [0.0] * len(SPARSITIES) if method in NOT_PRUNING else SPARSITIES
    for step, sparsity in enumerate(sparsities):
        trained.select(sparsity)
        rows = [(step * BATCH + i) % EXAMPLES for i in range(BATCH)]
        losses.append(trained.forward_backward(data, rows, 1 / BATCH, step))
        norms.append(trained.apply(1e-2, step + 1, weight_decay=0.1, max_grad_norm=1.0))
    parameters = json.loads(trained.manifest)["parameters"]
    names = sorted(parameter["name"] for parameter in parameters if parameter["role"] == "trainable")
    evaluated = _pst.evaluate(trained, data, sparsities[-1])
    _pst.export_model(trained, sparsities[-1], str(folder / "exported"), False, "{}")
    exported = TensorFile(folder / "exported" / "model.safetensors")
    weights = [np.array(exported.read(name)) for name in sorted(exported.names())]
    return {
        "inputs": digest([*tensors.values(), *inputs.values(), *measured.values()]),
        "losses": digest([losses]),
        "gradient norms": digest([norms]),
        "evaluation": digest([evaluated["loss"]]),
        "parameters": digest(np.array(trained.parameter(name)) for name in names),
        "masks": digest(weight != 0 for weight in weights),
        "exported weights": digest(weights),
    }


@pytest.mark.skipif(not supported(), reason=f"this machine does not run code for {CPU}")
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_bits_are_as_kept(tmp_path, case):
    kept = json.loads(KEPT.read_text())["-".join(case)]
    found = digests(tmp_path, *case)
    if found["inputs"] != kept["inputs"]:
        pytest.skip(f"NumPy {np.__version__} draws other random numbers than the one that the digests are of")
    assert found == kept


def test_every_case_is_kept():
    assert sorted(json.loads(KEPT.read_text())) == sorted(NAMES)


def write(words):
    if not supported():
        sys.exit(f"this machine does not run code for {CPU}")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept = {name: value for name, value in kept.items() if name in NAMES}
    for name, case in zip(NAMES, CASES):
        if words and not any(word in name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = digests(pathlib.Path(folder), *case)
        if found != kept.get(name):
            print(name, "is another" if name in kept else "is new")
        kept[name] = found
    KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit("usage: test_digests.py --write [WORD...]")
    write(sys.argv[2:])
