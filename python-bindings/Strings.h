//===- Strings.h - Texts of Python as texts of C++ --------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// In place of nanobind/stl/string.h, which takes no text but UTF-8. Python has
// others: where the system names no encoding, each byte of an argument or a
// file's name that is not ASCII is half of a surrogate pair (PEP 383). Here
// such a half is its byte, both ways, and nothing that Python can hold fails.
//
//===----------------------------------------------------------------------===//

#ifndef PST_PYTHON_STRINGS_H
#define PST_PYTHON_STRINGS_H

#include <nanobind/nanobind.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace pst::python {

/// A text of Python's, whose bytes that are no UTF-8 are halves of surrogate
/// pairs.
inline nanobind::str toPython(std::string_view text) {
  return nanobind::steal<nanobind::str>(PyUnicode_DecodeUTF8(
      text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape"));
}

/// A path as Python's own functions take it.
inline nanobind::str pathToPython(const std::filesystem::path &path) {
  return nanobind::steal<nanobind::str>(PyUnicode_DecodeFSDefaultAndSize(
      path.c_str(), static_cast<Py_ssize_t>(path.native().size())));
}

/// Raises an exception of that type. Needs the interpreter's lock.
[[noreturn]] inline void raise(PyObject *type, std::string_view message) {
  PyErr_SetObject(type, toPython(message).ptr());
  throw nanobind::python_error();
}

} // namespace pst::python

namespace nanobind::detail {

template <> struct type_caster<std::string> {
  NB_TYPE_CASTER(std::string, const_name("str"))

  bool from_python(handle source, uint32_t, cleanup_list *) noexcept {
    if (!PyUnicode_Check(source.ptr()))
      return false;
    // Other halves than those of bytes become what UTF-8 has no place for.
    for (const char *errors : {"strict", "surrogateescape", "surrogatepass"}) {
      object bytes =
          steal(PyUnicode_AsEncodedString(source.ptr(), "utf-8", errors));
      if (!bytes.is_valid()) {
        PyErr_Clear();
        continue;
      }
      value.assign(PyBytes_AS_STRING(bytes.ptr()),
                   static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr())));
      return true;
    }
    return false;
  }

  static handle from_cpp(const std::string &value, rv_policy,
                         cleanup_list *) noexcept {
    return pst::python::toPython(value).release();
  }
};

} // namespace nanobind::detail

#endif // PST_PYTHON_STRINGS_H
