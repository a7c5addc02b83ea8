//===- CompressedWeight.cpp - Weights by their elements, and products -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Compressed weights (CompressedLayout.h), with the bits that a CPU stores.
// These are the plain way to them: a thread for each row of a cell, and for
// each element of a product.

#include "Gemm.h"
#include "MaskedWeight.h"
#include "pst/Dialect/PST/CompressedLayout.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

using Layout = CompressedLayout;

namespace {
/// The buffers of a compressed matrix, in a kernel.
struct Stored {
  explicit Stored(ValueRange buffers)
      : values(buffers[0]), columns(buffers[1]), cells(buffers[2]),
        used(buffers[3]) {}

  int64_t room() const {
    return cast<MemRefType>(values.getType()).getDimSize(0);
  }
  /// The slot of the first element of row `row` of a cell, and the one behind
  /// its last (i32).
  std::pair<Value, Value> slotsOf(ThreadBuilder &b, Value cell,
                                  Value row) const {
    Value start = b.load(cells, {cell, b.index(0)});
    Value number = arith::IndexCastOp::create(b, b.getI32Type(), row);
    SmallVector<Value> found =
        b.loop(b.index(0), b.index(Layout::kRows), 1, {start, start, start},
               [&](Value i, ValueRange at) -> SmallVector<Value> {
                 Value entry = b.load(cells, {cell, b.addi(i, 1)});
                 Value count = arith::AndIOp::create(
                     b, entry, b.i32((1 << Layout::kCountBits) - 1));
                 Value end = b.addi(at[0], count);
                 Value isRow = b.cmpi(arith::CmpIPredicate::eq, number,
                                      arith::ShRUIOp::create(
                                          b, entry, b.i32(Layout::kCountBits)));
                 return {end, b.select(isRow, at[0], at[1]),
                         b.select(isRow, end, at[2])};
               });
    return {found[1], found[2]};
  }
  Value isWhole(ThreadBuilder &b) const {
    return b.cmpi(arith::CmpIPredicate::sle, b.load(used, {}), b.i32(room()));
  }

  Value values, columns, cells, used;
};

/// Compresses S = M * W', or its transpose. Launches:
///
///   zeros: values, columns
///   count: block for each cell, thread for each of its rows: its elements, and
///       the row's place among the others
///   slots: one thread, cells one after the other: where each begins
///   place: block for each cell, thread for each of its rows: its elements
class Compression {
public:
  /// `arguments` are the weight's operands (weightOperands) and the buffers.
  Compression(KernelContext &context, CodeBuilder &host, CriterionOp criterion,
              SelectionAttr selection, const Layout &layout, bool transposed,
              ValueRange arguments)
      : context(context), host(host), criterion(criterion),
        selection(selection), layout(layout), transposed(transposed),
        arguments(arguments) {}

  void launch() {
    ValueRange buffers = arguments.take_back(4);
    int64_t room = Stored(buffers).room();
    context.launchElements(
        host, "zeros", room, buffers.take_front(2),
        [](ThreadBuilder &b, ValueRange values, Value i) {
          b.store(b.f32(0.0), values[0], i);
          Type i8 = b.getI8Type();
          b.store(arith::ConstantOp::create(b, b.getZeroAttr(i8)), values[1],
                  i);
        });
    launchCells("count", [&](ThreadBuilder &b, const Stored &stored, Value row,
                             Elements elements) {
      Value size = b.sharedBuffer({1}, b.getI32Type()), first = b.index(0);
      Value counts = b.sharedBuffer({Layout::kRows}, b.getI32Type());
      b.onFirstThread([&] { b.store(b.i32(Layout::kSlack), size, first); });
      b.barrier();
      Value count = elements(b.i32(0), [&](Value, Value, Value count) -> Value {
        return b.addi(count, b.i32(1));
      });
      b.store(count, counts, row);
      b.atomicAdd(count, size, first);
      b.barrier();
      storeEntry(b, stored, row, count, counts);
      b.onFirstThread([&] {
        b.store(b.load(size, first), stored.cells, {b.block(), first});
      });
    });
    launchSlots(buffers);
    launchCells("place", [&](ThreadBuilder &b, const Stored &stored, Value row,
                             Elements elements) {
      b.ifThen(stored.isWhole(b), [&] {
        Value slot = stored.slotsOf(b, b.block(), row).first;
        elements(slot, [&](Value value, Value column, Value slot) {
          Value at = toIndex(b, slot);
          b.store(value, stored.values, at);
          b.store(arith::IndexCastOp::create(b, b.getI8Type(), column),
                  stored.columns, at);
          return Value(b.addi(slot, b.i32(1)));
        });
      });
    });
  }

private:
  /// Calls a function for each element of the thread's row that is not zero,
  /// with its value, its column in the cell, and an i32 that is carried along.
  using Elements =
      function_ref<Value(Value, function_ref<Value(Value, Value, Value)>)>;

  static Value toIndex(ThreadBuilder &b, Value value) {
    return arith::IndexCastUIOp::create(b, b.getIndexType(), value);
  }

  /// At the place that rows with more elements leave, and of those with as many
  /// the ones with a smaller number.
  static void storeEntry(ThreadBuilder &b, const Stored &stored, Value row,
                         Value count, Value counts) {
    Value place = b.loop(
        b.index(0), b.index(Layout::kRows), 1, {b.index(1)},
        [&](Value other, ValueRange place) -> SmallVector<Value> {
          Value size = b.load(counts, other);
          Value isBefore = b.cmpi(arith::CmpIPredicate::sgt, size, count);
          Value isTie = arith::AndIOp::create(
              b, b.cmpi(arith::CmpIPredicate::eq, size, count),
              b.cmpi(arith::CmpIPredicate::slt, other, row));
          Value goesFirst = arith::OrIOp::create(b, isBefore, isTie);
          return {
              b.addi(place[0], b.select(goesFirst, b.index(1), b.index(0)))};
        })[0];
    Value number = arith::IndexCastOp::create(
        b, b.getI32Type(), b.muli(row, 1 << Layout::kCountBits));
    b.store(b.addi(number, count), stored.cells, {b.block(), place});
  }

  void launchCells(
      StringRef part,
      function_ref<void(ThreadBuilder &, const Stored &, Value, Elements)>
          body) {
    context.launch(
        host, part, layout.cells(), Layout::kRows, arguments,
        [&](ThreadBuilder &b, ValueRange values) {
          VirtualWeight weight(b, criterion, selection, values.drop_back(4));
          Value row =
              b.addi(b.muli(b.divi(b.block(), layout.blocks()), Layout::kRows),
                     b.thread());
          Value first =
              b.muli(b.remi(b.block(), layout.blocks()), Layout::kColumns);
          Value end = b.mini(b.subi(b.index(layout.columns), first),
                             b.index(Layout::kColumns));
          Value isRow =
              b.cmpi(arith::CmpIPredicate::slt, row, b.index(layout.rows));
          end = b.select(isRow, end, b.index(0));
          body(b, Stored(values.take_back(4)), b.thread(),
               [&](Value carried, function_ref<Value(Value, Value, Value)> f) {
                 return b.loop(
                     b.index(0), end, 1, {carried},
                     [&](Value i, ValueRange state) -> SmallVector<Value> {
                       Value column = b.addi(first, i);
                       Value value =
                           transposed ? weight.maskedWeight(b, column, row, 1)
                                      : weight.maskedWeight(b, row, column, 1);
                       Value isKept =
                           b.cmpf(arith::CmpFPredicate::UNE, value, b.f32(0.0));
                       return {b.choose(
                           isKept, [&] { return f(value, i, state[0]); },
                           state[0])};
                     })[0];
               });
        });
  }

  void launchSlots(ValueRange buffers) {
    context.launch(
        host, "slots", 1, kWarp, buffers,
        [&](ThreadBuilder &b, ValueRange values) {
          Stored stored(values);
          b.onFirstThread([&] {
            Value used =
                b.loop(b.index(0), b.index(layout.cells()), 1, {b.i32(0)},
                       [&](Value cell, ValueRange at) -> SmallVector<Value> {
                         SmallVector<Value> place{cell, b.index(0)};
                         Value size = b.load(stored.cells, place);
                         b.store(at[0], stored.cells, place);
                         return {b.addi(at[0], size)};
                       })[0];
            b.store(used, stored.used, {});
          });
        });
  }

  KernelContext &context;
  CodeBuilder &host;
  CriterionOp criterion;
  SelectionAttr selection;
  const Layout &layout;
  bool transposed;
  ValueRange arguments;
};

struct CompressedWeightPattern : KernelPattern<MaterializeOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaterializeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Compressed || op.getStored().size() != 4)
      return failure();
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    Layout layout = compressedLayout(op, criterion);
    context.replaceByLaunch(rewriter, op, weightOperands(op), /*workspaces=*/{},
                            [&](CodeBuilder &host, ValueRange arguments) {
                              Compression(context, host, criterion,
                                          op.getSelectionAttr(), layout,
                                          op.getTransposed(), arguments)
                                  .launch();
                            });
    return success();
  }
};

/// Y = X S^T, and what follows; NaN where S is not whole. A thread for each
/// element: 64 rows of S x 4 tokens in a block.
struct StoredMatmulPattern : KernelPattern<StoredMatmulOp> {
  using KernelPattern::KernelPattern;

  static constexpr int64_t kTokens = 4;

  LogicalResult matchAndRewrite(StoredMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Compressed || op.getStored().size() != 4)
      return failure();
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, op.getStored());
    GemmEpilogue epilogue;
    epilogue.bias = op.getBias();
    epilogue.addend = op.getAddend();
    epilogue.activation = op.getActivation();
    llvm::append_range(inputs, epilogue.operands());
    Layout layout{op.getType().getDimSize(1),
                  op.getInput().getType().getDimSize(1)};
    int64_t tokens = op.getType().getDimSize(0);
    context.replaceByLaunch(
        rewriter, op, inputs, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launch(host, "product",
                         layout.groups() * llvm::divideCeil(tokens, kTokens),
                         Layout::kRows * kTokens, arguments,
                         [&](ThreadBuilder &b, ValueRange values) {
                           emitProduct(b, layout, context.rowsOf(b, values[0]),
                                       epilogue, values);
                         });
        });
    return success();
  }

private:
  void emitProduct(ThreadBuilder &b, const Layout &layout, Value tokens,
                   const GemmEpilogue &epilogue, ValueRange values) const {
    Stored stored(values.slice(1, 4));
    Value group = b.remi(b.block(), layout.groups());
    Value row = b.remi(b.thread(), Layout::kRows);
    Value token = b.addi(b.muli(b.divi(b.block(), layout.groups()), kTokens),
                         b.divi(b.thread(), Layout::kRows));
    Value column = b.addi(b.muli(group, Layout::kRows), row);
    Value whole = stored.isWhole(b);
    Value inside = arith::AndIOp::create(
        b, b.cmpi(arith::CmpIPredicate::slt, column, b.index(layout.rows)),
        b.cmpi(arith::CmpIPredicate::slt, token, tokens));
    b.ifThen(inside, [&] {
      Value sum = b.choose(
          whole,
          [&] {
            return sumOf(b, layout, stored, values[0], group, row, token);
          },
          b.f32(NAN));
      auto result = cast<MemRefType>(values.back().getType());
      ProductFinish finish(context, b, epilogue,
                           values.drop_front(5).drop_back(),
                           result.getDimSize(1));
      b.store(finish(b, token, column, sum)[0], values.back(), {token, column});
    });
  }

  /// sum over ascending k of S[row, k] X[token, k]
  static Value sumOf(ThreadBuilder &b, const Layout &layout,
                     const Stored &stored, Value input, Value group, Value row,
                     Value token) {
    auto toIndex = [&](Value value) {
      return arith::IndexCastUIOp::create(b, b.getIndexType(), value);
    };
    return b.loop(b.index(0), b.index(layout.blocks()), 1, {b.f32(0.0)},
                  [&](Value block, ValueRange sum) -> SmallVector<Value> {
                    Value cell = b.addi(b.muli(group, layout.blocks()), block);
                    auto [first, end] = stored.slotsOf(b, cell, row);
                    return b.loop(
                        toIndex(first), toIndex(end), 1, sum,
                        [&](Value slot, ValueRange sum) -> SmallVector<Value> {
                          Value k = b.addi(
                              b.muli(block, Layout::kColumns),
                              toIndex(b.loadAsStored(stored.columns, slot)));
                          return {b.fma(b.load(stored.values, slot),
                                        b.load(input, {token, k}), sum[0])};
                        });
                  })[0];
  }
};
} // namespace

void pst::cuda::populateCompressedWeightKernels(RewritePatternSet &patterns,
                                                KernelContext &context) {
  patterns.add<CompressedWeightPattern, StoredMatmulPattern>(
      patterns.getContext(), context);
}
