//===- KernelNames.h - What kernels are called ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A kernel's name follows from what it is made for, and nobody spells it. What
// it is made for has two texts: one that a reader of a profile wants to see,
// and one that says all that the code depends on. Kernels that differ in the
// second have different names, whatever the first says.

#ifndef PST_LIB_CODEGEN_KERNEL_KERNELNAMES_H
#define PST_LIB_CODEGEN_KERNEL_KERNELNAMES_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace pst::kernel {

/// What a kernel is made for.
class KernelIdentity {
public:
  /// A kernel of that kind: "zeros".
  explicit KernelIdentity(llvm::StringRef kind) : text(kind), key(kind) {}
  /// A kernel for `op`: its kind, the types of its operands and results, and
  /// its own attributes. Not the symbols of parameters and the site of a
  /// dropout, which say where the data is: kernels get that as arguments.
  explicit KernelIdentity(mlir::Operation *op);

  /// Something else that the code depends on, which a reader sees too.
  KernelIdentity &add(llvm::StringRef word);
  KernelIdentity &add(mlir::TypeRange types);
  /// "added1_2"; nothing if there are no numbers.
  KernelIdentity &add(llvm::StringRef word, llvm::ArrayRef<unsigned> numbers);
  /// The same for what no reader misses; null is nothing.
  KernelIdentity &distinguish(mlir::TypeRange types);
  KernelIdentity &distinguish(mlir::Attribute attribute);

  llvm::StringRef getText() const { return text; }
  llvm::StringRef getKey() const { return key; }

private:
  std::string text, key;
};

/// The names of one symbol table.
class KernelNames {
public:
  /// `name` is no kernel's.
  void reserve(llvm::StringRef name) { taken.insert(name); }
  /// The name of that kernel: the same for the same key, another for another.
  llvm::StringRef of(const KernelIdentity &identity);

private:
  llvm::StringMap<std::string> byKey;
  llvm::StringSet<> taken;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_KERNELNAMES_H
