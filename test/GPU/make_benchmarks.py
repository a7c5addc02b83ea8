# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""make_benchmarks.py FOLDER ARCHITECTURE: for pack.sh, the bundles that run.py measures.

FOLDER/NAME is a bundle of one entry point for each row of the table, of a layer
of 4096 x 4096 and 4096 tokens in bf16, and FOLDER/bert-large a training step of
32 x 128 tokens; FOLDER/settings.json says the sizes. Inputs and the model's
weights are made where they run. With $PACK_EMULATION all is tiny, and beside
each bundle are its kernels for the stand-in.
"""

import json
import os
import pathlib
import sys
import tempfile

from pst import _pst, bench_ours
from pst.bench_inputs import BERT_LARGE, layer_shapes, write_random_bert

LAYER = {"rows": 4096, "columns": 4096, "tokens": 4096, "rank": 8}
STEP = {"batch": 32, "length": 128}
TINY = {"rows": 128, "columns": 64, "tokens": 72, "rank": 8}
TINY_STEP = {"batch": 3, "length": 8}
TINY_BERT = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 99}


def product_texts(layer):
    """Y = X W^T, dX = dY W, G = dY^T X, with results of bf16."""
    n, m, tokens = layer["rows"], layer["columns"], layer["tokens"]
    x, dy, w = (f"tensor<{rows}x{columns}xbf16>" for rows, columns in ((tokens, m), (tokens, n), (n, m)))
    products = {"nt": (x, w, "transpose_rhs", dy), "nn": (dy, w, "", x), "tn": (dy, x, "transpose_lhs", w)}
    return {
        name: f"""func.func @product(%a: {a}, %b: {b}) -> {c} {{
  %c = nn.matmul %a, %b {{{flags}}} : {a}, {b} -> {c}
  return %c : {c}
}}"""
        for name, (a, b, flags, c) in products.items()
    }


def main():
    folder, arch = pathlib.Path(sys.argv[1]), sys.argv[2]
    tiny = bool(os.environ.get("PACK_EMULATION"))
    layer, step = (TINY, TINY_STEP) if tiny else (LAYER, STEP)
    model = BERT_LARGE | (TINY_BERT if tiny else {})
    folder.mkdir()

    def target(name):
        options = {"target": "cuda", "gpu_arch": arch, "bundle": str(folder / name)}
        return options | ({"emulation": str(folder / f"{name}.so")} if tiny else {})

    shapes = {name: shape for name, (shape, _) in layer_shapes(layer).items()}
    texts = product_texts(layer) | {
        "weight": bench_ours.weight_text(shapes, "bf16"),
        "threshold": bench_ours.selection_text(shapes, "bf16"),
        "gradient": bench_ours.gradient_text(shapes, "bf16"),
        "layer": bench_ours.layer_text(shapes, "bf16"),
    }
    for name, text in texts.items():
        _pst.compile_text(text, target(name))
    with tempfile.TemporaryDirectory() as directory:
        write_random_bert(directory, model)
        options = {"batch_size": step["batch"], "sequence_length": step["length"], "num_labels": 2}
        options |= {"precision": "bf16", "frozen_type": "bf16", **target("bert-large")}
        _pst.compile_model(directory, options)
    settings = {"layer": layer, "step": step, "model": model, "kernels": list(texts), "tiny": tiny}
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))


if __name__ == "__main__":
    main()
