//===- QuantizedWeight.h - Quantizes a matrix to 8 bits ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A matrix S in 8 bits is whole numbers from -127 to 127, and a scale for each
// row. As for compressing, S is read by elements, and is `matrix` or, if
// `transposed`, its transpose.

#ifndef PST_LIB_CODEGEN_CPU_QUANTIZEDWEIGHT_H
#define PST_LIB_CODEGEN_CPU_QUANTIZEDWEIGHT_H

#include "Gemm.h"

namespace pst::cpu {

/// Writes the scale of each row of S to `scales` (f32): its largest magnitude
/// / 127, not below the smallest normal number; 0 of a row of zeros. Of a row
/// with a NaN or an infinity it is one, too.
void emitRowScales(KernelBuilder &b, int64_t lanes, const MatrixReader &matrix,
                   bool transposed, Value scales);

/// The whole numbers of S, as f32, where the elements of `matrix` lie: these
/// divided by their row's scale, rounded to nearest even. 0 where the scale is
/// 0 or no finite number.
MatrixReader wholeNumbers(const MatrixReader &matrix, bool transposed,
                          Value scales);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_QUANTIZEDWEIGHT_H
