//===- Mask.cpp - Whether an element of a virtual weight stays ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The one place that asks it, for every kernel of every target. What a
// selection left is compared with the element's score, or with its block's; of
// a group of neighbours the scores are compared with each other, here, whenever
// one of them is asked for. Of a mask that is held the bits are read.

#include "ScoreKey.h"
#include "VirtualWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

VirtualWeight::VirtualWeight(CodeBuilder &b, CriterionOp criterion,
                             SelectionAttr selection, ValueRange operands)
    : VirtualWeight(criterion, operands.take_front(criterion.getNumTensors())) {
  this->selection = selection;
  state.append(operands.begin() + criterion.getNumTensors(), operands.end());
  // What is one number for the whole weight is read once.
  for (Value &value : state)
    if (cast<MemRefType>(value.getType()).getRank() == 0)
      value = b.load(value, {});
}

Value VirtualWeight::mask(CodeBuilder &b, const EmittedCriterion &element,
                          Value row, Value column) const {
  if (!selection)
    return nullptr;
  Value score = element.getScore();
  switch (selection.getKind()) {
  case SelectionKind::Layer:
  case SelectionKind::Global: {
    Value place = b.muli(row, columns);
    // Single elements would take a register more.
    if (rows * columns <= INT32_MAX && CodeBuilder::lanesOf(score) > 1)
      return emitMask(b, score, state[0], state[1], b.addi(place, column));
    Value before = arith::IndexCastOp::create(b, b.getI64Type(), place);
    return emitMask(b, score, state[0], b.subi(state[1], before), column);
  }
  case SelectionKind::Row:
    return emitMask(b, score, b.load(state[0], row), b.load(state[1], row),
                    column);
  case SelectionKind::NM:
    return maskOfGroups(b, score, row, column);
  case SelectionKind::Block:
    return maskOfBlocks(b, CodeBuilder::lanesOf(score), row, column);
  case SelectionKind::Held:
    return maskOfBits(b, CodeBuilder::lanesOf(score), row, column);
  }
  llvm_unreachable("all kinds are listed");
}

/// 0, 1, 2, ... in i32 lanes.
static Value laneNumbers(CodeBuilder &b, int64_t lanes) {
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  return arith::ConstantOp::create(b, b.getI32VectorAttr(numbers));
}

static Value widen(CodeBuilder &b, Value condition) {
  int64_t lanes = CodeBuilder::lanesOf(condition);
  return arith::ExtUIOp::create(b, b.lanesType(lanes, b.getI32Type()),
                                condition);
}

/// An element's rank is the number of those in its group that are better: of a
/// larger key, or of the same one and before it. It stays if the rank is below
/// what is kept of each group.
Value VirtualWeight::maskOfGroups(CodeBuilder &b, Value score, Value row,
                                  Value column) const {
  int64_t lanes = CodeBuilder::lanesOf(score), group = selection.getGroup();
  Value kept = arith::TruncIOp::create(b, b.getI32Type(), state[0]);
  Value key = keyOfScore(b, score);
  auto isBetter = [&](Value other, Value own, Value isBefore) -> Value {
    Value above = b.cmpi(arith::CmpIPredicate::ugt, other, own);
    Value equal = b.cmpi(arith::CmpIPredicate::eq, other, own);
    return arith::OrIOp::create(b, above,
                                arith::AndIOp::create(b, equal, isBefore));
  };
  if (lanes >= group) {
    // The vector holds whole groups, in which lanes change places in turns.
    Value rank = b.splat(b.i32(0), lanes);
    for (int64_t turn = 1; turn < group; ++turn) {
      SmallVector<int64_t> from;
      SmallVector<bool> isBefore;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        int64_t first = lane / group * group;
        from.push_back(first + (lane - first + turn) % group);
        isBefore.push_back(from.back() < lane);
      }
      Value other = vector::ShuffleOp::create(b, key, key, from);
      Value before =
          arith::ConstantOp::create(b, b.getBoolVectorAttr(isBefore));
      rank = arith::AddIOp::create(b, rank,
                                   widen(b, isBetter(other, key, before)));
    }
    return b.cmpi(arith::CmpIPredicate::slt, rank, b.splat(kept, lanes));
  }
  // The group is larger: each lane is compared with all of it.
  Value first = b.muli(b.divi(column, group), group);
  Value others = keyOfScore(b, evaluate(b, row, first, group).getScore());
  Value numbers = laneNumbers(b, group);
  SmallVector<Value> stay;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    Value own = lanes == 1 ? key : vector::ExtractOp::create(b, key, lane);
    Value place = arith::IndexCastOp::create(
        b, b.getI32Type(), b.addi(b.subi(column, first), lane));
    Value before =
        b.cmpi(arith::CmpIPredicate::slt, numbers, b.splat(place, group));
    Value better = isBetter(others, b.splat(own, group), before);
    Value rank = vector::ReductionOp::create(b, vector::CombiningKind::ADD,
                                             widen(b, better));
    stay.push_back(b.cmpi(arith::CmpIPredicate::slt, rank, kept));
  }
  if (lanes == 1)
    return stay[0];
  return vector::FromElementsOp::create(b, b.lanesType(lanes, b.getI1Type()),
                                        stay);
}

/// Elements stay with their block. A vector may reach over several.
Value VirtualWeight::maskOfBlocks(CodeBuilder &b, int64_t lanes, Value row,
                                  Value column) const {
  int64_t width = selection.getBlockColumns(columns);
  int64_t across = cast<MemRefType>(state[0].getType()).getDimSize(1);
  Value blockRow = b.divi(row, selection.getBlockRows());
  Value cut =
      b.subi(state[2], arith::IndexCastOp::create(b, b.getI64Type(),
                                                  b.muli(blockRow, across)));
  auto stays = [&](Value block) {
    return emitMask(b, b.load(state[0], {blockRow, block}), state[1], cut,
                    block);
  };
  Value first = b.divi(column, width);
  Value mask = stays(first);
  if (lanes == 1)
    return mask;
  mask = b.splat(mask, lanes);
  // Vectors begin at multiples of their lanes.
  int64_t more = width % lanes == 0 ? 0 : llvm::divideCeil(lanes - 1, width);
  for (int64_t next = 1; next <= std::min(more, across - 1); ++next) {
    Value block = b.mini(b.addi(first, next), b.index(across - 1));
    Value begin = arith::IndexCastOp::create(
        b, b.getI32Type(), b.subi(b.muli(block, width), column));
    Value isThere = b.cmpi(arith::CmpIPredicate::sge, laneNumbers(b, lanes),
                           b.splat(begin, lanes));
    mask = b.select(isThere, b.splat(stays(block), lanes), mask);
  }
  return mask;
}

/// 1, 2, 4, ...: the bit of each lane.
static Value laneBits(CodeBuilder &b, int64_t lanes) {
  if (lanes == 1)
    return b.i32(1);
  SmallVector<int32_t> bits;
  for (int64_t lane = 0; lane < lanes; ++lane)
    bits.push_back(static_cast<int32_t>(uint32_t{1} << lane));
  return arith::ConstantOp::create(b, b.getI32VectorAttr(bits));
}

/// Vectors begin at multiples of their lanes, so each lies within a word, or
/// takes whole ones.
Value VirtualWeight::maskOfBits(CodeBuilder &b, int64_t lanes, Value row,
                                Value column) const {
  constexpr int64_t kBits = SelectionAttr::kWordBits;
  if (lanes > kBits) {
    int64_t half = lanes / 2;
    return vector::ShuffleOp::create(
        b, maskOfBits(b, half, row, column),
        maskOfBits(b, half, row, b.addi(column, half)),
        llvm::to_vector(llvm::seq<int64_t>(0, lanes)));
  }
  Value word = b.load(state[0], {row, b.divi(column, kBits)});
  Value place =
      arith::IndexCastOp::create(b, b.getI32Type(), b.remi(column, kBits));
  Value bits = b.splat(arith::ShRUIOp::create(b, word, place), lanes);
  Value own = laneBits(b, lanes);
  return b.cmpi(arith::CmpIPredicate::eq, arith::AndIOp::create(b, bits, own),
                own);
}

Value VirtualWeight::maskBits(CodeBuilder &b, Value row, Value first,
                              Value count, int64_t lanes) const {
  return b.loop(
      b.index(0), count, lanes, {b.i32(0)},
      [&](Value place, ValueRange carried) -> SmallVector<Value> {
        Value column = b.addi(first, place);
        Value stays = mask(b, evaluate(b, row, column, lanes), row, column);
        Value bits =
            b.select(stays, laneBits(b, lanes), b.splat(b.i32(0), lanes));
        if (lanes > 1)
          bits =
              vector::ReductionOp::create(b, vector::CombiningKind::ADD, bits);
        Value shift = arith::IndexCastOp::create(b, b.getI32Type(), place);
        return {arith::OrIOp::create(b, carried[0],
                                     arith::ShLIOp::create(b, bits, shift))};
      })[0];
}

Value VirtualWeight::scoreAdjoint(CodeBuilder &b,
                                  const EmittedCriterion &element,
                                  Value gradient) const {
  if (!element.getScore())
    return nullptr;
  Value adjoint = b.mulf(gradient, element.getWeight());
  if (!selection || selection.getKind() != SelectionKind::Held)
    return adjoint;
  return b.mulf(adjoint, b.splat(state[1], CodeBuilder::lanesOf(gradient)));
}
