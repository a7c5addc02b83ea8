//===- NNEmbeddingOps.td - Tables of tokens and positions --*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNEMBEDDINGOPS_TD
#define PST_DIALECT_NN_NNEMBEDDINGOPS_TD

include "pst/Dialect/NN/NNBase.td"

def NN_EmbeddingOp : NN_DifferentiableOp<"embedding",
    [PST_Activations<[]>, PST_Widens<[1]>, PST_Scales<1>]> {
  let summary = "Looks up a row for each token";
  let description = [{
    Row t of the result is row `indices[t / L, t % L]` of the table. An index
    outside the table reads the nearest row (the runtime refuses such inputs; in
    a GPU's memory it does not look at them).

    Constraints:
    - (C1) The result has B*L rows and the table's columns.
    - (C2) A table of i8, and no other, has a scale for each row.

    Example:
    ```mlir
    // indices = [[2, 0]], table = [[1.0], [2.0], [3.0]]: [[3.0], [1.0]]
    %e = nn.embedding %indices, %table : tensor<1x2xi32>, tensor<3x1xf32> -> tensor<2x1xf32>
    ```
  }];
  let arguments = (ins NN_Indices:$indices, NN_ScaledWeight:$table,
                       Optional<NN_Vector>:$scales);
  let results = (outs NN_Matrix:$result);
  let extraClassDeclaration = "int64_t countBytes();";
  let assemblyFormat = [{
    $indices `,` $table (`scales` `(` $scales^ `:` type($scales) `)`)? attr-dict `:` type($indices) `,` type($table) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_EmbeddingBackwardOp : NN_Op<"embedding_backward"> {
  let summary = "Gradient of an embedding's table";
  let description = [{
    Row v of the result is the sum of the gradient's rows t with
    `indices[t / L, t % L] = v`, added in ascending t.

    Constraints:
    - (C1) The gradient has B*L rows and the result's columns.

    Example:
    ```mlir
    %d = nn.embedding_backward %indices, %g : tensor<1x2xi32>, tensor<2x1xf32> -> tensor<3x1xf32>
    ```
  }];
  let arguments = (ins NN_Indices:$indices, NN_Matrix:$gradient);
  let results = (outs NN_WeightGradient:$result);
  let assemblyFormat = [{
    $indices `,` $gradient attr-dict `:` type($indices) `,` type($gradient) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_AddPositionsOp : NN_DifferentiableOp<"add_positions",
    [AllTypesMatch<["input", "result"]>, AttrSizedOperandSegments,
     PST_Activations<[0]>, PST_Widens<[1]>, PST_Scales<1>]> {
  let summary = "Adds a row of a table to each token, by its position";
  let description = [{
    `result[t] = input[t] + table[first + t % length]`; `first` is 0 if it is
    not given.

    With `ids`, as RoBERTa counts: the id `first - 1` is padding, whose row that
    is too; another token has the row `first - 1 + n` if it is the n-th of its
    sequence that is no padding.

    Constraints:
    - (C1) `length` divides the number of tokens, `first` is not negative, and
      both together are at most the table's rows.
    - (C2) Input and table have the same number of columns.
    - (C3) With `ids`, these have `length` columns and one element for each
      token, and `first` is positive.
    - (C4) A table of i8, and no other, has a scale for each row.

    Example:
    ```mlir
    // input = [[1.0], [1.0], [1.0], [1.0]], table = [[0.5], [2.0], [9.0]]: [[1.5], [3.0], [1.5], [3.0]]
    %y = nn.add_positions %x, %table length 2 : tensor<4x1xf32>, tensor<3x1xf32>
    // The same, and ids = [[0, 7], [7, 7]]: [[1.5], [3.0], [3.0], [10.0]]
    %z = nn.add_positions %x, %table ids(%ids : tensor<2x2xi32>) first 1 length 2 : tensor<4x1xf32>, tensor<3x1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_ScaledWeight:$table,
                       Optional<NN_Indices>:$ids, Optional<NN_Vector>:$scales,
                       I64Attr:$length,
                       DefaultValuedAttr<I64Attr, "0">:$first);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $table (`ids` `(` $ids^ `:` type($ids) `)`)?
    (`scales` `(` $scales^ `:` type($scales) `)`)? (`first` $first^)? `length` $length
    attr-dict `:` type($input) `,` type($table)
  }];
  let hasVerifier = 1;
}

def NN_PositionSumOp : NN_Op<"position_sum"> {
  let summary = "Sums the tokens of each position";
  let description = [{
    The backward of `nn.add_positions`: row `first + p` of the result is the sum
    of the rows t with `t % length = p`, in ascending t; other rows are zero.
    With `ids`, it is the sum of the tokens that have that row there.

    Constraints:
    - (C1) `length` divides the number of tokens, `first` is not negative, and
      both together are at most the result's rows.
    - (C2) Input and result have the same number of columns.
    - (C3) With `ids`, these have `length` columns and one element for each
      token, and `first` is positive.

    Example:
    ```mlir
    %d = nn.position_sum %g length 2 : tensor<4x1xf32> -> tensor<3x1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, Optional<NN_Indices>:$ids,
                       I64Attr:$length,
                       DefaultValuedAttr<I64Attr, "0">:$first);
  let results = (outs NN_WeightGradient:$result);
  let assemblyFormat = [{
    $input (`ids` `(` $ids^ `:` type($ids) `)`)? (`first` $first^)? `length` $length
    attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNEMBEDDINGOPS_TD
