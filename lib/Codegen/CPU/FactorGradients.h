//===- FactorGradients.h - From G to the factors' gradients -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_FACTORGRADIENTS_H
#define PST_LIB_CODEGEN_CPU_FACTORGRADIENTS_H

#include "../Kernel/VirtualWeight.h"
#include "KernelBuilder.h"

namespace pst::cpu {

/// A factor and the gradients that are wanted of it.
struct FactorGradient {
  unsigned factor;
  FactorKind kind;
  unsigned tensor;     ///< Position of its first tensor.
  int64_t rank = 1;    ///< lowrank only
  Value first, second; ///< Result buffers of its tensors; null: not wanted.
  bool addsFirst = false, addsSecond = false; ///< To what the buffers hold.
  Value sums;    ///< What `first` gets, if it is summed bit by bit and added.
  Value partial; ///< Sums of each task: tasks x rank x m (col, lowrank).
  Value adjoint; ///< Stack buffer of dF for a block of rows (lowrank).
};

/// Takes the gradient G of a virtual weight, which is there for a few rows and
/// a block of columns at a time, back to its factors. Sums over rows of the
/// weight are kept per task, a group of rows, and added at the end.
class FactorGradients {
public:
  /// `largestColumns` are the columns of the widest block.
  FactorGradients(KernelBuilder &b, const VirtualWeight &weight, int64_t lanes,
                  int64_t largestColumns,
                  llvm::MutableArrayRef<FactorGradient> gradients)
      : b(b), weight(weight), lanes(lanes), largestColumns(largestColumns),
        gradients(gradients) {}

  /// Sets to zero what whole rows are added to.
  void clear();
  /// Sets to zero a task's sums for `columns` columns from `firstColumn` on.
  void clearTask(Value task, Value firstColumn, Value columns);
  /// Makes the scratch of the executing thread.
  void allocate();
  /// Folds `rows` x `columns` elements of G, which begin at `base` of the flat
  /// buffer `strip` and at (firstRow, firstColumn) of the weight; rows of the
  /// strip are largestColumns apart.
  void fold(Value task, Value strip, Value base, Value firstRow, Value rows,
            Value firstColumn, Value columns);
  /// Adds up what the tasks summed, in ascending order, and adds to gradients
  /// what is not there yet.
  void reduce(int64_t tasks);

private:
  /// A part of the rows that are folded at once.
  struct Block {
    Value task, strip, base, firstRow, rows, firstColumn, columns;
  };
  using State = llvm::SmallVector<Value>;

  /// Of the vectors of a row's columns: whole ones, then what is left, if any.
  llvm::SmallVector<int64_t> widths() const;
  void forColumns(Value columns, llvm::function_ref<void(Value, int64_t)> body);
  State forColumns(Value columns, int64_t lanes, State state,
                   llvm::function_ref<State(Value, State)> body);
  void forRowGroups(Value rows, int64_t group,
                    llvm::function_ref<void(Value, int64_t)> body);
  void forRanks(int64_t rank, llvm::function_ref<void(Value, int64_t)> body);
  void addTo(Value memref, ValueRange at, Value value);
  void addSums(const State &sums, Value memref,
               llvm::function_ref<State(int64_t)> place);

  void foldElements(const Block &block, Value i, int64_t rows);
  State factorAdjoints(EmittedCriterion &element, Value gradient, Value row,
                       Value column);
  void foldLeft(const FactorGradient &g, const Block &block, Value i,
                int64_t rows, Value k, int64_t ranks);
  void foldRight(const FactorGradient &g, const Block &block, Value k,
                 int64_t ranks);

  KernelBuilder &b;
  const VirtualWeight &weight;
  int64_t lanes, largestColumns;
  llvm::MutableArrayRef<FactorGradient> gradients;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_FACTORGRADIENTS_H
