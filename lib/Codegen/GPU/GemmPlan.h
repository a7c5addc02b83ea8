//===- GemmPlan.h - How products are computed -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_GEMMPLAN_H
#define PST_LIB_CODEGEN_GPU_GEMMPLAN_H

#include "KernelContext.h"

namespace pst::cuda {

/// A matrix (a tensor or a buffer), and whether op transposes it.
struct GemmOperand {
  Value matrix;
  bool transposed = false;
  /// Of the matrix, from the first on; 0: all. If the others are along k, they
  /// must be zeros.
  int64_t columns = 0;
};

/// C = op(A) op(B): C is m x n, op(A) is m x k and op(B) k x n.
struct GemmShape {
  int64_t m, n, k;
  bool leftTransposed, rightTransposed;
  mlir::Type leftType, rightType;  ///< Of the operands' elements.
  int64_t leftLength, rightLength; ///< Of their rows in memory, in elements.

  static GemmShape of(GemmOperand left, GemmOperand right);
  /// Of operands with these types.
  static GemmShape of(mlir::ShapedType left, bool leftTransposed,
                      mlir::ShapedType right, bool rightTransposed);
};

/// The ways of multiplying; all sum in f32, in an order that the shape fixes.
enum class GemmMethod {
  FMA,   ///< Fused multiply-adds, in parts of ascending k: any type, any GPU.
  MMA,   ///< mma.sync: bf16, or f32 rounded to tf32, on any GPU.
  Wgmma, ///< TMA and wgmma: bf16, on sm_90a; wgmmaTakes says which shapes.
};

/// How a product is computed.
struct GemmPlan : GemmShape {
  GemmMethod method;
  int64_t tileM, tileN; ///< Rows and columns of the tiles of C.
  int64_t threads;      ///< Of a block.
  /// Parts of k, of as many steps each but for the last; a block sums over one
  /// of them.
  int64_t splits = 1;
  bool scratch = false; ///< Whether a tile's body may ask for scratch memory.
  /// Bytes of the result's elements if TMA stores it; 0: the threads do.
  int64_t storedBytes = 0;
  /// Whether it stores zeros behind C's columns: the result's rows are longer.
  bool storesBeyond = false;

  // Of GemmMethod::Wgmma alone:
  int64_t stages = 0; ///< Buffers that go round between loads and products.
  /// When a buffer is given back: 0, when its own products are done, or 1, when
  /// those of the step after it were issued, too.
  int64_t release = 1;
  int64_t band = 8; ///< Rows of tiles that are done together.

  int64_t tilesOfM() const { return (m + tileM - 1) / tileM; }
  int64_t tilesOfN() const { return (n + tileN - 1) / tileN; }
  int64_t tiles() const { return tilesOfM() * tilesOfN(); }
  int64_t blocks() const { return tiles() * splits; }
  /// Rows of memory for the product of a part: of whole tiles if TMA stores it.
  int64_t rowsOfPart() const {
    return method == GemmMethod::Wgmma ? tilesOfM() * tileM : m;
  }
  /// Steps that a part of k has, if a step is `depth` of it.
  int64_t stepsOfPart(int64_t depth) const {
    return ((k + depth - 1) / depth + splits - 1) / splits;
  }
  /// Splits k into at most so many parts, none of them empty.
  void split(int64_t parts, int64_t depth) {
    splits = parts;
    int64_t steps = stepsOfPart(depth) * depth;
    splits = (k + steps - 1) / steps;
  }
};

/// Whether k may be split where tiles are too few to keep the GPU busy.
enum class SplitK {
  No,
  Sums, ///< The product's parts are written, and added by another launch.
  Free, ///< What the kernel makes of a tile is added up in any case.
};

/// What a kernel does with a tile beside storing it.
struct TileWork {
  int64_t maxColumns = 256; ///< Of a tile that leaves room for it.
  bool scratch = false;     ///< Whether it asks for scratch memory.
  /// What it takes for each column of a tile: as many steps of the products, of
  /// 64 of k.
  int64_t steps = 0;
};

/// The plan for a product on the context's architecture, with tiles for `work`.
/// What the context's GemmOverride says goes before.
GemmPlan chooseGemm(const KernelContext &context, const GemmShape &shape,
                    SplitK split, const TileWork &work = {});

/// Whether rows of the operands begin where TMA can load them.
bool wgmmaTakes(const GemmShape &shape);

/// Writes the plan to the attribute `pst.gemm_plan` of its launch, for a reader
/// of the IR.
void notePlan(mlir::gpu::LaunchFuncOp launch, const GemmPlan &plan);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_GEMMPLAN_H
