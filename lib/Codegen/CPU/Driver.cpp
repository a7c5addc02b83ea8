//===- Driver.cpp - How a CPU loops over elements and rows ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Rows of one iteration of a parallel loop over rows.
static constexpr int64_t kRows = 16;
/// Rows whose sums over rows are added up before all others'.
static constexpr int64_t kSumRows = 64;
/// Elements of one iteration of a parallel loop that clears a buffer.
static constexpr int64_t kClearChunk = 16384;

static int64_t dim(Value matrix, unsigned i) {
  return cast<ShapedType>(matrix.getType()).getDimSize(i);
}

namespace {
/// A row by vectors, and what is left one by one.
struct VectorRow : Row {
  VectorRow(KernelBuilder &b, Value index, int64_t columns, int64_t lanes)
      : Row(b, index, columns), builder(b), lanes(lanes) {}
  Value sum(const GroupFunction &terms) override {
    return builder.vectorSum(columns, lanes, [&](Value column, int64_t width) {
      return terms(column, width)[0];
    });
  }
  void forGroups(function_ref<void(Value, int64_t)> body) override {
    builder.vectorLoop(columns, lanes, body);
  }
  KernelBuilder &builder;
  int64_t lanes;
};
} // namespace

/// for chunks of elements in parallel: result[i] = function(...)
void KernelContext::mapElements(
    CodeBuilder &host, int64_t chunk, size_t inputs, ValueRange arguments,
    function_ref<ElementFunction(CodeBuilder &, ValueRange)> prepare) {
  KernelBuilder b(host);
  ElementFunction function = prepare(b, arguments);
  SmallVector<Value> from;
  for (Value input : arguments.take_front(inputs))
    from.push_back(b.flatten(input));
  Value matrix = arguments.back(), result = b.flatten(matrix);
  auto body = [&](Value i, int64_t width) {
    SmallVector<Value> elements;
    for (Value input : from)
      elements.push_back(b.load(input, i, width));
    b.store(function(elements, i, width), result, i);
  };
  if (isPacked(matrix))
    b.parallelVectorLoop(b.muli(rowsOf(b, matrix), dim(matrix, 1)), chunk,
                         lanes(), body);
  else
    b.parallelVectorLoop(dim(result, 0), chunk, lanes(), body);
}

void KernelContext::clear(CodeBuilder &host, Value buffer) {
  mapElements(host, kClearChunk, /*inputs=*/0, buffer,
              [](CodeBuilder &b, ValueRange) -> ElementFunction {
                return [&b](ValueRange, Value, int64_t lanes) {
                  return b.f32(0.0, lanes);
                };
              });
}

/// for chunks of rows in parallel: for row: for columns: result = elements
void KernelContext::writeRows(
    CodeBuilder &host, unsigned like, ValueRange arguments,
    function_ref<RowWrite(CodeBuilder &, ValueRange, Value)> body) {
  KernelBuilder b(host);
  Value rows = rowsOf(b, arguments[like]);
  b.parallelChunks(rows, kRows, [&](Value begin, Value end) {
    b.loop(begin, end, 1, [&](Value row) {
      RowWrite write = body(b, arguments, row);
      b.vectorLoop(dim(arguments[like], 1), lanes(),
                   [&](Value column, int64_t width) {
                     b.storeGroup(write.elements(column, width),
                                  arguments.back(), {write.row, column});
                   });
    });
  });
}

/// loss = scale * sum, row by row in ascending order
void KernelContext::scaledSum(
    CodeBuilder &host, int64_t rows, ValueRange arguments,
    function_ref<Value(CodeBuilder &, ValueRange, Value)> element) {
  auto wide = [&](Value value) {
    return arith::ExtFOp::create(host, host.getF64Type(), value);
  };
  Value sum = host.loop(
      host.index(0), host.index(rows), 1, {host.f64(0.0)},
      [&](Value row, ValueRange carried) -> SmallVector<Value> {
        return {host.addf(carried[0], wide(element(host, arguments, row)))};
      })[0];
  sum = host.mulf(sum, wide(arguments[0]));
  host.store(arith::TruncFOp::create(host, host.getF32Type(), sum),
             arguments[1], {});
}

/// for chunks of rows in parallel: for row: body
void KernelContext::forRows(CodeBuilder &host, ValueRange arguments,
                            function_ref<void(Row &, ValueRange)> body) {
  KernelBuilder b(host);
  Value rows = rowsOf(b, arguments[0]);
  b.parallelChunks(rows, kRows, [&](Value begin, Value end) {
    b.loop(begin, end, 1, [&](Value index) {
      VectorRow row(b, index, dim(arguments[0], 1), lanes());
      body(row, arguments);
    });
  });
}

SmallVector<RankedTensorType>
KernelContext::columnSumWorkspaces(RankedTensorType matrix, int64_t statistics,
                                   int64_t sums) {
  int64_t chunks = llvm::divideCeil(matrix.getDimSize(0), kSumRows);
  return {RankedTensorType::get({sums, chunks, matrix.getDimSize(1)},
                                Float32Type::get(matrix.getContext()))};
}

/// for chunks of rows in parallel:
///   partials[.., chunk] = 0
///   for row in chunk, for columns: gradient; partials[.., chunk] += terms
/// for columns in parallel: sum the partials in ascending order of chunks
void KernelContext::rowGradients(
    CodeBuilder &host, ValueRange arguments, ValueRange results,
    const ColumnSums *sums,
    function_ref<RowGradient(Row &, ValueRange)> gradient,
    AccumulateFunction accumulate) {
  KernelBuilder b(host);
  int64_t columns = dim(arguments[0], 1);
  Value rows = rowsOf(b, arguments[0]);
  Value chunks =
      isPacked(arguments[0])
          ? b.divi(b.addi(rows, kSumRows - 1), kSumRows)
          : b.index(llvm::divideCeil(dim(arguments[0], 0), kSumRows));
  int64_t numSums = sums ? sums->results.size() : 0;
  Value partials = sums ? sums->workspaces[0] : Value();
  b.parallel(chunks, [&](Value chunk) {
    Value begin = b.muli(chunk, kSumRows);
    Value end = b.mini(b.addi(begin, kSumRows), rows);
    auto place = [&](int64_t which, Value column) {
      return SmallVector<Value>{b.index(which), chunk, column};
    };
    for (int64_t which = 0; which < numSums; ++which)
      b.vectorLoop(columns, lanes(), [&](Value column, int64_t width) {
        b.store(b.f32(0.0, width), partials, place(which, column));
      });
    b.loop(begin, end, 1, [&](Value index) {
      VectorRow row(b, index, columns, lanes());
      RowGradient of = gradient(row, arguments);
      row.forGroups([&](Value column, int64_t width) {
        Group elements = of.elements(column, width);
        SmallVector<Value> next;
        for (int64_t which = 0; which < numSums; ++which)
          next.push_back(b.load(partials, place(which, column), width));
        if (sums)
          next = accumulate(b, arguments, index, of.statistics, column, next);
        row.store(elements, results[0], column);
        if (of.beside)
          row.store(of.beside(column, elements), results[1], column);
        for (int64_t which = 0; which < numSums; ++which)
          b.store(next[which], partials, place(which, column));
      });
    });
  });
  for (int64_t which = 0; which < numSums; ++which)
    b.parallelVectorLoop(
        columns, 16 * lanes(), lanes(), [&](Value column, int64_t width) {
          Value sum = b.loop(
              b.index(0), chunks, 1, {b.f32(0.0, width)},
              [&](Value chunk, ValueRange carried) -> SmallVector<Value> {
                return {b.addf(
                    carried[0],
                    b.load(partials, {b.index(which), chunk, column}, width))};
              })[0];
          if (sums->added[which])
            sum = b.addf(b.load(sums->results[which], column, width), sum);
          b.store(sum, sums->results[which], column);
        });
}
