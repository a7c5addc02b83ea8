//===- SafeTensorsWriter.h - Writing safetensors files ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both ways write a file of another name in the same directory, flush it to
// the disk and rename it: whoever opens the final name finds the old file or
// the whole new one.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_SAFETENSORSWRITER_H
#define PST_RUNTIME_SAFETENSORSWRITER_H

#include "pst/Runtime/SafeTensors.h"

namespace pst::runtime {

struct TensorSpec {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
};

struct TensorData : TensorSpec {
  const void *data = nullptr;
};

using Metadata = std::map<std::string, std::string>;

/// Writes `tensors` to `path`, replacing it. Throws Error.
void writeSafeTensors(const std::filesystem::path &path,
                      const std::vector<TensorData> &tensors,
                      const Metadata &metadata = {});

/// A file made with its final size and mapped, so that its tensors are
/// computed in place. Nothing of it is seen under `path` before `commit`.
class MappedSafeTensorsWriter {
public:
  /// Reserves the blocks on the disk. Throws Error (disk full, ...).
  MappedSafeTensorsWriter(std::filesystem::path path,
                          const std::vector<TensorSpec> &tensors,
                          const Metadata &metadata = {});
  /// Removes what was not committed.
  ~MappedSafeTensorsWriter();
  MappedSafeTensorsWriter(const MappedSafeTensorsWriter &) = delete;
  MappedSafeTensorsWriter &operator=(const MappedSafeTensorsWriter &) = delete;

  /// Where tensor `name` is to be written; aligned for its elements if larger
  /// elements are listed before smaller ones. All bytes are zero
  /// at first. Throws Error if there is no such tensor.
  void *data(std::string_view name);
  /// Flushes, renames. Throws Error. The pointers die.
  void commit();

private:
  std::filesystem::path finalPath, temporaryPath;
  int descriptor = -1;
  std::byte *mapping = nullptr;
  size_t mappedBytes = 0;
  std::map<std::string, size_t, std::less<>> offsets;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_SAFETENSORSWRITER_H
