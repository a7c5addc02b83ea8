//===- WordProduct.h - Products of few rows by words ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_WORDPRODUCT_H
#define PST_LIB_CODEGEN_CPU_WORDPRODUCT_H

#include "ByteDigits.h"
#include "FewRows.h"
#include "Target.h"

namespace pst::cpu {

/// Y = X S^T for an X of few rows, tokens x k, and an S of n x k: lanes are
/// columns of S, a word of 64 at a time, which X is read by as it lies. How S
/// is stored, and what is summed, derived classes say.
class WordProduct {
public:
  WordProduct(KernelBuilder &b, int64_t n, int64_t k, const Epilogue &epilogue,
              Value result)
      : b(b), n(n), k(k), epilogue(epilogue), result(result) {}
  virtual ~WordProduct() = default;

  void emit(int64_t tokens);

  static constexpr int64_t kWord = 64, kLanes = 16;

protected:
  /// What is carried from a word to the next, and from a row to the next:
  /// where `row` begins.
  virtual Value firstSlot(Value row) = 0;
  /// Vectors with which the sum of a token begins.
  virtual llvm::SmallVector<Value> beginSum(int64_t token) = 0;
  /// Adds a word's columns, so many, to the sums of tokens from `first` on.
  virtual void addWord(int64_t first, int64_t tokens, Value row, Value word,
                       int64_t columns, Value &slot,
                       llvm::MutableArrayRef<Value> sums) = 0;
  /// The sum as one vector of f32.
  virtual Value endSum(int64_t token, llvm::ArrayRef<Value> vectors) = 0;

  KernelBuilder &b;
  int64_t n, k;

private:
  void addRows(int64_t first, int64_t tokens, Value firstRow, Value rows);

  const Epilogue &epilogue;
  Value result;
};

/// One of an S in 8 bits: the sums are of bytes by bytes.
class BytesProduct : public WordProduct {
public:
  BytesProduct(KernelBuilder &b, const ByteDigits &digits, int64_t n,
               const Epilogue &epilogue, Value result)
      : WordProduct(b, n, digits.k, epilogue, result), digits(digits) {}

  /// Whether a machine that expands elements of `expandBits` (Target.h) has
  /// such sums, values of `valueBits` are their bytes, and they hold `k`
  /// columns.
  static bool isPossible(int64_t expandBits, int64_t valueBits, int64_t k) {
    return expandBits == 8 && valueBits == 8 && k <= ByteDigits::kMostColumns;
  }
  static bool isPossible(const Target &target, mlir::Type value, int64_t k) {
    return isPossible(target.expandBits, value.getIntOrFloatBitWidth(), k);
  }

protected:
  /// The bytes of a word, zeros beyond its columns.
  virtual Value loadBytes(Value row, Value word, int64_t columns,
                          Value &slot) = 0;

private:
  llvm::SmallVector<Value> beginSum(int64_t token) override {
    return digits.begin(b, token);
  }
  void addWord(int64_t first, int64_t tokens, Value row, Value word,
               int64_t columns, Value &slot,
               llvm::MutableArrayRef<Value> sums) override;
  Value endSum(int64_t token, llvm::ArrayRef<Value> vectors) override {
    return digits.end(b, token, vectors);
  }

  const ByteDigits &digits;
};

/// Y = X S^T, and what follows, for an S in 8 bits with its zeros, n x k, on a
/// machine where BytesProduct is possible: S is read where it lies, by each
/// four rows of X once.
struct QuantizedFewRows {
  /// Whether that takes less time than a product of f32, for which S is packed:
  /// of 64 rows a tenth less, on Zen 4.
  static bool pays(int64_t tokens, int64_t n, int64_t k) {
    return tokens <= kMost && n * k >= FewRows::kLeastWeight;
  }
  static constexpr int64_t kMost = 32;

  /// The buffers of the digits, which it writes, are the workspace.
  static void emit(KernelBuilder &b, const ByteDigits &digits, Value input,
                   Value values, const Epilogue &epilogue, Value result);
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_WORDPRODUCT_H
