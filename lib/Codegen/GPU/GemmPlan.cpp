//===- GemmPlan.cpp - How products are computed ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GemmPlan.h"
#include "MMALayout.h"
#include "WgmmaTile.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Multiprocessors that large tiles must be able to keep busy.
static constexpr int64_t kBusy = 128;
/// Of k, the least that is worth a block.
static constexpr int64_t kShortestPart = 512;
/// Rows and columns of tiles, the largest first.
using TileSize = std::pair<int64_t, int64_t>;
static constexpr TileSize kFMATiles[] = {{128, 128}, {64, 64}};
static constexpr TileSize kMMATiles[] = {{128, 128}, {128, 64}, {64, 64}};

GemmShape GemmShape::of(ShapedType left, bool leftTransposed, ShapedType right,
                        bool rightTransposed) {
  return {left.getDimSize(leftTransposed ? 1 : 0),
          right.getDimSize(rightTransposed ? 0 : 1),
          left.getDimSize(leftTransposed ? 0 : 1),
          leftTransposed,
          rightTransposed,
          left.getElementType(),
          right.getElementType(),
          left.getDimSize(1),
          right.getDimSize(1)};
}

GemmShape GemmShape::of(GemmOperand left, GemmOperand right) {
  GemmShape shape =
      of(cast<ShapedType>(left.matrix.getType()), left.transposed,
         cast<ShapedType>(right.matrix.getType()), right.transposed);
  if (left.columns)
    (left.transposed ? shape.m : shape.k) = left.columns;
  if (right.columns)
    (right.transposed ? shape.k : shape.n) = right.columns;
  return shape;
}

bool pst::cuda::wgmmaTakes(const GemmShape &shape) {
  // TMA wants rows that begin at multiples of 16 bytes.
  auto aligned = [](int64_t columns) {
    return columns * kElementBytes % 16 == 0;
  };
  return shape.leftType.isBF16() && shape.rightType.isBF16() &&
         aligned(shape.leftLength) && aligned(shape.rightLength);
}

//===----------------------------------------------------------------------===//
// By TMA and wgmma
//===----------------------------------------------------------------------===//

/// What a tile takes to begin and end it, in columns.
static constexpr int64_t kTileColumns = 16;
/// Of k, the fewest steps that are worth a block.
static constexpr int64_t kFewestSteps = 8;

/// The time of a step of 128 x 1 x 64 on a multiprocessor is the unit, 2.7 ns.
static int64_t timeOf(const GemmPlan &plan, SplitK split,
                      const TileWork &work) {
  int64_t rounds = llvm::divideCeil(plan.blocks(), wgmmaBlocks(plan));
  int64_t steps = plan.stepsOfPart(OperandTile::kDepth) + work.steps;
  int64_t time = rounds * steps * (plan.tileN + kTileColumns);
  // Parts are written and read at some 4 TB/s, by a launch of 2 us.
  if (split == SplitK::Sums && plan.splits > 1)
    time += 700 + (2 * plan.splits + 1) * plan.m * plan.n / 2700;
  return time;
}

/// With as many columns to a tile and parts of k as should take the least time;
/// with the most columns and the fewest parts if in doubt.
static GemmPlan planWgmma(const KernelContext &context, const GemmShape &shape,
                          SplitK split, const TileWork &work) {
  GemmPlan plan{shape, GemmMethod::Wgmma, kWgmmaTileRows, /*tileN=*/0,
                (kWgmmaConsumers + 1) * kWarpgroup};
  plan.scratch = work.scratch;
  // There is room for scratch memory of 128 columns.
  int64_t most = work.scratch ? 128 : work.maxColumns;
  GemmPlan best;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t columns : {256, 192, 128, 64}) {
    if (columns > most)
      continue;
    plan.tileN = columns;
    int64_t mostParts = 1;
    if (split != SplitK::No)
      mostParts = std::max<int64_t>(
          1, std::min(kMultiprocessors / plan.tiles(),
                      plan.k / (kFewestSteps * OperandTile::kDepth)));
    for (int64_t parts = 1; parts <= mostParts; ++parts) {
      plan.split(parts, OperandTile::kDepth);
      if (int64_t time = timeOf(plan, split, work); time < least) {
        least = time;
        best = plan;
      }
    }
  }
  context.getGemmOverride().applyTo(best, most);
  best.stages = WgmmaBuffers(best).stages;
  return best;
}

//===----------------------------------------------------------------------===//
// Overrides
//===----------------------------------------------------------------------===//

llvm::Expected<GemmOverride> GemmOverride::parse(StringRef text) {
  GemmOverride parsed;
  struct Key {
    StringLiteral name;
    std::optional<int64_t> &value;
    SmallVector<int64_t> values;
  };
  Key keys[] = {{"columns", parsed.columns, {64, 128, 192, 256}},
                {"stages", parsed.stages, {2, 3, 4, 5, 6, 7, 8}},
                {"release", parsed.release, {0, 1}},
                {"band", parsed.band, {2, 4, 8, 16, 32, 64}}};
  SmallVector<StringRef> parts;
  text.split(parts, ',', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  for (StringRef part : parts) {
    auto [name, number] = part.split('=');
    const Key *key =
        llvm::find_if(keys, [&](const Key &key) { return key.name == name; });
    int64_t value;
    if (key == std::end(keys) || number.getAsInteger(10, value) ||
        !llvm::is_contained(key->values, value))
      return llvm::createStringError(
          "'" + part +
          "' is no part of a plan: columns=64, 128, 192 or 256, stages=2 to "
          "8, release=0 or 1, band=2, 4, ... or 64");
    key->value = value;
  }
  return parsed;
}

void GemmOverride::applyTo(GemmPlan &plan, int64_t mostColumns) const {
  if (columns && *columns <= mostColumns && plan.splits == 1)
    plan.tileN = *columns;
  if (stages)
    plan.stages = std::min(*stages, WgmmaBuffers(plan).mostStages());
  plan.release = release.value_or(plan.release);
  plan.band = band.value_or(plan.band);
}

//===----------------------------------------------------------------------===//
// Of any method
//===----------------------------------------------------------------------===//

/// Splits k where tiles are too few to keep the GPU busy.
static void splitFewTiles(GemmPlan &plan) {
  int64_t wanted = llvm::divideCeil(kBusy, plan.tiles());
  int64_t most = std::max<int64_t>(1, plan.k / kShortestPart);
  // A multiple of what any kernel takes at a time.
  plan.split(std::min(wanted, most), /*depth=*/MmaTile::kDepthBytes / 2);
}

GemmPlan pst::cuda::chooseGemm(const KernelContext &context,
                               const GemmShape &shape, SplitK split,
                               const TileWork &work) {
  if (context.getArch() == "sm_90a" && wgmmaTakes(shape))
    return planWgmma(context, shape, split, work);
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
    if (n > work.maxColumns)
      continue;
    plan.tileM = m;
    plan.tileN = n;
    if (split == SplitK::Free)
      splitFewTiles(plan);
    if (plan.blocks() >= kBusy)
      break;
  }
  // Smaller tiles cost less than parts that must be written.
  if (split == SplitK::Sums)
    splitFewTiles(plan);
  return plan;
}

void pst::cuda::notePlan(gpu::LaunchFuncOp launch, const GemmPlan &plan) {
  Builder builder(launch.getContext());
  SmallVector<NamedAttribute> fields;
  auto add = [&](StringRef name, int64_t value) {
    fields.push_back(
        builder.getNamedAttr(name, builder.getI64IntegerAttr(value)));
  };
  add("rows", plan.tileM);
  add("columns", plan.tileN);
  add("splits", plan.splits);
  if (plan.method == GemmMethod::Wgmma) {
    add("stages", plan.stages);
    add("release", plan.release);
    add("band", plan.band);
  }
  launch->setAttr(kGemmPlanAttribute, builder.getDictionaryAttr(fields));
}
