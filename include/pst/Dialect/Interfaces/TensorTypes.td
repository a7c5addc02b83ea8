//===- TensorTypes.td - Types of tensors -------------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_INTERFACES_TENSORTYPES_TD
#define PST_DIALECT_INTERFACES_TENSORTYPES_TD

include "mlir/IR/OpBase.td"

/// A tensor of a fixed shape with so many dimensions.
class PST_TensorOfRank<list<Type> elements, int rank>
    : RankedTensorOf<elements, [HasStaticShapePred, HasAnyRankOfPred<[rank]>],
                     "tensor of rank " # rank # " and static shape">;

/// A tensor of rank 0, which an op's assembly need not spell.
class PST_ScalarTensor<Type element, string getter>
    : RankedTensorOf<[element], [HasStaticShapePred, HasAnyRankOfPred<[0]>],
                     "scalar tensor">,
      BuildableType<"::mlir::RankedTensorType::get({}, $_builder." # getter # ")">;

#endif // PST_DIALECT_INTERFACES_TENSORTYPES_TD
