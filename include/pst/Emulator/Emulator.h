//===- Emulator.h - Runs GPU kernels on the CPU -----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For tests on machines without a GPU. `-pst-emulate-launches` turns a kernel
// into the function of one thread; the emulator runs it for every thread of
// every block, on stacks of their own, and switches wherever threads wait for
// each other. Slow, and exact: a kernel computes what the machine's
// documentation says, or the program ends with a message.
//
// To bring out a missing barrier, the order in which threads and blocks run
// changes from each launch of a kernel to the next, and shared memory starts
// as all ones (NaN).
//
//===----------------------------------------------------------------------===//

#ifndef PST_EMULATOR_EMULATOR_H
#define PST_EMULATOR_EMULATOR_H

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace pst {

/// What emulated code calls: names and addresses.
std::vector<std::pair<std::string_view, void *>> emulatorSymbols();

namespace emulator {

/// What a tensor map of a matrix says (cuTensorMapEncodeTiled); 8 words that
/// emulated launches fill in. The first of two numbers is the inner
/// dimension's, in elements; what lies outside is read as zeros.
struct TensorMap {
  const void *base;
  int64_t size[2];
  int64_t strideBytes;
  int64_t box[2];
  int64_t elementBytes;
  int64_t swizzle; ///< as in nvgpu's types

  static constexpr int64_t kSwizzle128 = 3;
};

} // namespace emulator
} // namespace pst

#endif // PST_EMULATOR_EMULATOR_H
