//===- NNAnswers.cpp - What the nn ops answer passes ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Answers that are a matter of more than numbers, which stand in the .td.

#include "pst/Dialect/Interfaces/Work.h"
#include "pst/Dialect/NN/NNPacking.h"

using namespace mlir;
using namespace pst;
using namespace pst::nn;

//===----------------------------------------------------------------------===//
// Without a seed
//===----------------------------------------------------------------------===//

void DropoutOp::makeDeterministic() {
  replaceAllUsesWith(getInput());
  erase();
}

void AttentionOp::makeDeterministic() {
  getSeedMutable().clear();
  removeProbabilityAttr();
  removeSiteAttr();
}

//===----------------------------------------------------------------------===//
// Work: of ops that multiply matrices, or read a part of a table only. The
// others read and write their tensors.
//===----------------------------------------------------------------------===//

static int64_t elementsOf(Value value) {
  return cast<ShapedType>(value.getType()).getNumElements();
}

static int64_t dim(Value value, unsigned i) {
  return cast<ShapedType>(value.getType()).getDimSize(i);
}

/// Rows that a matrix has room for.
static int64_t rowsOf(Value matrix) {
  return storedRows(cast<RankedTensorType>(matrix.getType()));
}

int64_t EmbeddingOp::countBytes() {
  int64_t table = bytesOf(getTable().getType());
  int64_t rows = table / dim(getTable(), 0) * dim(getResult(), 0);
  return bytesOfTensors(*this) - table + std::min(table, rows);
}

int64_t SelectTokenOp::countBytes() {
  return bytesOfTensors(*this) - bytesOf(getInput().getType()) +
         bytesOf(getResult().getType());
}

int64_t CacheRowsOp::countBytes() { // the rows, read and written
  return 2 * bytesOf(getInput().getType());
}

int64_t LinearOp::countFlops() {
  return 2 * rowsOf(getInput()) * elementsOf(getWeight());
}

int64_t MatmulOp::countFlops() {
  int64_t terms = getTransposeLhs() ? rowsOf(getLhs()) : dim(getLhs(), 1);
  return 2 * rowsOf(getResult()) * dim(getResult(), 1) * terms;
}

/// One product of an attention, over all heads: for each query and each key
/// that it may see, a multiply-add for each column of the head.
template <typename OpT> static int64_t attentionProduct(OpT op) {
  int64_t batch = dim(op.getMask(), 0), length = dim(op.getMask(), 1);
  // The first queries of a window see fewer keys than it has.
  int64_t seen = std::min<int64_t>(op.getWindow().value_or(length), length);
  int64_t pairs =
      op.getCausal() ? seen * length - seen * (seen - 1) / 2 : length * length;
  // Without padding at most as many, where all sequences are whole.
  int64_t tokens = std::min(rowsOf(op.getQuery()), batch * length);
  return 2 * llvm::divideCeil(tokens * pairs, length) * dim(op.getQuery(), 1);
}

// Scores, and their product with the values.
int64_t AttentionOp::countFlops() { return 2 * attentionProduct(*this); }

// The same, where all tokens see as many positions as a sequence can have.
int64_t CachedAttentionOp::countFlops() {
  return 4 * elementsOf(getQuery()) *
         std::min<int64_t>(getWindow().value_or(dim(getSlots(), 1)),
                           dim(getSlots(), 1));
}

// The scores again, and the gradients of queries, keys, values and
// probabilities.
int64_t AttentionBackwardOp::countFlops() {
  return 5 * attentionProduct(*this);
}

// The logits.
int64_t LinearCrossEntropyOp::countFlops() {
  return 2 * rowsOf(getInput()) * elementsOf(getWeight());
}

// The logits again, and one or two gradients of them.
int64_t LinearCrossEntropyBackwardOp::countFlops() {
  int64_t products = getWeightGradient() ? 3 : 2;
  return products * 2 * rowsOf(getInput()) * elementsOf(getWeight());
}
