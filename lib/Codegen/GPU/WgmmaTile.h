//===- WgmmaTile.h - Shared memory and tiles of wgmma -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What a block of GemmWgmma.cpp has in shared memory, and the tile that it
// hands out.

#ifndef PST_LIB_CODEGEN_GPU_WGMMATILE_H
#define PST_LIB_CODEGEN_GPU_WGMMATILE_H

#include "AsyncBuilder.h"
#include "Gemm.h"

namespace pst::cuda {

/// Warpgroups that multiply, and the rows of a tile, 64 of each.
inline constexpr int64_t kWgmmaConsumers = 2;
inline constexpr int64_t kWgmmaTileRows = kWgmmaConsumers * kWgmmaRows;
/// Of H100 and H200: blocks of more would wait for each other.
inline constexpr int64_t kMultiprocessors = 132;

/// Where things lie in a block's dynamic shared memory: buffers, then boxes of
/// the result, barriers, scratch memory.
struct WgmmaBuffers {
  /// What may be used of a block's 227 KiB; barriers and statically allocated
  /// memory need some.
  static constexpr int64_t kBufferBytes = 192 * 1024;
  /// The same, and scratch memory.
  static constexpr int64_t kMostBytes = 212 * 1024;
  /// Beside buffers alone, what a tile's body may have of static memory.
  static constexpr int64_t kStaticBytes = 34 * 1024;
  /// Boxes of the result that a warpgroup has.
  static constexpr int64_t kBoxes = 2;

  explicit WgmmaBuffers(const GemmPlan &plan)
      : left{/*depthIsInner=*/!plan.leftTransposed, plan.tileM},
        right{/*depthIsInner=*/plan.rightTransposed, plan.tileN},
        resultBytes(plan.storedBytes
                        ? kWgmmaConsumers * kBoxes * ResultBox::kBytes
                        : 0),
        scratchBytes(plan.scratch ? plan.tileM * scratchColumns(plan) * 4 : 0),
        stages(plan.stages ? plan.stages : mostStages()) {}

  /// Of the scratch memory: those of a tile, and some against bank conflicts.
  static int64_t scratchColumns(const GemmPlan &plan) { return plan.tileN + 8; }

  int64_t mostStages() const {
    return std::min(kBufferBytes, kMostBytes - scratchBytes) / stageBytes();
  }
  int64_t stageBytes() const { return left.bytes() + right.bytes(); }
  int64_t barriersStart() const { return stages * stageBytes() + resultBytes; }
  int64_t scratchStart() const { return barriersStart() + stages * 16; }
  int64_t bytes() const { return scratchStart() + scratchBytes; }

  Code start(Code stage) const { return stage * stageBytes(); }
  Code full(Code stage) const { return stage * 8 + barriersStart(); }
  Code empty(Code stage) const {
    return stage * 8 + (barriersStart() + stages * 8);
  }
  /// The boxes of a warpgroup.
  Code results(Code group) const {
    return group * (kBoxes * ResultBox::kBytes) + stages * stageBytes();
  }

  OperandTile left, right;
  int64_t resultBytes, scratchBytes;
  int64_t stages;
};

/// The warpgroups that multiply wait here for each other.
void barrierOfConsumers(ThreadBuilder &b);

/// The part of a tile that a warpgroup has.
class WgmmaTile : public GemmTile {
public:
  /// `part` is that of k; null if there is one. `scratchPointer` is null if the
  /// plan has no scratch memory.
  WgmmaTile(const GemmPlan &plan, const WgmmaBuffers &buffers,
            AsyncBuilder &async, Place<Code> place, Value part, Code thread,
            llvm::ArrayRef<Value> sums, Value scratchPointer);

  int64_t groupSize() const override { return 2; }
  void forGroups(ThreadBuilder &b, GroupBody body) const override;
  void store(ThreadBuilder &b, llvm::ArrayRef<Result> results) const override;
  /// Of those that multiply.
  int64_t threads() const override { return kWgmmaConsumers * kWarpgroup; }
  void barrier(ThreadBuilder &b) const override;
  Value scratch(ThreadBuilder &b, int64_t columns) const override;

private:
  void storeBoxes(ThreadBuilder &b, const Result &result) const;
  void fill(ThreadBuilder &b, const ResultBox &box, int64_t number, Code start,
            const Result &result) const;
  void writePair(ThreadBuilder &b, const ResultBox &box, Code start, Code row,
                 Code column, llvm::ArrayRef<Value> values) const;

  const WgmmaBuffers &buffers;
  AsyncBuilder &async;
  Code thread;
  llvm::ArrayRef<Value> sums;
  Value scratchPointer;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_WGMMATILE_H
