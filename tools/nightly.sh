#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# What takes too long for every change: the runtime's tests under the address
# and undefined-behaviour sanitizers, programs that check their own accesses, and
# a wheel and its test. Needs what tools/test.sh has installed and built, and
# libclang-rt-22-dev. The exit status is 0 if nothing was found.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root/runtime"

# Threads that wait leave their core to the others.
export OMP_WAIT_POLICY=passive
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1

cmake --preset asan
cmake --build --preset asan --parallel "${PST_JOBS:-$(nproc)}"
ctest --preset asan --parallel "${PST_JOBS:-$(nproc)}"

# Kernels that check what they touch, run by the pst-run that was built above.
(cd .. && PYTHONPATH=$build/python PST_BUILD_DIR=$build PST_SANITIZED_RUN=$root/build-asan-runtime/bin/pst-run \
  "$venv/bin/python" -m pytest -q test/Python/test_packed_sanitized.py)

# And the wheel, built and then tried in a root without LLVM.
bash ../tools/wheel.sh
