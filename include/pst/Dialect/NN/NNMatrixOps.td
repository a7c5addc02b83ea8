//===- NNMatrixOps.td - Linear algebra and elementwise ops -*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNMATRIXOPS_TD
#define PST_DIALECT_NN_NNMATRIXOPS_TD

include "pst/Dialect/NN/NNBase.td"

def NN_LinearOp : NN_DifferentiableOp<"linear",
    [PST_Activations<[0]>, PST_Rowwise, PST_Widens<[1]>, PST_Recomputable<"Dear">]> {
  let summary = "Y = X W^T + bias";
  let description = [{
    With `transposed`, `Y = X W + bias`: some models store the transpose.

    Constraints:
    - (C1) X is tokens x m, W n x m (m x n if transposed), the result
      tokens x n.
    - (C2) The bias has n elements.
    - (C3) Input and result are packed alike, or not.

    Example:
    ```mlir
    // x = [[1.0, 2.0]], w = [[1.0, 1.0]], bias = [0.5]: [[3.5]]
    %y = nn.linear %x, %w bias(%b : tensor<1xf32>) : tensor<1x2xf32>, tensor<1x2xf32> -> tensor<1x1xf32>
    %z = nn.linear %x, %v transposed bias(%b : tensor<1xf32>) : tensor<1x2xf32>, tensor<2x1xf32> -> tensor<1x1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Weight:$weight,
                       Optional<NN_Vector>:$bias, UnitAttr:$transposed);
  let results = (outs NN_Matrix:$result);
  let extraClassDeclaration = [{
    int64_t countFlops();
    bool canWidenResults() { return true; }
  }];
  let assemblyFormat = [{
    $input `,` $weight (`transposed` $transposed^)?
    (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict `:`
    type($input) `,` type($weight) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_MatmulOp : NN_Op<"matmul", [PST_Widens<[1]>]> {
  let summary = "Product of two matrices, either one transposed";
  let description = [{
    `op(A) op(B)`, where op transposes if the attribute says so.

    Constraints:
    - (C1) The shapes, transposed as asked, chain.

    Example:
    ```mlir
    %g = nn.matmul %dy, %x {transpose_lhs} : tensor<5x4xf32>, tensor<5x3xf32> -> tensor<4x3xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$lhs, NN_Weight:$rhs,
                       UnitAttr:$transpose_lhs, UnitAttr:$transpose_rhs);
  let results = (outs NN_Matrix:$result);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_ColumnSumOp : NN_Op<"column_sum", [PST_AddsToGradients]> {
  let summary = "Sums the rows of a matrix";
  let description = [{
    `result[j] = sum_i input[i, j]`: the gradient of a bias. `squared`: the sum
    of the squares, of which the root is the column's norm.

    Constraints:
    - (C1) The result has as many elements as the input has columns.

    Example:
    ```mlir
    // [[1.0, 2.0], [3.0, 4.0]]: [4.0, 6.0]
    %b = nn.column_sum %g : tensor<2x2xf32> -> tensor<2xf32>
    // [10.0, 20.0]
    %s = nn.column_sum %g squared : tensor<2x2xf32> -> tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, UnitAttr:$squared);
  let results = (outs NN_Vector:$result);
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input), [{
    build($_builder, $_state, result, input, /*squared=*/false);
  }]>];
  let assemblyFormat = "$input (`squared` $squared^)? attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

def NN_AddOp : NN_DifferentiableOp<"add",
    [Commutative, SameOperandsAndResultType, PST_Activations<[0, 1]>,
     PST_Rowwise]> {
  let summary = "Elementwise sum";
  let description = [{
    Example:
    ```mlir
    %y = nn.add %a, %b : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins PST_StaticTensor<[F32, BF16]>:$lhs,
                       PST_StaticTensor<[F32, BF16]>:$rhs);
  let results = (outs PST_StaticTensor<[F32, BF16]>:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
}

def NN_ActivationOp : NN_DifferentiableOp<"activation",
    [SameOperandsAndResultType, PST_Activations<[0]>, PST_Rowwise,
     PST_Recomputable<"Cheap">]> {
  let summary = "A scalar function of every element";
  let description = [{
    - `gelu`: `x/2 (1 + erf(x / sqrt(2)))`
    - `gelu_tanh`: `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
    - `silu`: `x / (1 + e^-x)`
    - `tanh`, `relu`

    Example:
    ```mlir
    // [[-1.0, 2.0]]: [[0.0, 2.0]]
    %y = nn.activation relu %x : tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_ActivationKind:$kind, NN_Matrix:$input);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$kind $input attr-dict `:` type($result)";
}

def NN_ActivationBackwardOp : NN_Op<"activation_backward",
    [SameOperandsAndResultType]> {
  let summary = "Gradient of an activation's input";
  let description = [{
    `result = gradient * f'(input)`; the derivative of relu at 0 is 0.

    Example:
    ```mlir
    %dx = nn.activation_backward gelu %x, %dy : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins NN_ActivationKind:$kind, NN_Matrix:$input,
                       NN_Matrix:$gradient);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$kind $input `,` $gradient attr-dict `:` type($result)";
}

def NN_GatedActivationOp : NN_DifferentiableOp<"gated_activation",
    [SameOperandsAndResultType, PST_Activations<[0, 1]>, PST_Rowwise,
     PST_Recomputable<"Cheap">]> {
  let summary = "A scalar function of every element, times another element";
  let description = [{
    `result = f(gate) * value`, with f as in `nn.activation`. The gradient of
    the value is the same op on the gate and the result's gradient.

    Example:
    ```mlir
    // gate = [[-1.0, 2.0]], value = [[3.0, 4.0]]: [[0.0, 8.0]]
    %y = nn.gated_activation relu %gate, %value : tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_ActivationKind:$kind, NN_Matrix:$gate,
                       NN_Matrix:$value);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$kind $gate `,` $value attr-dict `:` type($result)";
}

def NN_GatedActivationBackwardOp : NN_Op<"gated_activation_backward",
    [SameOperandsAndResultType]> {
  let summary = "Gradient of a gated activation's gate";
  let description = [{
    `result = gradient * value * f'(gate)`; the derivative of relu at 0 is 0.

    Example:
    ```mlir
    %dgate = nn.gated_activation_backward silu %gate, %value, %dy : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins NN_ActivationKind:$kind, NN_Matrix:$gate,
                       NN_Matrix:$value, NN_Matrix:$gradient);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $kind $gate `,` $value `,` $gradient attr-dict `:` type($result)
  }];
}

def NN_DropoutOp : NN_DifferentiableOp<"dropout",
    [AllTypesMatch<["input", "result"]>,
     DeclareOpInterfaceMethods<StochasticOpInterface>,
     PST_Activations<[0]>, PST_Rowwise, PST_Recomputable<"Dear">]> {
  let summary = "Zeroes elements at random";
  let description = [{
    An element is kept, and divided by `1 - probability`, if
    `hash(seed, site, sequence, index) >= probability * 2^32`; else it is 0. The
    hash is counter-based, so the backward, a second run or another number of
    threads sees the same mask. `site` tells the dropouts of a model apart.
    The backward is the same op on the gradient.

    With `length` L, row r is position `r mod L` of sequence `r / L`; with
    `token` t, it is position t of sequence r; with neither, position r of
    sequence 0. An element's index is `position * columns + column`: what it is
    among the others of its sequence, whatever L is and whether or not the rows
    are packed.

    Constraints:
    - (C1) `0 <= probability < 1`.
    - (C2) Not both `length`, which is positive and divides the rows, and
      `token`, which is not negative.
    - (C3) Of rows that are a token each, none is packed.
    - (C4) A sequence has at most 2^32 elements.

    Example:
    ```mlir
    %y = nn.dropout %x, %seed probability 1.000000e-01 site 3 : tensor<2x3xf32>
    %z = nn.dropout %h, %seed probability 1.000000e-01 site 3 length 32 : tensor<64x3xf32>
    %cls = nn.dropout %first, %seed probability 1.000000e-01 site 3 token 0 : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, I64:$seed, F64Attr:$probability,
                       I64Attr:$site, OptionalAttr<I64Attr>:$token,
                       OptionalAttr<I64Attr>:$length);
  let results = (outs NN_Matrix:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$seed,
                                 "::mlir::FloatAttr":$probability,
                                 "::mlir::IntegerAttr":$site,
                                 "::mlir::IntegerAttr":$length), [{
    build($_builder, $_state, input.getType(), input, seed, probability, site,
          /*token=*/::mlir::IntegerAttr(), length);
  }]>];
  let assemblyFormat = [{
    $input `,` $seed `probability` $probability `site` $site
    (`token` $token^)? (`length` $length^)? attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
}

#endif // PST_DIALECT_NN_NNMATRIXOPS_TD
