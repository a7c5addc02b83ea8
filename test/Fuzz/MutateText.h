//===- MutateText.h - Changes words of a program ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_FUZZ_MUTATETEXT_H
#define PST_TEST_FUZZ_MUTATETEXT_H

#include <cstddef>
#include <cstdint>

namespace fuzz {

/// Changes a text of words, names and numbers in place, of `limit` bytes at
/// most: a number everywhere (so that shapes still agree) or once, a word to
/// another of the text or of the dialects, lines. A parser refuses nearly all
/// that differs in single bytes. Returns the new size.
size_t mutateText(uint8_t *data, size_t size, size_t limit, unsigned seed);

} // namespace fuzz

#endif // PST_TEST_FUZZ_MUTATETEXT_H
