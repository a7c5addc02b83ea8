//===- LayerTables.h - One kernel for several layers ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A launch for several layers has the blocks of all of them, those of layers of
// equal types side by side, for which there is one code: it looks up in a table
// which buffers are a layer's.

#ifndef PST_LIB_CODEGEN_GPU_LAYERTABLES_H
#define PST_LIB_CODEGEN_GPU_LAYERTABLES_H

#include "ThreadBuilder.h"

namespace pst::cuda {

/// Bytes of a kernel's parameters, on every GPU and driver; of a pointer.
constexpr int64_t kParameterBytes = 4096, kPointerBytes = 8;

/// Layers of equal types, and the blocks of each.
struct LayerBlocks {
  int64_t layers, each;
};

/// emit(run, layer) for each of the runs, in the blocks of its layers: `layer`
/// (index) counts those of the run, and ThreadBuilder::block() the layer's
/// blocks.
void forLayerBlocks(ThreadBuilder &b, llvm::ArrayRef<LayerBlocks> runs,
                    llvm::function_ref<void(size_t, Value)> emit);

/// A table of so many layers: the values (buffers among them) of the one of
/// that number.
llvm::SmallVector<Value>
chooseLayer(ThreadBuilder &b, int64_t layers, Value layer,
            llvm::function_ref<llvm::SmallVector<Value>(int64_t)> valuesOf);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_LAYERTABLES_H
