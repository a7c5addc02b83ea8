//===- NNDialect.td - The nn dialect -----------------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNDIALECT_TD
#define PST_DIALECT_NN_NNDIALECT_TD

include "mlir/IR/OpBase.td"

def NN_Dialect : Dialect {
  let name = "nn";
  let cppNamespace = "::pst::nn";
  let summary = "Transformer operations on whole tensors";
  let description = [{
    The forward graph of a model. Activations are matrices of tokens x
    features, where the tokens of a batch of B sequences of length L are the
    B*L rows, sequence by sequence. Their elements are f32 or, on targets that
    have kernels for it, bf16; losses, statistics and the gradients of weights
    are f32, and so is all arithmetic. Every differentiable op builds its own
    backward, out of ops of this dialect.

    A matrix of tokens may be stored without the rows of padding
    (`#nn.packed`), which changes nothing of what an op means.
  }];
  let useDefaultAttributePrinterParser = 1;
}

#endif // PST_DIALECT_NN_NNDIALECT_TD
