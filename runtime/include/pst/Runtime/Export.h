//===- Export.h - A Hugging Face directory of the sparse model --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_EXPORT_H
#define PST_RUNTIME_EXPORT_H

#include "pst/Runtime/Model.h"

namespace pst::runtime {

struct ExportOptions {
  std::filesystem::path outputDir;
  /// Replaces a directory that exists.
  bool overwrite = false;
  /// Keys added to config.json, as the text of a JSON object:
  /// {"id2label": {"0": "negative"}}. Null removes a key.
  std::string configUpdates;
};

struct ExportedLayer {
  std::string weight;
  int64_t numElements = 0;
  /// What the selection pruned; where it does not count that, the zeros.
  int64_t numPruned = 0;
  int64_t numZeros = 0; ///< counted in the file written
};

struct ExportResult {
  std::vector<ExportedLayer> layers;
  double sparsity = 0; ///< that was asked for
  int64_t numTensors = 0;
  int64_t numBytes = 0;
  /// Share of zeros among all elements of the sparse layers.
  double zeroShare() const;
};

/// Throws Error if `target` cannot become the directory of an exported model or
/// adapter: it holds something else, or holds one and `overwrite` is false, or
/// is `source`, the directory that is read (or none).
void checkModelTarget(const std::filesystem::path &target,
                      const std::filesystem::path &source, bool overwrite);

/// Throws Error if the directory of the options cannot become that of an
/// exported model: it holds something else, or the model's own files, or may
/// not be written.
void checkExportTarget(const Model &model, const ExportOptions &options);

/// Copies what a model directory has beside its weights, config.json and card,
/// the tokenizer's files above all. Throws Error.
void copyCompanions(const std::filesystem::path &from,
                    const std::filesystem::path &to);

/// Writes a directory that `transformers` loads unchanged, at `sparsity`: every
/// tensor of the source model as f32 under its canonical name, sparse layers
/// masked and merged, trained parameters in place of the source's; config.json;
/// copies of the tokenizer's files. Written aside and renamed. Afterwards
/// counts the zeros in the file, and throws Error if a layer has fewer than
/// promised.
ExportResult exportModel(Model &model, double sparsity,
                         const ExportOptions &options);

} // namespace pst::runtime

#endif // PST_RUNTIME_EXPORT_H
