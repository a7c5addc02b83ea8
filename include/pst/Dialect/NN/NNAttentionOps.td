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
     PST_Activations<[0]>, PST_Rowwise, PST_Recomputable<"Cheap">]> {
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
    [PST_AddsToGradients, AttrSizedOperandSegments,
     AllTypesMatch<["input", "gradient", "inputGradient"]>,
     AllTypesMatch<["scale", "scaleGradient", "shiftGradient"]>]> {
  let summary = "Gradients of a layer normalisation";
  let description = [{
    With `y = (x - mean) * rstd` and `d = gradient * scale`:
    `inputGradient = rstd (d - mean(d) - y mean(d y))`,
    `scaleGradient = column sums of gradient * y`,
    `shiftGradient = column sums of gradient`.
    Mean and rstd are recomputed from the input.

    An `addend` is added to the input's gradient. With a seed, `dropped` is the
    sum as `nn.dropout` drops it out, beside it: the gradient of a dropout whose
    result the input was a part of. `-pst-fuse-epilogues` brings both in.

    Constraints:
    - (C1) The scale has as many elements as the input has columns.
    - (C2) `epsilon` is positive.
    - (C3) The addend, and what is dropped out, have the input's type.
    - (C4) The seed, the probability (`0 <= probability < 1`), the site and the
      result of a dropout come together, and its length, if it has one, with
      them.

    Example:
    ```mlir
    %dx, %dscale, %dshift = nn.layer_norm_backward %x, %scale, %dy epsilon 1.000000e-12 : tensor<4x2xf32>, tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Vector:$scale,
                       NN_Matrix:$gradient, Optional<NN_Matrix>:$addend,
                       Optional<I64>:$seed, F64Attr:$epsilon,
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site,
                       OptionalAttr<I64Attr>:$length);
  let results = (outs NN_Matrix:$inputGradient, NN_Vector:$scaleGradient,
                      NN_Vector:$shiftGradient,
                      Optional<NN_Matrix>:$dropped);
  let builders = [
    OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::Value":$input,
                   "::mlir::Value":$scale, "::mlir::Value":$gradient,
                   "::mlir::FloatAttr":$epsilon), [{
      build($_builder, $_state, results, input, scale, gradient,
            /*addend=*/::mlir::Value(), /*seed=*/::mlir::Value(), epsilon,
            /*probability=*/::mlir::FloatAttr(), /*site=*/::mlir::IntegerAttr(),
            /*length=*/::mlir::IntegerAttr());
    }]>
  ];
  let assemblyFormat = [{
    $input `,` $scale `,` $gradient `epsilon` $epsilon
    (`addend` `(` $addend^ `)`)?
    (`dropout` `(` $seed^ `)` `probability` $probability `site` $site)?
    (`length` $length^)? attr-dict `:` type($input) `,` type($scale) (`addend` type($addend)^)?
    (`dropped` type($dropped)^)?
  }];
  let hasVerifier = 1;
}

def NN_RMSNormOp : NN_DifferentiableOp<"rms_norm",
    [AllTypesMatch<["input", "result"]>, PST_Activations<[0]>, PST_Rowwise,
     PST_Recomputable<"Cheap">]> {
  let summary = "Scales each row to a root mean square of one, then by column";
  let description = [{
    `x / sqrt(mean(x^2) + epsilon) * scale`, with the mean over the row.

    Constraints:
    - (C1) The scale has as many elements as the input has columns.
    - (C2) `epsilon` is positive.

    Example:
    ```mlir
    // [[1.0, 7.0]], scale = [1.0, 2.0]: about [[0.2, 2.8]]
    %y = nn.rms_norm %x, %scale epsilon 1.000000e-06 : tensor<1x2xf32>, tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Vector:$scale, F64Attr:$epsilon);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $scale `epsilon` $epsilon attr-dict `:` type($input) `,` type($scale)
  }];
  let hasVerifier = 1;
}

def NN_RMSNormBackwardOp : NN_Op<"rms_norm_backward",
    [PST_AddsToGradients, AttrSizedOperandSegments,
     AllTypesMatch<["input", "gradient", "inputGradient"]>,
     AllTypesMatch<["scale", "scaleGradient"]>]> {
  let summary = "Gradients of a root mean square normalisation";
  let description = [{
    With `r = 1 / sqrt(mean(x^2) + epsilon)`, `y = r x` and
    `d = gradient * scale`:
    `inputGradient = r (d - y mean(d y))`,
    `scaleGradient = column sums of gradient * y`.
    r is recomputed from the input.

    An `addend` is added to the input's gradient. With a seed, `dropped` is the
    sum as `nn.dropout` drops it out, beside it: the gradient of a dropout whose
    result the input was a part of. `-pst-fuse-epilogues` brings both in.

    Constraints:
    - (C1) The scale has as many elements as the input has columns.
    - (C2) `epsilon` is positive.
    - (C3) The addend, and what is dropped out, have the input's type.
    - (C4) The seed, the probability (`0 <= probability < 1`), the site and the
      result of a dropout come together, and its length, if it has one, with
      them.

    Example:
    ```mlir
    %dx, %dscale = nn.rms_norm_backward %x, %scale, %dy epsilon 1.000000e-06 : tensor<4x2xf32>, tensor<2xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, NN_Vector:$scale,
                       NN_Matrix:$gradient, Optional<NN_Matrix>:$addend,
                       Optional<I64>:$seed, F64Attr:$epsilon,
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site,
                       OptionalAttr<I64Attr>:$length);
  let results = (outs NN_Matrix:$inputGradient, NN_Vector:$scaleGradient,
                      Optional<NN_Matrix>:$dropped);
  let builders = [
    OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::Value":$input,
                   "::mlir::Value":$scale, "::mlir::Value":$gradient,
                   "::mlir::FloatAttr":$epsilon), [{
      build($_builder, $_state, results, input, scale, gradient,
            /*addend=*/::mlir::Value(), /*seed=*/::mlir::Value(), epsilon,
            /*probability=*/::mlir::FloatAttr(), /*site=*/::mlir::IntegerAttr(),
            /*length=*/::mlir::IntegerAttr());
    }]>
  ];
  let assemblyFormat = [{
    $input `,` $scale `,` $gradient `epsilon` $epsilon
    (`addend` `(` $addend^ `)`)?
    (`dropout` `(` $seed^ `)` `probability` $probability `site` $site)?
    (`length` $length^)? attr-dict `:` type($input) `,` type($scale) (`addend` type($addend)^)?
    (`dropped` type($dropped)^)?
  }];
  let hasVerifier = 1;
}

def NN_RotaryTableOp : NN_Op<"rotary_table", [PST_Activations<[], []>]> {
  let summary = "Cosines and sines of the angles of each position";
  let description = [{
    Row p of the result has the cosines, then the sines, of `p * f` for each
    frequency f (radians per position), all of them times `scale`; with
    `positions`, row t has those of p = positions[t] instead. An angle is
    the f32 product of p and f; its cosine and sine are within 1e-7 for angles
    below a million.

    Constraints:
    - (C1) The result has twice as many columns as there are frequencies.
    - (C2) Positions are T x 1, with a T of the result's rows.

    Example:
    ```mlir
    // [0.5]: [[1.0, 0.0], [0.88, 0.48], [0.54, 0.84]]
    %t = nn.rotary_table %f scale 1.000000e+00 : tensor<1xf32> -> tensor<3x2xf32>
    // and at [[2]]: [[0.54, 0.84]]
    %u = nn.rotary_table %f at %p scale 1.000000e+00 : tensor<1xf32>, tensor<1x1xi32> -> tensor<1x2xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$frequencies, Optional<NN_Indices>:$positions,
                       F64Attr:$scale);
  let results = (outs PST_TensorOfRank<[F32], 2>:$result);
  let assemblyFormat = [{
    $frequencies (`at` $positions^)? `scale` $scale attr-dict `:`
    type($frequencies) (`,` type($positions)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def NN_RotaryOp : NN_DifferentiableOp<"rotary",
    [AllTypesMatch<["input", "result"]>, PST_Activations<[0]>,
     PST_Recomputable<"Cheap">]> {
  let summary = "Turns pairs of a head's columns by the angles of its position";
  let description = [{
    The table is L x width, as `nn.rotary_table` makes it; columns of the input
    come in heads of `width`. Of token t (position `p = t % L`) and each head,
    columns k and k + width/2 are turned together, with c and s the table's
    elements (p, k) and (p, k + width/2):

        result[k]           = c x[k] - s x[k + width/2]
        result[k + width/2] = c x[k + width/2] + s x[k]

    With `transposed`, s is negated: the backward is the same op on the
    gradient, transposed.

    Constraints:
    - (C1) The table's rows divide the input's.
    - (C2) The table has an even number of columns, which divides the input's.

    Example:
    ```mlir
    %y = nn.rotary %x, %t : tensor<64x384xf32>, tensor<32x48xf32>
    %d = nn.rotary %g, %t transposed : tensor<64x384xf32>, tensor<32x48xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$input, PST_TensorOfRank<[F32], 2>:$table,
                       UnitAttr:$transposed);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $table (`transposed` $transposed^)? attr-dict `:` type($input) `,` type($table)
  }];
  let hasVerifier = 1;
}

def NN_AttentionOp : NN_DifferentiableOp<"attention",
    [AllTypesMatch<["query", "result"]>, AllTypesMatch<["key", "value"]>,
     DeclareOpInterfaceMethods<StochasticOpInterface>,
     PST_Activations<[0, 1, 2]>, PST_Recomputable<"Dear">]> {
  let summary = "Multi-head attention with a padding mask";
  let description = [{
    For each sequence and head h, with the head's d = columns / heads columns
    of query, key and value (L x d each):

        P = softmax(Q K^T / sqrt(d) + (0 where mask[b, j] != 0, -3.4e38 elsewhere))
        result = dropout(P) V

    Softmax is over j; with `causal` over j <= i only, with a `window` as well
    over i - window < j only, and P is 0 elsewhere. If a seed is given, P is
    dropped out as in `nn.dropout`, where head h of sequence b is sequence
    `b * heads + h` and (i, j) has the index `i * 65536 + j`. P is never stored for more than a few
    rows of one head at a time, and what comes after the queries of a block is
    not computed.

    Keys and values may have fewer heads, of the same d: then g = heads / their
    heads, and the queries' head h reads their head h / g. Their type is given
    between those of query and mask.

    Constraints:
    - (C1) The rows of query and key are B*L, where the mask is B x L.
    - (C2) `heads` divides the number of columns of the query.
    - (C3) `probability` and `site` come with a seed; `0 <= probability < 1`,
      and L is at most 65536.
    - (C4) Keys have whole heads, whose number divides `heads`, and the query's
      element type.
    - (C5) A `window` is positive, and comes with `causal`.

    Example:
    ```mlir
    %y = nn.attention %q, %k, %v, %mask heads 12 : tensor<64x384xf32>, tensor<2x32xi32>
    %c = nn.attention %q, %k, %v, %mask heads 12 causal : tensor<64x384xf32>, tensor<2x32xi32>
    %g = nn.attention %q, %k3, %v3, %mask heads 12 causal window 8 : tensor<64x384xf32>, tensor<64x96xf32>, tensor<2x32xi32>
    %z = nn.attention %q, %k, %v, %mask heads 12 dropout %seed probability 1.000000e-01 site 7 : tensor<64x384xf32>, tensor<2x32xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$query, NN_Matrix:$key, NN_Matrix:$value,
                       NN_Indices:$mask, Optional<I64>:$seed,
                       I64Attr:$heads, UnitAttr:$causal,
                       OptionalAttr<I64Attr>:$window,
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site);
  let results = (outs NN_Matrix:$result);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $mask `heads` $heads (`causal` $causal^)?
    (`window` $window^)?
    (`dropout` $seed^ `probability` $probability `site` $site)? attr-dict `:`
    custom<AttentionTypes>(type($query), type($key), type($mask))
  }];
  let hasVerifier = 1;
}

def NN_AttentionBackwardOp : NN_Op<"attention_backward",
    [AllTypesMatch<["query", "gradient", "queryGradient"]>,
     AllTypesMatch<["key", "value", "keyGradient", "valueGradient"]>]> {
  let summary = "Gradients of an attention";
  let description = [{
    P is recomputed, head by head. With D = dropout(P), dD = gradient V^T,
    dP = dD under the same dropout:

        dV = D^T gradient
        dS = P * (dP - rowsum(dP * P))
        dQ = dS K / sqrt(d)        dK = dS^T Q / sqrt(d)

    Where several heads of queries share keys, dK and dV are their sums.

    Constraints, as those of `nn.attention`:
    - (C1) The rows of query and key are B*L, where the mask is B x L.
    - (C2) `heads` divides the number of columns of the query.
    - (C3) `probability` and `site` come with a seed; `0 <= probability < 1`,
      and L is at most 65536.
    - (C4) Keys have whole heads, whose number divides `heads`, and the query's
      element type.
    - (C5) A `window` is positive, and comes with `causal`.

    Example:
    ```mlir
    %dq, %dk, %dv = nn.attention_backward %q, %k, %v, %mask, %dy heads 12 : tensor<64x384xf32>, tensor<2x32xi32>
    ```
  }];
  let arguments = (ins NN_Matrix:$query, NN_Matrix:$key, NN_Matrix:$value,
                       NN_Indices:$mask, NN_Matrix:$gradient,
                       Optional<I64>:$seed, I64Attr:$heads,
                       UnitAttr:$causal, OptionalAttr<I64Attr>:$window,
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site);
  let results = (outs NN_Matrix:$queryGradient, NN_Matrix:$keyGradient,
                      NN_Matrix:$valueGradient);
  let extraClassDeclaration = "int64_t countFlops();";
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $mask `,` $gradient `heads` $heads
    (`causal` $causal^)? (`window` $window^)?
    (`dropout` $seed^ `probability` $probability `site` $site)? attr-dict `:`
    custom<AttentionTypes>(type($query), type($key), type($mask))
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_NN_NNATTENTIONOPS_TD
