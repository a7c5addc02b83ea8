//===- ProductEpilogue.h - What ops do to their products --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The bias, addend and activation of pst.masked_matmul and pst.stored_matmul,
// as operands of a kernel and in its code.

#ifndef PST_LIB_CODEGEN_CPU_PRODUCTEPILOGUE_H
#define PST_LIB_CODEGEN_CPU_PRODUCTEPILOGUE_H

#include "../Kernel/Activation.h"
#include "Gemm.h"

namespace pst::cpu {

template <typename OpT>
void appendEpilogue(OpT op, llvm::SmallVectorImpl<Value> &inputs) {
  if (op.getBias())
    inputs.push_back(op.getBias());
  if (op.getAddend())
    inputs.push_back(op.getAddend());
}

/// `arguments` are those of appendEpilogue, and more.
template <typename OpT> Epilogue epilogueOf(OpT op, ValueRange arguments) {
  Epilogue epilogue;
  size_t next = 0;
  if (op.getBias())
    epilogue.bias = arguments[next++];
  if (op.getAddend())
    epilogue.addend = arguments[next++];
  if (op.getActivation()) {
    nn::ActivationKind kind = *op.getActivation();
    epilogue.activation = [kind](KernelBuilder &b, Value value) {
      return emitActivation(b, kind, value);
    };
  }
  return epilogue;
}

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_PRODUCTEPILOGUE_H
