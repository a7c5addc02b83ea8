//===- NNBase.td - What the ops of the nn dialect share ----*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNBASE_TD
#define PST_DIALECT_NN_NNBASE_TD

include "pst/Dialect/Interfaces/OpInterfaces.td"
include "pst/Dialect/Interfaces/TensorTypes.td"
include "pst/Dialect/NN/NNDialect.td"
include "pst/Dialect/NN/NNEnums.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

// An activation, or the gradient of one. All arithmetic is f32: bf16 is widened
// as it is read, and rounded to nearest even as it is stored.
def NN_Matrix : PST_TensorOfRank<[F32, BF16], 2>;
// A weight; one of bf16 is only read.
def NN_Weight : PST_TensorOfRank<[F32, BF16], 2>;
// A weight whose rows may have scales: it is i8 then, and an element is what it
// holds times its row's scale.
def NN_ScaledWeight : PST_TensorOfRank<[F32, BF16, I8], 2>;
// The gradient of a weight.
def NN_WeightGradient : PST_TensorOfRank<[F32], 2>;
def NN_Vector : PST_TensorOfRank<[F32], 1>;
def NN_Scalar : PST_ScalarTensor<F32, "getF32Type()">;
def NN_Indices : PST_TensorOfRank<[I32], 2>;
def NN_Labels : PST_TensorOfRank<[I32, F32], 1>;

class NN_Op<string mnemonic, list<Trait> traits = []>
    : Op<NN_Dialect, mnemonic, traits # [Pure, WorkOpInterface]>;

class NN_DifferentiableOp<string mnemonic, list<Trait> traits = []>
    : NN_Op<mnemonic, traits #
            [DeclareOpInterfaceMethods<DifferentiableOpInterface>]>;

#endif // PST_DIALECT_NN_NNBASE_TD
