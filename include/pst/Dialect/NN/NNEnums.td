//===- NNEnums.td - Enumerations of the nn dialect ---------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNENUMS_TD
#define PST_DIALECT_NN_NNENUMS_TD

include "mlir/IR/EnumAttr.td"

def NN_ActivationKind : I32EnumAttr<"ActivationKind", "a scalar function", [
    I32EnumAttrCase<"Gelu", 0, "gelu">,
    I32EnumAttrCase<"GeluTanh", 1, "gelu_tanh">,
    I32EnumAttrCase<"Tanh", 2, "tanh">,
    I32EnumAttrCase<"Relu", 3, "relu">,
    I32EnumAttrCase<"Silu", 4, "silu">]> {
  let cppNamespace = "::pst::nn";
}

#endif // PST_DIALECT_NN_NNENUMS_TD
