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

func::FuncOp KernelContext::getOrCreatePart(KernelBuilder &builder,
                                            StringRef part, TypeRange arguments,
                                            Body body) {
  return LaunchContext::getOrCreatePart(
      builder, part, arguments, [&](CodeBuilder &b, ValueRange arguments) {
        KernelBuilder kernel(b);
        body(kernel, arguments);
      });
}

void KernelContext::emitParallelTasks(
    KernelBuilder &builder, StringRef part, int64_t count, ValueRange arguments,
    function_ref<void(KernelBuilder &, Value, ValueRange)> body) {
  SmallVector<Type> types{builder.getIndexType()};
  llvm::append_range(types, arguments.getTypes());
  func::FuncOp function = getOrCreatePart(
      builder, part, types, [&](KernelBuilder &inner, ValueRange values) {
        body(inner, values.front(), values.drop_front());
      });
  builder.parallel(count, [&](Value task) {
    SmallVector<Value> operands{task};
    llvm::append_range(operands, arguments);
    func::CallOp::create(builder, function, operands);
  });
}
