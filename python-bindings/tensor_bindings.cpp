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
#include "Strings.h"

#include "pst/Runtime/CompressedWeight.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
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

const TensorView &header(const ModelFiles &files, const std::string &name) {
  auto found = files.tensors().find(name);
  if (found == files.tensors().end())
    raise(PyExc_KeyError, name);
  return *found->second;
}

const TensorView &find(const ModelFiles &files, const std::string &name) {
  if (const TensorView *tensor = files.find(name))
    return *tensor;
  raise(PyExc_KeyError, name);
}

/// A tensor as an array over the mapped file, which it keeps; a copy where its
/// elements are bf16 (then f32), where they lie at an address that is no
/// multiple of their size, or where the file has it in parts. `asStored`:
/// elements that NumPy has not are whole numbers of their size.
nb::object readTensor(nb::handle self, const std::string &name, bool asStored) {
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
  if (tensor.dtype == DType::BF16 && !asStored) {
    auto *data = new std::byte[tensor.numElements() * sizeof(float)];
    convertToF32(tensor, reinterpret_cast<float *>(data));
    files.forget(tensor);
    return copied(data, *arrayType(DType::F32));
  }
  std::optional<nb::dlpack::dtype> type = arrayType(tensor.dtype);
  if (!type && asStored)
    type = arrayType(byteSize(tensor.dtype) == 2 ? DType::U16 : DType::U8);
  if (!type)
    throw Error(files.path().string() + ": tensor \"" + name + "\" is " +
                describe(tensor.dtype, tensor.shape) +
                ", of elements that NumPy has not");
  // Whoever reads one weight after the other needs the memory of one.
  if (files.compressed(name) ||
      reinterpret_cast<uintptr_t>(tensor.data) % byteSize(tensor.dtype)) {
    auto *data = new std::byte[tensor.numBytes];
    std::copy_n(tensor.data, tensor.numBytes, data);
    files.forget(tensor);
    return copied(data, *type);
  }
  return nb::cast(nb::ndarray<nb::numpy, nb::ro>(
      tensor.data, shape.size(), shape.data(), self, nullptr, *type));
}

/// The element type that a file spells so.
DType spelledType(const std::string &spelled, const std::string &tensor) {
  for (DType type : {DType::BF16, DType::F8_E4M3, DType::F8_E5M2})
    if (name(type) == spelled)
      return type;
  throw Error("tensor \"" + tensor + "\": " + spelled +
              " is no type of elements that NumPy has not");
}

void writeTensors(const std::filesystem::path &path, const nb::dict &arrays,
                  const Metadata &metadata,
                  const std::map<std::string, std::string> &types) {
  using Contiguous = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
  std::vector<Contiguous> owners;
  std::vector<TensorData> tensors;
  for (auto [key, value] : arrays) {
    auto name = nb::cast<std::string>(key);
    const auto &array = owners.emplace_back(nb::cast<Contiguous>(value));
    std::vector<int64_t> shape;
    for (size_t i = 0; i < array.ndim(); ++i)
      shape.push_back(static_cast<int64_t>(array.shape(i)));
    DType type = fileType(array.dtype(), name);
    if (auto given = types.find(name); given != types.end()) {
      DType wanted = spelledType(given->second, name);
      if (byteSize(wanted) != byteSize(type))
        throw Error("tensor \"" + name + "\": elements of type " +
                    spell(array.dtype()) + " are none of " + given->second);
      type = wanted;
    }
    tensors.push_back({{name, type, shape}, array.data()});
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
             return self.tensors().contains(name);
           })
      .def(
          "shape",
          [](const ModelFiles &self, const std::string &name) {
            return nb::tuple(nb::cast(header(self, name).shape));
          },
          "name"_a)
      .def(
          "dtype",
          [](const ModelFiles &self, const std::string &name) {
            return std::string(pst::runtime::name(header(self, name).dtype));
          },
          "name"_a, "The type of the elements, as files spell it.")
      .def(
          "stored_dtype",
          [](const ModelFiles &self,
             const std::string &name) -> std::optional<std::string> {
            const CompressedWeight *parts = self.compressed(name);
            if (!parts)
              return std::nullopt;
            return std::string(pst::runtime::name(parts->values->dtype));
          },
          "name"_a,
          "Of a weight that the file has in parts, the type of the values "
          "there; else None.")
      .def("read", &readTensor, "name"_a, "as_stored"_a = false,
           "An array, read-only where it lies in the mapped file; bf16 as "
           "float32, or with `as_stored` as the bits of it.")
      .def_prop_ro("num_bytes", &ModelFiles::numBytes)
      .def_prop_ro("metadata", &ModelFiles::metadata);
  module.def("write_tensors", &writeTensors, "path"_a, "tensors"_a,
             "metadata"_a = Metadata(),
             "types"_a = std::map<std::string, std::string>(),
             "Writes arrays as a safetensors file, which appears whole or not "
             "at all. `types` names the types of elements that NumPy has not, "
             "and that arrays of whole numbers hold the bits of.");
  module.def(
      "write_file",
      [](const std::filesystem::path &path, const nb::bytes &text) {
        writeFile(path, {text.c_str(), text.size()});
      },
      "path"_a, "text"_a,
      "Writes a file, which appears whole or not at all; a pipe or a device "
      "is written to.");
  nb::class_<StagedDirectory>(
      module, "StagedDirectory",
      "An empty directory beside a target, removed at the end of a with "
      "statement unless commit() has given it the target's name.")
      .def(nb::init<std::filesystem::path>(), "target"_a)
      .def_prop_ro("path", &StagedDirectory::path)
      .def("commit", &StagedDirectory::commit)
      .def("__enter__", [](nb::object self) { return self; })
      .def("__exit__", [](StagedDirectory &self, nb::args) { self.discard(); });
}
