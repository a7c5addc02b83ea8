//===- Precompiled.cpp - Owner of the runtime's precompiled headers -------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Without a line of its own: all that is precompiled comes from the header.
