//===- WeightFiles.h - The tensors that a model starts from -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_IMPORT_WEIGHTFILES_H
#define PST_LIB_IMPORT_WEIGHTFILES_H

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/SmallVector.h"

#include <memory>
#include <optional>
#include <string>

namespace pst {
namespace runtime {
class ModelFiles;
struct TensorView;
} // namespace runtime

/// Emits an error of the runtime ("FILE: what") at the file that it names;
/// `path` is that file, or a directory that it lies in.
mlir::LogicalResult emitFileError(mlir::MLIRContext &context,
                                  llvm::StringRef path,
                                  llvm::StringRef message);

/// The safetensors files of a directory; the headers are read, the data stay
/// where they are. Finds tensors by their canonical names.
class WeightFiles {
public:
  /// Emits an error and returns null if the files are damaged, or if there are
  /// none and `mayBeMissing` is false.
  static std::unique_ptr<WeightFiles> open(mlir::MLIRContext &context,
                                           llvm::StringRef directory,
                                           bool mayBeMissing);
  ~WeightFiles();

  /// False if there are no files, and every tensor is taken as present.
  bool exist() const { return files != nullptr; }
  /// Lets tensors be found without `newPrefix` ("bert."), as checkpoints of
  /// the bare encoder have them.
  void setPrefix(llvm::StringRef newPrefix) { prefix = newPrefix; }

  bool has(llvm::StringRef name) const;
  /// The size of the first dimension; nothing if the tensor is not there or a
  /// scalar.
  std::optional<int64_t> rows(llvm::StringRef name) const;
  /// The name under which the files hold the tensor `name`. Emits an error and
  /// returns `name` if it is missing, has another shape, or elements that are
  /// not F32, F16, BF16 or F64.
  std::string resolve(llvm::StringRef name, llvm::ArrayRef<int64_t> shape);

  /// How many elements of the tensor of that name in the files are not zero, in
  /// columns `first` to `first + columns - 1`. It must be a matrix of a type
  /// that `resolve` takes.
  int64_t countKept(llvm::StringRef resolved, int64_t first,
                    int64_t columns) const;

  bool failed() const { return numErrors != 0; }
  /// Says how many errors were left out, if there were too many.
  void finish();

  mlir::InFlightDiagnostic remark();

private:
  WeightFiles(mlir::MLIRContext &context, llvm::StringRef directory);
  const runtime::TensorView *find(llvm::StringRef name) const;
  /// At the file as a whole.
  mlir::Location location() const;

  mlir::MLIRContext &context;
  std::unique_ptr<runtime::ModelFiles> files;
  std::string path, prefix;
  int64_t numErrors = 0;
};

} // namespace pst

#endif // PST_LIB_IMPORT_WEIGHTFILES_H
