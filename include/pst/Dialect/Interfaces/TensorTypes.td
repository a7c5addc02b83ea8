//===- TensorTypes.td - Types of tensors -------------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_INTERFACES_TENSORTYPES_TD
#define PST_DIALECT_INTERFACES_TENSORTYPES_TD

include "mlir/IR/OpBase.td"

/// Kernels divide by sizes, and count columns, classes and positions in 32 bits;
/// a tensor beyond 2^40 elements is in no memory.
def PST_HasSizesPred
    : And<[HasStaticShapePred,
           CPred<"::pst::hasSizes(::llvm::cast<::mlir::ShapedType>($_self))">]>;

/// A tensor of a fixed shape with so many dimensions.
class PST_TensorOfRank<list<Type> elements, int rank>
    : RankedTensorOf<elements, [PST_HasSizesPred, HasAnyRankOfPred<[rank]>],
                     "tensor of rank " # rank # " and static shape (sizes "
                     "from 1 to 2^31 - 1, 2^40 elements at most)">;

/// A tensor of a fixed shape.
class PST_StaticTensor<list<Type> elements>
    : RankedTensorOf<elements, [PST_HasSizesPred],
                     "tensor of static shape (sizes from 1 to 2^31 - 1, 2^40 "
                     "elements at most)">;

/// A tensor of rank 0, which an op's assembly need not spell.
class PST_ScalarTensor<Type element, string getter>
    : RankedTensorOf<[element], [HasStaticShapePred, HasAnyRankOfPred<[0]>],
                     "scalar tensor">,
      BuildableType<"::mlir::RankedTensorType::get({}, $_builder." # getter # ")">;

#endif // PST_DIALECT_INTERFACES_TENSORTYPES_TD
