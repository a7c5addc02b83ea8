#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#   bash tools/test-wheel.sh dist/pst_sparse-*.whl
#
# Looks at what the wheel holds and needs, installs it, and trains, compiles and
# runs its programs in a root of its own: Python, the C and C++ libraries of the
# system, the wheel, NumPy and tokenizers; no LLVM, no compiler, no linker.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
wheel=$(realpath -- "${1:?"usage: test-wheel.sh WHEEL"}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Not more than is promised, and all that is.
[ "$(stat -c %s "$wheel")" -le 60000000 ] || fail "the wheel has more than 60 MB"
"$venv/bin/python" - "$wheel" <<'PYTHON'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
wanted = ["py.typed", "_pst.pyi", "libpst-emulator.so", "libpst-llvm.so", "libomp.so.5"]
wanted += ["bin/" + program for program in ("pst-run", "pst-opt", "pst-compile", "pst-bench", "ld.lld")]
missing = [name for name in wanted if "pst/" + name not in names]
sys.exit(f"error: the wheel lacks {', '.join(missing)}" if missing else 0)
PYTHON
python=$("$venv/bin/python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}")')
site=$work/site
"$venv/bin/python" -m pip install -q --disable-pip-version-check --target "$site" "$wheel"

# Libraries that every system of the tag has (PEP 600), by name; and the newest
# symbols that the C library must have.
while read -r file; do
  readelf -d "$file" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
    grep -vxE 'lib(c|m|dl|pthread|rt|gcc_s)\.so\.[0-9]+|libstdc\+\+\.so\.6|ld-linux.*|libomp\.so\.5|libpst-llvm\.so' &&
    fail "$file needs a library that not every system has"
  readelf -V "$file" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1
done < <(find "$site/pst" -type f \( -name '*.so*' -o -path '*/bin/*' \)) | sort -uV | tail -n 1 >"$work/newest"
read -r newest <"$work/newest"
[ "$(printf 'GLIBC_2.36\n%s\n' "$newest" | sort -V | tail -n 1)" = GLIBC_2.36 ] || fail "the wheel needs $newest"

# A root with what is named, and nothing else.
new=$work/root
read -r program standard < <("$venv/bin/python" -c 'import os, sys, sysconfig
print(os.path.realpath(sys.executable), sysconfig.get_path("stdlib"))')
mkdir -p "$new"/{bin,lib64,tmp,proc,dev,trial,site,python/bin,"python/lib/$python"} "$new/lib/$(uname -m)-linux-gnu"
{ ldd "$program" "$standard"/lib-dynload/*.so /bin/sh; ldd $(find "$site" -name '*.so*' -o -path '*/pst/bin/*'); } |
  sed -nE 's/^.*=> (\/[^ ]+) \(.*/\1/p' | sort -u | grep -v "^$site" |
  while read -r library; do cp -Ln "$library" "$new/lib/$(uname -m)-linux-gnu/"; done
! ls "$new/lib/$(uname -m)-linux-gnu" | grep -iE 'llvm|mlir|libomp' || fail "the root has LLVM"
cp -L /lib64/ld-linux-x86-64.so.2 "$new/lib64/" 2>/dev/null || cp -L /lib/ld-linux-*.so.* "$new/lib/"
cp -L /bin/sh "$new/bin/sh"
cp -L "$program" "$new/python/bin/python"

cat >"$new/trial/try.sh" <<TRY
set -eu
cd /trial
python() { /python/bin/python -S "\$@"; }
python -m pst sentences --output_dir data --train 64 --held_out 16
python - <<'PYTHON'
import os
from pst.bench_inputs import BERT_BASE, write_random_bert

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(open("data/train.tsv").read().split()))]
os.mkdir("model")
small = {"vocab_size": len(words), "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
write_random_bert("model", BERT_BASE | small)
open("model/vocab.txt", "w").write("\\n".join(words) + "\\n")
PYTHON
python -m pst train --model_name_or_path model --train_file data/train.tsv --validation_file data/dev.tsv --output_dir run \
  --max_steps 4 --per_device_train_batch_size 8 --sparsity 0.5 --max_seq_length 16 --report_to none
python -m pst eval --model_name_or_path run/model --validation_file data/dev.tsv
python -m pst inspect run/model
python -m pst predict --model_name_or_path run/model --file data/dev.tsv --output_file dense.csv
python -m pst export run/model --output_dir small --format compressed
python -m pst predict --model_name_or_path small --file data/dev.tsv --output_file small.csv
python -c 'assert open("small.csv").read() == open("dense.csv").read()'
python -m pst export run --output_dir adapter --format adapter
python -m pst export adapter --base model --output_dir again
python -c 'assert open("again/model.safetensors", "rb").read() == open("run/model/model.safetensors", "rb").read()'
python -m pst compile --model_name_or_path run/model --bundle forward.bundle --for inference --max_seq_length 16 --per_device_eval_batch_size 4
python -m pst prepare --model_name_or_path run/model --train_file data/dev.tsv --output_dir prepared --max_seq_length 16 --pad_to_max_length
/site/pst/bin/pst-run eval --bundle forward.bundle --model run/model --eval prepared/train.safetensors
/site/pst/bin/pst-run eval --bundle forward.bundle --model small --eval prepared/train.safetensors
/site/pst/bin/pst-compile model -o step.bundle --batch-size 4 --sequence-length 8
/site/pst/bin/pst-run info --bundle step.bundle
/site/pst/bin/pst-compile model --target=cuda --gpu-arch=sm_90a --batch-size 4 --sequence-length 8 -o gpu.bundle
/site/pst/bin/pst-compile model --mtriple=aarch64-linux-gnu --mcpu=neoverse-n1 --batch-size 4 --sequence-length 8 -o arm.bundle
echo 'func.func @f(%x: tensor<3x5xf32>) -> tensor<3x5xf32> {
  %y = nn.activation gelu %x : tensor<3x5xf32>
  return %y : tensor<3x5xf32>
}' >f.mlir
/site/pst/bin/pst-opt f.mlir --canonicalize >/dev/null
python -c 'import numpy, pst; x = numpy.ones((3, 5), numpy.float32); print(pst.compile("f.mlir", target="emulated")(x)[0, 0])'
python -m pst bench --tiny --threads 1 --rows 'gemm*' --json bench.json
python -c 'import json; rows = json.load(open("bench.json"))["rows"]; assert not any("pst-bench was not found" in r.get("reason", "") for r in rows), rows'
TRY
# In namespaces of its own, where this may be done without being root too.
enter=(unshare --mount --pid --fork)
[ "$(id -u)" = 0 ] || enter+=(--map-root-user)
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "${enter[@]}" bash -euc '
  new=$1
  mount --bind "$2" "$new/python/lib/$4" && mount --bind "$3" "$new/site"
  mount -t proc proc "$new/proc"
  for device in null zero urandom; do : >"$new/dev/$device"; mount --bind "/dev/$device" "$new/dev/$device"; done
  chroot=$(command -v chroot)
  export PATH=/bin HOME=/trial PYTHONPATH=/site PYTHONDONTWRITEBYTECODE=1
  exec "$chroot" "$new" /bin/sh /trial/try.sh
' enter "$new" "$standard" "$site" "$python" >"$work/log" 2>&1 || { cat "$work/log"; fail "the wheel does not work without LLVM"; }
echo "the wheel works in a root without LLVM"
