//===- ChooseLayers.h - Which layers become sparse, and how much -*- C++ -*-==//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Layers are named as users of PEFT name them. A module is the name of its
// weight without ".weight", such as
// "bert.encoder.layer.0.attention.self.query". A name in a list is, tried in
// this order,
//   - a module's whole name,
//   - the end of one, after a dot: "query", "self.query",
//   - a regular expression (POSIX extended, and \d, \w, \s) for a whole name:
//     ".*layer\.[0-3]\..*".
// A part of a fused weight, "h.0.attn.c_attn:query", goes by the whole weight's
// name too, and by that of the part: "c_attn", "c_attn:query".

#ifndef PST_LIB_TRANSFORMS_CHOOSELAYERS_H
#define PST_LIB_TRANSFORMS_CHOOSELAYERS_H

#include "mlir/IR/BuiltinOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/StringMap.h"

#include <string>

namespace pst {

/// The weights with the mark `pst.sparsify`.
llvm::SmallVector<ParameterOp> markedWeights(mlir::ModuleOp module);

/// The marks `pst.sparsify` of a module's parameters are left on those layers
/// that `targets` names (empty: on all) and `excluded` does not; both are lists
/// with commas. A name that no marked layer has is an error that lists those
/// that there are.
mlir::LogicalResult chooseLayers(mlir::ModuleOp module, llvm::StringRef targets,
                                 llvm::StringRef excluded);

/// The frozen parameters of the modules that `list` names, with commas, are
/// trained at the head's rate, and lose the mark. A module is named like a
/// layer; what lies within it belongs to it. A name that no module has is an
/// error that lists those that have parameters. Of an empty list, and of
/// `kNoModules`, none are.
mlir::LogicalResult trainModules(mlir::ModuleOp module, llvm::StringRef list);

/// The frozen parameters marked `pst.with_head` are trained at the head's rate.
void trainWithHead(mlir::ModuleOp module);

/// The final sparsities of the marked weights that the JSON file `path` names,
/// by the name of the weight: {"NAME": 0.5, ...}, with names as above. Of two
/// that name one layer, the whole name goes before the end, and the end before
/// an expression; else they must agree. Errors name the file.
mlir::FailureOr<llvm::StringMap<double>>
readLayerSparsities(mlir::ModuleOp module, llvm::StringRef path);

/// The sparsities of the marked weights whose zeros were counted
/// (`pst.kept`): so many of each are pruned. What is zero altogether is marked
/// no more, and stays as it is. An error if there are no zeros.
mlir::FailureOr<llvm::StringMap<double>> ownSparsities(mlir::ModuleOp module);

} // namespace pst

#endif // PST_LIB_TRANSFORMS_CHOOSELAYERS_H
