//===- NNLossOps.td - Heads and losses ---------------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNLOSSOPS_TD
#define PST_DIALECT_NN_NNLOSSOPS_TD

include "pst/Dialect/NN/NNBase.td"

def NN_SelectTokenOp : NN_DifferentiableOp<"select_token",
    [PST_Activations<[0]>]> {
  let summary = "Takes one token of each sequence";
  let description = [{
    `result[b] = input[b * L + index]`, where L = rows / B: BERT's [CLS] is
    token 0. With a mask (B x L), the index is that of the last token whose mask
    is not 0 (0 if there is none).

    Constraints:
    - (C1) The result's rows divide the input's; the columns and the element
      type are the same.
    - (C2) `0 <= index < L`.
    - (C3) There is an index or a mask, which is B x L.

    Example:
    ```mlir
    %cls = nn.select_token %x index 0 : tensor<64x8xf32> -> tensor<2x8xf32>
    %last = nn.select_token %x last(%mask : tensor<2x32xi32>) : tensor<64x8xf32> -> tensor<2x8xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, Optional<NN_Indices>:$mask,
                       OptionalAttr<I64Attr>:$index);
  let results = (outs NN_Matrix:$result);
  let extraClassDeclaration = "int64_t countBytes();";
  let assemblyFormat = [{
    $input (`index` $index^)? (`last` `(` $mask^ `:` type($mask) `)`)? attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_SelectTokenBackwardOp : NN_Op<"select_token_backward"> {
  let summary = "Puts the gradient of a token back into its sequence";
  let description = [{
    `result[b * L + index] = gradient[b]`, all other rows zero; the index as in
    `nn.select_token`.

    Constraints:
    - (C1) The gradient's rows divide the result's; the columns and the element
      type are the same.
    - (C2) `0 <= index < L`.
    - (C3) There is an index or a mask, which is B x L.

    Example:
    ```mlir
    %d = nn.select_token_backward %g index 0 : tensor<2x8xf32> -> tensor<64x8xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$gradient, Optional<NN_Indices>:$mask,
                       OptionalAttr<I64Attr>:$index);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $gradient (`index` $index^)? (`last` `(` $mask^ `:` type($mask) `)`)? attr-dict `:` type($gradient) `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_TokenLabels
    : RankedTensorOf<[I32], [HasStaticShapePred, HasAnyRankOfPred<[1, 2]>],
                     "tensor of rank 1 or 2 and static shape">;

// One for each row, or for each token of B sequences.
def NN_RowLabels : AnyTypeOf<[NN_Labels, NN_TokenLabels]>;

def NN_CrossEntropyOp : NN_DifferentiableOp<"cross_entropy",
    [PST_Activations<[], []>, AttrSizedOperandSegments]> {
  let summary = "Scaled sum of the cross-entropies of the rows";
  let description = [{
    `scale * sum_b (log(sum_c exp(logits[b, c])) - logits[b, labels[b]])` over
    the rows whose label is in [0, C); another label (-100) is no example. Labels
    of B x L are those of the rows in their order.

    With weights w of the classes and labels smoothed by s it is, over the same
    rows,

        scale * sum_b sum_c t[b, c] (log(sum_k exp(logits[b, k])) - logits[b, c])
        t[b, c] = (1 - s) w[labels[b]] (c == labels[b]) + s / C w[c]

    which is PyTorch's sum of such losses. No scale is made of the weights.

    Constraints:
    - (C1) There are as many labels, of type i32, as logits have rows: a vector,
      or B x L.
    - (C2) There are as many weights as logits have columns.
    - (C3) Weights and smoothing come together.

    Example:
    ```mlir
    // logits = [[0.0, 0.0]], labels = [1], scale = 1.0: 0.6931472
    %loss = nn.cross_entropy %logits, %labels, %scale : tensor<1x2xf32>, tensor<1xi32>
    %other = nn.cross_entropy %logits, %labels, %scale weights(%w : tensor<2xf32>) smoothing %s : tensor<1x2xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_RowLabels:$labels, F32:$scale,
                       Optional<NN_Vector>:$weights, Optional<F32>:$smoothing);
  let results = (outs NN_Scalar:$loss);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale (`weights` `(` $weights^ `:` type($weights) `)` `smoothing` $smoothing)?
    attr-dict `:` type($logits) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_CrossEntropyBackwardOp : NN_Op<"cross_entropy_backward",
    [AllTypesMatch<["logits", "result"]>, AttrSizedOperandSegments]> {
  let summary = "Gradient of the logits of a cross-entropy";
  let description = [{
    `gradient * scale * (softmax(logits)[b, c] - (c == labels[b]))`, zero in
    the rows that are no example. With weights and smoothing, and t as in
    `nn.cross_entropy`:
    `gradient * scale * (softmax(logits)[b, c] sum_k t[b, k] - t[b, c])`.

    Constraints:
    - (C1) There are as many labels, of type i32, as logits have rows: a vector,
      or B x L.
    - (C2) There are as many weights as logits have columns.
    - (C3) Weights and smoothing come together.

    Example:
    ```mlir
    %d = nn.cross_entropy_backward %logits, %labels, %scale, %dloss : tensor<1x2xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_RowLabels:$labels, F32:$scale,
                       NN_Scalar:$gradient, Optional<NN_Vector>:$weights,
                       Optional<F32>:$smoothing);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale `,` $gradient
    (`weights` `(` $weights^ `:` type($weights) `)` `smoothing` $smoothing)?
    attr-dict `:` type($logits) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_LinearCrossEntropyOp : NN_DifferentiableOp<"linear_cross_entropy",
    [PST_Activations<[0], []>, PST_Scales<1>, AttrSizedOperandSegments]> {
  let summary = "Cross-entropy of the logits of a vocabulary";
  let description = [{
    `nn.cross_entropy` of the logits `X W^T`, which exist for a part of the
    tokens at a time only: tokens x vocabulary floats are never stored.

    Labels of B x L are the tokens of B sequences: each row is to predict the
    next one, so that row `b * L + t` has the label `labels[b, t + 1]`, and the
    last row of a sequence is no example.

    With labels smoothed by s, and C the words of the vocabulary, a row's loss is
    that of `nn.cross_entropy` with weights of 1:

        log(sum_k exp(logits[b, k])) - (1 - s) logits[b, labels[b]] - s / C sum_c logits[b, c]

    Constraints:
    - (C1) There are as many labels, of type i32, as the input has rows: a
      vector, or B x L.
    - (C2) The weight (vocabulary x features) has as many columns as the input.
    - (C3) A weight of i8, and no other, has a scale for each row.

    Example:
    ```mlir
    // x = [[1.0]], w = [[0.0], [0.0]], labels = [1], scale = 1.0: 0.6931472
    %loss = nn.linear_cross_entropy %x, %w, %labels, %scale : tensor<1x1xf32>, tensor<2x1xf32>, tensor<1xi32>
    // w = [[0.0], [1.0]], s = 0.5: log(1 + e) - 0.5 * 1 - 0.5 / 2 * 1 = 0.5632617
    %smoothed = nn.linear_cross_entropy %x, %w, %labels, %scale smoothing %s : tensor<1x1xf32>, tensor<2x1xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_ScaledWeight:$weight,
                       NN_TokenLabels:$labels, F32:$scale,
                       Optional<NN_Vector>:$scales, Optional<F32>:$smoothing);
  let results = (outs NN_Scalar:$loss);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $input `,` $weight `,` $labels `,` $scale
    (`scales` `(` $scales^ `:` type($scales) `)`)? (`smoothing` $smoothing^)?
    attr-dict `:` type($input) `,` type($weight) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_LinearCrossEntropyBackwardOp : NN_Op<"linear_cross_entropy_backward",
    [AllTypesMatch<["input", "inputGradient"]>]> {
  let summary = "Gradients of the input, and of the weight, of a linear cross-entropy";
  let description = [{
    With `D = gradient * scale * (softmax(X W^T) - onehot(labels))`, rows that
    are no example zero: `D W` and, if it is asked for, `D^T X`. D is computed
    again, for a part of the tokens at a time. Labels of B x L are those of the
    next tokens, as in `nn.linear_cross_entropy`. With labels smoothed by s, and
    C the words of the vocabulary, `(1 - s) onehot(labels) + s / C` is in the
    place of `onehot(labels)`.

    Constraints:
    - (C1) There are as many labels, of type i32, as the input has rows: a
      vector, or B x L.
    - (C2) The weight (vocabulary x features) has as many columns as the input;
      its gradient has its type, so one of bf16, which is only read, has none.

    Example:
    ```mlir
    %dx = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %dloss : tensor<4x3xf32>, tensor<7x3xf32>, tensor<4xi32>
    %dy, %dw = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %dloss : tensor<4x3xf32>, tensor<7x3xf32>, tensor<4xi32> weight tensor<7x3xf32>
    %dz = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %dloss smoothing %s : tensor<4x3xf32>, tensor<7x3xf32>, tensor<4xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Weight:$weight, NN_TokenLabels:$labels,
                       F32:$scale, NN_Scalar:$gradient,
                       Optional<F32>:$smoothing);
  let results = (outs NN_Matrix:$inputGradient,
                      Optional<NN_WeightGradient>:$weightGradient);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $input `,` $weight `,` $labels `,` $scale `,` $gradient (`smoothing` $smoothing^)? attr-dict `:`
    type($input) `,` type($weight) `,` type($labels) (`weight` type($weightGradient)^)?
  }];
  let hasVerifier = 1;
}

def NN_SquaredErrorOp : NN_DifferentiableOp<"squared_error",
    [PST_Activations<[], []>]> {
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

def NN_MatrixLabels : PST_TensorOfRank<[F32], 2>;

def NN_BinaryCrossEntropyOp : NN_DifferentiableOp<"binary_cross_entropy",
    [PST_Activations<[], []>]> {
  let summary = "Scaled sum of the rows' mean binary cross-entropies";
  let description = [{
    Each column of the C is a yes or a no of its own:

        scale * sum_b 1 / C sum_c (max(x, 0) - x labels[b, c] + log(1 + exp(-|x|)))
        x = logits[b, c]

    which is PyTorch's `binary_cross_entropy_with_logits`, its mean over the
    columns and its sum over the rows. A NaN label adds nothing. Weights are
    what a yes of each column counts beside a no (PyTorch's `pos_weight`):

        scale * sum_b 1 / C sum_c ((1 - y) x + (1 + (weights[c] - 1) y) log(1 + exp(-x)))
        x = logits[b, c], y = labels[b, c]

    Constraints:
    - (C1) Labels, of type f32, have the logits' shape.
    - (C2) There are as many weights as logits have columns.

    Example:
    ```mlir
    // logits = [[0.0, 0.0]], labels = [[1.0, 0.0]], scale = 1.0: 0.6931472
    %loss = nn.binary_cross_entropy %logits, %labels, %scale : tensor<1x2xf32>, tensor<1x2xf32>
    // weights = [3.0, 1.0]: 1.3862944
    %other = nn.binary_cross_entropy %logits, %labels, %scale weights(%w : tensor<2xf32>) : tensor<1x2xf32>, tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_MatrixLabels:$labels, F32:$scale,
                       Optional<NN_Vector>:$weights);
  let results = (outs NN_Scalar:$loss);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale (`weights` `(` $weights^ `:` type($weights) `)`)?
    attr-dict `:` type($logits) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_BinaryCrossEntropyBackwardOp : NN_Op<"binary_cross_entropy_backward",
    [AllTypesMatch<["logits", "result"]>]> {
  let summary = "Gradient of the logits of a binary cross-entropy";
  let description = [{
    `gradient * scale / C * (sigmoid(logits[b, c]) - labels[b, c])`, zero where
    the label is NaN. With weights:
    `gradient * scale / C * ((1 + (weights[c] - 1) labels[b, c]) sigmoid(logits[b, c]) - weights[c] labels[b, c])`.

    Constraints:
    - (C1) Labels, of type f32, have the logits' shape.
    - (C2) There are as many weights as logits have columns.

    Example:
    ```mlir
    // logits = [[0.0, 0.0]], labels = [[1.0, 0.0]], scale = dloss = 1.0: [[-0.25, 0.25]]
    %d = nn.binary_cross_entropy_backward %logits, %labels, %scale, %dloss : tensor<1x2xf32>, tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_MatrixLabels:$labels, F32:$scale,
                       NN_Scalar:$gradient, Optional<NN_Vector>:$weights);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale `,` $gradient (`weights` `(` $weights^ `:` type($weights) `)`)?
    attr-dict `:` type($logits) `,` type($labels)
  }];
  let hasVerifier = 1;
}

def NN_DistillationLossOp : NN_DifferentiableOp<"distillation_loss",
    [PST_Activations<[], []>]> {
  let summary = "Scaled sum of the rows' divergences from a teacher";
  let description = [{
    With p the softmax of a row of the teacher's logits divided by the
    temperature T, and q that of the row of logits, the Kullback-Leibler
    divergence of q from p:

        scale * sum_b T^2 sum_c p[c] log(p[c] / q[c])

    T^2 gives gradients the size that they have without a temperature. `binary`:
    each column is a yes or a no of its own, p and q are sigmoids, and of the
    columns it is the mean:

        scale * sum_b T^2 / C sum_c (p[c] log(p[c] / q[c]) + (1 - p[c]) log((1 - p[c]) / (1 - q[c])))

    A row whose first teacher's logit is NaN is no example.

    Constraints:
    - (C1) The teacher's logits, of type f32, have the logits' shape.

    Example:
    ```mlir
    // logits = [[0.0, 0.0]], teacher = [[2.0, 0.0]], scale = 1.0, T = 2.0: 0.44377628
    %loss = nn.distillation_loss %logits, %teacher, %scale temperature %t : tensor<1x2xf32>, tensor<1x2xf32>
    %other = nn.distillation_loss %logits, %teacher, %scale temperature %t binary : tensor<1x2xf32>, tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_MatrixLabels:$teacher, F32:$scale,
                       F32:$temperature, UnitAttr:$binary);
  let results = (outs NN_Scalar:$loss);
  let assemblyFormat = [{
    $logits `,` $teacher `,` $scale `temperature` $temperature (`binary` $binary^)? attr-dict `:` type($logits) `,` type($teacher)
  }];
  let hasVerifier = 1;
}

def NN_DistillationLossBackwardOp : NN_Op<"distillation_loss_backward",
    [AllTypesMatch<["logits", "result"]>]> {
  let summary = "Gradient of the logits of a distillation loss";
  let description = [{
    With p, q and T as in `nn.distillation_loss`, `gradient * scale * T (q[b, c] - p[b, c])`,
    of `binary` divided by the number of columns; zero in the rows that are no
    example.

    Constraints:
    - (C1) The teacher's logits, of type f32, have the logits' shape.

    Example:
    ```mlir
    %d = nn.distillation_loss_backward %logits, %teacher, %scale, %dloss temperature %t : tensor<1x2xf32>, tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$logits, NN_MatrixLabels:$teacher, F32:$scale,
                       NN_Scalar:$gradient, F32:$temperature, UnitAttr:$binary);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $logits `,` $teacher `,` $scale `,` $gradient `temperature` $temperature (`binary` $binary^)? attr-dict `:` type($logits) `,` type($teacher)
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNLOSSOPS_TD
