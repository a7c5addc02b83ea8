#!/bin/sh
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# link.sh OBJECTS LIBRARY OBJECT: links LIBRARY out of OBJECT and of MLIR's and
# LLVM's archives, with what the objects and archives that the file OBJECTS lists
# need of them, and nothing else. CXX, LLVM_LIBRARY_DIR and LLVM_TOOLS_DIR come from CMake.
set -eu
objects=$1 library=$2 work=$(dirname "$1")
ours='_ZN?K?[0-9]*(llvm|mlir)|4(llvm|mlir)|^(LLVM|llvm_)'

# What is asked for; and data of templates that both sides have, which must be
# one object (MLIR tells types from each other by such addresses).
xargs "$LLVM_TOOLS_DIR/llvm-nm" --undefined-only --just-symbol-name --quiet <"$objects" |
  grep -E "$ours" | sort -u >"$work/needed.txt"
xargs "$LLVM_TOOLS_DIR/llvm-nm" --defined-only --extern-only --format=posix --quiet <"$objects" |
  awk '$2 == "V" { print $1 }' | grep -E "$ours" | sort -u >"$work/shared.txt"
sed 's/.*/-Wl,-u,&/' "$work/needed.txt" >"$work/needed.rsp"
{ echo '{ global:'; sort -u "$work/needed.txt" "$work/shared.txt" | sed 's/.*/  "&";/'; echo '  local: *; };'; } >"$work/exports.map"

# z and zstd are not part of every system's base.
"$CXX" -shared -fuse-ld=lld -o "$library" -Wl,-soname,"$(basename "$library")" \
  -Wl,--gc-sections -Wl,-s -Wl,-O2 -Wl,--build-id=sha1 -Wl,-z,defs \
  -Wl,--version-script="$work/exports.map" -Wl,--undefined-version @"$work/needed.rsp" "$3" \
  -Wl,--start-group "$LLVM_LIBRARY_DIR"/libMLIR*.a "$LLVM_LIBRARY_DIR"/libLLVM*.a -Wl,--end-group \
  -l:libz.a -l:libzstd.a -lpthread -ldl -lm
