//===- PassOptions.h - Options of the table as those of a pass --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_OPTIONS_PASSOPTIONS_H
#define PST_OPTIONS_PASSOPTIONS_H

#include "pst/Options/CompilerOptions.h"

namespace pst {

/// Tells a pass's option the words of its type, if that is a choice.
template <typename T> struct WordsOf {
  template <typename OptionT> void apply(OptionT &option) const {
    if constexpr (std::is_enum_v<T>) {
      size_t i = 0;
      for (const char *word : runtime::Words<T>::list)
        option.getParser().addLiteralOption(word, static_cast<T>(i++), "");
    }
  }
};

} // namespace pst

#endif // PST_OPTIONS_PASSOPTIONS_H
