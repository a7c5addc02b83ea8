//===- TinyKernels.cpp - The tiny model's entry points --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compiled into the tests, as a program compiled in memory is, and into a
// shared library, as a bundle has it.
//
//===----------------------------------------------------------------------===//

#include "TinyModel.h"

#include <algorithm>

using namespace tiny;

// Order of the arguments: as TinyProgram.cpp's manifest has it. The first five
// are embeddings, weight, bias, trainable, state.

namespace {

Frozen frozenOf(void *const *a) {
  return {static_cast<float *>(a[0]), static_cast<float *>(a[1]),
          static_cast<float *>(a[2])};
}

struct State {
  float threshold;
  int64_t cut, pruned;
};

/// The mask that the thresholds in `state` describe.
std::vector<bool> maskOf(const Frozen &frozen, const float *p,
                         const State &state) {
  std::vector<bool> mask(kElements);
  for (int e = 0; e < kElements; ++e) {
    float score =
        static_cast<float>(std::abs(merged(frozen, p, e / kWidth, e % kWidth)) +
                           double(p[kR + e / kWidth]));
    mask[e] =
        score > state.threshold || (score == state.threshold && e < state.cut);
  }
  return mask;
}

template <int Batch, bool Regression> Rows rowsOf(void *const *a) {
  return {Batch, static_cast<int32_t *>(a[5]), static_cast<int32_t *>(a[6]),
          Regression ? nullptr : static_cast<int32_t *>(a[7]),
          Regression ? static_cast<float *>(a[7]) : nullptr};
}

template <int Batch, bool Regression, bool Dropout = true>
void forwardBackward(void *const *a) {
  const float *p = static_cast<float *>(a[3]);
  Frozen frozen = frozenOf(a);
  *static_cast<float *>(a[11]) = static_cast<float>(
      run(frozen, p, maskOf(frozen, p, *static_cast<State *>(a[4])),
          rowsOf<Batch, Regression>(a), Regression ? 1 : 3,
          *static_cast<float *>(a[8]),
          Dropout ? static_cast<int64_t *>(a[9]) : nullptr,
          static_cast<float *>(a[10]), nullptr));
}

template <int Batch, bool Regression> void forward(void *const *a) {
  const float *p = static_cast<float *>(a[3]);
  Frozen frozen = frozenOf(a);
  *static_cast<float *>(a[9]) = static_cast<float>(
      run<float>(frozen, p, maskOf(frozen, p, *static_cast<State *>(a[4])),
                 rowsOf<Batch, Regression>(a), Regression ? 1 : 3,
                 *static_cast<float *>(a[8]), nullptr, nullptr,
                 static_cast<float *>(a[10])));
}

/// Arguments: trainable, gradient, moment1, moment2, then the scalars in the
/// order of docs/BundleFormat.md.
template <int Classes> void applyStep(void *const *a) {
  auto scalar = [&](int i) -> double { return *static_cast<float *>(a[i]); };
  AdamW options{scalar(4), scalar(5), scalar(6),  scalar(7),
                scalar(8), scalar(9), scalar(10), scalar(11)};
  *static_cast<float *>(a[12]) = static_cast<float>(
      tiny::apply(options, static_cast<float *>(a[0]),
                  static_cast<float *>(a[1]), static_cast<float *>(a[2]),
                  static_cast<float *>(a[3]), numTrainable(Classes)));
}

} // namespace

extern "C" {

void tiny_select(void *const *a) {
  State &state = *static_cast<State *>(a[4]);
  std::vector<bool> mask =
      makeMask(frozenOf(a), static_cast<float *>(a[3]),
               *static_cast<double *>(a[5]), state.threshold, state.cut);
  state.pruned = std::count(mask.begin(), mask.end(), false);
}

void tiny_materialize(void *const *a) {
  const float *p = static_cast<float *>(a[3]);
  Frozen frozen = frozenOf(a);
  std::vector<bool> mask = maskOf(frozen, p, *static_cast<State *>(a[4]));
  for (int e = 0; e < kElements; ++e)
    static_cast<float *>(a[5])[e] =
        mask[e] ? static_cast<float>(merged(frozen, p, e / kWidth, e % kWidth))
                : 0.0f;
}

void tiny_forward_backward_4(void *const *a) { forwardBackward<4, false>(a); }
void tiny_forward_backward_8(void *const *a) { forwardBackward<8, false>(a); }
void tiny_forward_backward_4r(void *const *a) { forwardBackward<4, true>(a); }
void tiny_forward_backward_4p(void *const *a) {
  forwardBackward<4, false, false>(a);
}
void tiny_forward_backward_8p(void *const *a) {
  forwardBackward<8, false, false>(a);
}
void tiny_forward_4(void *const *a) { forward<4, false>(a); }
void tiny_forward_8(void *const *a) { forward<8, false>(a); }
void tiny_forward_4r(void *const *a) { forward<4, true>(a); }
void tiny_apply(void *const *a) { applyStep<3>(a); }
void tiny_apply_r(void *const *a) { applyStep<1>(a); }

} // extern "C"
