# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""make_models.py FOLDER ARCHITECTURE: for pack.sh, a small BERT and a small GPT-2, without dropout, with padding and without.

FOLDER/NAME, and FOLDER/NAME-packed, gets the model, data, and for both precisions P = f32, bf16: a bundle
P for a GPU; one for x86 CPUs with AVX2, cpu-P, with frozen weights of that type;
the losses of 50 steps by it, recorded-P. With $PACK_EMULATION the GPU's kernels
for the stand-in are P.so.
"""

import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from conftest import CONFIG, WORDS, bert_tensors, gpt2_tensors, write_model

from pst import _pst, write_tensors

BATCH, LENGTH, EXAMPLES = 8, 24, 96
# Tokens that a batch has room for without padding: some batches have more, and go in parts.
CAPACITY = 128
# What `pst-run train` is given, here and there, and of the BERT one rate for all: at a higher rate what rounding does to
# the smallest gradients grows too fast to be told from an error.
TRAIN = {"max_steps": 50, "learning_rate": 2e-4, "sparsity": 0.5, "logging_steps": 1, "seed": 3, "save_strategy": "no"}


def write_bert(folder):
    config = CONFIG | {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4}
    write_model(folder / "model", config, bert_tensors(config))
    rng = np.random.default_rng(7)
    ids = rng.integers(5, len(WORDS), (EXAMPLES, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH) < rng.integers(4, LENGTH + 1, (EXAMPLES, 1))).astype(np.int32)
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids), "labels": ids[:, 0] % 2}
    write_tensors(folder / "data.safetensors", batch)
    return {"dropout": 0.0}, dict.fromkeys(("mask_learning_rate", "head_learning_rate"), TRAIN["learning_rate"])


def write_gpt2(folder):
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 211, "n_positions": 40}
    config |= {"n_embd": 64, "n_layer": 2, "n_head": 4} | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(config))
    write_tensors(folder / "model" / "model.safetensors", gpt2_tensors(config))
    rng = np.random.default_rng(8)
    # Each token says much of the next.
    ids = (rng.integers(0, 211, (EXAMPLES, 1)) + 3 * np.arange(LENGTH) + rng.integers(0, 3, (EXAMPLES, LENGTH))) % 211
    mask = np.arange(LENGTH) < rng.integers(4, LENGTH + 1, (EXAMPLES, 1))
    batch = {"input_ids": ids, "attention_mask": mask, "labels": np.where(mask, ids, -100)}
    write_tensors(folder / "data.safetensors", {name: value.astype(np.int32) for name, value in batch.items()})
    return {"task": "lm"}, {}


def main():
    root, arch = pathlib.Path(sys.argv[1]), sys.argv[2]
    if os.environ.get("PACK_EMULATION"):
        TRAIN["max_steps"] = 4
    for (name, write), capacity in itertools.product((("bert", write_bert), ("gpt2", write_gpt2)), (0, CAPACITY)):
        folder = root / (f"{name}-packed" if capacity else name)
        folder.mkdir(parents=True)
        more, rates = write(folder)
        options = {"batch_size": BATCH, "sequence_length": LENGTH, "token_capacity": capacity, **more}
        settings = TRAIN | rates
        (folder / "train.json").write_text(json.dumps(settings))
        flags = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        for precision in ("f32", "bf16"):
            options["frozen_type"] = precision
            gpu = {"target": "cuda", "gpu_arch": arch, "precision": precision, "bundle": str(folder / precision)}
            if os.environ.get("PACK_EMULATION"):
                gpu["emulation"] = str(folder / f"{precision}.so")
            cpu = {"cpu": "x86-64-v3", "bundle": str(folder / f"cpu-{precision}")}
            for target in (gpu, cpu):
                _pst.compile_model(str(folder / "model"), options | target)
            subprocess.run(
                [
                    *(pathlib.Path(os.environ["PST_BUILD_DIR"]) / "bin" / "pst-run", "train", "--bundle", cpu["bundle"]),
                    *("--model", folder / "model", "--train", folder / "data.safetensors"),
                    *("--output_dir", folder / f"recorded-{precision}", *flags),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )


if __name__ == "__main__":
    main()
