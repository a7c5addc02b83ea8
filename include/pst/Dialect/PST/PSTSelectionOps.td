//===- PSTSelectionOps.td - What finds the state of masks --*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTSELECTIONOPS_TD
#define PST_DIALECT_PST_PSTSELECTIONOPS_TD

include "pst/Dialect/Interfaces/OpInterfaces.td"
include "pst/Dialect/Interfaces/TensorTypes.td"
include "pst/Dialect/PST/PSTAttributes.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"

// The state of a selection (`#pst.selection`) is found by these and by
// `pst.topk_threshold`. That of blocks is their scores, and the threshold of
// these: a top-k among them.

/// An op that evaluates the scores of factors.
class PST_ScoreOp<string mnemonic, list<Trait> traits = []>
    : PST_Op<mnemonic, traits # [Pure, WorkOpInterface,
          DeclareOpInterfaceMethods<WideningOpInterface>,
          DeclareOpInterfaceMethods<SymbolUserOpInterface>]>;

def PST_RowThresholdsOp : PST_ScoreOp<"row_thresholds"> {
  let summary = "Finds the scores that separate the kept weights of each row";
  let description = [{
    What `pst.topk_threshold` finds for a layer, for each of its n rows by
    itself: of m elements `m - int(m*sparsity)` stay in each row, and the cuts
    are indices within the row. `pruned` counts the elements that are pruned in
    all rows together.

    Constraints:
    - (C1) The criterion yields a score.
    - (C2) The factors have the number, ranks and shapes that the criterion's
      kinds ask for.
    - (C3) There is a threshold and a cut for each row.

    Example:
    ```mlir
    // scores: [[4.0, 1.0], [2.0, 2.0]], sparsity = 0.5, so one stays in each row
    %taus, %cuts, %pruned = pst.row_thresholds @movement(%w, %s), %sparsity
        : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2xf32>, tensor<2xi64>
    // %taus = [4.0, 2.0], %cuts = [1, 1], %pruned = 2
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors, F64:$sparsity);
  let results = (outs PST_Vector:$thresholds,
                      PST_TensorOfRank<[I64], 1>:$cuts, PST_ScalarI64:$pruned);
  let assemblyFormat = [{
    $criterion `(` $factors `)` `,` $sparsity attr-dict `:`
    `(` type($factors) `)` `->` type($thresholds) `,` type($cuts)
  }];
}

def PST_BlockScoresOp : PST_ScoreOp<"block_scores"> {
  let summary = "The scores of blocks of elements";
  let description = [{
    The mean of each block's scores, or the largest, as the selection says. Means
    are sums in f32 in an order that is fixed, divided by the number of elements
    that the block has. A block's score is NaN if one of its elements' is.

    Constraints:
    - (C1) The criterion yields a score.
    - (C2) The factors have the number, ranks and shapes that the criterion's
      kinds ask for.
    - (C3) The selection is one of blocks, and the result has a score for each.

    Example:
    ```mlir
    // scores: [[4.0, 1.0, 3.0], [2.0, 2.0, 5.0]]
    %b = pst.block_scores @movement(%w, %s), <block 2x2 max>
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>
    // [[4.0, 5.0]]
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors,
                       PST_SelectionAttr:$selection);
  let results = (outs PST_TensorOfRank<[F32], 2>:$scores);
  let assemblyFormat = [{
    $criterion `(` $factors `)` `,` $selection attr-dict `:`
    `(` type($factors) `)` `->` type($scores)
  }];
}

def PST_CommonThresholdOp
    : PST_ScoreOp<"common_threshold", [AttrSizedOperandSegments,
          SameVariadicResultSize]> {
  let summary = "Finds the score that separates the kept weights of layers";
  let description = [{
    What `pst.topk_threshold` finds for a layer, for several that compete with
    each other: `factors` are those of one layer after the other. Of all N
    elements `N - int(N*sparsity)` stay. The threshold is common; each layer has
    a cut of its own, since of equal scores those of earlier layers stay first.
    `pruned` counts the elements that are pruned in each layer.

    `previous` is the threshold of the step before: where it is near the new
    one, that is found faster. It never changes the result, whatever it is.

    Constraints:
    - (C1) The criterion yields a score.
    - (C2) The factors of each layer have the number, ranks and shapes that the
      criterion's kinds ask for.
    - (C3) There are a cut and a count for each layer.

    Example:
    ```mlir
    // scores: [[4.0, 1.0]] and [[1.0, 3.0]], sparsity = 0.25, so three stay
    %tau, %cuts:2, %pruned:2 = pst.common_threshold @magnitude(%v, %w), %sparsity
        : (tensor<1x2xf32>, tensor<1x2xf32>)
       -> tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
    // %tau = 1.0, %cuts = 2 and 0, %pruned = 0 and 1
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors, F64:$sparsity,
                       Optional<PST_ScalarF32>:$previous);
  let results = (outs PST_ScalarF32:$threshold, Variadic<PST_ScalarI64>:$cuts,
                      Variadic<PST_ScalarI64>:$pruned);
  let assemblyFormat = [{
    $criterion `(` $factors `)` `,` $sparsity (`previous` `(` $previous^ `)`)?
    attr-dict `:` `(` type($factors) `)` `->` type(results)
  }];
}

#endif // PST_DIALECT_PST_PSTSELECTIONOPS_TD
