//===- PSTOps.td - Operations of the pst dialect -----------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTOPS_TD
#define PST_DIALECT_PST_PSTOPS_TD

include "pst/Dialect/Interfaces/OpInterfaces.td"
include "pst/Dialect/Interfaces/TensorTypes.td"
include "pst/Dialect/NN/NNEnums.td"
include "pst/Dialect/PST/PSTAttributes.td"
include "pst/Dialect/PST/PSTSelectionOps.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"

// An activation, the gradient of one, or a weight that is written out: bf16 is
// widened as it is read, and rounded to nearest even as it is stored.
def PST_Matrix : PST_TensorOfRank<[F32, BF16], 2>;

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

def PST_ParameterOp : PST_Op<"parameter",
    [Symbol, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Declares a parameter of the model";
  let description = [{
    A named tensor that outlives a step. Its role says where it lives: `frozen`
    parameters stay in the mapped model file; `trainable` ones have a value, a
    gradient and two moments; `state` holds what a step leaves for the next
    (thresholds); `cache` what is of one sequence of calls (keys and values), and
    so of a program's own where several share the others. `offset` is the parameter's place, in bytes, in the buffer of
    its role; `-pst-add-optimizer` sets it. `decay` says that weight decay takes
    its part, and `group` that the parameter has not the learning rate of
    weights: that of the `mask` belongs to what scores alone are made of, that
    of the `head` to what a task adds to a model.

    Constraints:
    - (C1) A `trainable` parameter has elements of type f32.
    - (C2) The initializer `file` names a tensor.
    - (C3) The standard deviation of `normal` is not negative.
    - (C4) The columns of a tensor that a parameter takes lie within it.
    - (C5) The tensors of the sparse layer that a parameter is (`pst.layer`) are
      parameters.

    Example:
    ```mlir
    pst.parameter @"encoder.query.weight" frozen init<file "encoder.query.weight"> : tensor<384x384xf32>
    pst.parameter @"encoder.query.weight.pst_U" trainable init<normal 1.000000e+00> {decay} : tensor<384x8xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, PST_Role:$role,
                       PST_InitializerAttr:$initializer,
                       TypeAttrOf<PST_Tensor>:$type,
                       OptionalAttr<I64Attr>:$offset, UnitAttr:$decay,
                       OptionalAttr<PST_RateGroupAttr>:$group);
  let assemblyFormat = [{
    $sym_name $role `init` `` $initializer attr-dict `:` $type
  }];
  let hasVerifier = 1;
}

def PST_LoadOp : PST_Op<"load",
    [DeclareOpInterfaceMethods<SymbolUserOpInterface>,
     DeclareOpInterfaceMethods<MemoryEffectsOpInterface>,
     PST_Activations<[], []>]> {
  let summary = "Reads a parameter";
  let description = [{
    The value of a parameter, or its gradient as accumulated so far. With
    `update` the parameter may be overwritten in place by what is made of the
    value: something made of it, and nothing else, is stored back.

    Constraints:
    - (C1) The symbol names a `pst.parameter` of the result's type.
    - (C2) Only a trainable parameter has a gradient.
    - (C3) Only the value of a state or cache parameter is for `update`.

    Example:
    ```mlir
    %w = pst.load @weight : tensor<4x3xf32>
    %g = pst.load @weight gradient : tensor<4x3xf32>
    %c = pst.load @cache update : tensor<64x3xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$parameter,
                       DefaultValuedAttr<PST_Part, "::pst::Part::Value">:$part,
                       UnitAttr:$update);
  let results = (outs PST_Tensor:$result);
  let assemblyFormat = [{
    $parameter ($part^)? (`update` $update^)? attr-dict `:` type($result)
  }];
  let builders = [OpBuilder<(ins "::pst::ParameterOp":$parameter,
                                 CArg<"Part", "Part::Value">:$part)>];
}

def PST_StoreOp : PST_Op<"store",
    [DeclareOpInterfaceMethods<SymbolUserOpInterface>,
     DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Overwrites a state or cache parameter";
  let description = [{
    Constraints:
    - (C1) The symbol names a `pst.parameter` of the value's type.
    - (C2) The parameter is of role `state` or `cache`.

    Example:
    ```mlir
    pst.store %tau, @weight.threshold : tensor<f32>
    ```
  }];
  let arguments = (ins PST_Tensor:$value, FlatSymbolRefAttr:$parameter);
  let assemblyFormat = "$value `,` $parameter attr-dict `:` type($value)";
}

def PST_AccumulateOp : PST_Op<"accumulate",
    [DeclareOpInterfaceMethods<SymbolUserOpInterface>,
     DeclareOpInterfaceMethods<MemoryEffectsOpInterface>, WorkOpInterface]> {
  let summary = "Adds to a parameter's gradient";
  let description = [{
    Constraints:
    - (C1) The symbol names a `pst.parameter` of the value's type.
    - (C2) The parameter is trainable.
    - (C3) A `fused` one, whose addition the op that makes the value does, is
      the only use of the result of an op that can.

    Example:
    ```mlir
    // gradient of @bias: [1.0, 2.0], %d: [0.5, 0.5]; afterwards [1.5, 2.5]
    pst.accumulate %d, @bias : tensor<2xf32>
    ```
  }];
  let extraClassDeclaration = "int64_t countBytes();";
  let arguments = (ins PST_Tensor:$value, FlatSymbolRefAttr:$parameter,
                       UnitAttr:$fused);
  let assemblyFormat = [{
    $value `,` $parameter (`fused` $fused^)? attr-dict `:` type($value)
  }];
  let hasVerifier = 1;
}

include "pst/Dialect/PST/PSTCriterionOps.td"

//===----------------------------------------------------------------------===//
// The operations on virtual weights
//===----------------------------------------------------------------------===//

/// An op that evaluates a criterion over factors. Those that use a mask have
/// the selection and its state, both or neither.
class PST_WeightOp<string mnemonic, list<Trait> traits = []>
    : PST_Op<mnemonic, traits # [AttrSizedOperandSegments, WorkOpInterface,
          DeclareOpInterfaceMethods<WideningOpInterface>,
          DeclareOpInterfaceMethods<SymbolUserOpInterface>]>;

def PST_TopKThresholdOp : PST_WeightOp<"topk_threshold", [
    Pure, SameVariadicResultSize,
    DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "Finds the score that separates the kept weights of a layer";
  let description = [{
    With `keep = n*m - int(n*m*sparsity)` (in f64, truncated), returns the
    score `tau` of the `keep`-th best element, and the linear (row-major) index
    `cut` below which elements of exactly that score are kept too, so that
    exactly `keep` elements stay, whatever the machine. An element stays if its
    score is above `tau`, or equal to `tau` at an index below `cut`. `tau` is
    NaN if any score is. -0.0 and 0.0 are the same score.

    `pruned` counts the elements that this mask prunes, n*m - keep, or n*m if
    `tau` is NaN, of which no score is above: what a product chooses its form
    by.

    `previous` is the threshold of the step before: where it is near the new
    one, that is found faster. It never changes the result, whatever it is.

    Several layers, each by itself, may be one op: `factors` are those of one
    layer after the other, and there is a sparsity (and, if any, a previous
    threshold) for each. The results are all thresholds, all cuts, then all
    counts (`-pst-group-selections`).

    Constraints:
    - (C1) The criterion yields a score.
    - (C2) The factors of each layer have the number, ranks and shapes that the
      criterion's kinds ask for.
    - (C3) There is a sparsity for each layer, and a previous threshold for
      each or for none.

    Example:
    ```mlir
    // scores: [[4.0, 1.0], [2.0, 2.0]], sparsity = 0.5, so keep = 2
    %tau, %cut, %pruned = pst.topk_threshold @movement(%w, %s), %sparsity
        : (tensor<2x2xf32>, tensor<2x2xf32>)
    // %tau = 2.0, %cut = 3      (4.0 stays; of the two 2.0, the one at index 2)
    // %pruned = 2
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors, Variadic<F64>:$sparsities,
                       Variadic<PST_ScalarF32>:$previous);
  let results = (outs Variadic<PST_ScalarF32>:$thresholds,
                      Variadic<PST_ScalarI64>:$cuts,
                      Variadic<PST_ScalarI64>:$pruned);
  let assemblyFormat = [{
    $criterion `(` $factors `)` `,` $sparsities (`previous` `(` $previous^ `)`)?
    attr-dict `:` `(` type($factors) `)`
  }];
}

def PST_MaskedMatmulOp : PST_WeightOp<"masked_matmul", [Pure,
    DeclareOpInterfaceMethods<DifferentiableOpInterface>,
    DeclareOpInterfaceMethods<ActivationOpInterface>,
    PST_Recomputable<"Dear">]> {
  let summary = "Multiplies by a virtual, masked weight";
  let description = [{
    With W' the weights of the criterion and M the mask of the selection and its
    state (all ones without one): `Y = X (M * W')^T + bias`, or with `transposed`
    `Y = X (M * W') + bias`. Its backward is the straight-through estimator of
    `pst.lowrank_accumulate` and the other form of itself.

    Constraints:
    - (C1) The factors have the number, ranks and shapes that the criterion's
      kinds ask for, for an n x m weight.
    - (C2) The input has m columns (n if transposed), the result n (m).
    - (C3) A selection is given only to a criterion that yields a score, and has
      the state that it asks for. That over all of a layer is written
      `threshold(%tau, %cut)`, others `selection<nm 2:4>(%kept : tensor<i64>)`.
    - (C4) The bias has as many elements as the result has columns.
    - (C5) The number of elements pruned needs the selection that prunes them.
    - (C6) A stored weight is the four tensors of a compressed one, of out x in
      for a product of `in` columns by `out`.
    - (C7) The seed, the probability (`0 <= probability < 1`) and the site of a
      dropout come together, and its length, if it has one, with them.
    - (C8) There is something kept, or what an activation was applied to, only
      with an activation, and of the result's type.

    The product with its bias is dropped out as `nn.dropout` does it (with its
    seed, probability, site and length), an addend (of the result's type) is
    added to that, and an activation f (of `nn.activation`) applied to the sum s. With
    `derivative_at(%z)` the result is `s * f'(z)` instead, the gradient of what f
    was applied to (`nn.activation_backward`). A second result is `kept` for what
    comes later: s, or f(z) once more. `-pst-fuse-epilogues` brings them in;
    dropouts, derivatives and second results for GPUs alone.

    The elements of a dense factor may be bf16; they are widened as they are
    read. So may those of the input and of the result. The score is f32 in any
    case: activations of bf16 change no mask. A product of bf16 activations may
    round the masked weight to bf16, and sums in f32.

    A kernel evaluates the criterion while it packs a dense product's blocks,
    or, where the weight was `stored` and there was room for it, takes that: the
    results differ by rounding only. `pruned`, the number of elements that the
    mask prunes, is for `-pst-choose-products`, which stores the weight.

    Example:
    ```mlir
    // w = [[4.0, 1.0], [2.0, -2.0]], u v = 0, mask = [[1, 0], [1, 0]]
    // x = [[1.0, 1.0]]      y = [[4.0, 2.0]]
    %y = pst.masked_matmul %x, @pst(%w, %u, %v, %a, %b, %r, %c)
        threshold(%tau, %cut) bias(%bias)
        : tensor<1x2xf32>, (tensor<2x2xf32>, tensor<2x1xf32>, tensor<1x2xf32>, tensor<2x1xf32>, tensor<1x2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<1x2xf32>
    ```
  }];
  let arguments = (ins PST_Matrix:$input, FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors,
                       OptionalAttr<PST_SelectionAttr>:$selection,
                       Variadic<PST_Tensor>:$state,
                       Optional<PST_ScalarI64>:$pruned,
                       Optional<PST_Vector>:$bias, Optional<I64>:$seed,
                       Optional<PST_Matrix>:$addend,
                       Optional<PST_Matrix>:$preactivation,
                       Variadic<PST_Tensor>:$stored, UnitAttr:$transposed,
                       OptionalAttr<F64Attr>:$probability,
                       OptionalAttr<I64Attr>:$site,
                       OptionalAttr<I64Attr>:$length,
                       OptionalAttr<NN_ActivationKind>:$activation);
  let results = (outs PST_Matrix:$result, Optional<PST_Matrix>:$kept);
  let assemblyFormat = [{
    $input `,` $criterion `(` $factors `)` (`transposed` $transposed^)?
    custom<Mask>($selection, $state, type($state))
    (`pruned` `(` $pruned^ `)`)? (`stored` `(` $stored^ `)`)?
    (`bias` `(` $bias^ `)`)?
    (`dropout` `(` $seed^ `)` `probability` $probability `site` $site)?
    (`length` $length^)? (`addend` `(` $addend^ `)`)? (`activation` $activation^)?
    (`derivative_at` `(` $preactivation^ `)`)? attr-dict `:`
    type($input) `,` `(` type($factors) `)` (`stored` type($stored)^)?
    (`bias` type($bias)^)? (`addend` type($addend)^)?
    (`derivative_at` type($preactivation)^)? `->` type($result)
    (`kept` type($kept)^)?
  }];
  let builders = [
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input,
                   "::llvm::StringRef":$criterion,
                   "::mlir::ValueRange":$factors,
                   "::pst::SelectionAttr":$selection,
                   "::mlir::ValueRange":$state, "::mlir::Value":$pruned,
                   "::mlir::Value":$bias, "bool":$transposed), [{
      build($_builder, $_state, result, /*kept=*/::mlir::Type(), input,
            criterion, factors, selection, state, pruned, bias,
            /*seed=*/::mlir::Value(), /*addend=*/::mlir::Value(),
            /*preactivation=*/::mlir::Value(), /*stored=*/::mlir::ValueRange(),
            transposed, /*probability=*/nullptr, /*site=*/nullptr,
            /*length=*/nullptr, /*activation=*/nullptr);
    }]>
  ];
  let extraClassDeclaration = [{
    ::mlir::RankedTensorType getType() { return getResult().getType(); }
    /// Whether something is done with the product that kernels of CPUs do not.
    bool isForGPUs() { return getSeed() || getPreactivation() || getKept(); }
    int64_t countFlops();
    int64_t countBytes();
    bool canWidenResults() { return true; }
  }];
  let hasVerifier = 1;
}

def PST_LowRankAccumulateOp : PST_WeightOp<"lowrank_accumulate", [PST_AddsToGradients, Pure]> {
  let summary = "Gradients of the factors of a virtual weight";
  let description = [{
    With `G = dY^T X` (n x m, made in blocks, of which a few MiB exist at most),
    the mask M and the criterion's derivatives, the straight-through estimator

        dWeight = G * M        dScore = G * W'

    (dScore times the number that a held mask has for it) is taken back through the criterion to the element of each factor and
    folded by the factor's kind: `dense` keeps it, `lowrank` gives
    `dP = dF Q^T` and `dQ = P^T dF`, `row` and `col` the sums over rows and
    columns. `wrt` lists the positions of the factor tensors whose gradients
    are wanted, one result each, of the tensor's type. Source: Li et al. 2022,
    equations 5 to 8.

    Constraints:
    - (C1) The factors have the number, ranks and shapes that the criterion's
      kinds ask for, for an n x m weight.
    - (C2) `outputGradient` is tokens x n and `input` tokens x m.
    - (C3) A selection, with its state, is given exactly if the criterion yields
      a score.
    - (C4) `wrt` is ascending, within the factors; results have their types.
    - (C5) A factor of bf16, which is only read, has no gradient.

    Example:
    ```mlir
    %du, %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [1, 2]
        : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>)
       -> tensor<4x2xf32>, tensor<2x3xf32>
    ```
  }];
  let arguments = (ins PST_Matrix:$outputGradient, PST_Matrix:$input,
                       FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors,
                       OptionalAttr<PST_SelectionAttr>:$selection,
                       Variadic<PST_Tensor>:$state,
                       DenseI64ArrayAttr:$wrt);
  let results = (outs Variadic<PST_Tensor>:$gradients);
  let assemblyFormat = [{
    $outputGradient `,` $input `,` $criterion `(` $factors `)`
    custom<Mask>($selection, $state, type($state)) `wrt` $wrt attr-dict `:`
    type($outputGradient) `,` type($input) `,` `(` type($factors) `)` `->` type($gradients)
  }];
  let extraClassDeclaration = "int64_t countFlops();";
  let hasVerifier = 1;
}

def PST_MaskedWeightOp : PST_WeightOp<"masked_weight", [Pure]> {
  let summary = "Writes out a virtual weight under its mask";
  let description = [{
    `M * W'`, n x m, with exact zeros where the mask is zero: what a finished
    model is saved as. A result of bf16 is rounded to nearest even.

    Constraints:
    - (C1) The factors have the number, ranks and shapes that the criterion's
      kinds ask for, for an n x m weight, and the result is n x m.
    - (C2) A selection, with its state, is given only to a criterion that yields
      a score.

    Example:
    ```mlir
    %w = pst.masked_weight @movement(%w0, %s) threshold(%tau, %cut)
        : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors,
                       OptionalAttr<PST_SelectionAttr>:$selection,
                       Variadic<PST_Tensor>:$state);
  let results = (outs PST_Matrix:$result);
  let assemblyFormat = [{
    $criterion `(` $factors `)` custom<Mask>($selection, $state, type($state))
    attr-dict `:` `(` type($factors) `)` `->` type($result)
  }];
}

def PST_MaskBitsOp : PST_WeightOp<"mask_bits", [Pure]> {
  let summary = "Writes out the mask of a virtual weight";
  let description = [{
    A bit for each element, set if it stays, as `selection<held>` reads them:
    that of column j is bit j mod 32 of the row's word j / 32. Bits that belong
    to no column are zero. So a mask outlives the values that it was selected
    by.

    Constraints:
    - (C1) The factors have the number, ranks and shapes that the criterion's
      kinds ask for, for an n x m weight, and the result has the words of n x m
      bits.
    - (C2) There is a selection, with its state, and the criterion yields a
      score.

    Example:
    ```mlir
    // mask = [[1, 0, 1], [0, 1, 0]]
    %bits = pst.mask_bits @movement(%w, %s) threshold(%tau, %cut)
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x1xi32>
    // [[5], [2]]
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors,
                       OptionalAttr<PST_SelectionAttr>:$selection,
                       Variadic<PST_Tensor>:$state);
  let results = (outs PST_TensorOfRank<[I32], 2>:$mask);
  let assemblyFormat = [{
    $criterion `(` $factors `)` custom<Mask>($selection, $state, type($state))
    attr-dict `:` `(` type($factors) `)` `->` type($mask)
  }];
}

include "pst/Dialect/PST/PSTStorage.td"

//===----------------------------------------------------------------------===//
// The optimizer
//===----------------------------------------------------------------------===//

def PST_AdamWOp : PST_Op<"adamw", [WorkOpInterface]> {
  let summary = "One optimizer step over all trainable parameters";
  let description = [{
    Over the one buffer that holds all trainable parameters p, with gradient g
    and moments m1, m2 (Loshchilov and Hutter 2019, decoupled weight decay):

        norm = sqrt(sum g^2)          (f64, in an order that is fixed)
        g    = g * min(1, max_grad_norm / (norm + 1e-6))    unless max_grad_norm is 0
        p    = p - lr * weight_decay * p         (the first `decayed` elements)
        m1   = beta1 m1 + (1 - beta1) g
        m2   = beta2 m2 + (1 - beta2) g^2
        p    = p - lr (m1 / bias_correction1) / (sqrt(m2 / bias_correction2) + epsilon)
        g    = 0

    and returns the norm before clipping. `size` counts elements, padding
    included (its gradient is zero, so it stays zero). `except [b, e, ...] (%r,
    ...)` gives elements b, ..., e - 1 the rate r in the place of lr, and so on.

    Constraints:
    - (C1) `0 <= decayed <= size <= 2^40`.
    - (C2) Every other rate has a range, which begins and ends within the
      elements; ranges ascend, do not overlap and are not empty.

    Example:
    ```mlir
    %norm = pst.adamw size 1024 decayed 512 (%lr, %beta1, %beta2, %eps, %decay, %c1, %c2, %max_norm)
    ```
  }];
  let arguments = (ins I64Attr:$size, I64Attr:$decayed, F32:$learning_rate,
                       F32:$beta1, F32:$beta2, F32:$epsilon, F32:$weight_decay,
                       F32:$bias_correction1, F32:$bias_correction2,
                       F32:$max_grad_norm, Variadic<F32>:$other_rates,
                       OptionalAttr<DenseI64ArrayAttr>:$ranges);
  let results = (outs PST_ScalarF32:$grad_norm);
  let assemblyFormat = [{
    `size` $size `decayed` $decayed
    `(` $learning_rate `,` $beta1 `,` $beta2 `,` $epsilon `,` $weight_decay `,`
    $bias_correction1 `,` $bias_correction2 `,` $max_grad_norm `)`
    (`except` $ranges `(` $other_rates^ `)`)? attr-dict
  }];
  let extraClassDeclaration = "int64_t countBytes();";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

def PST_SpaceOp : PST_Op<"space", [MemoryEffects<[MemRead]>]> {
  let summary = "A whole buffer of the program";
  let description = [{
    One of the buffers "trainable", "gradient", "moment1", "moment2", as it
    stands; what kernels write to it stays. On tensors it is the buffer's
    value, after bufferization the buffer.

    Constraints:
    - (C1) The space is one of those four.

    Example:
    ```mlir
    %p = pst.space "trainable" : tensor<1024xf32>
    ```
  }];
  let arguments = (ins StrAttr:$space);
  let results = (outs AnyTypeOf<[PST_Vector, MemRefRankOf<[F32], [1]>]>:$result);
  let assemblyFormat = "$space attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def PST_BufferOp : PST_Op<"buffer",
    [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The buffer of a parameter";
  let description = [{
    What `pst.load` becomes when tensors become buffers; `-pst-plan-memory`
    replaces it by a place in its role's space, or by the mapped file.

    Constraints:
    - (C1) The symbol names a `pst.parameter` of the result's shape and type.
    - (C2) Only a trainable parameter has a gradient.

    Example:
    ```mlir
    %w = pst.buffer @weight : memref<4x3xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$parameter,
                       DefaultValuedAttr<PST_Part, "::pst::Part::Value">:$part);
  let results = (outs AnyStaticShapeMemRef:$result);
  let assemblyFormat = "$parameter ($part^)? attr-dict `:` type($result)";
}

def PST_LaunchOp : PST_Op<"launch",
    [AttrSizedOperandSegments, DestinationStyleOpInterface,
     DeclareOpInterfaceMethods<SymbolUserOpInterface>,
     DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Calls a kernel";
  let description = [{
    Calls the function `kernel`, which takes the inputs and then the outputs as
    buffers (scalars by value). On tensors, each output has a result: the
    destination after the call. The last `workspace` outputs are scratch whose
    contents nobody reads.

    Constraints:
    - (C1) The kernel is a function of the operands' element types and shapes,
      as buffers, without results.
    - (C2) `workspace` is between 0 and the number of outputs.

    Example:
    ```mlir
    %y = pst.launch @gelu_16x64 ins(%x : tensor<16x64xf32>) outs(%e : tensor<16x64xf32>) -> tensor<16x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel,
                       Variadic<AnyType>:$inputs, Variadic<AnyType>:$outputs,
                       DefaultValuedAttr<I64Attr, "0">:$workspace);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    $kernel (`ins` `(` $inputs^ `:` type($inputs) `)`)?
    (`outs` `(` $outputs^ `:` type($outputs) `)`)? attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return getOutputsMutable();
    }
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_PST_PSTOPS_TD
