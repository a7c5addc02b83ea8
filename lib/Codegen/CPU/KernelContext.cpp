//===- KernelContext.cpp - Kernels for CPUs -------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

void KernelContext::replaceByLaunchInto(RewriterBase &rewriter, Operation *op,
                                        ValueRange inputs, ValueRange outputs,
                                        ArrayRef<RankedTensorType> workspaces,
                                        Body body) {
  LaunchContext::replaceByLaunchInto(rewriter, op, inputs, outputs, workspaces,
                                     [&](CodeBuilder &b, ValueRange arguments) {
                                       KernelBuilder kernel(b);
                                       body(kernel, arguments);
                                     });
}

void KernelContext::callPart(KernelBuilder &builder, StringRef part,
                             ValueRange arguments, Body body) {
  LaunchContext::callPart(builder, part, arguments,
                          [&](CodeBuilder &b, ValueRange arguments) {
                            KernelBuilder kernel(b);
                            body(kernel, arguments);
                          });
}

void KernelContext::emitParallelTasks(
    KernelBuilder &builder, StringRef part, int64_t count, ValueRange arguments,
    function_ref<void(KernelBuilder &, Value, ValueRange)> body) {
  builder.parallel(count, [&](Value task) {
    SmallVector<Value> operands{task};
    llvm::append_range(operands, arguments);
    callPart(builder, part, operands,
             [&](KernelBuilder &inner, ValueRange values) {
               body(inner, values.front(), values.drop_front());
             });
  });
}
