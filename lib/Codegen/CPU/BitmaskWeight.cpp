//===- BitmaskWeight.cpp - Stores a matrix by a bit for each element ------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BitmaskWeight.h"
#include "KernelContext.h"
#include "QuantizedWeight.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using Layout = BitmaskLayout;
static constexpr int64_t kLanes = BitmaskMatrix::kLanes;
/// Rows of S that are stored at once, of one block of columns each.
static constexpr int64_t kRows = 64;
/// Bytes of a stream before one whose line is on its way.
static constexpr int64_t kAhead = 2048;

/// The bits of an integer from `from` on as a mask of `lanes` lanes.
static Value maskOf(KernelBuilder &b, Value integer, int64_t from,
                    int64_t lanes) {
  if (from > 0) {
    Value by =
        arith::ConstantOp::create(b, b.getIntegerAttr(integer.getType(), from));
    integer = arith::ShRUIOp::create(b, integer, by);
  }
  Type narrow = b.getIntegerType(lanes);
  if (integer.getType() != narrow)
    integer = arith::TruncIOp::create(b, narrow, integer);
  return vector::BitCastOp::create(
      b, VectorType::get(lanes, b.getI1Type()),
      vector::BroadcastOp::create(b, VectorType::get(1, narrow), integer));
}

Value BitmaskMatrix::isWhole(KernelBuilder &b) const {
  return b.cmpi(arith::CmpIPredicate::sle, b.load(used, {}), b.i32(room()));
}

Value BitmaskMatrix::start(KernelBuilder &b, Value row, Value block) const {
  return toIndex(b, b.load(starts, {row, block}));
}

Value BitmaskMatrix::loadWord(KernelBuilder &b, Value row, Value word) const {
  Value byte = b.addi(b.muli(row, layout.rowBytes()), b.muli(word, 8));
  Value bytes = b.loadAsStored(bits, byte, 8);
  auto integer = VectorType::get(1, b.getI64Type());
  return vector::ExtractOp::create(
      b, vector::BitCastOp::create(b, integer, bytes), 0);
}

/// Asks for lines of values and bits to come: what the hardware's prefetcher
/// asks for by itself comes at half of the memory's rate.
void BitmaskMatrix::prefetch(KernelBuilder &b, Value row, Value word,
                             Value slot) const {
  int64_t width = cast<MemRefType>(values.getType()).getElementTypeBitWidth();
  Value byte = b.addi(b.muli(row, layout.rowBytes()), b.muli(word, 8));
  for (auto [stream, at] : {std::pair(values, b.addi(slot, kAhead * 8 / width)),
                            std::pair(bits, b.addi(byte, kAhead))})
    memref::PrefetchOp::create(b, stream, ValueRange{at}, /*isWrite=*/false,
                               /*localityHint=*/3, /*isDataCache=*/true);
}

/// The elements from `slot` on, in the lanes of `mask` that are set; zeros in
/// the others.
Value BitmaskMatrix::loadExpanded(KernelBuilder &b, const Target &target,
                                  Value slot, Value mask) const {
  int64_t lanes = KernelBuilder::lanesOf(mask);
  Type element = cast<MemRefType>(values.getType()).getElementType();
  // What is too narrow for the instruction is moved as f32.
  bool isNarrow = target.expandBits > element.getIntOrFloatBitWidth();
  Value elements = isNarrow || !target.expandBits
                       ? b.load(values, slot, lanes)
                       : b.loadAsStored(values, slot, lanes);
  auto type = cast<VectorType>(elements.getType());
  if (!target.expandBits) {
    Value buffer = b.stackBuffer(lanes);
    b.store(elements, buffer, b.index(0));
    return vector::ExpandLoadOp::create(b, type, buffer, ValueRange{b.index(0)},
                                        mask, b.f32(0.0, lanes));
  }
  if (type.getElementType().isBF16())
    elements = arith::BitcastOp::create(b, b.lanesType(lanes, b.getI16Type()),
                                        elements);
  Type moved = elements.getType();
  Value zeros = arith::ConstantOp::create(b, moved, b.getZeroAttr(moved));
  Value expanded = LLVM::CallIntrinsicOp::create(
                       b, moved, b.getStringAttr("llvm.x86.avx512.mask.expand"),
                       ValueRange{elements, zeros, mask})
                       .getResult(0);
  return moved == type ? expanded : arith::BitcastOp::create(b, type, expanded);
}

SmallVector<Value> BitmaskMatrix::readWord(KernelBuilder &b,
                                           const Target &target, Value row,
                                           Value word, Value &slot) const {
  int64_t width = cast<MemRefType>(values.getType()).getElementTypeBitWidth();
  // As many as a register of 512 bits holds, if it can be expanded so.
  int64_t lanes = target.expandBits == 8 ? 512 / width : kLanes;
  prefetch(b, row, word, slot);
  Value all = loadWord(b, row, word);
  SmallVector<Value> vectors;
  for (int64_t from = 0; from < Layout::kWord; from += lanes) {
    Value mask = maskOf(b, all, from, lanes);
    Value elements = loadExpanded(b, target, slot, mask);
    for (int64_t i = 0; i < lanes; i += kLanes)
      vectors.push_back(
          b.widen(lanes == kLanes
                      ? elements
                      : vector::ExtractStridedSliceOp::create(
                            b, elements, ArrayRef<int64_t>{i},
                            ArrayRef<int64_t>{kLanes}, ArrayRef<int64_t>{1})));
    slot = b.addi(slot, b.countLanes(mask));
  }
  return vectors;
}

Value BitmaskMatrix::readBytes(KernelBuilder &b, const Target &target,
                               Value row, Value word, Value &slot) const {
  prefetch(b, row, word, slot);
  Value mask = maskOf(b, loadWord(b, row, word), 0, Layout::kWord);
  Value bytes = loadExpanded(b, target, slot, mask);
  slot = b.addi(slot, b.countLanes(mask));
  return bytes;
}

namespace {

/// kRows x Layout::kBlock elements of S, on the stack; zeros beyond it.
class Tile {
public:
  Tile(KernelBuilder &b, const Layout &layout)
      : b(b), layout(layout), elements(b.stackBuffer({kRows, Layout::kBlock})) {
  }

  static int64_t count(const Layout &layout) {
    return llvm::divideCeil(layout.rows, kRows) * layout.blocks();
  }

  void read(const MatrixReader &matrix, bool transposed, Value tile) {
    block = b.remi(tile, layout.blocks());
    firstRow = b.muli(b.divi(tile, layout.blocks()), kRows);
    Value firstColumn = b.muli(block, Layout::kBlock);
    rows = remaining(b, layout.rows, firstRow, kRows);
    Value columns = remaining(b, layout.columns, firstColumn, Layout::kBlock);
    if (layout.columns % Layout::kBlock) {
      Value flat = b.flatten(elements);
      b.loop(0, kRows * Layout::kBlock, kLanes,
             [&](Value i) { b.store(b.f32(0.0, kLanes), flat, i); });
    }
    auto readAt = [&](Value row, Value column, int64_t lanes) {
      row = b.addi(firstRow, row);
      column = b.addi(firstColumn, column);
      return transposed ? matrix.read(b, column, row, lanes)
                        : matrix.read(b, row, column, lanes);
    };
    auto element = [&](Value row, Value column) {
      b.store(readAt(row, column, 1), elements, {row, column});
    };
    auto wholes = [&](Value size) {
      return b.muli(b.divi(size, kLanes), kLanes);
    };
    Value wholeRows = transposed ? wholes(rows) : rows;
    b.loop(b.index(0), wholeRows, transposed ? kLanes : 1, [&](Value row) {
      b.loop(b.index(0), wholes(columns), kLanes, [&](Value column) {
        if (!transposed)
          return b.store(readAt(row, column, kLanes), elements, {row, column});
        SmallVector<Value> square;
        for (int64_t i = 0; i < kLanes; ++i)
          square.push_back(readAt(row, b.addi(column, i), kLanes));
        transpose(b, square);
        for (int64_t i = 0; i < kLanes; ++i)
          b.store(square[i], elements, {b.addi(row, i), column});
      });
      b.loop(wholes(columns), columns, 1, [&](Value column) {
        b.loop(row, transposed ? b.addi(row, kLanes) : b.addi(row, 1), 1,
               [&](Value r) { element(r, column); });
      });
    });
    b.loop(wholeRows, rows, 1, [&](Value row) {
      b.loop(b.index(0), columns, 1, [&](Value c) { element(row, c); });
    });
  }

  /// body(row of S, its first byte of the block, row of the tile) for its rows
  void forRows(function_ref<void(Value, Value, Value)> body) {
    b.loop(b.index(0), rows, 1, [&](Value row) {
      Value ofS = b.addi(firstRow, row);
      body(ofS,
           b.addi(b.muli(ofS, layout.rowBytes()),
                  b.muli(block, Layout::kBlock / 8)),
           row);
    });
  }

  /// Vectors of a row's block that there are bits for.
  Value vectors() {
    Value words = remaining(b, layout.words(), b.muli(block, 2), 2);
    return b.muli(words, Layout::kWord / kLanes);
  }

  /// A row's vector, and which of its elements are not zero.
  std::pair<Value, Value> vectorAt(Value row, Value vector) {
    Value value = b.load(elements, {row, b.muli(vector, kLanes)}, kLanes);
    return {value,
            b.cmpf(arith::CmpFPredicate::UNE, value, b.f32(0.0, kLanes))};
  }

  /// How many elements of a row are not zero; `visit` is given each vector's
  /// number and mask.
  Value countKept(Value row, function_ref<void(Value, Value)> visit = {}) {
    return b.loop(b.index(0), vectors(), 1, {b.index(0)},
                  [&](Value vector, ValueRange sum) -> SmallVector<Value> {
                    Value kept = vectorAt(row, vector).second;
                    if (visit)
                      visit(vector, kept);
                    return {b.addi(sum[0], b.countLanes(kept))};
                  })[0];
  }

  Value block;

private:
  KernelBuilder &b;
  const Layout &layout;
  Value elements, firstRow, rows;
};

} // namespace

/// Stores the first `count` lanes of f32s from `slot` on, and nothing from
/// `end` on, which is another thread's.
static void storeFirst(KernelBuilder &b, Value vector, Value count,
                       Value buffer, Value slot, Value end) {
  Value fits = b.cmpi(arith::CmpIPredicate::sle, b.addi(slot, kLanes), end);
  b.ifElse(
      fits, [&] { b.store(vector, buffer, slot); },
      [&] {
        Type element = cast<MemRefType>(buffer.getType()).getElementType();
        Value some = b.stackBuffer(kLanes, element);
        b.store(vector, some, b.index(0));
        b.loop(b.index(0), count, 1, [&](Value i) {
          memref::StoreOp::create(b, b.loadAsStored(some, i), buffer,
                                  ValueRange{b.addi(slot, i)});
        });
      });
}

// parallel for tiles of S: their bits; of each row, how many are set
// for rows, for blocks: the slots begin where those of the block before end
// if there are enough: zeros behind the last; parallel for tiles of S:
//   read it again; each row's elements to their slots
static void emitBitmask(KernelBuilder &b, const MatrixReader &matrix,
                        bool transposed, const BitmaskMatrix &stored) {
  const Layout &layout = stored.layout;
  b.parallel(Tile::count(layout), [&](Value number) {
    Tile tile(b, layout);
    tile.read(matrix, transposed, number);
    tile.forRows([&](Value row, Value byte, Value at) {
      Value count = tile.countKept(at, [&](Value vector, Value kept) {
        auto bytes = VectorType::get(kLanes / 8, b.getI8Type());
        Value bits = vector::BitCastOp::create(b, bytes, kept);
        b.store(bits, stored.bits, b.addi(byte, b.muli(vector, kLanes / 8)));
      });
      b.store(toI32(b, count), stored.starts, {row, tile.block});
    });
  });
  b.loop(layout.rows * layout.rowBytes(), layout.bytes(), 1, [&](Value i) {
    Value zero = arith::ConstantOp::create(b, b.getI8IntegerAttr(0));
    b.store(zero, stored.bits, i);
  });
  Value starts = b.flatten(stored.starts);
  Value end =
      b.loop(b.index(0), b.index(layout.rows * layout.blocks()), 1, {b.i32(0)},
             [&](Value i, ValueRange at) -> SmallVector<Value> {
               Value count = b.load(starts, i);
               b.store(at[0], starts, i);
               return {b.addi(at[0], count)};
             })[0];
  b.store(b.addi(end, b.i32(Layout::kSlack)), stored.used, {});
  b.ifThen(stored.isWhole(b), [&] {
    b.loop(toIndex(b, end), b.index(stored.room()), 1,
           [&](Value slot) { b.store(b.f32(0.0), stored.values, slot); });
    b.parallel(Tile::count(layout), [&](Value number) {
      Tile tile(b, layout);
      tile.read(matrix, transposed, number);
      tile.forRows([&](Value row, Value, Value at) {
        Value first = stored.start(b, row, tile.block);
        Value behind = b.addi(first, tile.countKept(at));
        b.loop(b.index(0), tile.vectors(), 1, {first},
               [&](Value vector, ValueRange slot) -> SmallVector<Value> {
                 auto [value, kept] = tile.vectorAt(at, vector);
                 Value count = b.countLanes(kept);
                 storeFirst(b, b.compress(value, kept), count, stored.values,
                            slot[0], behind);
                 return {b.addi(slot[0], count)};
               });
      });
    });
  });
}

namespace {
struct BitmaskWeightPattern : KernelPattern<MaterializeOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaterializeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Bitmask)
      return failure();
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    CompressedLayout shape = compressedLayout(op, criterion);
    SmallVector<Value> inputs = weightOperands(op);
    context.replaceByLaunch(
        rewriter, op, inputs, /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          MatrixReader matrix = MatrixReader::of(
              VirtualWeight(b, criterion, op.getSelectionAttr(),
                            arguments.take_front(inputs.size())));
          auto stored =
              BitmaskMatrix::of({shape.rows, shape.columns},
                                arguments.take_back(op.getStored().size()));
          if (stored.scales) {
            emitRowScales(b, context.lanes(), matrix, op.getTransposed(),
                          stored.scales);
            matrix = wholeNumbers(matrix, op.getTransposed(), stored.scales);
          }
          emitBitmask(b, matrix, op.getTransposed(), stored);
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateBitmaskWeightKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<BitmaskWeightPattern>(patterns.getContext(), context);
}
