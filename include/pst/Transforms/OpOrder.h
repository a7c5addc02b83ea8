//===- OpOrder.h - Which of two ops comes first -----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TRANSFORMS_OPORDER_H
#define PST_TRANSFORMS_OPORDER_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"

namespace pst {

/// The order of the ops of a function, numbered once. A block that something
/// was inserted into numbers all its ops again when it is next asked for their
/// order: passes that insert and ask by turns would take quadratic time.
class OpOrder {
public:
  explicit OpOrder(mlir::Operation *root) {
    root->walk<mlir::WalkOrder::PreOrder>(
        [&](mlir::Operation *op) { numbers[op] = numbers.size(); });
  }

  /// Notes that `op` now stands before `next`, perhaps in its place.
  void putBefore(mlir::Operation *op, mlir::Operation *next) {
    numbers[op] = numbers.lookup(next);
  }

  /// Whether `a` stands before `b`; both are known.
  bool isBefore(mlir::Operation *a, mlir::Operation *b) const {
    int64_t number = numbers.lookup(a), other = numbers.lookup(b);
    if (number != other)
      return number < other;
    // Put before the same op, where they stand one after the other.
    for (mlir::Operation *op = a->getNextNode();
         op && numbers.lookup(op) == number; op = op->getNextNode())
      if (op == b)
        return true;
    return false;
  }

private:
  llvm::DenseMap<mlir::Operation *, int64_t> numbers;
};

} // namespace pst

#endif // PST_TRANSFORMS_OPORDER_H
