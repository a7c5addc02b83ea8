#!/usr/bin/env bash
# Prepares, on a machine without a GPU, what run.sh needs on one with it:
#
#   pack.sh FOLDER [ARCHITECTURE]      # sm_90a (default) or sm_80
#
# FOLDER gets pst-run and libomp, a bundle with recorded results for each case
# of the kernels' tests, and a small BERT with the losses of 50 steps on the CPU.
# With PACK_EMULATION=1 the emulated kernels go to FOLDER/emulation, for a dry run:
#   PST_CUDA_LIBRARY=libpst-cuda-standin.so PST_STANDIN_KERNELS=$(ls -1 FOLDER/emulation/*.so | paste -sd:) FOLDER/run.sh
# Needs a build (PST_BUILD_DIR) and the Python of the tests (PST_PYTHON).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
arch=${2:-sm_90a}
build=${PST_BUILD_DIR:-$root/build-dev}
python=${PST_PYTHON:-python3}
export PST_BUILD_DIR=$build PYTHONPATH=$build/python:$root/test/Python HF_HUB_OFFLINE=1

cp "$build/bin/pst-run" "$folder"
cp -L "$(ldd "$build/bin/pst-run" | awk '/libomp/ { print $3 }')" "$folder"
cp "$root/test/GPU/run.sh" "$root/test/GPU/report.py" "$folder"

# Every case of the emulated tests; PACK_TESTS selects some (pytest -k).
rm -rf "$folder/checks"
PST_CHECK_BUNDLES=$folder/checks PST_CHECK_ARCH=$arch PST_CHECK_EMULATION=${PACK_EMULATION:-} \
  "$python" -m pytest -q "$root/test/Python/test_gpu_emulated.py" ${PACK_TESTS:+-k "$PACK_TESTS"}

# 50 steps of a small BERT, without dropout, and what the CPU makes of them.
rm -rf "$folder/bert"
mkdir "$folder/bert"
"$python" - "$folder/bert" <<'PYTHON'
import pathlib
import sys

import numpy as np
from conftest import CONFIG, WORDS, bert_tensors, write_model
from pst import tensorfile

folder = pathlib.Path(sys.argv[1])
config = CONFIG | {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4}
write_model(folder / "model", config, bert_tensors(config))
rng = np.random.default_rng(7)
ids = rng.integers(5, len(WORDS), (96, 24)).astype(np.int32)
mask = (np.arange(24) < rng.integers(4, 25, (96, 1))).astype(np.int32)
tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
tensorfile.write(folder / "data.safetensors", tensors | {"labels": ids[:, 0] % 2})
PYTHON
shape=(--batch-size 8 --sequence-length 24 --dropout 0)
"$build/bin/pst-compile" "$folder/bert/model" "${shape[@]}" -o "$folder/bert/cpu"
"$build/bin/pst-compile" "$folder/bert/model" "${shape[@]}" --target=cuda --gpu-arch="$arch" -o "$folder/bert/cuda"
"$build/bin/pst-run" train --bundle "$folder/bert/cpu" --model "$folder/bert/model" \
  --train "$folder/bert/data.safetensors" --output_dir "$folder/bert/recorded" --max_steps 50 \
  --learning_rate 2e-4 --sparsity 0.5 --logging_steps 1 --seed 3 --save_strategy no
rm -rf "$folder/bert/cpu"
if [[ -n ${PACK_EMULATION:-} ]]; then
  mkdir -p "$folder/emulation"
  mv "$folder"/checks/*.so "$folder/emulation"
  "$build/bin/pst-compile" "$folder/bert/model" "${shape[@]}" --target=cuda --gpu-arch="$arch" \
    --emit=emulation -o "$folder/emulation/bert.so"
fi
du -sh "$folder"
