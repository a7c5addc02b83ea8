#!/usr/bin/env bash
# Shows on a machine with an NVIDIA GPU that the compiled kernels are right, and
# how fast they are. Lies in a folder that pack.sh made; needs the driver, a C++
# library, Python, and for the rivals PyTorch with NumPy:
#
#   FOLDER/run.sh [RESULTS] [--only STAGE,...]
#   FOLDER/run.sh [RESULTS] --sweep
#
# All stages (checks, training, parity, sanitizer, kernels, steps) take less
# than six minutes: each has a limit, and one that fails does not stop the
# others. Ends with a status other than 0 if a number is wrong or a stage
# failed; a missed bar is told, and is no failure. --sweep measures and ranks
# the variants of pack.sh --sweep instead, in less than three minutes. Leaves
# results.json and results.md in RESULTS (default: FOLDER/results).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH=$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
exec python3 "$here/run.py" "$here" "$@"
