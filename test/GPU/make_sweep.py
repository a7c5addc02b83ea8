# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""make_sweep.py FOLDER ARCHITECTURE: for pack.sh --sweep, bundles of one kernel each that run.sh --sweep ranks.

FOLDER/NUMBER is a bundle for each line of VARIANTS, a group's kernel compiled with options of compile_text;
FOLDER/settings.json says the rest. With $PACK_EMULATION all is tiny, and beside each bundle are its kernels for the
stand-in. A variant that does not compile is told, and left out.
"""

import json
import os
import pathlib
import sys

from make_benchmarks import LAYER, TINY, product_text, products

from pst import Error, _pst, bench_ours
from pst.bench_inputs import layer_shapes


def groups(tiny):
    """By name: "text" of the one function; of what size it is a product ("product"), or what product of cuBLAS it is set
    against ("rival"); inputs that are zero ("zero")."""
    layer = TINY if tiny else LAYER
    shapes = {name: shape for name, (shape, _) in layer_shapes(layer).items()}
    found = {name: {"text": product_text(product), "product": product} for name, product in products(layer, tiny).items()}
    tn = found["tn"]["product"]
    return found | {
        "fold": {"text": bench_ours.gradient_text(shapes, "bf16"), "rival": tn},
        "weight": {"text": bench_ours.weight_text(shapes, "bf16")},
        "threshold": {"text": bench_ours.selection_text(shapes, "bf16")},
        "threshold-equal-scores": {"text": bench_ours.selection_text(shapes, "bf16"), "zero": ["v", "b", "r", "c"]},
    }


# Groups and plans of their products (gemm_plan).
LARGE, OF_BERT = ("nt", "nn", "tn"), tuple(f"nt-{size}" for size in ("{0}x{1}x{1}", "{0}x{0}x{1}", "{0}x{1}x{0}"))
PLANS = [
    (LARGE, ("band=4", "band=16", "release=0")),
    (("nt",), ("columns=192", "columns=128", "columns=128,band=16", "stages=3", "band=32")),
    (OF_BERT, ("columns=256", "columns=192", "columns=128", "columns=64", "band=4", "band=16")),
    (("fold",), ("columns=64", "stages=3", "release=0", "band=4", "band=16")),
]
# Group ("*": each), name, options of the compiler.
VARIANTS = [
    ("*", "as planned", {}),
    *((group, plan, {"gemm_plan": plan}) for groups, plans in PLANS for plan in plans for group in groups),
]


def main():
    folder, arch = pathlib.Path(sys.argv[1]), sys.argv[2]
    tiny = bool(os.environ.get("PACK_EMULATION"))
    folder.mkdir(parents=True)
    known = groups(tiny)
    large, small = (128, 32) if tiny else (4096, 1024)
    lines = [
        (group.format(large, small), *rest) for where, *rest in VARIANTS for group in (known if where == "*" else [where])
    ]
    variants = []
    for number, (group, name, options) in enumerate(lines):
        target = {"target": "cuda", "gpu_arch": arch, "bundle": str(folder / str(number))}
        target |= {"emulation": str(folder / f"{number}.so")} if tiny else {}
        try:
            _pst.compile_text(known[group]["text"], options | target)
        except (Error, TypeError, ValueError) as error:
            print(f"make_sweep.py: {group}, {name}: {error}", file=sys.stderr)
            continue
        told = " ".join(f"{option}={value}" for option, value in options.items())
        variants.append({"bundle": str(number), "group": group, "name": name, "options": told})
    described = {name: {key: value for key, value in group.items() if key != "text"} for name, group in known.items()}
    settings = {"tiny": tiny, "groups": described, "variants": variants}
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))


if __name__ == "__main__":
    main()
