# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""make_benchmarks.py FOLDER ARCHITECTURE: for pack.sh, the bundles that run.py measures.

FOLDER/NAME is a bundle of one entry point for each row of the table, of a layer
of 4096 x 4096 and 4096 tokens in bf16, or of a product of BERT-large.
FOLDER/bert-large is a training step of 32 x 128 tokens, and bert-large-packed
one without padding, with room for half of them. FOLDER/settings.json says the
sizes. Inputs and the model's weights are made where they run. With
$PACK_EMULATION all is tiny, and beside each bundle are its kernels for the
stand-in.
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


# Tokens, rows of W and its columns: of BERT-large's attention, and of its two layers between.
BERT_PRODUCTS = ((4096, 1024, 1024), (4096, 4096, 1024), (4096, 1024, 4096))


def products(layer, tiny):
    """By name: which product it is, and of what sizes. The first three are those of the layer."""
    found = {name: {"operation": name} | {key: layer[key] for key in ("tokens", "rows", "columns")} for name in ("nt", "nn", "tn")}
    for tokens, rows, columns in BERT_PRODUCTS:
        if tiny:
            tokens, rows, columns = (size // 32 for size in (tokens, rows, columns))
        sizes = {"tokens": tokens, "rows": rows, "columns": columns}
        found[f"nt-{tokens}x{rows}x{columns}"] = {"operation": "nt"} | sizes
    return found


def product_text(product):
    """Y = X W^T ("nt"), dX = dY W ("nn") or G = dY^T X ("tn"), with results of bf16."""
    n, m, tokens = product["rows"], product["columns"], product["tokens"]
    x, dy, w = (f"tensor<{rows}x{columns}xbf16>" for rows, columns in ((tokens, m), (tokens, n), (n, m)))
    operands = {"nt": (x, w, "transpose_rhs", dy), "nn": (dy, w, "", x), "tn": (dy, x, "transpose_lhs", w)}
    a, b, flags, c = operands[product["operation"]]
    return f"""func.func @product(%a: {a}, %b: {b}) -> {c} {{
  %c = nn.matmul %a, %b {{{flags}}} : {a}, {b} -> {c}
  return %c : {c}
}}"""


def main():
    folder, arch = pathlib.Path(sys.argv[1]), sys.argv[2]
    tiny = bool(os.environ.get("PACK_EMULATION"))
    layer, step = (TINY, TINY_STEP) if tiny else (LAYER, STEP)
    model = BERT_LARGE | (TINY_BERT if tiny else {})
    folder.mkdir(parents=True, exist_ok=True)

    def target(name):
        options = {"target": "cuda", "gpu_arch": arch, "bundle": str(folder / name)}
        return options | ({"emulation": str(folder / f"{name}.so")} if tiny else {})

    shapes = {name: shape for name, (shape, _) in layer_shapes(layer).items()}
    measured = products(layer, tiny)
    texts = {name: product_text(product) for name, product in measured.items()} | {
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
        options |= {"precision": "bf16", "frozen_type": "bf16"}
        for name, capacity in (("bert-large", 0), ("bert-large-packed", step["batch"] * step["length"] // 2)):
            _pst.compile_model(directory, options | {"token_capacity": capacity} | target(name))
    settings = {"layer": layer, "products": measured, "step": step, "model": model, "kernels": list(texts), "tiny": tiny}
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))


if __name__ == "__main__":
    main()
