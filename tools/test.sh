#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what is missing, builds, and runs every test: GoogleTest through
# ctest, lit, pytest. Ends with the names of failed and skipped tests and a line
# 'N passed, N failed, N skipped'; the exit status is 0 if none failed.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root" || exit 1

install_system "${system_packages[@]}" "${test_system_packages[@]}"
make_venv
install_torch
install_python "${build_python_packages[@]}" lit pytest pytest-xdist pytest-timeout transformers safetensors pandas scikit-learn matplotlib tensorboard pydantic gguf onnx onnxscript onnxruntime sacrebleu
# The libraries whose files exports are like: of compressed-tensors, releases from 0.15 on lack the layout.
install_python --no-deps compressed-tensors==0.12.2 loguru peft accelerate
# ROUGE-L and CIDEr; of what it asks for (Java, pycocotools), they need nothing.
install_python --no-deps pycocoevalcap
install_model

say "building"
cmake -G Ninja -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 -DMLIR_DIR=/usr/lib/llvm-22/lib/cmake/mlir \
  -DLLVM_EXTERNAL_LIT="$venv/bin/lit" -DPST_ENABLE_PYTHON=ON -DPST_STATIC_LLVM=OFF \
  -DPython_EXECUTABLE="$venv/bin/python" >"$build.log" 2>&1 || { cat "$build.log"; fail "cmake failed"; }
cmake --build "$build" --parallel "$jobs" >>"$build.log" 2>&1 || { grep -A 20 -E 'error|FAILED' "$build.log" | head -100; fail "the build failed; all of it is in $build.log"; }

results=$build/results
rm -rf "$results" && mkdir -p "$results"
export PYTHONPATH=$build/python HF_HUB_OFFLINE=1 PST_BUILD_DIR=$build

say "unit tests"
ctest --test-dir "$build" --parallel "$jobs" --timeout 600 --output-on-failure --output-junit "$results/ctest.xml" |
  grep -vE '^ *(Start +)?[0-9]+(/[0-9]+)?:? .*(Passed|: )|^$'
say "lit"
"$venv/bin/lit" -s -v -j "$jobs" --xunit-xml-output "$results/lit.xml" "$build/test"
say "pytest"
# Two at a time, by files; threads that wait leave their core to the other's. A
# test that hangs fails by its name.
OMP_WAIT_POLICY=passive "$venv/bin/python" -m pytest -q -n 2 --dist loadfile --timeout 900 --durations 15 --junitxml "$results/pytest.xml" test/Python

minutes
say "total"
"$venv/bin/python" tools/summarize.py "$results/ctest.xml" "$results/lit.xml" "$results/pytest.xml"
