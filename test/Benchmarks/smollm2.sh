#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# SmolLM2-135M to 50 % sparsity in 200 steps on E2E's text, 4 x 64 tokens each:
#   smollm2.sh OUTPUT_DIR
# makes the model from the package that holds it (test/Python/smollm2.py says
# which), prints its perplexity on held-out text, that of the model pruned by
# magnitude at once, and that after PST. PST_DATA names the folder that holds
# nlg/ (default: ../shared/data beside the repository).
set -euo pipefail
output=${1:?"usage: smollm2.sh OUTPUT_DIR"}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=${PST_DATA:-$root/../shared/data}/nlg/e2e_lora
pst=${PST:-pst}

mkdir -p "$output"
[ -e "$output/model/tokenizer.json" ] || python "$root/test/Python/smollm2.py" "$output/model"
zcat "$data/train.txt.gz" >"$output/train.txt"
# Every tenth line: the references of one meaning stand one after the other.
awk 'NR % 10 == 1 && NR <= 1200' "$data/valid.txt" >"$output/dev.txt"
flags=(--train_file "$output/train.txt" --validation_file "$output/dev.txt" --max_train_samples 2000 --block_size 64
  --per_device_train_batch_size 4 --save_strategy no --overwrite_output_dir --logging_steps 10)

evaluate() { # NAME MODEL
  printf '%-10s' "$1"
  $pst eval --model_name_or_path "$2" --validation_file "$output/dev.txt" --block_size 64 \
    --per_device_eval_batch_size 4 | grep -E '^(loss|perplexity):' | tr '\n' ' '
  echo
}

evaluate before "$output/model"
$pst train --model_name_or_path "$output/model" --method map --sparsity 0.5 --initial_sparsity 0.5 --max_steps 1 \
  --learning_rate 1e-12 --output_dir "$output/map" "${flags[@]}" >"$output/map.txt" 2>&1
evaluate magnitude "$output/map/model"
$pst train --model_name_or_path "$output/model" --method pst --sparsity 0.5 --max_steps 200 --learning_rate 1e-3 \
  --warmup_ratio 0.06 --output_dir "$output/pst" "${flags[@]}" >"$output/pst.txt" 2>&1
evaluate pst "$output/pst/model"
grep -E '^(sparsity|seconds_per_step|peak_memory_mib|trainable_parameters):' "$output/pst.txt"
