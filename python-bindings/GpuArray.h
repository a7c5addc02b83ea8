//===- GpuArray.h - An array in a GPU's memory ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_PYTHON_GPUARRAY_H
#define PST_PYTHON_GPUARRAY_H

#include "Turns.h"

namespace pst::python {

/// A space of f32 of a program on a GPU, for other libraries by DLPack, without
/// a copy. Streams are as in the array API standard.
class GpuArray {
public:
  /// A space of `model`, which `owner` keeps alive.
  GpuArray(nanobind::object owner, const SharedModel &model, std::string space);

  /// (kDLCUDA, number of the device)
  std::pair<int, int> device() const;
  size_t size() const;
  /// The capsule. What the consumer gives to `stream` from now on comes after
  /// the program's work so far: None: the default stream; -1: the consumer sees
  /// to it.
  nanobind::object dlpack(const nanobind::object &stream,
                          const nanobind::object &maxVersion,
                          const nanobind::object &device,
                          const nanobind::object &copy) const;
  /// What the program does from now on comes after what was given to `stream`.
  void waitFor(uintptr_t stream) const;

private:
  nanobind::object owner;
  const SharedModel &model;
  std::string space;
};

void bindGpuArray(nanobind::module_ &module);

} // namespace pst::python

#endif // PST_PYTHON_GPUARRAY_H
