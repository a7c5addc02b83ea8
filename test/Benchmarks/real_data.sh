#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# SST-2 and CoLA at 90 % sparsity, on a subset that a CPU trains in minutes:
#   real_data.sh MODEL_DIR OUTPUT_DIR
# runs, for each task (TASKS names others, as task:folder:length), dense fine-tuning, dense fine-tuning that is pruned by
# magnitude at its end, and PST, and prints one line for each. PST_DATA names
# the folder that holds glue/ (default: ../shared/data beside the repository).
set -euo pipefail
model=${1:?"usage: real_data.sh MODEL_DIR OUTPUT_DIR"}
output=${2:?"usage: real_data.sh MODEL_DIR OUTPUT_DIR"}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=${PST_DATA:-$root/../shared/data}/glue
pst=${PST:-pst}

run() { # NAME TASK FOLDER LENGTH FLAG...
  local name=$1 task=$2 folder=$3 length=$4
  shift 4
  $pst train --model_name_or_path "$model" --task_name "$task" \
    --train_file "$data/$folder/train.tsv" --validation_file "$data/$folder/dev.tsv" \
    --max_train_samples 4800 --max_seq_length "$length" --per_device_train_batch_size 32 --num_train_epochs 1 \
    --warmup_ratio 0.06 --eval_strategy epoch --save_strategy no --load_best_model_at_end \
    --output_dir "$output/$task-$name" --overwrite_output_dir "$@" >"$output/$task-$name.txt" 2>&1 ||
    { cat "$output/$task-$name.txt" >&2; exit 1; }
  printf '%-6s %-10s' "$task" "$name"
  grep -E '^(accuracy|matthews|sparsity|seconds_per_step|peak_memory_mib|trainable_parameters):' \
    "$output/$task-$name.txt" | tr '\n' ' '
  echo
}

mkdir -p "$output"
for entry in ${TASKS:-sst2:SST-2:48 cola:CoLA:24}; do
  IFS=: read -r task folder length <<<"$entry"
  run dense "$task" "$folder" "$length" --method dense --learning_rate 1e-4
  run magnitude "$task" "$folder" "$length" --method map --learning_rate 1e-4 --head_learning_rate 1e-4 --sparsity 0.9 \
    --initial_warmup 0.98 --final_warmup 0.01
  run pst "$task" "$folder" "$length" --method pst --learning_rate 1e-3 --mask_learning_rate 1e-3 --head_learning_rate 1e-3 --sparsity 0.9
done
