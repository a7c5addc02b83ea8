//===- NNOps.td - Operations of the nn dialect -------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNOPS_TD
#define PST_DIALECT_NN_NNOPS_TD

include "pst/Dialect/NN/NNDialect.td"
include "pst/Dialect/NN/NNEnums.td"
include "pst/Dialect/PST/PSTAttributes.td"
include "pst/Dialect/PST/PSTInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def NN_Matrix : PST_TensorOfRank<[F32], 2>;
// A weight that is only read; bf16 is widened as it is read.
def NN_Weight : PST_TensorOfRank<[F32, BF16], 2>;
def NN_Vector : PST_TensorOfRank<[F32], 1>;
def NN_Scalar : PST_ScalarTensor<F32, "getF32Type()">;
def NN_Indices : PST_TensorOfRank<[I32], 2>;
def NN_Labels : PST_TensorOfRank<[I32, F32], 1>;

class NN_Op<string mnemonic, list<Trait> traits = []>
    : Op<NN_Dialect, mnemonic, traits # [Pure]>;

class NN_DifferentiableOp<string mnemonic, list<Trait> traits = []>
    : NN_Op<mnemonic, traits #
            [DeclareOpInterfaceMethods<DifferentiableOpInterface>]>;

//===----------------------------------------------------------------------===//
// Embeddings
//===----------------------------------------------------------------------===//

def NN_EmbeddingOp : NN_DifferentiableOp<"embedding"> {
  let summary = "Looks up a row for each token";
  let description = [{
    Row t of the result is row `indices[t / L, t % L]` of the table. An index
    outside the table reads the nearest row (the runtime refuses such data).

    Constraints:
    - (C1) The result has B*L rows and the table's columns.

    Example:
    ```mlir
    // indices = [[2, 0]], table = [[1.0], [2.0], [3.0]]: [[3.0], [1.0]]
    %e = nn.embedding %indices, %table : tensor<1x2xi32>, tensor<3x1xf32> -> tensor<2x1xf32>
    ```
  }];
  let arguments = (ins NN_Indices:$indices, NN_Weight:$table);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $indices `,` $table attr-dict `:` type($indices) `,` type($table) `->` type($result)
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
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $indices `,` $gradient attr-dict `:` type($indices) `,` type($gradient) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_AddPositionsOp : NN_DifferentiableOp<"add_positions",
    [AllTypesMatch<["input", "result"]>]> {
  let summary = "Adds a row of a table to each token, by its position";
  let description = [{
    `result[t] = input[t] + table[t % length]`.

    Constraints:
    - (C1) `length` divides the number of tokens and is at most the table's rows.
    - (C2) Input and table have the same number of columns.

    Example:
    ```mlir
    // input = [[1.0], [1.0], [1.0], [1.0]], table = [[0.5], [2.0], [9.0]]: [[1.5], [3.0], [1.5], [3.0]]
    %y = nn.add_positions %x, %table length 2 : tensor<4x1xf32>, tensor<3x1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Weight:$table, I64Attr:$length);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $table `length` $length attr-dict `:` type($input) `,` type($table)
  }];
  let hasVerifier = 1;
}

def NN_PositionSumOp : NN_Op<"position_sum"> {
  let summary = "Sums the tokens of each position";
  let description = [{
    The backward of `nn.add_positions`: row p of the result is the sum of the
    rows t with `t % length = p`, in ascending t; rows from `length` on are zero.

    Constraints:
    - (C1) `length` divides the number of tokens and is at most the result's rows.
    - (C2) Input and result have the same number of columns.

    Example:
    ```mlir
    %d = nn.position_sum %g length 2 : tensor<4x1xf32> -> tensor<3x1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, I64Attr:$length);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `length` $length attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Linear algebra
//===----------------------------------------------------------------------===//

def NN_LinearOp : NN_DifferentiableOp<"linear"> {
  let summary = "Y = X W^T + bias";
  let description = [{
    Constraints:
    - (C1) X is tokens x m, W n x m, the result tokens x n.
    - (C2) The bias has n elements.

    Example:
    ```mlir
    // x = [[1.0, 2.0]], w = [[1.0, 1.0]], bias = [0.5]: [[3.5]]
    %y = nn.linear %x, %w bias(%b : tensor<1xf32>) : tensor<1x2xf32>, tensor<1x2xf32> -> tensor<1x1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Weight:$weight,
                       Optional<NN_Vector>:$bias);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict `:`
    type($input) `,` type($weight) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_MatmulOp : NN_Op<"matmul"> {
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
  let assemblyFormat = [{
    $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_ColumnSumOp : NN_Op<"column_sum"> {
  let summary = "Sums the rows of a matrix";
  let description = [{
    `result[j] = sum_i input[i, j]`: the gradient of a bias.

    Constraints:
    - (C1) The result has as many elements as the input has columns.

    Example:
    ```mlir
    // [[1.0, 2.0], [3.0, 4.0]]: [4.0, 6.0]
    %b = nn.column_sum %g : tensor<2x2xf32> -> tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

def NN_AddOp : NN_DifferentiableOp<"add",
    [Commutative, SameOperandsAndResultType]> {
  let summary = "Elementwise sum";
  let description = [{
    Example:
    ```mlir
    %y = nn.add %a, %b : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins StaticShapeTensorOf<[F32]>:$lhs,
                       StaticShapeTensorOf<[F32]>:$rhs);
  let results = (outs StaticShapeTensorOf<[F32]>:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
}

def NN_ActivationOp : NN_DifferentiableOp<"activation",
    [SameOperandsAndResultType]> {
  let summary = "A scalar function of every element";
  let description = [{
    - `gelu`: `x/2 (1 + erf(x / sqrt(2)))`
    - `gelu_tanh`: `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
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

def NN_DropoutOp : NN_DifferentiableOp<"dropout",
    [AllTypesMatch<["input", "result"]>]> {
  let summary = "Zeroes elements at random";
  let description = [{
    Element i (row-major) is kept, and divided by `1 - probability`, if
    `hash(seed, site, i) >= probability * 2^32`; else it is 0. The hash is
    counter-based, so the backward, a second run or another number of threads
    sees the same mask. `site` tells the dropouts of a model apart.
    The backward is the same op on the gradient.

    Constraints:
    - (C1) `0 <= probability < 1`.

    Example:
    ```mlir
    %y = nn.dropout %x, %seed probability 1.000000e-01 site 3 : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, I64:$seed, F64Attr:$probability,
                       I64Attr:$site);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $seed `probability` $probability `site` $site attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
}

//===----------------------------------------------------------------------===//
// Normalisation and attention
//===----------------------------------------------------------------------===//

def NN_LayerNormOp : NN_DifferentiableOp<"layer_norm",
    [AllTypesMatch<["input", "result"]>, AllTypesMatch<["scale", "shift"]>]> {
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
    [AllTypesMatch<["query", "key", "value", "result"]>]> {
  let summary = "Multi-head attention with a padding mask";
  let description = [{
    For each sequence and head h, with the head's d = columns / heads columns
    of query, key and value (L x d each):

        P = softmax(Q K^T / sqrt(d) + (0 where mask[b, j] != 0, -3.4e38 elsewhere))
        result = dropout(P) V

    Softmax is over j. If a seed is given, P is dropped out as in `nn.dropout`,
    with the element index `((b * heads + h) * L + i) * L + j`. P is never
    stored for more than a few rows of one head at a time.

    Constraints:
    - (C1) The query's rows are B*L, where the mask is B x L.
    - (C2) `heads` divides the number of columns.
    - (C3) `probability` and `site` come with a seed; `0 <= probability < 1`.

    Example:
    ```mlir
    %y = nn.attention %q, %k, %v, %mask heads 12 : tensor<64x384xf32>, tensor<2x32xi32>
    %z = nn.attention %q, %k, %v, %mask heads 12 dropout %seed probability 1.000000e-01 site 7 : tensor<64x384xf32>, tensor<2x32xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$query, NN_Matrix:$key, NN_Matrix:$value,
                       NN_Indices:$mask, Optional<I64>:$seed,
                       I64Attr:$heads, OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $mask `heads` $heads
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
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site);
  let results = (outs NN_Matrix:$queryGradient, NN_Matrix:$keyGradient,
                      NN_Matrix:$valueGradient);
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $mask `,` $gradient `heads` $heads
    (`dropout` $seed^ `probability` $probability `site` $site)? attr-dict `:`
    type($query) `,` type($mask)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Heads and losses
//===----------------------------------------------------------------------===//

def NN_SelectTokenOp : NN_DifferentiableOp<"select_token"> {
  let summary = "Takes one token of each sequence";
  let description = [{
    `result[b] = input[b * L + index]`, where L = rows / B: BERT's [CLS] is
    token 0.

    Constraints:
    - (C1) The result's rows divide the input's; the columns are the same.
    - (C2) `0 <= index < L`.

    Example:
    ```mlir
    %cls = nn.select_token %x index 0 : tensor<64x8xf32> -> tensor<2x8xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, I64Attr:$index);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `index` $index attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_SelectTokenBackwardOp : NN_Op<"select_token_backward"> {
  let summary = "Puts the gradient of a token back into its sequence";
  let description = [{
    `result[b * L + index] = gradient[b]`, all other rows zero.

    Constraints:
    - (C1) The gradient's rows divide the result's; the columns are the same.
    - (C2) `0 <= index < L`.

    Example:
    ```mlir
    %d = nn.select_token_backward %g index 0 : tensor<2x8xf32> -> tensor<64x8xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$gradient, I64Attr:$index);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $gradient `index` $index attr-dict `:` type($gradient) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_CrossEntropyOp : NN_DifferentiableOp<"cross_entropy"> {
  let summary = "Scaled sum of the cross-entropies of the rows";
  let description = [{
    `scale * sum_b (log(sum_c exp(logits[b, c])) - logits[b, labels[b]])` over
    the rows whose label is in [0, C); another label (-100) is no example.

    Constraints:
    - (C1) There are as many labels, of type i32, as logits have rows.

    Example:
    ```mlir
    // logits = [[0.0, 0.0]], labels = [1], scale = 1.0: 0.6931472
    %loss = nn.cross_entropy %logits, %labels, %scale : tensor<1x2xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_Labels:$labels, F32:$scale);
  let results = (outs NN_Scalar:$loss);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale attr-dict `:` type($logits) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_CrossEntropyBackwardOp : NN_Op<"cross_entropy_backward",
    [AllTypesMatch<["logits", "result"]>]> {
  let summary = "Gradient of the logits of a cross-entropy";
  let description = [{
    `gradient * scale * (softmax(logits)[b, c] - (c == labels[b]))`, zero in
    the rows that are no example.

    Constraints:
    - (C1) There are as many labels, of type i32, as logits have rows.

    Example:
    ```mlir
    %d = nn.cross_entropy_backward %logits, %labels, %scale, %dloss : tensor<1x2xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_Labels:$labels, F32:$scale,
                       NN_Scalar:$gradient);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale `,` $gradient attr-dict `:` type($logits) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_LinearCrossEntropyOp : NN_DifferentiableOp<"linear_cross_entropy"> {
  let summary = "Cross-entropy of the logits of a vocabulary";
  let description = [{
    `nn.cross_entropy` of the logits `X W^T`, which exist for a part of the
    tokens at a time only: tokens x vocabulary floats are never stored.

    Constraints:
    - (C1) There are as many labels, of type i32, as the input has rows.
    - (C2) The weight (vocabulary x features) has as many columns as the input.

    Example:
    ```mlir
    // x = [[1.0]], w = [[0.0], [0.0]], labels = [1], scale = 1.0: 0.6931472
    %loss = nn.linear_cross_entropy %x, %w, %labels, %scale : tensor<1x1xf32>, tensor<2x1xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Matrix:$weight, NN_Labels:$labels,
                       F32:$scale);
  let results = (outs NN_Scalar:$loss);
  let assemblyFormat = [{
    $input `,` $weight `,` $labels `,` $scale attr-dict `:` type($input) `,` type($weight) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_LinearCrossEntropyBackwardOp : NN_Op<"linear_cross_entropy_backward",
    [AllTypesMatch<["input", "inputGradient"]>]> {
  let summary = "Gradients of the input, and of the weight, of a linear cross-entropy";
  let description = [{
    With `D = gradient * scale * (softmax(X W^T) - onehot(labels))`, rows that
    are no example zero: `D W` and, if it is asked for, `D^T X`. D is computed
    again, for a part of the tokens at a time.

    Constraints:
    - (C1) There are as many labels, of type i32, as the input has rows.
    - (C2) The weight (vocabulary x features) has as many columns as the input;
      its gradient has its type.

    Example:
    ```mlir
    %dx = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %dloss : tensor<4x3xf32>, tensor<7x3xf32>, tensor<4xi32>
    %dy, %dw = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %dloss : tensor<4x3xf32>, tensor<7x3xf32>, tensor<4xi32> weight tensor<7x3xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Matrix:$weight, NN_Labels:$labels,
                       F32:$scale, NN_Scalar:$gradient);
  let results = (outs NN_Matrix:$inputGradient,
                      Optional<NN_Matrix>:$weightGradient);
  let assemblyFormat = [{
    $input `,` $weight `,` $labels `,` $scale `,` $gradient attr-dict `:`
    type($input) `,` type($weight) `,` type($labels) (`weight` type($weightGradient)^)?
  }];
  let hasVerifier = 1;
}

def NN_SquaredErrorOp : NN_DifferentiableOp<"squared_error"> {
  let summary = "Scaled sum of the squared errors of the rows";
  let description = [{
    `scale * sum_b (predictions[b, 0] - labels[b])^2`; a NaN label is no
    example.

    Constraints:
    - (C1) There are as many labels, of type f32, as predictions have rows.
    - (C2) Predictions have one column.

    Example:
    ```mlir
    // predictions = [[3.0]], labels = [1.0], scale = 0.5: 2.0
    %loss = nn.squared_error %y, %labels, %scale : tensor<1x1xf32>, tensor<1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$predictions, NN_Labels:$labels, F32:$scale);
  let results = (outs NN_Scalar:$loss);
  let assemblyFormat = [{
    $predictions `,` $labels `,` $scale attr-dict `:` type($predictions) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_SquaredErrorBackwardOp : NN_Op<"squared_error_backward",
    [AllTypesMatch<["predictions", "result"]>]> {
  let summary = "Gradient of the predictions of a squared error";
  let description = [{
    `gradient * scale * 2 (predictions[b, 0] - labels[b])`, zero where the
    label is NaN.

    Constraints:
    - (C1) There are as many labels, of type f32, as predictions have rows.
    - (C2) Predictions have one column.

    Example:
    ```mlir
    %d = nn.squared_error_backward %y, %labels, %scale, %dloss : tensor<1x1xf32>, tensor<1xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$predictions, NN_Labels:$labels, F32:$scale,
                       NN_Scalar:$gradient);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $predictions `,` $labels `,` $scale `,` $gradient attr-dict `:` type($predictions) `,` type($labels)
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNOPS_TD
