//===- Driver.cpp - How a GPU loops over elements and rows ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Rows whose sums over rows are added up before all others'.
static constexpr int64_t kSumRows = 64;

static int64_t dim(Value matrix, unsigned i) {
  return cast<ShapedType>(matrix.getType()).getDimSize(i);
}

namespace {
/// A row by the threads of a block, in groups of what an access moves.
struct BlockRow : Row {
  BlockRow(ThreadBuilder &b, Value matrix)
      : Row(b, b.block(), dim(matrix, 1)), builder(b), size(groupOf(matrix)) {}
  Value sum(const GroupFunction &terms) override {
    return builder.sumGroupsOverBlock(columns / size, [&](Value group) {
      return terms(b.muli(group, size), size);
    });
  }
  void forGroups(function_ref<void(Value, int64_t)> body) override {
    builder.strided(columns / size,
                    [&](Value group) { body(b.muli(group, size), size); });
  }
  ThreadBuilder &builder;
  int64_t size;
};
} // namespace

void KernelContext::mapElements(
    CodeBuilder &host, int64_t chunk, size_t inputs, ValueRange arguments,
    function_ref<ElementFunction(CodeBuilder &, ValueRange)> prepare) {
  launchMap(host, "", inputs, arguments, prepare);
}

void KernelContext::clear(CodeBuilder &host, Value buffer) {
  launchMap(host, KernelIdentity("zeros").add(buffer.getType()),
            /*inputs=*/0, buffer,
            [](CodeBuilder &b, ValueRange) -> ElementFunction {
              return [&b](ValueRange, Value, int64_t) { return b.f32(0.0); };
            });
}

/// for groups of columns of each row, a thread
void KernelContext::writeRows(
    CodeBuilder &host, unsigned like, ValueRange arguments,
    function_ref<RowWrite(CodeBuilder &, ValueRange, Value)> body) {
  launchMatrix(host, "", arguments[like], arguments,
               [&](ThreadBuilder &b, ValueRange values, Value row, Value column,
                   int64_t size) {
                 RowWrite write = body(b, values, row);
                 b.storeGroup(write.elements(column, size), values.back(),
                              {write.row, column});
               });
}

/// for each sequence, a block:
///   before = tokens of those before it, own = its tokens
///   starts[sequence] = before; places[before + i] = its i-th row
/// the last one also: starts[end] = all; places after them = 0
void KernelContext::placeTokens(CodeBuilder &host, Value mask, Value places,
                                Value starts) {
  int64_t sequences = dim(mask, 0), length = dim(mask, 1),
          capacity = dim(places, 0);
  launch(
      host, "", sequences, /*threads=*/256, {mask, places, starts},
      [&](ThreadBuilder &b, ValueRange values) {
        Value sequence = b.block(), first = b.muli(sequence, length);
        Value flat = b.flatten(values[0]);
        auto toI32 = [&](Value index) {
          return arith::IndexCastOp::create(b, b.getI32Type(), index);
        };
        auto count = [&](Value begin, Value end) {
          Value sum =
              b.loop(b.addi(begin, b.thread()), end, b.threads(), {b.f64(0.0)},
                     [&](Value i, ValueRange carried) -> SmallVector<Value> {
                       Value isToken = b.cmpi(arith::CmpIPredicate::ne,
                                              b.load(flat, i), b.i32(0));
                       return {b.select(isToken, b.addf(carried[0], b.f64(1.0)),
                                        carried[0])};
                     })[0];
          sum = arith::FPToSIOp::create(b, b.getI32Type(), b.blockSum(sum));
          return arith::IndexCastOp::create(b, b.getIndexType(), sum);
        };
        Value room = b.index(capacity);
        Value before = b.mini(count(b.index(0), first), room);
        Value end =
            b.mini(b.addi(before, count(first, b.addi(first, length))), room);
        b.onFirstThread([&] { b.store(toI32(before), values[2], sequence); });
        b.strided(before, end, [&](Value row) {
          b.store(toI32(b.addi(first, b.subi(row, before))), values[1], row);
        });
        Value isLast =
            b.cmpi(arith::CmpIPredicate::eq, sequence, b.index(sequences - 1));
        b.ifThen(isLast, [&] {
          b.onFirstThread(
              [&] { b.store(toI32(end), values[2], b.index(sequences)); });
          b.strided(end, room,
                    [&](Value row) { b.store(b.i32(0), values[1], row); });
        });
      });
}

/// one block: loss = scale * sum; of the rows that the last argument has, if it
/// is packed
void KernelContext::scaledSum(
    CodeBuilder &host, int64_t rows, ValueRange arguments,
    function_ref<Value(CodeBuilder &, ValueRange, Value)> element) {
  launch(host, "sum", /*blocks=*/1, /*threads=*/128, arguments,
         [&](ThreadBuilder &b, ValueRange values) {
           auto wide = [&](Value value) {
             return arith::ExtFOp::create(b, b.getF64Type(), value);
           };
           Value present = packedCount(values.back());
           Value sum = b.loop(
               b.thread(), present ? present : b.index(rows), b.threads(),
               {b.f64(0.0)},
               [&](Value row, ValueRange carried) -> SmallVector<Value> {
                 return {b.addf(carried[0], wide(element(b, values, row)))};
               })[0];
           sum = b.mulf(b.blockSum(sum), wide(values[0]));
           b.onFirstThread([&] {
             b.store(arith::TruncFOp::create(b, b.getF32Type(), sum), values[1],
                     {});
           });
         });
}

/// for each row, a block
void KernelContext::forRows(CodeBuilder &host, ValueRange arguments,
                            function_ref<void(Row &, ValueRange)> body) {
  launchRows(
      host, "", arguments[0], dim(arguments[0], 1), arguments,
      [&](ThreadBuilder &b, ValueRange values, Value) {
        BlockRow row(b, values[0]);
        body(row, values);
      },
      groupOf(arguments[0]));
}

SmallVector<RankedTensorType>
KernelContext::columnSumWorkspaces(RankedTensorType matrix, int64_t statistics,
                                   int64_t sums) {
  int64_t rows = matrix.getDimSize(0), columns = matrix.getDimSize(1);
  Type f32 = Float32Type::get(matrix.getContext());
  SmallVector<RankedTensorType> types(
      sums, RankedTensorType::get(
                {int64_t(llvm::divideCeil(rows, kSumRows)), columns}, f32));
  types.push_back(RankedTensorType::get({rows, statistics}, f32));
  return types;
}

/// for each row, a block: gradient; its statistics, kept for below
/// for chunks of rows, for each column: partials[chunk, column] = sum of terms
/// the sums over the chunks
void KernelContext::rowGradients(
    CodeBuilder &host, ValueRange arguments, ValueRange results,
    const ColumnSums *sums,
    function_ref<RowGradient(Row &, ValueRange)> gradient,
    AccumulateFunction accumulate) {
  int64_t columns = dim(arguments[0], 1);
  size_t inputs = arguments.size();
  SmallVector<Value> all(arguments);
  llvm::append_range(all, results);
  if (sums)
    all.push_back(sums->workspaces.back());
  launchRows(
      host, "", arguments[0], columns, all,
      [&](ThreadBuilder &b, ValueRange values, Value index) {
        BlockRow row(b, values[0]);
        RowGradient of = gradient(row, values.take_front(inputs));
        row.forGroups([&](Value column, int64_t size) {
          Group elements = of.elements(column, size);
          row.store(elements, values[inputs], column);
          if (of.beside)
            row.store(of.beside(column, elements), values[inputs + 1], column);
        });
        if (sums)
          b.onFirstThread([&] {
            for (auto [i, value] : llvm::enumerate(of.statistics))
              b.store(value, values.back(), {index, b.index(i)});
          });
      },
      groupOf(arguments[0]));
  if (!sums)
    return;
  int64_t statistics = dim(sums->workspaces.back(), 1),
          numSums = sums->results.size();
  ValueRange partials = sums->workspaces.drop_back();
  all.assign(arguments.begin(), arguments.end());
  llvm::append_range(all, sums->workspaces);
  launchElements(
      host, "columns", dim(partials[0], 0) * columns, all,
      [&](ThreadBuilder &b, ValueRange values, Value i) {
        Value chunk = b.divi(i, columns), column = b.remi(i, columns);
        Value begin = b.muli(chunk, kSumRows);
        Value end = b.mini(b.addi(begin, kSumRows), rowsOf(b, values[0]));
        SmallVector<Value> zeros(numSums, b.f32(0.0));
        SmallVector<Value> total =
            b.loop(begin, end, 1, zeros, [&](Value row, ValueRange carried) {
              SmallVector<Value> of;
              for (int64_t s = 0; s < statistics; ++s)
                of.push_back(b.load(values.back(), {row, b.index(s)}));
              return accumulate(b, values.take_front(inputs), row, of, column,
                                carried);
            });
        for (auto [sum, partial] :
             llvm::zip(total, values.slice(inputs, numSums)))
          b.store(sum, partial, {chunk, column});
      });
  SmallVector<PartialSum> last;
  for (auto [partial, of, added] :
       llvm::zip(partials, sums->results, sums->added))
    last.push_back({partial, of, added});
  launchSums(host, last);
}
