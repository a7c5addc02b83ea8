//===- Gemm.cpp - Products of matrices, tile by tile ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Gemm.h"
#include "MMALayout.h"

using namespace mlir;
using namespace pst::cuda;

/// Multiprocessors that large tiles must be able to keep busy.
static constexpr int64_t kBusy = 128;
/// Steps of k below which a part of it is not worth a block.
static constexpr int64_t kFewestSteps = 16;
/// Rows and columns of tiles, the largest first.
using TileSize = std::pair<int64_t, int64_t>;
static constexpr TileSize kFMATiles[] = {{128, 128}, {64, 64}};
static constexpr TileSize kMMATiles[] = {{128, 128}, {128, 64}, {64, 64}};

GemmShape GemmShape::of(GemmOperand left, GemmOperand right) {
  auto lhs = cast<ShapedType>(left.matrix.getType());
  auto rhs = cast<ShapedType>(right.matrix.getType());
  return {lhs.getDimSize(left.transposed ? 1 : 0),
          rhs.getDimSize(right.transposed ? 0 : 1),
          lhs.getDimSize(left.transposed ? 0 : 1),
          left.transposed,
          right.transposed,
          lhs.getElementType(),
          rhs.getElementType()};
}

/// Parts of k that let tiles too few keep the GPU busy: a divisor of the steps
/// of k, so that all are as long.
static int64_t splitsFor(const GemmPlan &plan) {
  int64_t depth =
      MmaTile::kDepthBytes / (plan.leftType.getIntOrFloatBitWidth() / 8);
  if (plan.k % depth != 0)
    return 1;
  int64_t steps = plan.k / depth, best = 1;
  for (int64_t splits = 2; splits * kFewestSteps <= steps; ++splits)
    if (steps % splits == 0 && plan.tiles() * best < kBusy)
      best = splits;
  return best;
}

GemmPlan pst::cuda::chooseGemm(const KernelContext &context,
                               const GemmShape &shape, int64_t maxColumns,
                               bool maySplit) {
  if (context.getArch() == "sm_90a" && wgmmaTakes(shape))
    return planWgmma(shape, maxColumns);
  GemmPlan plan{shape, GemmMethod::FMA, 0, 0, /*threads=*/256};
  ArrayRef<TileSize> sizes = kFMATiles;
  bool rounds = context.multipliesTF32() && shape.leftType.isF32() &&
                shape.rightType.isF32();
  if (rounds || (shape.leftType.isBF16() && shape.rightType.isBF16())) {
    plan.method = GemmMethod::MMA;
    plan.threads = WarpGrid::kThreads;
    sizes = kMMATiles;
  }
  for (auto [m, n] : sizes) {
    if (n > maxColumns)
      continue;
    plan.tileM = m;
    plan.tileN = n;
    if (maySplit && plan.method == GemmMethod::MMA)
      plan.splits = splitsFor(plan);
    if (plan.blocks() >= kBusy)
      break;
  }
  return plan;
}

Value pst::cuda::allOf(ThreadBuilder &b, Value lhs, Value rhs) {
  if (!lhs || !rhs)
    return lhs ? lhs : rhs;
  return arith::AndIOp::create(b, lhs, rhs);
}

Value pst::cuda::isBelow(ThreadBuilder &b, Value first, Value i, int64_t size,
                         int64_t step) {
  if (size % step == 0)
    return nullptr;
  return b.cmpi(arith::CmpIPredicate::slt, b.addi(first, i), b.index(size));
}

GemmTile::~GemmTile() = default;

void GemmTile::barrier(ThreadBuilder &b) const { b.barrier(); }

Value GemmTile::scratch(ThreadBuilder &b, int64_t columns) const {
  return b.sharedBuffer({plan.tileM, columns});
}

Value GemmTile::isRow(ThreadBuilder &b, Value i) const {
  return isBelow(b, row, i, plan.m, plan.tileM);
}

Value GemmTile::isColumn(ThreadBuilder &b, Value j) const {
  return isBelow(b, column, j, plan.n, plan.tileN);
}

Value GemmTile::isElement(ThreadBuilder &b, Value i, Value j) const {
  return allOf(b, isRow(b, i), isColumn(b, j));
}

void GemmTile::forElements(ThreadBuilder &b,
                           function_ref<void(Value, Value, Value)> body) const {
  forGroups(b, [&](Value i, Value j, ValueRange values) {
    for (auto [c, value] : llvm::enumerate(values))
      body(i, b.addi(j, c), value);
  });
}

void GemmTile::forInside(ThreadBuilder &b, GroupBody body) const {
  forGroups(b, [&](Value i, Value j, ValueRange values) {
    // A group is in or out as its first column is if n is a multiple of it.
    size_t step = plan.n % groupSize() == 0 ? values.size() : 1;
    for (size_t c = 0; c < values.size(); c += step) {
      Value first = b.addi(j, c);
      auto inside = [&] {
        body(b.addi(row, i), b.addi(column, first), values.slice(c, step));
      };
      if (Value condition = isElement(b, i, first))
        b.ifThen(condition, inside);
      else
        inside();
    }
  });
}

void GemmTile::store(ThreadBuilder &b, Value result, GroupMap map) const {
  forInside(b, [&](Value row, Value column, ValueRange values) {
    b.storeAdjacent(map(row, column, values), result, {row, column});
  });
}

void pst::cuda::launchTiles(KernelContext &context, cpu::KernelBuilder &host,
                            StringRef name, const GemmPlan &plan, Value left,
                            Value right, ValueRange arguments, TileBody body) {
  int64_t blocks = plan.blocks(), sharedBytes = 0;
  if (plan.method == GemmMethod::Wgmma) {
    std::tie(left, right) = wgmmaOperands(host, plan, left, right);
    blocks = wgmmaBlocks(plan);
    sharedBytes = wgmmaSharedBytes(plan);
  }
  SmallVector<Value> all{left, right};
  llvm::append_range(all, arguments);
  context.launch(
      host, name, blocks, plan.threads, all,
      [&](ThreadBuilder &b, ValueRange values) {
        auto onTile = [&](const GemmTile &tile) {
          body(b, tile, values.drop_front(2));
        };
        switch (plan.method) {
        case GemmMethod::FMA:
          return emitFMATiles(b, plan, values[0], values[1], onTile);
        case GemmMethod::MMA:
          return emitMMATiles(b, plan, values[0], values[1], onTile);
        case GemmMethod::Wgmma:
          return emitWgmmaTiles(b, plan, values[0], values[1], onTile);
        }
      },
      sharedBytes);
}

void pst::cuda::launchGemm(KernelContext &context, cpu::KernelBuilder &host,
                           StringRef name, GemmOperand left, GemmOperand right,
                           const GemmEpilogue &epilogue, Value result) {
  GemmPlan plan = chooseGemm(context, GemmShape::of(left, right));
  if (plan.method == GemmMethod::Wgmma)
    result = wgmmaResult(host, plan, result);
  SmallVector<Value> arguments{result};
  if (epilogue.bias)
    arguments.push_back(epilogue.bias);
  if (epilogue.addend)
    arguments.push_back(epilogue.addend);
  launchTiles(
      context, host, name, plan, left.matrix, right.matrix, arguments,
      [&](ThreadBuilder &b, const GemmTile &tile, ValueRange arguments) {
        tile.store(
            b, arguments[0], [&](Value row, Value column, ValueRange sums) {
              SmallVector<Value> values(sums);
              ValueRange operands = arguments.drop_front();
              auto add = [&](ArrayRef<Value> indices) {
                SmallVector<Value> terms =
                    b.loadAdjacent(operands.front(), indices, values.size());
                for (auto [value, term] : llvm::zip(values, terms))
                  value = b.addf(value, term);
                operands = operands.drop_front();
              };
              if (epilogue.bias)
                add(column);
              if (epilogue.addend)
                add({row, column});
              if (epilogue.activation)
                for (Value &value : values)
                  value = cpu::emitActivation(b, *epilogue.activation, value);
              return values;
            });
      });
}
