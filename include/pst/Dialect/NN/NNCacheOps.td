//===- NNCacheOps.td - Attention over what was read before -*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Keys and values of tokens that a decoder has read lie in a cache, a row (a
// slot) for each. Which slot holds the token at a position of a sequence is said
// by a table: sequences that begin alike share slots, and change places by
// numbers of the table alone.

#ifndef PST_DIALECT_NN_NNCACHEOPS_TD
#define PST_DIALECT_NN_NNCACHEOPS_TD

include "pst/Dialect/NN/NNBase.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"

def NN_CacheRowsOp : NN_Op<"cache_rows",
    [AllTypesMatch<["cache", "result"]>, AllTypesMatch<["sequences", "positions"]>,
     DestinationStyleOpInterface]> {
  let summary = "Writes each token's row to its slot of a cache";
  let description = [{
    The result is the cache, but for the rows
    `result[slots[sequences[t], positions[t]]] = input[t]`. It is made in the
    cache's memory if nobody reads the cache afterwards. Tokens that have one
    slot must have equal rows. Numbers that are out of range count as the
    nearest (the runtime refuses them).

    Constraints:
    - (C1) Sequences and positions are T x 1, with a T of the input's rows.
    - (C2) Input and cache have the same number of columns.

    Example:
    ```mlir
    // cache = [[1.0], [2.0], [3.0]], slots = [[0, 2]], sequences = [[0]],
    // positions = [[1]], input = [[7.0]]: [[1.0], [2.0], [7.0]]
    %d = nn.cache_rows %x, %cache at %sequences, %positions of %slots
        : tensor<1x1xf32>, tensor<3x1xf32>, tensor<1x1xi32>, tensor<1x2xi32>
    ```
  }];
  let arguments = (ins PST_TensorOfRank<[F32], 2>:$input,
                       PST_TensorOfRank<[F32], 2>:$cache,
                       NN_Indices:$sequences, NN_Indices:$positions,
                       NN_Indices:$slots);
  let results = (outs PST_TensorOfRank<[F32], 2>:$result);
  let extraClassDeclaration = [{
    int64_t countBytes();
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getCacheMutable(); }
  }];
  let assemblyFormat = [{
    $input `,` $cache `at` $sequences `,` $positions `of` $slots attr-dict `:`
    type($input) `,` type($cache) `,` type($sequences) `,` type($slots)
  }];
  let hasVerifier = 1;
}

def NN_CachedAttentionOp : NN_Op<"cached_attention",
    [AllTypesMatch<["query", "result"]>, AllTypesMatch<["keys", "values"]>,
     AllTypesMatch<["sequences", "positions"]>]> {
  let summary = "Multi-head attention to what a cache holds";
  let description = [{
    Causal attention, as `nn.attention` computes it, of tokens that are one at a
    time: token t sees the positions j <= positions[t] of its sequence, with a
    `window` over positions[t] - window < j only, and the key and the value at j
    are the rows `slots[sequences[t], j]` of the caches. So a token's own row,
    and those of tokens before it, must be there. Keys may have fewer heads than
    queries, as in `nn.attention`. Sums are over ascending positions, and depend
    neither on the number of tokens nor on where rows lie.

    Constraints:
    - (C1) Sequences and positions are T x 1, with a T of the query's rows.
    - (C2) `heads` is positive and divides the number of columns of the query.
    - (C3) Keys have whole heads, whose number divides `heads`.
    - (C4) A `window` is positive.

    Example:
    ```mlir
    %y = nn.cached_attention %q, %keys, %values at %sequences, %positions of %slots heads 12
        : tensor<4x384xf32>, tensor<512x96xf32>, tensor<4x1xi32>, tensor<4x128xi32>
    ```
  }];
  let arguments = (ins PST_TensorOfRank<[F32], 2>:$query,
                       PST_TensorOfRank<[F32], 2>:$keys,
                       PST_TensorOfRank<[F32], 2>:$values,
                       NN_Indices:$sequences, NN_Indices:$positions,
                       NN_Indices:$slots, I64Attr:$heads,
                       OptionalAttr<I64Attr>:$window);
  let results = (outs PST_TensorOfRank<[F32], 2>:$result);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $query `,` $keys `,` $values `at` $sequences `,` $positions `of` $slots
    `heads` $heads (`window` $window^)? attr-dict `:`
    type($query) `,` type($keys) `,` type($sequences) `,` type($slots)
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNCACHEOPS_TD
