#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# What takes too long for every change: the runtime's tests under the address
# and undefined-behaviour sanitizers, and a wheel and its test. Needs what
# tools/test.sh installs, and libclang-rt-22-dev. The exit status is 0 if nothing was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../runtime"

# Threads that wait leave their core to the others.
export OMP_WAIT_POLICY=passive
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1

cmake --preset asan
cmake --build --preset asan --parallel "${PST_JOBS:-$(nproc)}"
ctest --preset asan --parallel "${PST_JOBS:-$(nproc)}"

# And the wheel, built and then tried in a root without LLVM.
bash ../tools/wheel.sh
