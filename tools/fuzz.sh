#!/usr/bin/env bash
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# fuzz.sh [MINUTES]: goes on looking for files that do harm, so many minutes for
# each format that is read (default: 10), under ASan and UBSan; LLVM itself comes
# without them. What it finds lies in build-fuzz/found; once it is mended, it goes
# into test/Fuzz/Corpus, which tools/test.sh replays. Needs libclang-rt-22-dev.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
(cd runtime && cmake --preset fuzz > /dev/null && cmake --build --preset fuzz)
cmake --preset fuzz > /dev/null && cmake --build --preset fuzz
mkdir -p build-fuzz/found
# Each input is a file: in memory it takes no time.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
status=0
for folder in test/Fuzz/Corpus/*; do
  name=$(basename "$folder")
  mkdir -p "build-fuzz/corpus/$name"
  echo "== $name"
  # Without these two, twice as many runs; nightly.sh looks for uses of a stack
  # that has gone.
  options=detect_stack_use_after_return=0:malloc_context_size=5
  program=build-fuzz/fuzz/Fuzz$name
  if [ ! -x "$program" ]; then
    program=build-fuzz-compiler/bin/Fuzz$name
    # LLVM does not tell the sanitizer what of its memory is in use.
    options+=:allow_user_poisoning=0:detect_container_overflow=0
  fi
  ASAN_OPTIONS=$options "$program" -max_total_time=$((minutes * 60)) -timeout=20 \
    -max_len=8192 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build-fuzz/found/$name-" \
    "build-fuzz/corpus/$name" "$folder" 2> "build-fuzz/$name.log" || status=1
  grep -E 'ERROR|SUMMARY|runtime error|number_of_executed_units' "build-fuzz/$name.log" || true
done
exit $status
