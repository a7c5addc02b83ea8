//===- ConfigFile.h - config.json, with positions ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_IMPORT_CONFIGFILE_H
#define PST_LIB_IMPORT_CONFIGFILE_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace pst {

/// The keys of a config.json; "outer.inner" is a key of an object in it. A
/// getter whose key is missing (or null) without a default, or has a wrong
/// value, emits an error at the key and returns a value within the bounds, so
/// that all keys can be read before `failed()` is asked.
class ConfigFile {
public:
  /// Reads `path`; emits an error and returns null if it cannot be read or is
  /// no JSON object.
  static std::unique_ptr<ConfigFile> read(mlir::MLIRContext &context,
                                          llvm::StringRef path);
  ~ConfigFile();

  const std::string &text() const { return contents; }
  bool failed() const { return hasFailed; }
  /// Whether the key is there and not null.
  bool has(llvm::StringRef key) const;
  /// Whether the key is there, and null.
  bool hasNull(llvm::StringRef key) const;

  /// A whole number in [low, high].
  int64_t integer(llvm::StringRef key, int64_t low, int64_t high,
                  std::optional<int64_t> otherwise = std::nullopt);
  /// A number above 0.
  double positive(llvm::StringRef key,
                  std::optional<double> otherwise = std::nullopt);
  /// A number in [0, 1).
  double probability(llvm::StringRef key, double otherwise);
  bool boolean(llvm::StringRef key, bool otherwise);
  std::string string(llvm::StringRef key, llvm::StringRef otherwise);
  /// A list of strings; empty if the key is missing.
  std::vector<std::string> strings(llvm::StringRef key);
  /// Whether the key is there; its value must be an object.
  bool object(llvm::StringRef key);
  /// The number of entries of an object or a list; 0 if the key is missing.
  int64_t size(llvm::StringRef key);

  /// Emits an error at a key (if it is missing, at the object that it belongs
  /// to), or at the file as a whole.
  mlir::InFlightDiagnostic error(llvm::StringRef key);
  mlir::InFlightDiagnostic error();

private:
  ConfigFile(mlir::MLIRContext &context, llvm::StringRef path);
  /// The position of a byte of the text.
  mlir::Location locate(size_t byte) const;
  void findKeys();
  const nlohmann::json *find(llvm::StringRef key) const;
  /// Error: the value of `key` is not `expected`.
  void complain(llvm::StringRef key, const llvm::Twine &expected);

  mlir::MLIRContext &context;
  std::string path, contents;
  std::unique_ptr<nlohmann::json> values;
  /// Where each key of the outermost object, and of the objects in it, begins.
  std::map<std::string, size_t, std::less<>> positions;
  bool hasFailed = false;
};

} // namespace pst

#endif // PST_LIB_IMPORT_CONFIGFILE_H
