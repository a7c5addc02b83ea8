//===- WeightTiles.h - A pass over a virtual weight -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_WEIGHTTILES_H
#define PST_LIB_CODEGEN_GPU_WEIGHTTILES_H

#include "../Kernel/VirtualWeight.h"
#include "ThreadBuilder.h"

namespace pst::cuda {

/// How a weight is divided in tiles, each for a block of kThreads. A thread has
/// `lanes` adjacent columns of its tile, and loads `chunk` adjacent rows of
/// them at a time. Tiles are numbered along the columns first.
struct WeightTiles {
  static constexpr int64_t kThreads = 256;

  /// About as many tiles as `wanted`, or fewer if the weight is small.
  WeightTiles(mlir::ShapedType weight, int64_t wanted);

  int64_t count() const { return rowTiles * stripes; }

  int64_t rows, columns;
  int64_t lanes, chunk;
  int64_t groups;   ///< of `lanes` columns in a row
  int64_t stripes;  ///< that the columns are divided in
  int64_t width;    ///< of a stripe, in groups
  int64_t depth;    ///< chunks that a block takes at a time
  int64_t height;   ///< of a tile, in rows: a multiple of depth * chunk
  int64_t rowTiles; ///< one below the other
};

/// What a thread has of a tile at a time: a chunk, or rows of it.
struct WeightChunk {
  Value row, column; ///< of the first element (index)
  int64_t offset;    ///< of its row in the chunk
  bool isLast;       ///< nothing of the chunk comes after
  /// The criterion for each of the rows, vectors of `lanes` columns.
  llvm::SmallVector<EmittedCriterion> elements;
  /// Whether row i is this thread's (i1; null: yes). The last chunk of a weight
  /// begins early, so that it is whole, and has rows of the one before.
  llvm::SmallVector<Value> isOwn;
};

/// Goes over the thread's part of tile `tile` (index), carrying values. What
/// its columns need of the factors stays in registers, as far as ranks allow;
/// the dense factors' next elements are on their way while `body` runs.
llvm::SmallVector<Value>
forTile(ThreadBuilder &b, const VirtualWeight &weight, const WeightTiles &tiles,
        Value tile, ValueRange carried,
        llvm::function_ref<llvm::SmallVector<Value>(const WeightChunk &,
                                                    ValueRange)>
            body);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_WEIGHTTILES_H
