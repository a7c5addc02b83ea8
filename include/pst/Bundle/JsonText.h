//===- JsonText.h - How deep JSON may nest ----------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_JSONTEXT_H
#define PST_BUNDLE_JSONTEXT_H

#include <string>
#include <string_view>

namespace pst {

/// Objects and lists within one another. No format that is read here has more
/// than six.
inline constexpr int kDeepestJson = 100;

/// Whether JSON nests deeper than that. Libraries parse, print and free a value
/// by functions that call themselves, so that it is asked for before any other
/// use of a text from a file.
inline bool nestsTooDeep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted && c == '\\')
      ++i; // whatever is escaped ends no string
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && (c == '{' || c == '['))
      ++depth;
    else if (!quoted && (c == '}' || c == ']'))
      --depth;
    if (depth > kDeepestJson)
      return true;
  }
  return false;
}

/// What a text that nests too deep is told.
inline std::string tooDeepMessage() {
  return "objects and lists lie more than " + std::to_string(kDeepestJson) +
         " deep in one another";
}

} // namespace pst

#endif // PST_BUNDLE_JSONTEXT_H
