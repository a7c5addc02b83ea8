//===- NNOps.td - Operations of the nn dialect -------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNOPS_TD
#define PST_DIALECT_NN_NNOPS_TD

include "pst/Dialect/NN/NNEmbeddingOps.td"
include "pst/Dialect/NN/NNMatrixOps.td"
include "pst/Dialect/NN/NNAttentionOps.td"
include "pst/Dialect/NN/NNCacheOps.td"
include "pst/Dialect/NN/NNLossOps.td"
include "pst/Dialect/NN/NNPackingOps.td"

#endif // PST_DIALECT_NN_NNOPS_TD
