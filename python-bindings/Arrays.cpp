//===- Arrays.cpp - Arrays of Python, used in place -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Arrays.h"
#include "Strings.h"

namespace nb = nanobind;
using namespace pst;
using pst::runtime::Error;

pst::python::InputArray pst::python::readArray(nb::handle object,
                                               const std::string &what) {
  InputArray array;
  if (!nb::try_cast(object, array, /*convert=*/false))
    throw Error(what +
                " must be an array or a tensor that shares its memory "
                "(DLPack), which this " +
                nb::cast<std::string>(object.type().attr("__name__")) +
                " does not");
  return array;
}

pst::python::OutputArray pst::python::writtenArray(nb::handle object,
                                                   const std::string &what) {
  OutputArray array;
  if (nb::try_cast(object, array, /*convert=*/false))
    return array;
  readArray(object, what);
  throw Error(what + " is read-only: give an array that may be written");
}

nb::dlpack::dtype pst::python::dlpackType(ElementType type) {
  using Code = nb::dlpack::dtype_code;
  switch (type) {
  case ElementType::f32:
    return {uint8_t(Code::Float), 32, 1};
  case ElementType::f64:
    return {uint8_t(Code::Float), 64, 1};
  case ElementType::bf16:
    return {uint8_t(Code::Bfloat), 16, 1};
  case ElementType::i8:
    return {uint8_t(Code::Int), 8, 1};
  case ElementType::i32:
    return {uint8_t(Code::Int), 32, 1};
  case ElementType::i64:
    return {uint8_t(Code::Int), 64, 1};
  }
  throw Error("unknown element type");
}

std::string pst::python::spell(nb::dlpack::dtype type) {
  using Code = nb::dlpack::dtype_code;
  std::string kind = "type code " + std::to_string(type.code) + ", ";
  if (type.code == uint8_t(Code::Int))
    kind = "i";
  else if (type.code == uint8_t(Code::UInt))
    kind = "u";
  else if (type.code == uint8_t(Code::Float))
    kind = "f";
  else if (type.code == uint8_t(Code::Bfloat))
    kind = "bf";
  else if (type.code == uint8_t(Code::Bool))
    return "bool";
  return kind + std::to_string(type.bits);
}

std::string pst::python::spell(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}
