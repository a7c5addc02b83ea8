//===- FactorGradients.cpp - From G to the factors' gradients -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// for blocks of kBlockRows rows of G:
//   for a few rows at once, for vectors of columns:
//     evaluate the criterion, mask, and take dWeight = G * M and
//     dScore = G * W' back to the factors' elements dF;
//     dense: store;  row: add to a vector of each row;  col: add the rows, then
//     to this task's sums;  lowrank: store to a buffer
//   for a lowrank factor P Q, eight ranks at a time:
//     for a few rows at once:  dP += dF Q^T  over the columns
//     for vectors of columns:  this task's dQ += P^T dF  over the rows

#include "FactorGradients.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Rows folded at once: dF of them is buffered.
static constexpr int64_t kBlockRows = 24;
/// Ranks that one pass over dF serves.
static constexpr int64_t kRanks = 8;

/// Rows whose elements are evaluated together, and share what is read of the
/// columns: what 16 registers hold, or 32.
static int64_t elementRows(int64_t lanes) { return lanes == 8 ? 4 : 8; }
/// Rows that share what is read of Q: with kRanks sums each.
static int64_t leftRows(int64_t lanes) { return lanes == 8 ? 1 : 3; }

//===----------------------------------------------------------------------===//
// Loops and sums
//===----------------------------------------------------------------------===//

SmallVector<int64_t> FactorGradients::widths() const {
  SmallVector<int64_t> widths{lanes};
  if (weight.getColumns() % lanes)
    widths.push_back(1);
  return widths;
}

/// for j in [0, columns): vectors, then what is left one by one.
void FactorGradients::forColumns(Value columns,
                                 function_ref<void(Value, int64_t)> body) {
  for (int64_t width : widths()) {
    Value whole = b.muli(b.divi(columns, lanes), lanes);
    b.loop(width == lanes ? b.index(0) : whole,
           width == lanes ? whole : columns, width,
           [&](Value j) { body(j, width); });
  }
}

/// The same for the vectors (`width` lanes) or for what is left (1), carrying
/// values.
FactorGradients::State
FactorGradients::forColumns(Value columns, int64_t width, State state,
                            function_ref<State(Value, State)> body) {
  Value whole = b.muli(b.divi(columns, lanes), lanes);
  if (state.empty())
    state = {b.index(0)}; // a loop that carries nothing is built otherwise
  return b.loop(
      width == lanes ? b.index(0) : whole, width == lanes ? whole : columns,
      width, state,
      [&](Value j, ValueRange carried) { return body(j, State(carried)); });
}

/// for i in [0, rows): `group` rows at a time, then one by one.
void FactorGradients::forRowGroups(Value rows, int64_t group,
                                   function_ref<void(Value, int64_t)> body) {
  Value whole = b.muli(b.divi(rows, group), group);
  b.loop(b.index(0), whole, group, [&](Value i) { body(i, group); });
  if (group > 1)
    b.loop(whole, rows, 1, [&](Value i) { body(i, 1); });
}

/// for k in [0, rank): kRanks at a time, then the rest at once.
void FactorGradients::forRanks(int64_t rank,
                               function_ref<void(Value, int64_t)> body) {
  int64_t whole = rank / kRanks * kRanks;
  if (whole)
    b.loop(0, whole, kRanks, [&](Value k) { body(k, kRanks); });
  if (whole != rank)
    body(b.index(whole), rank - whole);
}

void FactorGradients::addTo(Value memref, ValueRange at, Value value) {
  int64_t width = KernelBuilder::lanesOf(value);
  b.store(b.addf(b.load(memref, at, width), value), memref, at);
}

/// The sums of the lanes of each of `rows`, a power of two of them and at most
/// as many as they have lanes: halves of two vectors are added to one that has
/// half the lanes of each, until one is left.
static Value sumOfEach(KernelBuilder &b, SmallVector<Value> rows) {
  int64_t lanes = KernelBuilder::lanesOf(rows[0]);
  // Vectors hold `parts` rows, `width` lanes each.
  int64_t parts = 1, width = lanes;
  auto shuffled = [&](Value lhs, Value rhs, int64_t outLanes, int64_t half) {
    // The lower (half = 0) or upper halves of all parts of lhs, then of rhs.
    SmallVector<int64_t> mask;
    for (int64_t lane = 0; lane < outLanes; ++lane)
      mask.push_back(lane / (width / 2) * width + half * (width / 2) +
                     lane % (width / 2));
    return vector::ShuffleOp::create(b, lhs, rhs, mask);
  };
  while (rows.size() > 1) {
    size_t pairs = rows.size() / 2;
    for (size_t i = 0; i < pairs; ++i)
      rows[i] = b.addf(shuffled(rows[2 * i], rows[2 * i + 1], lanes, 0),
                       shuffled(rows[2 * i], rows[2 * i + 1], lanes, 1));
    rows.resize(pairs);
    parts *= 2;
    width /= 2;
  }
  for (; width > 1; width /= 2)
    rows[0] = b.addf(shuffled(rows[0], rows[0], parts * width / 2, 0),
                     shuffled(rows[0], rows[0], parts * width / 2, 1));
  return rows[0];
}

/// Adds the sums of `sums` (vectors, or scalars) to the elements place(i) of
/// `memref`, which are adjacent.
void FactorGradients::addSums(const State &sums, Value memref,
                              function_ref<State(int64_t)> place) {
  int64_t count = sums.size(), width = KernelBuilder::lanesOf(sums[0]);
  for (int64_t i = 0; i < count;) {
    int64_t group =
        llvm::bit_floor<uint64_t>(std::min<int64_t>(count - i, width));
    if (group == 1)
      addTo(memref, place(i), b.sumLanes(sums[i]));
    else
      addTo(memref, place(i),
            sumOfEach(b, State(ArrayRef(sums).slice(i, group))));
    i += group;
  }
}

//===----------------------------------------------------------------------===//
// Buffers
//===----------------------------------------------------------------------===//

void FactorGradients::clear() {
  for (FactorGradient &g : gradients) {
    if (!g.first || g.kind == FactorKind::Dense || g.kind == FactorKind::Col)
      continue;
    Value flat = b.flatten(g.sums);
    b.loop(0, cast<MemRefType>(flat.getType()).getDimSize(0), 1,
           [&](Value i) { b.store(b.f32(0.0), flat, i); });
  }
}

void FactorGradients::clearTask(Value task, Value firstColumn, Value columns) {
  for (FactorGradient &g : gradients)
    if (g.partial)
      b.loop(0, g.rank, 1, [&](Value k) {
        forColumns(columns, [&](Value j, int64_t width) {
          b.store(b.f32(0.0, width), g.partial,
                  {task, k, b.addi(firstColumn, j)});
        });
      });
}

void FactorGradients::allocate() {
  for (FactorGradient &g : gradients)
    if (g.kind == FactorKind::LowRank)
      g.adjoint = b.stackBuffer(kBlockRows * largestColumns);
}

void FactorGradients::reduce(int64_t tasks) {
  for (FactorGradient &g : gradients) {
    if (!g.partial)
      continue;
    b.parallel(g.rank, [&](Value k) {
      b.vectorLoop(weight.getColumns(), lanes, [&](Value j, int64_t width) {
        Value sum = b.load(g.partial, {b.index(0), k, j}, width);
        for (int64_t task = 1; task < tasks; ++task)
          sum = b.addf(sum, b.load(g.partial, {b.index(task), k, j}, width));
        bool isColumn = g.kind == FactorKind::Col;
        Value target = isColumn ? g.first : g.second;
        SmallVector<Value> at{j};
        if (!isColumn)
          at.insert(at.begin(), k);
        if (isColumn ? g.addsFirst : g.addsSecond)
          sum = b.addf(b.load(target, at, width), sum);
        b.store(sum, target, at);
      });
    });
  }
  for (FactorGradient &g : gradients) {
    if (g.sums == g.first)
      continue;
    Value sums = b.flatten(g.sums), target = b.flatten(g.first);
    b.vectorLoop(cast<MemRefType>(sums.getType()).getDimSize(0), lanes,
                 [&](Value i, int64_t width) {
                   addTo(target, i, b.load(sums, i, width));
                 });
  }
}

//===----------------------------------------------------------------------===//
// Folding
//===----------------------------------------------------------------------===//

void FactorGradients::fold(Value task, Value strip, Value base, Value firstRow,
                           Value rows, Value firstColumn, Value columns) {
  b.loop(b.index(0), rows, kBlockRows, [&](Value from) {
    Block block{task,
                strip,
                b.addi(base, b.muli(from, largestColumns)),
                b.addi(firstRow, from),
                b.mini(b.subi(rows, from), b.index(kBlockRows)),
                firstColumn,
                columns};
    forRowGroups(block.rows, elementRows(lanes), [&](Value i, int64_t count) {
      foldElements(block, i, count);
    });
    for (FactorGradient &g : gradients) {
      if (g.kind != FactorKind::LowRank)
        continue;
      forRanks(g.rank, [&](Value k, int64_t ranks) {
        if (g.first)
          forRowGroups(block.rows, leftRows(lanes),
                       [&](Value i, int64_t count) {
                         foldLeft(g, block, i, count, k, ranks);
                       });
        if (g.second)
          foldRight(g, block, k, ranks);
      });
    }
  });
}

/// Adjoints of the factors' elements at (row, column); zero where none is.
FactorGradients::State
FactorGradients::factorAdjoints(EmittedCriterion &element, Value gradient,
                                Value row, Value column) {
  Value mask = weight.mask(b, element, row, column);
  State adjoints =
      element.emitBackward(VirtualWeight::underMask(b, mask, gradient),
                           weight.scoreAdjoint(b, element, gradient));
  for (Value &adjoint : adjoints)
    if (!adjoint)
      adjoint = b.f32(0.0, KernelBuilder::lanesOf(gradient));
  return adjoints;
}

/// Rows i .. i + rows - 1 of the block.
void FactorGradients::foldElements(const Block &block, Value i, int64_t rows) {
  Value row = b.addi(block.firstRow, i);
  auto isRow = [](const FactorGradient &g) {
    return g.kind == FactorKind::Row;
  };
  int64_t rowSums = llvm::count_if(gradients, isRow);
  for (int64_t width : widths()) {
    State sums(rowSums * rows, b.f32(0.0, width));
    sums = forColumns(block.columns, width, sums, [&](Value j, State carried) {
      Value column = b.addi(block.firstColumn, j);
      if (width > 1)
        weight.prefetchNextRows(b, row, rows, column);
      SmallVector<EmittedCriterion> elements =
          weight.evaluateRows(b, row, rows, column, width);
      SmallVector<State> adjoints;
      Value at = b.addi(b.muli(i, largestColumns), j);
      for (int64_t r = 0; r < rows; ++r) {
        Value gradient =
            b.load(block.strip,
                   b.addi(b.addi(block.base, at), r * largestColumns), width);
        adjoints.push_back(
            factorAdjoints(elements[r], gradient, b.addi(row, r), column));
      }
      auto sum = carried.begin();
      for (FactorGradient &g : gradients) {
        Value ofColumn;
        for (int64_t r = 0; r < rows; ++r) {
          Value adjoint = adjoints[r][g.factor];
          switch (g.kind) {
          case FactorKind::Dense: {
            Value target = b.flatten(g.first);
            Value place =
                b.addi(b.addi(b.muli(row, weight.getColumns()), column),
                       r * weight.getColumns());
            if (g.addsFirst)
              addTo(target, place, adjoint);
            else
              b.store(adjoint, target, place);
            break;
          }
          case FactorKind::Row:
            *sum = b.addf(*sum, adjoint);
            ++sum;
            break;
          case FactorKind::Col:
            ofColumn = ofColumn ? b.addf(ofColumn, adjoint) : adjoint;
            break;
          case FactorKind::LowRank:
            b.store(adjoint, g.adjoint, b.addi(at, r * largestColumns));
            break;
          }
        }
        if (ofColumn)
          addTo(g.partial, {block.task, b.index(0), column}, ofColumn);
      }
      return carried;
    });
    ArrayRef<Value> left(sums);
    for (FactorGradient &g : llvm::make_filter_range(gradients, isRow)) {
      addSums(State(left.take_front(rows)), g.sums,
              [&](int64_t r) -> State { return {b.addi(row, r)}; });
      left = left.drop_front(rows);
    }
  }
}

/// dP[i .., k ..] += sum_j dF[i .., j] Q[k .., j]
void FactorGradients::foldLeft(const FactorGradient &g, const Block &block,
                               Value i, int64_t rows, Value k, int64_t ranks) {
  Value right = weight.getFactor(g.tensor + 1);
  for (int64_t width : widths()) {
    State sums = forColumns(
        block.columns, width, State(rows * ranks, b.f32(0.0, width)),
        [&](Value j, State sums) {
          Value column = b.addi(block.firstColumn, j);
          SmallVector<Value> adjoints;
          Value at = b.addi(b.muli(i, largestColumns), j);
          for (int64_t r = 0; r < rows; ++r)
            adjoints.push_back(
                b.load(g.adjoint, b.addi(at, r * largestColumns), width));
          for (int64_t q = 0; q < ranks; ++q) {
            Value shared = b.load(right, {b.addi(k, q), column}, width);
            for (int64_t r = 0; r < rows; ++r) {
              Value &sum = sums[r * ranks + q];
              sum = b.fma(adjoints[r], shared, sum);
            }
          }
          return sums;
        });
    for (int64_t r = 0; r < rows; ++r)
      addSums(State(ArrayRef(sums).slice(r * ranks, ranks)), g.sums,
              [&](int64_t q) -> State {
                return {b.addi(block.firstRow, b.addi(i, r)), b.addi(k, q)};
              });
  }
}

/// This task's dQ[k .., j] += sum_i P[i, k ..] dF[i, j]
void FactorGradients::foldRight(const FactorGradient &g, const Block &block,
                                Value k, int64_t ranks) {
  Value left = weight.getFactor(g.tensor);
  forColumns(block.columns, [&](Value j, int64_t width) {
    SmallVector<Value> sums = b.loop(
        b.index(0), block.rows, 1, State(ranks, b.f32(0.0, width)),
        [&](Value i, ValueRange carried) {
          State sums(carried);
          Value row = b.addi(block.firstRow, i);
          Value adjoint =
              b.load(g.adjoint, b.addi(b.muli(i, largestColumns), j), width);
          for (int64_t q = 0; q < ranks; ++q)
            sums[q] = b.fma(b.loadSplat(left, {row, b.addi(k, q)}, width),
                            adjoint, sums[q]);
          return sums;
        });
    for (int64_t q = 0; q < ranks; ++q)
      addTo(g.partial, {block.task, b.addi(k, q), b.addi(block.firstColumn, j)},
            sums[q]);
  });
}
