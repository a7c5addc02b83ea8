//===- PSTInterfaces.td - Interfaces of differentiable ops -*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTINTERFACES_TD
#define PST_DIALECT_PST_PSTINTERFACES_TD

include "mlir/IR/OpBase.td"

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op that can build its own backward. `-pst-autodiff` walks the forward
    function in reverse and asks each op for the gradients of its operands.
  }];
  let methods = [
    InterfaceMethod<[{
        Builds the ops that compute the gradients of this op's operands.

        `resultGradients` has one value for each result, of the result's type.
        `needed[i]` says whether the gradient of operand i is wanted; its
        gradient (of the operand's type) is put into `operandGradients[i]`,
        which the caller has filled with null values. An operand that has no
        gradient (indices, labels, thresholds) is never `needed`.
      }],
      "void", "buildBackward",
      (ins "::mlir::OpBuilder &":$builder,
           "::mlir::ValueRange":$resultGradients,
           "const ::llvm::BitVector &":$needed,
           "::llvm::SmallVectorImpl<::mlir::Value> &":$operandGradients)>
  ];
}

#endif // PST_DIALECT_PST_PSTINTERFACES_TD
