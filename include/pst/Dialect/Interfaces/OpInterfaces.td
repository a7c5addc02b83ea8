//===- OpInterfaces.td - What passes ask of an op ----------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_INTERFACES_OPINTERFACES_TD
#define PST_DIALECT_INTERFACES_OPINTERFACES_TD

include "mlir/IR/OpBase.td"

/// A trait of ours with parameters (OpInterfaces.h), which answers an interface
/// by what is said where the op is declared.
class PST_AnswerTrait<string name, string parameters>
    : ParamNativeOpTrait<name, parameters> {
  let cppNamespace = "::pst::answers";
}

//===----------------------------------------------------------------------===//
// Derivatives
//===----------------------------------------------------------------------===//

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op that can build its own backward. `-pst-autodiff` walks the forward
    function in reverse and asks each op for the gradients of its operands.
  }];
  let methods = [
    InterfaceMethod<[{
        Builds the ops that compute the gradients of this op's operands.

        `resultGradients` has one value for each result, of the result's type,
        or null where the loss does not depend on that result: its gradient is
        zero. At least one is not null.
        `needed[i]` says whether the gradient of operand i is wanted; its
        gradient (of the operand's type) is put into `operandGradients[i]`,
        which the caller has filled with null values. An operand that is not of
        floats (indices, labels) is never `needed`.
      }],
      "void", "buildBackward",
      (ins "::mlir::OpBuilder &":$builder,
           "::mlir::ValueRange":$resultGradients,
           "const ::llvm::BitVector &":$needed,
           "::llvm::SmallVectorImpl<::mlir::Value> &":$operandGradients)>
  ];
}

def StochasticOpInterface : OpInterface<"StochasticOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op whose result depends on a seed while a model is trained, and does not
    when it is evaluated. `-pst-autodiff` takes the seeds out of `@forward`.
  }];
  let methods = [
    InterfaceMethod<[{
        Makes the op what evaluation computes: without its seed, or replaced by
        something else and erased.
      }],
      "void", "makeDeterministic", (ins)>
  ];
}

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

def ActivationOpInterface : OpInterface<"ActivationOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op of a model's forward that says which of its operands and results are
    activations, which may be f32 or bf16. What else it reads and makes
    (parameters, thresholds, logits, losses) keeps its type.
    `-pst-mixed-precision` asks every op that has to do with floats, and refuses
    one that does not say.
  }];
  let methods = [
    InterfaceMethod<"The operands that are activations.",
      "::llvm::SmallVector<::mlir::OpOperand *>", "getActivationOperands",
      (ins)>,
    InterfaceMethod<"The results that are activations.",
      "::llvm::SmallVector<::mlir::OpResult>", "getActivationResults", (ins)>,
    InterfaceMethod<[{
        Whether the op can make results of f32 from activations of bf16, as
        products can, which sum in f32. Results that nothing reads as
        activations (logits) then stay as they were summed.
      }],
      "bool", "canWidenResults", (ins), /*methodBody=*/"",
      /*defaultImplementation=*/"return false;">
  ];
}

/// Says by number which operands and results are activations.
class PST_Activations<list<int> operands, list<int> results = [0]>
    : TraitList<[
        ActivationOpInterface,
        PST_AnswerTrait<"ActivationsAt",
            "std::index_sequence<" # !interleave(operands, ", ") # ">, " #
            "std::index_sequence<" # !interleave(results, ", ") # ">">]>;

/// An op of which row i of the result is made of rows i of the operands that are
/// activations, and of no other row: `-pst-select-early` asks.
def PST_Rowwise : NativeOpTrait<"Rowwise"> {
  let cppNamespace = "::pst::answers";
}

//===----------------------------------------------------------------------===//
// Gradients
//===----------------------------------------------------------------------===//

/// An op whose kernel, on every target, can add its results to what is there:
/// `-pst-fuse-accumulations` asks.
def PST_AddsToGradients : NativeOpTrait<"AddsToGradients"> {
  let cppNamespace = "::pst::answers";
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

def WideningOpInterface : OpInterface<"WideningOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op that reads weights of bf16 as well as of f32. `-pst-narrow-frozen`
    asks each reader of a frozen matrix, and leaves it f32 where one does not
    say so.
  }];
  let methods = [
    InterfaceMethod<[{
        Whether operand `number` may be a matrix of bf16, whose elements are
        widened as they are read.
      }],
      "bool", "widensOperand", (ins "unsigned":$number)>
  ];
}

def ScalingOpInterface : OpInterface<"ScalingOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op that reads a weight of i8 whose rows have scales, as well as one of
    f32 without. `-pst-store-weights` asks.
  }];
  let methods = [
    InterfaceMethod<"Whether operand `number` may be a weight of i8.",
      "bool", "scalesOperand", (ins "unsigned":$number)>,
    InterfaceMethod<"Gives the op the scales of the rows of that weight.",
      "void", "setScales", (ins "::mlir::Value":$scales)>
  ];
}

/// Says by number which operand may be a weight of i8; the op's operand
/// `scales` is those of its rows.
class PST_Scales<int operand>
    : TraitList<[
        ScalingOpInterface,
        PST_AnswerTrait<"ScalesAt", !cast<string>(operand)>]>;

/// Says by number which operands may be weights of bf16.
class PST_Widens<list<int> operands>
    : TraitList<[
        WideningOpInterface,
        PST_AnswerTrait<"WidensAt", !interleave(operands, ", ")>]>;

//===----------------------------------------------------------------------===//
// Work
//===----------------------------------------------------------------------===//

def WorkOpInterface : OpInterface<"WorkOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op that says the least that it has to do, whatever its kernels do. The
    price of recomputing in the plan, and what `pst-run bench` holds the time
    against, are sums of this (`countWork`, Work.h).
  }];
  let methods = [
    InterfaceMethod<[{
        Floating-point operations of the matrix products in it, two for each
        multiply-add, with weights as dense as they are stored. Other arithmetic
        takes less time than the bytes, and does not count.
      }],
      "int64_t", "countFlops", (ins), /*methodBody=*/"",
      /*defaultImplementation=*/"return 0;">,
    InterfaceMethod<[{
        Bytes of the tensors read and written, once each; of a table, the rows
        that are read.
      }],
      "int64_t", "countBytes", (ins), /*methodBody=*/"",
      /*defaultImplementation=*/"return ::pst::bytesOfTensors($_op);">
  ];
}

def RecomputableOpInterface : OpInterface<"RecomputableOpInterface"> {
  let cppNamespace = "::pst";
  let description = [{
    An op that may be computed again in the backward, so that its results need
    not be kept until then. `-pst-recompute` asks for the price, and keeps the
    results of an op that does not say.
  }];
  let methods = [
    InterfaceMethod<"What computing it once more costs.",
      "::pst::RecomputePrice", "getRecomputePrice", (ins)>
  ];
}

/// Says what computing the op again costs: "Cheap" or "Dear".
class PST_Recomputable<string price>
    : TraitList<[
        RecomputableOpInterface,
        PST_AnswerTrait<"RecomputableAt", "::pst::RecomputePrice::" # price>]>;

#endif // PST_DIALECT_INTERFACES_OPINTERFACES_TD
