//===- Gemm.cpp - Products of matrices, tile by tile ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Gemm.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Sizes from which on a product is worth a converted copy of an operand.
static constexpr int64_t kConverted = 64;
static bool isRightConverted(const KernelContext &context,
                             const GemmShape &shape) {
  return convertsRight(context, shape.leftType, shape.rightType) &&
         std::min({shape.m, shape.n, shape.k}) >= kConverted;
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

Value GemmTile::storedRow(ThreadBuilder &b, Value row) const {
  return split ? b.addi(row, b.muli(split, plan.rowsOfPart())) : row;
}

void GemmTile::store(ThreadBuilder &b, ArrayRef<Result> results) const {
  forInside(b, [&](Value row, Value column, ValueRange values) {
    for (const Result &result : results)
      b.storeGroup(result.map(row, column, values), result.buffer,
                   {storedRow(b, row), column});
  });
}

Value pst::cuda::stepsOfPart(ThreadBuilder &b, const GemmPlan &plan,
                             const GemmExtent &extent, int64_t depth) {
  if (!extent.depth)
    return b.index(plan.stepsOfPart(depth));
  Value steps = b.divi(b.addi(extent.depth, depth - 1), depth);
  return b.divi(b.addi(steps, plan.splits - 1), plan.splits);
}

void pst::cuda::launchTiles(KernelContext &context, CodeBuilder &host,
                            const KernelPart &part, const GemmPlan &plan,
                            Value left, Value right, ValueRange arguments,
                            TileBody body) {
  int64_t blocks = plan.blocks(), sharedBytes = 0;
  assert(context.isPacked(right) ==
             (plan.leftTransposed && context.isPacked(left)) &&
         "k is packed in both operands, and n is not");
  if (plan.method == GemmMethod::Wgmma) {
    Value matrix = left;
    std::tie(left, right) = wgmmaOperands(host, plan, left, right);
    context.setRowsLike(left, matrix);
    blocks = wgmmaBlocks(plan);
    sharedBytes = wgmmaSharedBytes(plan);
  }
  SmallVector<Value> all{left, right};
  llvm::append_range(all, arguments);
  gpu::LaunchFuncOp launch = context.launch(
      host, part, blocks, plan.threads, all,
      [&](ThreadBuilder &b, ValueRange values) {
        auto onTile = [&](const GemmTile &tile) {
          body(b, tile, values.drop_front(2));
        };
        GemmExtent extent;
        (plan.leftTransposed ? extent.depth : extent.rows) =
            context.packedCount(values[0]);
        switch (plan.method) {
        case GemmMethod::FMA:
          return emitFMATiles(b, plan, extent, values[0], values[1], onTile);
        case GemmMethod::MMA:
          return emitMMATiles(b, plan, extent, values[0], values[1], onTile);
        case GemmMethod::Wgmma:
          return emitWgmmaTiles(b, plan, extent, values[0], values[1], onTile);
        }
      },
      sharedBytes);
  notePlan(launch, plan);
}

SmallVector<RankedTensorType>
pst::cuda::gemmWorkspaces(const KernelContext &context,
                          const GemmShape &shape) {
  SmallVector<RankedTensorType> types;
  GemmShape multiplied = shape;
  if (isRightConverted(context, shape)) {
    multiplied.rightType = shape.leftType;
    int64_t rows = shape.rightTransposed ? shape.n : shape.k;
    types.push_back(
        RankedTensorType::get({rows, shape.rightLength}, shape.leftType));
  }
  GemmPlan plan = chooseGemm(context, multiplied, SplitK::Sums);
  if (plan.splits > 1)
    types.push_back(
        RankedTensorType::get({plan.splits * plan.rowsOfPart(), plan.n},
                              Float32Type::get(shape.leftType.getContext())));
  return types;
}

bool pst::cuda::convertsRight(const KernelContext &context, Type left,
                              Type right) {
  return (left.isBF16() && right.isF32()) ||
         (context.multipliesTF32() && left.isF32() && right.isBF16());
}

void pst::cuda::launchConversion(KernelContext &context, CodeBuilder &host,
                                 Value matrix, Value target) {
  bool rounds = getElementTypeOrSelf(target.getType()).isBF16();
  KernelIdentity identity(rounds ? "round" : "widen");
  context.launchMap(
      host, identity.add(matrix.getType()), /*inputs=*/1, {matrix, target},
      [](CodeBuilder &, ValueRange) -> ElementFunction {
        return [](ValueRange elements, Value, int64_t) { return elements[0]; };
      });
}

/// In the order of a kernel's arguments.
static constexpr Value GemmEpilogue::*kOperands[] = {
    &GemmEpilogue::bias, &GemmEpilogue::seed, &GemmEpilogue::site,
    &GemmEpilogue::addend, &GemmEpilogue::preactivation};

SmallVector<Value> GemmEpilogue::operands() const {
  SmallVector<Value> values;
  for (Value GemmEpilogue::*operand : kOperands)
    if (this->*operand)
      values.push_back(this->*operand);
  return values;
}

GemmEpilogue GemmEpilogue::with(ValueRange operands) const {
  GemmEpilogue other = *this;
  for (Value GemmEpilogue::*operand : kOperands)
    if (other.*operand) {
      other.*operand = operands.front();
      operands = operands.drop_front();
    }
  return other;
}

ProductFinish::ProductFinish(const KernelContext &context, ThreadBuilder &b,
                             const GemmEpilogue &epilogue, ValueRange operands,
                             int64_t columns)
    : context(context), epilogue(epilogue.with(operands)), columns(columns) {
  if (this->epilogue.seed)
    mask.emplace(b, this->epilogue.seed, this->epilogue.site,
                 epilogue.probability);
}

SmallVector<Value> ProductFinish::add(ThreadBuilder &b, Value row, Value column,
                                      ValueRange products) const {
  SmallVector<Value> values(products);
  auto addTerms = [&](Value matrix, ArrayRef<Value> indices) {
    SmallVector<Value> terms = b.loadGroup(matrix, indices, values.size());
    for (auto [value, term] : llvm::zip(values, terms))
      value = b.addf(value, term);
  };
  if (epilogue.bias)
    addTerms(epilogue.bias, column);
  if (mask)
    values = mask->drop(b, values,
                        DropoutPlace::ofRow(b, context.placeOf(b, row),
                                            epilogue.length, columns)
                            .plus(b, column));
  if (epilogue.addend)
    addTerms(epilogue.addend, {row, column});
  return values;
}

SmallVector<Value> ProductFinish::activate(ThreadBuilder &b, Value row,
                                           Value column,
                                           ValueRange sums) const {
  SmallVector<Value> values(sums);
  if (epilogue.preactivation) {
    SmallVector<Value> points =
        b.loadGroup(epilogue.preactivation, {row, column}, values.size());
    for (auto [value, point] : llvm::zip(values, points))
      value = b.mulf(value,
                     emitActivationDerivative(b, *epilogue.activation, point));
  } else if (epilogue.activation) {
    for (Value &value : values)
      value = emitActivation(b, *epilogue.activation, value);
  }
  return values;
}

SmallVector<Value> ProductFinish::keep(ThreadBuilder &b, Value row,
                                       Value column,
                                       ValueRange products) const {
  if (!epilogue.preactivation)
    return add(b, row, column, products);
  SmallVector<Value> values =
      b.loadGroup(epilogue.preactivation, {row, column}, products.size());
  for (Value &value : values)
    value = emitActivation(b, *epilogue.activation, value);
  return values;
}

/// Those of a product's arguments that it writes: the result, what is kept.
static size_t numResults(const GemmEpilogue &epilogue) {
  return epilogue.kept ? 2 : 1;
}

/// result = epilogue(sum over the parts of k, in ascending order)
static void launchSumOfParts(KernelContext &context, CodeBuilder &host,
                             const KernelPart &part, const GemmPlan &plan,
                             Value parts, const GemmEpilogue &epilogue,
                             ValueRange arguments) {
  Value result = arguments.front();
  SmallVector<Value> all{parts};
  llvm::append_range(all, arguments);
  context.launchMatrix(
      host, part.then("sum"), result, all,
      [&](ThreadBuilder &b, ValueRange values, Value row, Value column,
          int64_t size) {
        auto part = [&](int64_t number) {
          Value at = b.addi(row, number * plan.rowsOfPart());
          return b.loadGroup(values[0], {at, column}, size);
        };
        SmallVector<Value> sums = part(0);
        for (int64_t number = 1; number < plan.splits; ++number)
          for (auto [sum, term] : llvm::zip(sums, part(number)))
            sum = b.addf(sum, term);
        ProductFinish finish(context, b, epilogue,
                             values.drop_front(1 + numResults(epilogue)),
                             plan.n);
        if (epilogue.kept)
          b.storeGroup(finish.keep(b, row, column, sums), values[2],
                       {row, column});
        b.storeGroup(finish(b, row, column, sums), values[1], {row, column});
      });
}

void pst::cuda::launchGemm(KernelContext &context, CodeBuilder &host,
                           GemmOperand left, GemmOperand right,
                           const GemmEpilogue &epilogue, Value result,
                           ValueRange workspaces) {
  if (!workspaces.empty() &&
      isRightConverted(context, GemmShape::of(left, right))) {
    context.setRowsLike(workspaces.front(), right.matrix);
    launchConversion(context, host, right.matrix, workspaces.front());
    right.matrix = workspaces.front();
    workspaces = workspaces.drop_front();
  }
  GemmPlan plan = chooseGemm(context, GemmShape::of(left, right),
                             workspaces.empty() ? SplitK::No : SplitK::Sums);
  bool splits = plan.splits > 1;
  // Ops of other kinds may need the same product.
  KernelIdentity identity("matmul");
  identity.add(
      {left.matrix.getType(), right.matrix.getType(), result.getType()});
  for (auto [word, is] :
       {std::pair<StringRef, bool>("left_transposed", left.transposed),
        {"right_transposed", right.transposed},
        {"bias", !!epilogue.bias},
        {"dropout", !!epilogue.seed},
        {"addend", !!epilogue.addend},
        {"derivative", !!epilogue.preactivation},
        {"kept", !!epilogue.kept}})
    if (is)
      identity.add(word);
  identity.distinguish(host.getF64FloatAttr(epilogue.probability));
  if (epilogue.length)
    identity.distinguish(epilogue.length);
  if (epilogue.activation)
    identity.add(nn::stringifyActivationKind(*epilogue.activation));
  KernelPart part(identity);
  SmallVector<Value> arguments{result};
  if (epilogue.kept)
    arguments.push_back(epilogue.kept);
  llvm::append_range(arguments, epilogue.operands());
  SmallVector<Value> ofTiles(arguments);
  if (splits)
    ofTiles = {workspaces.front()};
  if (plan.method == GemmMethod::Wgmma)
    for (size_t i = 0; i < (splits ? 1 : numResults(epilogue)); ++i)
      ofTiles[i] = wgmmaResult(host, plan, ofTiles[i]);
  launchTiles(
      context, host, part, plan, left.matrix, right.matrix, ofTiles,
      [&](ThreadBuilder &b, const GemmTile &tile, ValueRange values) {
        if (splits)
          return tile.store(b, {{values[0], [](Value, Value, ValueRange sums) {
                                   return SmallVector<Value>(sums);
                                 }}});
        ProductFinish finish(context, b, epilogue,
                             values.drop_front(numResults(epilogue)), plan.n);
        SmallVector<GemmTile::Result> results;
        if (epilogue.kept)
          results.push_back(
              {values[1], [&](Value row, Value column, ValueRange sums) {
                 return finish.keep(b, row, column, sums);
               }});
        results.push_back(
            {values[0], [&](Value row, Value column, ValueRange sums) {
               return finish(b, row, column, sums);
             }});
        tile.store(b, results);
      });
  if (splits)
    launchSumOfParts(context, host, part, plan, workspaces.front(), epilogue,
                     arguments);
}
