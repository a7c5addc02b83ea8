//===- OpInterfaces.h - What passes ask of an op ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What an op says of itself, so that no pass keeps a list of ops. Belongs to
// neither dialect; both stand on it.

#ifndef PST_DIALECT_INTERFACES_OPINTERFACES_H
#define PST_DIALECT_INTERFACES_OPINTERFACES_H

#include "mlir/IR/OpDefinition.h"
#include "llvm/ADT/BitVector.h"

#include <utility>

namespace pst {

/// What computing an op again costs.
enum class RecomputePrice {
  Cheap, // little beside the products around it
  Dear,  // a product or several, or what is only ever computed of one
};

/// Whether every size lies between 1 and 2^31 - 1, and there are at most 2^40
/// elements.
bool hasSizes(mlir::ShapedType type);

/// Bytes of all tensors that `op` reads and makes, each once.
int64_t bytesOfTensors(mlir::Operation *op);

} // namespace pst

#include "pst/Dialect/Interfaces/OpInterfaces.h.inc"

namespace pst::answers {

/// Kernels of the op can add its results to what is there.
template <typename ConcreteOp>
class AddsToGradients
    : public mlir::OpTrait::TraitBase<ConcreteOp, AddsToGradients> {};

/// Row i of the result is made of rows i of the operands that are activations.
template <typename ConcreteOp>
class Rowwise : public mlir::OpTrait::TraitBase<ConcreteOp, Rowwise> {};

/// The operands and results of these numbers are activations.
template <typename Operands, typename Results> struct ActivationsAt;
template <size_t... operands, size_t... results>
struct ActivationsAt<std::index_sequence<operands...>,
                     std::index_sequence<results...>> {
  template <typename ConcreteOp>
  class Impl
      : public mlir::OpTrait::TraitBase<
            ConcreteOp,
            ActivationsAt<std::index_sequence<operands...>,
                          std::index_sequence<results...>>::template Impl> {
  public:
    llvm::SmallVector<mlir::OpOperand *> getActivationOperands() {
      return {&this->getOperation()->getOpOperand(operands)...};
    }
    llvm::SmallVector<mlir::OpResult> getActivationResults() {
      return {this->getOperation()->getOpResult(results)...};
    }
  };
};

/// The operands of these numbers may be weights of bf16.
template <unsigned... operands> struct WidensAt {
  template <typename ConcreteOp>
  class Impl
      : public mlir::OpTrait::TraitBase<ConcreteOp,
                                        WidensAt<operands...>::template Impl> {
  public:
    bool widensOperand(unsigned number) {
      return ((number == operands) || ...);
    }
  };
};

/// The operand of this number may be a weight of i8, with the op's `scales`.
template <unsigned operand> struct ScalesAt {
  template <typename ConcreteOp>
  class Impl
      : public mlir::OpTrait::TraitBase<ConcreteOp,
                                        ScalesAt<operand>::template Impl> {
  public:
    bool scalesOperand(unsigned number) { return number == operand; }
    void setScales(mlir::Value scales) {
      llvm::cast<ConcreteOp>(this->getOperation())
          .getScalesMutable()
          .assign(scales);
    }
  };
};

/// Computing the op again costs this much.
template <RecomputePrice price> struct RecomputableAt {
  template <typename ConcreteOp>
  class Impl
      : public mlir::OpTrait::TraitBase<ConcreteOp,
                                        RecomputableAt<price>::template Impl> {
  public:
    RecomputePrice getRecomputePrice() { return price; }
  };
};

} // namespace pst::answers

#endif // PST_DIALECT_INTERFACES_OPINTERFACES_H
