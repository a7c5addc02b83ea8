//===- NNPackingOps.td - Batches without padding -----------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNPACKINGOPS_TD
#define PST_DIALECT_NN_NNPACKINGOPS_TD

include "pst/Dialect/NN/NNBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/TensorEncoding.td"

def NN_PackedAttr : AttrDef<NN_Dialect, "Packed",
    [DeclareAttrInterfaceMethods<VerifiableTensorEncoding>]> {
  let mnemonic = "packed";
  let summary = "A matrix of tokens that has no rows of padding";
  let description = [{
    The encoding of a matrix of B*L tokens x features of which only the rows of
    tokens are stored, one sequence after the other, with room for `capacity`
    of them. Which rows those are is said by the one `nn.token_places` of the
    function. An op on such matrices means what it means on whole ones; rows of
    padding have no values, and no op reads them.

    Example:
    ```mlir
    %y = nn.activation gelu %x : tensor<2112x384xf32, #nn.packed<512>>
    ```
  }];
  let parameters = (ins "int64_t":$capacity);
  let assemblyFormat = "`<` $capacity `>`";
}

def NN_IndexVector : PST_TensorOfRank<[I32], 1>;

// Not without effects: until there are kernels, who reads it are types.
def NN_TokenPlacesOp : Op<NN_Dialect, "token_places",
    [WorkOpInterface, PST_Activations<[], []>]> {
  let summary = "Which rows of packed matrices are which tokens";
  let description = [{
    Row b of the mask (B x L) has n[b] elements that are not 0: so many tokens
    are in sequence b, its first ones. With
    `starts[b] = n[0] + ... + n[b - 1]`, token i of sequence b is row
    `starts[b] + i` of every packed matrix of the function, and

        places[starts[b] + i] = b * L + i

    `starts[B]` is the number of all tokens; later places are 0. Tokens beyond
    the capacity, which is the number of places, are left out (the runtime
    refuses such batches).

    Constraints:
    - (C1) There is one more start than the mask has rows.
    - (C2) There are at most as many places as the mask has elements.

    Example:
    ```mlir
    // mask = [[1, 0], [1, 1]]: places = [0, 2, 3], starts = [0, 1, 3]
    %places, %starts = nn.token_places %mask : tensor<2x2xi32> -> tensor<3xi32>, tensor<3xi32>
    ```
  }];
  let arguments = (ins NN_Indices:$mask);
  let results = (outs NN_IndexVector:$places, NN_IndexVector:$starts);
  let assemblyFormat = [{
    $mask attr-dict `:` type($mask) `->` type($places) `,` type($starts)
  }];
  let hasVerifier = 1;
}

def NN_UnpackTokensOp : NN_Op<"unpack_tokens", [PST_Activations<[], []>]> {
  let summary = "Puts a packed matrix back among its padding";
  let description = [{
    The same matrix with all its rows; those of padding are 0.

    Constraints:
    - (C1) Input and result have the same shape and element type; the input is
      packed, the result is not.

    Example:
    ```mlir
    %y = nn.unpack_tokens %x : tensor<4x9xf32, #nn.packed<3>> -> tensor<4x9xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNPACKINGOPS_TD
