//===- PSTCriterionOps.td - The formula of a virtual weight --*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTCRITERIONOPS_TD
#define PST_DIALECT_PST_PSTCRITERIONOPS_TD

include "pst/Dialect/Interfaces/OpInterfaces.td"
include "pst/Dialect/PST/PSTAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def PST_CriterionOp : PST_Op<"criterion",
    [Symbol, IsolatedFromAbove, SingleBlock]> {
  let summary = "The formula of one element of a virtual weight";
  let description = [{
    A region of scalar arithmetic (`arith` and `math` on f32) that takes one
    element of each factor and yields the weight of that element and, where the
    method selects, its importance score. The kinds of the arguments say how
    the factors are stored:

    | kind | tensors | element (i, j) |
    |---|---|---|
    | `dense` | F: n x m | `F[i,j]` |
    | `lowrank` | P: n x r, Q: r x m | `sum_k P[i,k] Q[k,j]` |
    | `row` | F: n | `F[i]` |
    | `col` | F: m | `F[j]` |

    Every kernel evaluates the region with the same order of operations, so
    that scores agree bit for bit (the rank sum by fused multiply-adds in
    ascending k from zero, `exp` and `log` by polynomials). Derivatives are
    taken from the region in reverse mode; `pst.detach` stops them. Where there
    is none: `abs` has 0 at 0, `sqrt` has 0 at 0, and of equal operands of
    `maximumf` and `minimumf` each has half. A selection passes the gradient to
    the operand that it took, and none to its condition. `log` of 0 or less, as
    `sqrt` of less than 0, is NaN, and a NaN among the scores stops the run with
    the name of the layer. `exp` has no denormal results: they are 0.

    A criterion that says how its factors come to be is a *recipe*: a method
    that `-pst-sparsify` can give to layers. The first factor is the layer's
    weight; each other one names its tensors, with their first values, and a
    `lowrank` one its rank. `trains_model` says that the model's own parameters
    are trained too, not the factors alone. Ops that read a criterion have
    tensors of their own, and do not look at declarations.

    Constraints:
    - (C1) The body holds only ops that the emitter and its derivative know:
      `arith.constant`, `arith.addf`, `arith.subf`, `arith.mulf`, `arith.divf`,
      `arith.negf`, `arith.maximumf`, `arith.minimumf`, `math.absf`,
      `math.sqrt`, `math.exp`, `math.log`, `pst.hyperparameter`, `pst.detach`
      on f32; `arith.cmpf`, with `arith.andi`, `arith.ori` and `arith.xori` of
      what it gives, and `arith.select`; and `pst.yield` at its end.
    - (C2) At least one factor is `dense`.
    - (C3) No op has fast-math flags, which would let scores differ.
    - (C4) If one factor after the first is declared, all are, and the first
      is `dense` and declares nothing.
    - (C5) A declared factor has as many tensors as its kind asks for, of
      different names; a `lowrank` one, and no other, has a rank, from 0 to
      65536.
    - (C6) A declared tensor is `trainable` or, from a file, `frozen`; a file
      is named, and `*` stands for the weight's name in that of the tensor.

    Example:
    ```mlir
    pst.criterion @movement(%w: dense, %s: dense) {
      pst.yield weight %w score %s
    }
    pst.criterion @lora(%w: dense,
                        %uv: lowrank<weight_rank = 8>(U init<normal 1.0>, V init<zeros>)) {
      %v = arith.addf %w, %uv : f32
      pst.yield weight %v
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DenseI32ArrayAttr:$kinds,
                       OptionalAttr<PST_FactorArrayAttr>:$factors,
                       UnitAttr:$trains_model);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// More than any layer has use for, and sizes stay within what a compilation
    /// can hold.
    static constexpr int64_t kHighestRank = 65536;

    /// The kind of factor `i`.
    FactorKind getKind(unsigned i) {
      return static_cast<FactorKind>(getKinds()[i]);
    }
    unsigned getNumFactors() { return getKinds().size(); }
    /// Tensors that hold all factors (a lowrank factor has two).
    unsigned getNumTensors();
    /// Position, among those tensors, of the first one of factor `i`.
    unsigned getFirstTensor(unsigned i);
    /// How factor `i` is declared; null if it is not.
    FactorAttr getDeclaration(unsigned i);
    /// Whether it says how a layer's factors come to be.
    bool isRecipe();
    bool hasScore();
    /// Whether factor `i` has a part in the weight; else only in the score.
    bool isInWeight(unsigned i);
    YieldOp getYield();
  }];
}

def PST_HyperparameterOp : PST_Op<"hyperparameter",
    [Pure, ConstantLike, AllTypesMatch<["value", "result"]>,
     ParentOneOf<["CriterionOp"]>]> {
  let summary = "A number, or a choice, that a run may set";
  let description = [{
    A constant of a criterion that has a name, and a value where a run sets
    none. With a value of 0, `-pst-sparsify` leaves out what it multiplies, and
    the factors that are read nowhere else: an ablation.

    Constraints:
    - (C1) The value is an f32, or an i1, which is the condition of an
      `arith.select`.

    Example:
    ```mlir
    %beta = pst.hyperparameter "weight_beta" = 1.0 : f32
    %change = arith.mulf %uv, %beta : f32
    ```
  }];
  let arguments = (ins StrAttr:$name, TypedAttrInterface:$value);
  let results = (outs AnyTypeOf<[F32, I1]>:$result);
  let assemblyFormat = "$name `=` $value attr-dict";
  let hasFolder = 1;
}

def PST_YieldOp : PST_Op<"yield", [Pure, Terminator,
    ParentOneOf<["CriterionOp"]>]> {
  let summary = "Weight and score of an element";
  let description = [{
    Ends a criterion.

    Example:
    ```mlir
    pst.yield weight %v score %s
    ```
  }];
  let arguments = (ins F32:$weight, Optional<F32>:$score);
  let assemblyFormat = "`weight` $weight (`score` $score^)? attr-dict";
}

def PST_DetachOp : PST_Op<"detach", [Pure, SameOperandsAndResultType]> {
  let summary = "The operand, without its derivative";
  let description = [{
    Inside a criterion: passes the value on and stops the gradient.

    Example:
    ```mlir
    %d = pst.detach %w : f32
    ```
  }];
  let arguments = (ins F32:$operand);
  let results = (outs F32:$result);
  let assemblyFormat = "$operand attr-dict `:` type($result)";
}

#endif // PST_DIALECT_PST_PSTCRITERIONOPS_TD
