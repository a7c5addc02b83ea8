//===- Bufferize.h - How pst ops become ops on buffers ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TRANSFORMS_BUFFERIZE_H
#define PST_TRANSFORMS_BUFFERIZE_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace pst {

/// Lets One-Shot Bufferize handle `pst.load`, `pst.store`, `pst.space` and
/// `pst.launch`. The other ops of pst and nn have become launches by then.
void registerBufferization(mlir::DialectRegistry &registry);

} // namespace pst

#endif // PST_TRANSFORMS_BUFFERIZE_H
