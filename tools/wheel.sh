#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Builds dist/pst_sparse-*.whl, which needs no LLVM where it is installed: what
# it calls of MLIR and LLVM is inside (lib/StaticLLVM), OpenMP's library too.
# Then tries it in a root that has neither (tools/test-wheel.sh):
#
#   bash tools/wheel.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

install_system "${system_packages[@]}" liblld-22-dev libzstd-dev zlib1g-dev
make_venv
install_python "${build_python_packages[@]}" wheel

say "building the wheel"
rm -rf dist
CMAKE_BUILD_PARALLEL_LEVEL=$jobs "$venv/bin/python" -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps \
  -C build-dir="$build" -C cmake.define.PST_STATIC_LLVM=ON -C build.targets="_pst;pst_stub;pst-run;pst-opt;pst-compile;pst-bench;pst-ld" \
  -C install.strip=true --wheel-dir dist . || fail "the build failed"
# Debian 12's C library; what else it needs of the system is checked below.
"$venv/bin/python" -m wheel tags --remove --platform-tag "manylinux_2_36_$(uname -m)" dist/*.whl >/dev/null
du -h dist/*.whl

say "trying the wheel"
bash tools/test-wheel.sh dist/*.whl
minutes
