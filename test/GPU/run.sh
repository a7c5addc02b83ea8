#!/usr/bin/env bash
# Shows on a machine with an NVIDIA GPU that the compiled kernels are right, and
# how fast they are. Lies in a folder that pack.sh made; needs the driver, a C++
# library, Python, and for the rivals PyTorch:
#
#   FOLDER/run.sh [RESULTS]
#
# Ends with a status other than 0 if a number is wrong. Leaves results.json and
# results.md in RESULTS (default: FOLDER/results).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mkdir -p "${1:-$here/results}" && cd "${1:-$here/results}" && pwd)
export LD_LIBRARY_PATH=$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
run=$here/pst-run
status=0

echo "== kernels against recorded results"
"$run" check "$here"/checks/* --time 20 --json "$results/checks.json" > "$results/checks.txt" 2>&1 || status=1
tail -n 1 "$results/checks.txt"
grep ^FAILED "$results/checks.txt" | head -n 20

echo "== 50 steps of a small BERT against the CPU's losses"
"$run" train --bundle "$here/bert/cuda" --model "$here/bert/model" --train "$here/bert/data.safetensors" \
  --output_dir "$results/bert" --overwrite_output_dir --max_steps 50 --learning_rate 2e-4 --sparsity 0.5 \
  --logging_steps 1 --seed 3 --save_strategy no > "$results/bert.txt" 2>&1 || status=1
tail -n 1 "$results/bert.txt"

if command -v compute-sanitizer > /dev/null; then
  echo "== compute-sanitizer, on small sizes"
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$run" check $(ls -d "$here"/checks/* | head -n 12) \
      > "$results/$tool.txt" 2>&1 || status=1
    tail -n 1 "$results/$tool.txt"
  done
fi

python3 "$here/report.py" "$here" "$results" || status=1
exit $status
