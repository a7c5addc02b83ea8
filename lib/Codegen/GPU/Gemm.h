//===- Gemm.h - Tiles of matrix products ------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_GEMM_H
#define PST_LIB_CODEGEN_GPU_GEMM_H

#include "../CPU/Activation.h"
#include "KernelContext.h"
#include <optional>

namespace pst::cuda {

/// C = op(A) op(B): C is m x n, op(A) is m x k and op(B) k x n.
struct GemmShape {
  int64_t m, n, k;
  /// Rows and columns of the tile of C that a block computes: 64 or 128.
  int64_t tile = 64;

  /// The shape with the tile that suits it.
  static GemmShape of(int64_t m, int64_t n, int64_t k);

  int64_t tilesOfM() const { return (m + tile - 1) / tile; }
  int64_t tilesOfN() const { return (n + tile - 1) / tile; }
  int64_t blocks() const { return tilesOfM() * tilesOfN(); }
  static constexpr int64_t kThreads = 256;
};

/// A matrix in f32, and whether op transposes it.
struct GemmOperand {
  Value buffer;
  bool transposed = false;
};

/// The tile of C that a block computes, in f32: each thread has a part of it
/// in registers, every element summed by fused multiply-adds in ascending k.
class GemmTile {
public:
  /// Emits the product; the grid has `shape.blocks()` blocks.
  GemmTile(ThreadBuilder &b, const GemmShape &shape, GemmOperand left,
           GemmOperand right);

  /// The tile's place among the tiles of rows and of columns, and its first
  /// row and column of C.
  Value tileOfM, tileOfN, row, column;

  /// body(i, j, value) for each of the thread's elements, at (row + i,
  /// column + j); some lie outside of C where the tile does.
  void forElements(ThreadBuilder &b,
                   llvm::function_ref<void(Value, Value, Value)> body) const;
  /// Whether a row or column of the tile lies within C; null if all do.
  Value isRow(ThreadBuilder &b, Value i) const;
  Value isColumn(ThreadBuilder &b, Value j) const;
  /// Both; null if all do.
  Value isElement(ThreadBuilder &b, Value i, Value j) const;

private:
  void load(ThreadBuilder &b, GemmOperand operand, Value first, int64_t size,
            Value depth, bool depthIsInner, Value shared) const;
  Value offset(ThreadBuilder &b, Value group, int64_t i) const;

  GemmShape shape;
  Value groupOfRows, groupOfColumns; ///< of the thread, 0 to 15
  llvm::SmallVector<Value> sums;
};

/// What happens to an element of a product before it is stored, in this order.
struct GemmEpilogue {
  Value bias = nullptr;   ///< One of each column is added; may be null.
  Value addend = nullptr; ///< A matrix of the result's shape; may be null.
  std::optional<nn::ActivationKind> activation = std::nullopt;
};

/// Launches C = epilogue(op(A) op(B)).
void launchGemm(KernelContext &context, cpu::KernelBuilder &host,
                llvm::StringRef name, const GemmShape &shape, GemmOperand left,
                GemmOperand right, const GemmEpilogue &epilogue, Value result);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_GEMM_H
