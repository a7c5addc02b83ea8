//===- Driver.h - How a target loops ----------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What a target does for ops that are stated once, as the function of one
// element or one row: it builds the loops around that function. On a CPU they
// run over threads and vectors, on a GPU they are launches.

#ifndef PST_LIB_CODEGEN_KERNEL_DRIVER_H
#define PST_LIB_CODEGEN_KERNEL_DRIVER_H

#include "CodeBuilder.h"
#include <functional>

namespace pst::kernel {

/// The element of a result at `index`, from those of the inputs; for `lanes`
/// elements from `index` on, if values have lanes.
using ElementFunction =
    std::function<Value(ValueRange elements, Value index, int64_t lanes)>;

/// The elements of a row's columns `column`, `column + 1`, ..., `size` of them,
/// as CodeBuilder::loadGroup returns such elements.
using GroupFunction = std::function<Group(Value column, int64_t size)>;

/// A row of a matrix while all of its target's threads or lanes work on it.
class Row {
public:
  Row(CodeBuilder &b, Value index, int64_t columns)
      : b(b), index(index), columns(columns) {}
  virtual ~Row() = default;

  /// The sum, over the row, of what `terms` has for each group of columns. The
  /// order of the additions depends on the target and on the number of columns.
  virtual Value sum(const GroupFunction &terms) = 0;
  /// body(column, size) for each group of columns.
  virtual void
  forGroups(llvm::function_ref<void(Value column, int64_t size)> body) = 0;

  /// A group of this row of `matrix`, or of a vector that has its columns.
  Group load(Value matrix, Value column, int64_t size) const {
    return b.loadGroup(matrix, {index, column}, size);
  }
  Group loadVector(Value vector, Value column, int64_t size) const {
    return b.loadGroup(vector, column, size);
  }
  void store(ValueRange group, Value matrix, Value column) const {
    b.storeGroup(group, matrix, {index, column});
  }

  CodeBuilder &b;
  Value index;
  int64_t columns;
};

/// Of a row's gradient: the scalars that all of it needs, and its elements.
struct RowGradient {
  llvm::SmallVector<Value> statistics;
  GroupFunction elements;
  /// What is stored beside a group of the elements, if anything is.
  std::function<Group(Value column, const Group &elements)> beside;
};

class Driver {
public:
  virtual ~Driver() = default;

  /// result[i] = function(elements i of the inputs, i), where `arguments` begin
  /// with the inputs and end with the result. `prepare` is called where all
  /// arguments can be read, and returns the function. On a CPU, `chunk`
  /// elements are worth a thread's while.
  virtual void mapElements(
      CodeBuilder &host, int64_t chunk, size_t inputs, ValueRange arguments,
      llvm::function_ref<ElementFunction(CodeBuilder &, ValueRange arguments)>
          prepare) = 0;

  /// Writes a row of the result, the last argument, for each row of the
  /// argument number `like`, which has the result's columns. `body` returns,
  /// for a row of that, the row that is written and what goes into it.
  struct RowWrite {
    Value row;
    GroupFunction elements;
  };
  virtual void
  writeRows(CodeBuilder &host, unsigned like, ValueRange arguments,
            llvm::function_ref<RowWrite(CodeBuilder &, ValueRange arguments,
                                        Value row)>
                body) = 0;

  /// Every element of `buffer` becomes 0.
  virtual void clear(CodeBuilder &host, Value buffer) = 0;

  /// loss = scale * sum of element(row) for each of `rows`, in f64 and in an
  /// order that follows from their number; `arguments` begin with scale (f32)
  /// and loss.
  virtual void scaledSum(
      CodeBuilder &host, int64_t rows, ValueRange arguments,
      llvm::function_ref<Value(CodeBuilder &, ValueRange arguments, Value row)>
          element) = 0;

  /// body(row, arguments) for each row of the first argument.
  virtual void
  forRows(CodeBuilder &host, ValueRange arguments,
          llvm::function_ref<void(Row &, ValueRange arguments)> body) = 0;

  /// The gradient of each row, and sums over the rows beside it, one for each
  /// column: for each row of the first argument,
  ///   results[0][row] = gradient(row).elements
  ///   results[1][row] = gradient(row).beside, if there is that result
  ///   sums[column] = accumulate(row, statistics, column, sums[column])
  /// where the sums of 64 rows at a time are added up in ascending order.
  /// Without `sums`, there are none.
  struct ColumnSums {
    ValueRange results;         ///< A vector for each sum.
    llvm::ArrayRef<bool> added; ///< To what it holds, or not.
    ValueRange workspaces;      ///< Of columnSumWorkspaces.
  };
  using AccumulateFunction = llvm::function_ref<llvm::SmallVector<Value>(
      CodeBuilder &, ValueRange arguments, Value row, ValueRange statistics,
      Value column, ValueRange sums)>;
  virtual llvm::SmallVector<mlir::RankedTensorType>
  columnSumWorkspaces(mlir::RankedTensorType matrix, int64_t statistics,
                      int64_t sums) = 0;
  virtual void rowGradients(
      CodeBuilder &host, ValueRange arguments, ValueRange results,
      const ColumnSums *sums,
      llvm::function_ref<RowGradient(Row &, ValueRange arguments)> gradient,
      AccumulateFunction accumulate) = 0;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_DRIVER_H
