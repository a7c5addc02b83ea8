//===- Arrays.h - Arrays of Python, used in place ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_PYTHON_ARRAYS_H
#define PST_PYTHON_ARRAYS_H

#include "pst/Bundle/Manifest.h"
#include "pst/Runtime/Error.h"

#include <nanobind/ndarray.h>

#include <string>

namespace pst::python {

using InputArray = nanobind::ndarray<nanobind::ro>;
using OutputArray = nanobind::ndarray<>;

nanobind::dlpack::dtype dlpackType(ElementType type);

/// "f32", "i64", "bool".
std::string spell(nanobind::dlpack::dtype type);
/// "[2, 3]"
std::string spell(const std::vector<int64_t> &shape);

/// The array that `object` is, to be read, or to be written, where it lies.
/// Throws Error naming `what` if it is none, or may not be written.
InputArray readArray(nanobind::handle object, const std::string &what);
OutputArray writtenArray(nanobind::handle object, const std::string &what);

/// Checks that an array may be used in place as `type`: one in the memory of
/// the CPU, or of GPU number `gpu` if that is not negative. Throws Error naming
/// `what`. Returns whether it is the GPU's.
template <typename Array>
bool checkArray(const Array &array, const TensorType &type,
                const std::string &what, int gpu = -1) {
  bool there = array.device_type() == nanobind::device::cuda::value &&
               array.device_id() == gpu;
  if (!there && array.device_type() != nanobind::device::cpu::value)
    throw runtime::Error(what + " is not in the memory of the CPU" +
                         (gpu < 0 ? "" : " or of GPU " + std::to_string(gpu)) +
                         "; move it there first");
  if (array.dtype() != dlpackType(type.element))
    throw runtime::Error(what + " must have elements of type " +
                         std::string(name(type.element)) + ", but has " +
                         spell(array.dtype()));
  std::vector<int64_t> shape(array.ndim());
  for (size_t i = 0; i < shape.size(); ++i)
    shape[i] = static_cast<int64_t>(array.shape(i));
  if (shape != type.shape)
    throw runtime::Error(what + " must have the shape " + spell(type.shape) +
                         ", but has " + spell(shape));
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] > 1 && array.stride(i) != stride)
      throw runtime::Error(what +
                           " must be contiguous in row-major order; pass a "
                           "contiguous copy");
    stride *= shape[i];
  }
  size_t size = array.itemsize();
  if (reinterpret_cast<uintptr_t>(array.data()) % size != 0)
    throw runtime::Error(what + " must lie at a multiple of the " +
                         std::to_string(size) +
                         " bytes of an element; pass a copy");
  return there;
}

} // namespace pst::python

#endif // PST_PYTHON_ARRAYS_H
