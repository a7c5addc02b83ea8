#!/usr/bin/env bash
# Shows on a machine with an NVIDIA GPU that the compiled kernels are right, and
# how fast they are. Lies in a folder that pack.sh made; needs the driver, a C++
# library, Python, and for the rivals PyTorch with NumPy:
#
#   FOLDER/run.sh [RESULTS]
#
# Takes less than eight minutes: each stage has a limit, and one that fails does
# not stop the others. Ends with a status other than 0 if a number is wrong or
# a stage failed; a missed bar is told, and is no failure. Leaves results.json
# and results.md in RESULTS (default: FOLDER/results).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mkdir -p "${1:-$here/results}" && cd "${1:-$here/results}" && pwd)
export LD_LIBRARY_PATH=$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
exec python3 "$here/run.py" "$here" "$results"
