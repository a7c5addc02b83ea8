//===- PSTDialect.td - The pst dialect ---------------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTDIALECT_TD
#define PST_DIALECT_PST_PSTDIALECT_TD

include "mlir/IR/OpBase.td"

def PST_Dialect : Dialect {
  let name = "pst";
  let cppNamespace = "::pst";
  let summary = "Parameter-efficient sparse training";
  let description = [{
    A linear layer of `n` outputs and `m` inputs is a *virtual weight*: a
    formula for one element (`pst.criterion`) and the factors that the formula
    reads. Three operations compute with it without ever storing an n x m
    temporary: `pst.topk_threshold` selects, `pst.masked_matmul` multiplies,
    `pst.lowrank_accumulate` folds the gradient into the factors.

    Parameters are symbols (`pst.parameter`) with a role that says where they
    live; `pst.load`, `pst.store` and `pst.accumulate` reach them. Kernels are
    functions on buffers, called through `pst.launch`.

    What stages of the compiler leave each other beside ops are attributes
    `pst.NAME` (docs/Architecture.md, "What stages leave each other"); another
    one, or one of another type or in another place, is an error.
  }];
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect"];
}

class PST_Op<string mnemonic, list<Trait> traits = []>
    : Op<PST_Dialect, mnemonic, traits>;

#endif // PST_DIALECT_PST_PSTDIALECT_TD
