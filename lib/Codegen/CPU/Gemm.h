//===- Gemm.h - The product of two matrices ---------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// C = A B in the blocking of Goto and van de Geijn (ACM TOMS 34, 2008): both
// factors are packed into panels as wide as the register tile, so that one
// micro-kernel, whatever the shapes, runs over contiguous memory. What is
// packed comes from a reader of elements, so a virtual weight is evaluated as
// it is packed and exists nowhere else.

#ifndef PST_LIB_CODEGEN_CPU_GEMM_H
#define PST_LIB_CODEGEN_CPU_GEMM_H

#include "../Kernel/VirtualWeight.h"
#include "KernelBuilder.h"
#include "Target.h"
#include "llvm/Support/MathExtras.h"
#include <functional>

namespace pst::cpu {

/// A matrix by its elements: `read(b, row, column, lanes)` are `lanes`
/// adjacent elements of a row.
struct MatrixReader {
  int64_t rows, columns;
  std::function<Value(KernelBuilder &, Value row, Value column, int64_t lanes)>
      read;
  /// The same for `count` adjacent rows, where that is less work than row by
  /// row; may be empty.
  std::function<llvm::SmallVector<Value>(
      KernelBuilder &, Value row, int64_t count, Value column, int64_t lanes)>
      readRows;
  /// Asks for the lines that hold `column` of the `count` rows after those from
  /// `row` on; may be empty.
  std::function<void(KernelBuilder &, Value row, int64_t count, Value column)>
      prefetchNextRows;

  /// The elements of a rank-2 memref.
  static MatrixReader of(Value buffer);
  /// Those of a virtual weight, under its mask if it has one.
  static MatrixReader of(const VirtualWeight &weight);
};

/// Sizes of the blocks of a product (m x k) (k x n).
struct GemmBlocking {
  int64_t m, n, k;
  int64_t lanes;
  int64_t tileRows, tileColumns; ///< The register tile.
  int64_t kBlock;                ///< Depth of a block: B's panel stays in L1.
  int64_t mBlock;                ///< Rows of A packed at once: stays in L2.
  int64_t nBlock;                ///< Columns of B packed at once: stays in L3.

  GemmBlocking(int64_t m, int64_t n, int64_t k, const Target &target);
  /// The same with upper bounds for the three blocks.
  GemmBlocking(int64_t m, int64_t n, int64_t k, int64_t lanes, int64_t largestM,
               int64_t largestN, int64_t largestK);

  /// Writes the sizes to the attribute `pst.blocks` of the kernel that is being
  /// built, if it is one product, for a reader of the IR.
  void note(KernelBuilder &b) const;

  /// Steps of the depth that the micro-kernel unrolls; panels are padded with
  /// zeros to a multiple of it.
  static constexpr int64_t kUnroll = 4;

  int64_t blocksOfM() const { return llvm::divideCeil(m, mBlock); }
  int64_t blocksOfK() const { return llvm::divideCeil(k, kBlock); }
  int64_t panelsOfN() const { return nBlock / tileColumns; }
  /// Every block of the depth is a multiple of the lanes, and of kUnroll.
  bool hasWholeDepth() const { return k % std::max(lanes, kUnroll) == 0; }
  /// f32 elements from one packed panel to the next.
  int64_t panelStrideA() const { return kBlock * tileRows + lanes; }
  int64_t panelStrideB() const { return kBlock * tileColumns; }
  /// f32 elements of the packed block of A, and of B.
  int64_t packedSizeA() const;
  int64_t packedSizeB() const;
};

/// Transposes a square: as many vectors as each has lanes.
void transpose(KernelBuilder &b, llvm::MutableArrayRef<Value> rows);

/// Where a matrix's panels go: element (k, c) of the panel at `base` lies at
/// base + k * width + c.
struct PanelBuffer {
  Value buffer; ///< A flat memref of f32.
  int64_t width;
};

/// Packs one panel: its column c at depth k is element (firstDepth + k,
/// first + c) of the matrix or, if `transposed`, (first + c, firstDepth + k),
/// for k below `depth`; then zeros up to a multiple of kUnroll. Columns beyond
/// the matrix repeat its last one (they are multiplied, never stored).
/// `wholeDepth` tells that `depth` is always a multiple of the lanes. Writes up
/// to `lanes` elements past the panel, which the next one, packed later,
/// overwrites.
void packPanel(KernelBuilder &b, int64_t lanes, const MatrixReader &matrix,
               bool transposed, const PanelBuffer &panels, Value base,
               Value first, Value firstDepth, Value depth, bool wholeDepth);

/// The register tile: sum over k below `depth`, in ascending order, of column
/// k of the panel of A at `baseA` times row k of the panel of B at `baseB`.
/// Returns its vectors, row by row.
llvm::SmallVector<Value>
multiplyPanels(KernelBuilder &b, const GemmBlocking &blocking, Value packedA,
               Value baseA, Value packedB, Value baseB, Value depth);

/// min(block, total - from): what is left of the last block.
Value remaining(KernelBuilder &b, int64_t total, Value from, int64_t block);
Value remaining(KernelBuilder &b, Value total, Value from, int64_t block);
/// value / by, rounded up.
Value ceilDivide(KernelBuilder &b, Value value, int64_t by);

/// What is done to a product while it is at hand:
/// f(product * scales + bias + addend).
struct Epilogue {
  Value bias;   ///< n elements, or null.
  Value addend; ///< m x n, or null.
  /// f, or empty.
  std::function<Value(KernelBuilder &, Value)> activation;
  Value scales = nullptr; ///< n elements, or null.

  /// A part of the sum at a column, times its scale.
  Value scale(KernelBuilder &b, Value sum, Value column) const;
  /// The sum at (row, column), scaled, with bias and addend.
  Value add(KernelBuilder &b, Value sum, Value row, Value column) const;
  /// result = f(result) for a part of it that has just been stored.
  void activate(KernelBuilder &b, Value result, Value row, Value rows,
                Value column, Value columns, int64_t lanes) const;
};

/// One product: op(A) op(B), where A is m x k or, transposed, k x m,
/// and B is k x n or, transposed, n x k.
struct GemmSpec {
  MatrixReader a, b;
  bool transposeA = false, transposeB = false;
  /// How many of the m rows there are, and of the k terms; null: all.
  Value rows = nullptr, depth = nullptr;
};

/// Emits the product, with its epilogue, into `result` (m x n). `workspace` is
/// a flat memref of blocking.packedSizeB() elements.
void emitGemm(KernelBuilder &b, const GemmBlocking &blocking,
              const GemmSpec &spec, const Epilogue &epilogue, Value result,
              Value workspace);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_GEMM_H
