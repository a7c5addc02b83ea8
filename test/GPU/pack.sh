#!/usr/bin/env bash
# Prepares, on a machine without a GPU, what run.sh needs on one with it:
#
#   pack.sh [--sweep] FOLDER [ARCHITECTURE]      # sm_90a (default) or sm_80
#
# FOLDER gets pst-run and libomp, a bundle with recorded results for each case
# of the kernels' tests, a small BERT and a small GPT-2, with padding and without,
# with the losses of 50 steps on the CPU, the bundles of the benchmark, and PyTorch's side of it.
# With --sweep it gets the variants of make_sweep.py instead of the bundles and
# models, and keeps those that are there. FOLDER.tar.xz holds the same, to be
# carried.
# With PACK_EMULATION=1 the benchmark is tiny, and the emulated kernels lie
# beside the bundles, for a dry run:
#   PST_CUDA_LIBRARY=libpst-cuda-standin.so PST_RIVALS=cpu FOLDER/run.sh
# PACK_TESTS selects tests (pytest -k), PACK_WORKERS says how many processes
# run them (2). Needs a build (PST_BUILD_DIR) and the Python of the tests
# (PST_PYTHON), where pytest-xdist shares the tests out, if it is there.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
sweep=
if [[ $1 == --sweep ]]; then
  sweep=1
  shift
fi
folder=$(mkdir -p "$1" && cd "$1" && pwd)
arch=${2:-sm_90a}
export PST_BUILD_DIR=${PST_BUILD_DIR:-$root/build-dev}
python=${PST_PYTHON:-python3}
export PYTHONPATH=$PST_BUILD_DIR/python:$root/test/Python HF_HUB_OFFLINE=1

cp "$PST_BUILD_DIR/bin/pst-run" "$folder"
cp -L "$(ldd "$PST_BUILD_DIR/bin/pst-run" | awk '/libomp/ { print $3 }')" "$folder"
cp "$root"/test/GPU/{run.sh,run.py,stages.py,times.py,sweep.py,report.py} "$folder"
rm -rf "$folder/rivals"
mkdir "$folder/rivals"
touch "$folder/rivals/__init__.py"
cp "$root"/python-bindings/pst/{bench_worker,bench_inputs,bench_eager,bench_eager_bert}.py "$folder/rivals"
cp "$root/test/GPU/tensors.py" "$folder/rivals/_pst.py"

# The cases of the kernels' tests, by several processes.
record_checks() {
  local tests workers=()
  mapfile -t tests < <(grep -l recorded_checks "$root"/test/Python/test_*.py)
  if "$python" -c 'import xdist' 2> /dev/null; then
    workers=(-n "${PACK_WORKERS:-2}")
  fi
  PST_CHECK_BUNDLES=$folder/checks PST_CHECK_ARCH=$arch PST_CHECK_EMULATION=${PACK_EMULATION:-} \
    "$python" -m pytest -q "${workers[@]}" "${tests[@]}" ${PACK_TESTS:+-k "$PACK_TESTS"}
}

if [[ $sweep ]]; then
  rm -rf "$folder/bench/sweep"
  "$python" "$root/test/GPU/make_sweep.py" "$folder/bench/sweep" "$arch"
else
  rm -rf "$folder"/{checks,bert,gpt2,bert-packed,gpt2-packed,bench}
  record_checks
  "$python" "$root/test/GPU/make_models.py" "$folder" "$arch"
  "$python" "$root/test/GPU/make_benchmarks.py" "$folder/bench" "$arch"
fi

tar -C "$folder/.." -c --exclude=results "$(basename "$folder")" |
  xz --lzma2=preset=9,dict=256MiB > "$folder.tar.xz"
du -sh "$folder" "$folder.tar.xz"
if (($(stat -c %s "$folder.tar.xz") > 60 << 20)); then
  echo "pack.sh: $folder.tar.xz is larger than 60 MiB: check_bundles.py should record less" >&2
  exit 1
fi
