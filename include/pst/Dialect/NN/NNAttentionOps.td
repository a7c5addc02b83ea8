//===- NNAttentionOps.td - Normalisation and attention -----*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNATTENTIONOPS_TD
#define PST_DIALECT_NN_NNATTENTIONOPS_TD

include "pst/Dialect/NN/NNBase.td"

def NN_LayerNormOp : NN_DifferentiableOp<"layer_norm",
    [AllTypesMatch<["input", "result"]>, AllTypesMatch<["scale", "shift"]>,
     PST_Activations<[0]>, PST_Recomputable<"Cheap">]> {
  let summary = "Normalises each row, then scales and shifts";
  let description = [{
    `(x - mean) / sqrt(variance + epsilon) * scale + shift`, with the row's
    mean and (biased) variance.

    Constraints:
    - (C1) Scale and shift have as many elements as the input has columns.
    - (C2) `epsilon` is positive.

    Example:
    ```mlir
    // [[1.0, 3.0]], scale = [1.0, 2.0], shift = [0.0, 1.0]: about [[-1.0, 3.0]]
    %y = nn.layer_norm %x, %scale, %shift epsilon 1.000000e-12 : tensor<1x2xf32>, tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Vector:$scale, NN_Vector:$shift,
                       F64Attr:$epsilon);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $scale `,` $shift `epsilon` $epsilon attr-dict `:` type($input) `,` type($scale)
  }];
  let hasVerifier = 1;
}

def NN_LayerNormBackwardOp : NN_Op<"layer_norm_backward",
    [AllTypesMatch<["input", "gradient", "inputGradient"]>,
     AllTypesMatch<["scale", "scaleGradient", "shiftGradient"]>]> {
  let summary = "Gradients of a layer normalisation";
  let description = [{
    With `y = (x - mean) * rstd` and `d = gradient * scale`:
    `inputGradient = rstd (d - mean(d) - y mean(d y))`,
    `scaleGradient = column sums of gradient * y`,
    `shiftGradient = column sums of gradient`.
    Mean and rstd are recomputed from the input.

    Constraints:
    - (C1) The scale has as many elements as the input has columns.
    - (C2) `epsilon` is positive.

    Example:
    ```mlir
    %dx, %dscale, %dshift = nn.layer_norm_backward %x, %scale, %dy epsilon 1.000000e-12 : tensor<4x2xf32>, tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Vector:$scale,
                       NN_Matrix:$gradient, F64Attr:$epsilon);
  let results = (outs NN_Matrix:$inputGradient, NN_Vector:$scaleGradient,
                      NN_Vector:$shiftGradient);
  let assemblyFormat = [{
    $input `,` $scale `,` $gradient `epsilon` $epsilon attr-dict `:` type($input) `,` type($scale)
  }];
  let hasVerifier = 1;
}

def NN_AttentionOp : NN_DifferentiableOp<"attention",
    [AllTypesMatch<["query", "key", "value", "result"]>,
     DeclareOpInterfaceMethods<StochasticOpInterface>,
     PST_Activations<[0, 1, 2]>, PST_Recomputable<"Cheap">]> {
  let summary = "Multi-head attention with a padding mask";
  let description = [{
    For each sequence and head h, with the head's d = columns / heads columns
    of query, key and value (L x d each):

        P = softmax(Q K^T / sqrt(d) + (0 where mask[b, j] != 0, -3.4e38 elsewhere))
        result = dropout(P) V

    Softmax is over j; with `causal` over j <= i only, and P is 0 elsewhere. If
    a seed is given, P is dropped out as in `nn.dropout`,
    with the element index `((b * heads + h) * L + i) * L + j`. P is never
    stored for more than a few rows of one head at a time, and what `causal`
    excludes is not computed.

    Constraints:
    - (C1) The query's rows are B*L, where the mask is B x L.
    - (C2) `heads` divides the number of columns.
    - (C3) `probability` and `site` come with a seed; `0 <= probability < 1`.

    Example:
    ```mlir
    %y = nn.attention %q, %k, %v, %mask heads 12 : tensor<64x384xf32>, tensor<2x32xi32>
    %c = nn.attention %q, %k, %v, %mask heads 12 causal : tensor<64x384xf32>, tensor<2x32xi32>
    %z = nn.attention %q, %k, %v, %mask heads 12 dropout %seed probability 1.000000e-01 site 7 : tensor<64x384xf32>, tensor<2x32xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$query, NN_Matrix:$key, NN_Matrix:$value,
                       NN_Indices:$mask, Optional<I64>:$seed,
                       I64Attr:$heads, UnitAttr:$causal,
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site);
  let results = (outs NN_Matrix:$result);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $mask `heads` $heads (`causal` $causal^)?
    (`dropout` $seed^ `probability` $probability `site` $site)? attr-dict `:`
    type($query) `,` type($mask)
  }];
  let hasVerifier = 1;
}

def NN_AttentionBackwardOp : NN_Op<"attention_backward",
    [AllTypesMatch<["query", "key", "value", "gradient", "queryGradient",
                    "keyGradient", "valueGradient"]>]> {
  let summary = "Gradients of an attention";
  let description = [{
    P is recomputed, head by head. With D = dropout(P), dD = gradient V^T,
    dP = dD under the same dropout:

        dV = D^T gradient
        dS = P * (dP - rowsum(dP * P))
        dQ = dS K / sqrt(d)        dK = dS^T Q / sqrt(d)

    Constraints:
    - (C1) The query's rows are B*L, where the mask is B x L.
    - (C2) `heads` divides the number of columns.
    - (C3) `probability` and `site` come with a seed; `0 <= probability < 1`.

    Example:
    ```mlir
    %dq, %dk, %dv = nn.attention_backward %q, %k, %v, %mask, %dy heads 12 : tensor<64x384xf32>, tensor<2x32xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$query, NN_Matrix:$key, NN_Matrix:$value,
                       NN_Indices:$mask, NN_Matrix:$gradient,
                       Optional<I64>:$seed, I64Attr:$heads,
                       UnitAttr:$causal, OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site);
  let results = (outs NN_Matrix:$queryGradient, NN_Matrix:$keyGradient,
                      NN_Matrix:$valueGradient);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $mask `,` $gradient `heads` $heads
    (`causal` $causal^)? (`dropout` $seed^ `probability` $probability `site` $site)? attr-dict `:`
    type($query) `,` type($mask)
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNATTENTIONOPS_TD
