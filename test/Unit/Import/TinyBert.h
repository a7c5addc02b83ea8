//===- TinyBert.h - Small model directories for the tests -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_UNIT_IMPORT_TINYBERT_H
#define PST_TEST_UNIT_IMPORT_TINYBERT_H

#include "mlir/IR/MLIRContext.h"
#include "pst/Import/Import.h"
#include "pst/Runtime/SafeTensors.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pst {

struct TensorSpec {
  runtime::DType dtype = runtime::DType::F32;
  std::vector<int64_t> shape;
};

/// A directory, removed with the object, that holds a BERT of 2 layers, width
/// 6, 3 heads, 10 in between, 11 words, 7 positions, 2 token types and 3
/// labels. A test changes the config or the tensors, then imports it.
class TinyBert {
public:
  TinyBert();
  ~TinyBert();

  nlohmann::ordered_json config;
  std::map<std::string, TensorSpec> tensors;

  /// Renames every tensor (`rename` may return its argument).
  void rename(const std::function<std::string(std::string)> &rename);
  /// Writes both files, with random values.
  void write() const;
  void writeText(const std::string &file, const std::string &text) const;
  /// Writes the tensors that `choose` takes as a file.
  void
  writeTensors(const std::string &file,
               const std::function<bool(const std::string &)> &choose) const;
  std::filesystem::path path(const std::string &file = "") const {
    return directory / file;
  }

  /// Imports what lies in the directory; null after an error. `messages` then
  /// has the diagnostics as "file:line:column: severity: message", the file
  /// relative to the directory.
  mlir::OwningOpRef<mlir::ModuleOp> importModel();
  ImportOptions options;
  std::vector<std::string> messages;
  mlir::MLIRContext context;

private:
  std::filesystem::path directory;
};

/// A directory that cannot be imported, with the one message that says why.
void expectError(TinyBert &model, const std::string &message);

} // namespace pst

#endif // PST_TEST_UNIT_IMPORT_TINYBERT_H
