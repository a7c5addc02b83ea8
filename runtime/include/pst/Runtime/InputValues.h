//===- InputValues.h - What a model can take as its inputs ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_INPUTVALUES_H
#define PST_RUNTIME_INPUTVALUES_H

#include "pst/Runtime/Dataset.h"

namespace pst::runtime {

/// Checks the values of an input of a program as Dataset::check does: ids of
/// any program, and what a model's inputs of known names hold, where
/// `mayBeNoExample` lets labels be kNoExample, or NaN. Other inputs may hold
/// anything. Throws Error, which begins with `description`.
void checkValues(const Manifest &manifest, const Argument &input,
                 const DataArray &array, const std::string &description,
                 bool mayBeNoExample);

/// Checks that a batch's `attention_mask` has no more tokens than the program
/// has room for, if that is without padding. Throws Error, which begins with
/// `description`.
void checkTokenCount(const Manifest &manifest, const DataArray &mask,
                     const std::string &description);

} // namespace pst::runtime

#endif // PST_RUNTIME_INPUTVALUES_H
