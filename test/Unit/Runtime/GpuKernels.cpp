//===- GpuKernels.cpp - Kernels of a small program for GPUs ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// As pst-compile --emit=emulation would make them: functions of one thread.
//
//===----------------------------------------------------------------------===//

#include <cstdint>

extern "C" {

extern const int64_t axpy_shared;
const int64_t axpy_shared = 0;

/// sums[i] += factor * w[i] * x[i]; y[i] = sums[i] + shift
void axpy_thread(const int64_t *arguments, int64_t block, int64_t thread,
                 void *) {
  int64_t i = block * 32 + thread;
  if (i >= 40)
    return;
  auto *x = reinterpret_cast<const float *>(arguments[0]);
  auto *factor = reinterpret_cast<const float *>(arguments[1]);
  auto *w = reinterpret_cast<const float *>(arguments[2]);
  auto *sums = reinterpret_cast<float *>(arguments[3]);
  auto *y = reinterpret_cast<float *>(arguments[4]);
  int32_t shift = static_cast<int32_t>(arguments[5]);
  sums[i] += *factor * w[i] * x[i];
  y[i] = sums[i] + static_cast<float>(shift);
}

// The tiny model's entry points (TinyKernels.cpp), in one thread of a kernel.
#define PST_TINY_KERNEL(NAME)                                                  \
  void NAME(void *const *);                                                    \
  extern const int64_t NAME##_shared;                                          \
  const int64_t NAME##_shared = 0;                                             \
  void NAME##_thread(const int64_t *arguments, int64_t, int64_t thread,        \
                     void *) {                                                 \
    if (thread == 0)                                                           \
      NAME(reinterpret_cast<void *const *>(arguments));                        \
  }
PST_TINY_KERNEL(tiny_select)
PST_TINY_KERNEL(tiny_materialize)
PST_TINY_KERNEL(tiny_forward_backward_4)
PST_TINY_KERNEL(tiny_forward_4)
PST_TINY_KERNEL(tiny_apply)
#undef PST_TINY_KERNEL
}
