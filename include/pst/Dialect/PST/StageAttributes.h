//===- StageAttributes.h - Notes that stages leave each other ---*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Attributes that one stage puts on ops and functions for a later one. The
// dialect verifies them (StageAttributes.cpp): one that is not declared here,
// of another type or in another place, is an error, as is a dictionary with
// other keys than its own. Who reads one need not ask again.

#ifndef PST_DIALECT_PST_STAGEATTRIBUTES_H
#define PST_DIALECT_PST_STAGEATTRIBUTES_H

#include "llvm/ADT/StringRef.h"

namespace pst {

// Of a module: the class of model, the text of its config.json and what it
// learns, a word of ModelTask (import), the method and its numbers, its
// criterion if that is the user's, and the run's final sparsity if layers have
// their own, the tokens that a batch has room for if it is packed, the learning
// rates of a run that names none, as a recipe says them (sparsify),
// flops of products that are done again and of a step
// without them (recompute), bytes of each kind of memory, and whether red zones
// lie between buffers (memory).
// Of a criterion: its rates, whether it prunes in one shot, and its selection
// where no option names another.
inline constexpr llvm::StringLiteral kArchitectureAttribute =
                                         "pst.architecture",
                                     kConfigAttribute = "pst.config",
                                     kTaskAttribute = "pst.task",
                                     kMethodAttribute = "pst.method",
                                     kHyperparametersAttribute =
                                         "pst.hyperparameters",
                                     kCriterionAttribute = "pst.criterion",
                                     kFinalSparsityAttribute =
                                         "pst.final_sparsity",
                                     kTokenCapacityAttribute =
                                         "pst.token_capacity",
                                     kRatesAttribute = "pst.rates",
                                     kOneShotAttribute = "pst.one_shot",
                                     kSelectionAttribute = "pst.selection",
                                     kRecomputeAttribute = "pst.recompute",
                                     kKeptWeightsAttribute = "pst.kept_weights",
                                     kMemoryAttribute = "pst.memory",
                                     kRedZonesAttribute = "pst.red_zones";

// Of a parameter: a weight that is to be sparsified (import), and one that is,
// with its state (sparsify); what lies between the layers and a new head, and
// is trained with that unless an option says otherwise (import); of a weight of
// a program that only evaluates, how many elements are not zero (import), and
// what its products take, in microseconds, in each storage (sparsify).
inline constexpr llvm::StringLiteral kSparsifyAttribute = "pst.sparsify",
                                     kLayerAttribute = "pst.layer",
                                     kWithHeadAttribute = "pst.with_head",
                                     kKeptAttribute = "pst.kept",
                                     kCostAttribute = "pst.cost";

// Of an argument or a result of an entry point: its name; and of an argument
// how many ids there are if it holds ids (sparsify), and what it is (memory):
// input, output, parameter or space.
inline constexpr llvm::StringLiteral kNameAttribute = "pst.name",
                                     kIdsAttribute = "pst.ids",
                                     kKindAttribute = "pst.kind";

// Of a kernel: the blocks of its product; which of its arguments are tensor
// maps.
inline constexpr llvm::StringLiteral kBlocksAttribute = "pst.blocks",
                                     kTensorMapsAttribute = "pst.tensor_maps";

// Of a launch that begins an op: its name, and its work (Launch::op, flops,
// bytes).
inline constexpr llvm::StringLiteral kOpAttribute = "pst.op",
                                     kFlopsAttribute = "pst.flops",
                                     kBytesAttribute = "pst.bytes";

// Of a launch of a kernel that multiplies matrices: its plan (GemmPlan.h).
inline constexpr llvm::StringLiteral kGemmPlanAttribute = "pst.gemm_plan";

} // namespace pst

#endif // PST_DIALECT_PST_STAGEATTRIBUTES_H
