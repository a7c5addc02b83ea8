//===- tensor_bindings.cpp - Files of tensors, for Python -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The runtime's one reader and one writer of safetensors.
//
//===----------------------------------------------------------------------===//

#include "Arrays.h"
#include "Bindings.h"

#include "pst/Runtime/Error.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <optional>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst::runtime;
using namespace pst::python;

namespace {

using Code = nb::dlpack::dtype_code;

struct ArrayType {
  DType dtype;
  Code code;
  uint8_t bits;
};

constexpr std::array<ArrayType, 12> kArrayTypes{
    {{DType::BOOL, Code::Bool, 8},
     {DType::U8, Code::UInt, 8},
     {DType::I8, Code::Int, 8},
     {DType::U16, Code::UInt, 16},
     {DType::I16, Code::Int, 16},
     {DType::F16, Code::Float, 16},
     {DType::U32, Code::UInt, 32},
     {DType::I32, Code::Int, 32},
     {DType::F32, Code::Float, 32},
     {DType::U64, Code::UInt, 64},
     {DType::I64, Code::Int, 64},
     {DType::F64, Code::Float, 64}}};

/// The elements of a tensor as NumPy has them; none for those that it has not.
std::optional<nb::dlpack::dtype> arrayType(DType dtype) {
  for (const ArrayType &type : kArrayTypes)
    if (type.dtype == dtype)
      return nb::dlpack::dtype{uint8_t(type.code), type.bits, 1};
  return std::nullopt;
}

DType fileType(nb::dlpack::dtype wanted, const std::string &name) {
  if (wanted.code == uint8_t(Code::Bfloat) && wanted.bits == 16)
    return DType::BF16;
  for (const ArrayType &type : kArrayTypes)
    if (uint8_t(type.code) == wanted.code && type.bits == wanted.bits)
      return type.dtype;
  throw Error("tensor \"" + name + "\": files hold no elements of type " +
              spell(wanted));
}

const TensorView &find(const ModelFiles &files, const std::string &name) {
  if (const TensorView *tensor = files.find(name))
    return *tensor;
  throw nb::key_error(name.c_str());
}

/// A tensor as an array over the mapped file, which it keeps; a copy where its
/// elements are bf16 (then f32), or lie at an address that is no multiple of
/// their size.
nb::object readTensor(nb::handle self, const std::string &name) {
  const auto &files = nb::cast<const ModelFiles &>(self);
  const TensorView &tensor = find(files, name);
  files.requireWhole();
  std::vector<size_t> shape(tensor.shape.begin(), tensor.shape.end());
  auto copied = [&](std::byte *data, nb::dlpack::dtype type) {
    nb::capsule owner(data, [](void *pointer) noexcept {
      delete[] static_cast<std::byte *>(pointer);
    });
    return nb::cast(nb::ndarray<nb::numpy>(data, shape.size(), shape.data(),
                                           owner, nullptr, type));
  };
  if (tensor.dtype == DType::BF16) {
    auto *data = new std::byte[tensor.numElements() * sizeof(float)];
    convertToF32(tensor, reinterpret_cast<float *>(data));
    return copied(data, *arrayType(DType::F32));
  }
  std::optional<nb::dlpack::dtype> type = arrayType(tensor.dtype);
  if (!type)
    throw Error(files.path().string() + ": tensor \"" + name + "\" is " +
                describe(tensor.dtype, tensor.shape) +
                ", of elements that NumPy has not");
  if (reinterpret_cast<uintptr_t>(tensor.data) % byteSize(tensor.dtype)) {
    auto *data = new std::byte[tensor.numBytes];
    std::copy_n(tensor.data, tensor.numBytes, data);
    return copied(data, *type);
  }
  return nb::cast(nb::ndarray<nb::numpy, nb::ro>(
      tensor.data, shape.size(), shape.data(), self, nullptr, *type));
}

void writeTensors(const std::filesystem::path &path, const nb::dict &arrays,
                  const Metadata &metadata) {
  using Contiguous = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
  std::vector<Contiguous> owners;
  std::vector<TensorData> tensors;
  for (auto [key, value] : arrays) {
    auto name = nb::cast<std::string>(key);
    const auto &array = owners.emplace_back(nb::cast<Contiguous>(value));
    std::vector<int64_t> shape;
    for (size_t i = 0; i < array.ndim(); ++i)
      shape.push_back(static_cast<int64_t>(array.shape(i)));
    tensors.push_back(
        {{name, fileType(array.dtype(), name), shape}, array.data()});
  }
  nb::gil_scoped_release release;
  writeSafeTensors(path, tensors, metadata);
}

} // namespace

void pst::python::bindTensors(nb::module_ &module) {
  nb::class_<ModelFiles>(
      module, "TensorFile",
      "The tensors of a safetensors file, or of a model directory: its "
      "model.safetensors, or the shards of its index. Raises Error for what is "
      "no such file, or is damaged.")
      .def(nb::init<std::filesystem::path>(), "path"_a)
      .def("names",
           [](const ModelFiles &self) {
             std::vector<std::string> names;
             for (const auto &[name, tensor] : self.tensors())
               names.push_back(name);
             return names;
           })
      .def("__contains__",
           [](const ModelFiles &self, const std::string &name) {
             return self.find(name) != nullptr;
           })
      .def(
          "shape",
          [](const ModelFiles &self, const std::string &name) {
            return nb::tuple(nb::cast(find(self, name).shape));
          },
          "name"_a)
      .def("read", &readTensor, "name"_a,
           "An array, read-only where it lies in the mapped file; bf16 as "
           "float32.")
      .def_prop_ro("metadata", &ModelFiles::metadata);
  module.def("write_tensors", &writeTensors, "path"_a, "tensors"_a,
             "metadata"_a = Metadata(),
             "Writes arrays as a safetensors file, which appears whole or not "
             "at all.");
}
