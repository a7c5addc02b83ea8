//===- PSTOps.cpp - Verifiers of the pst dialect --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/PST/PSTOps.h"
#include "Selection.h"
#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "pst/Dialect/NN/NNOps.h"

#include <cmath>

using namespace mlir;
using namespace pst;

#define GET_OP_CLASSES
#include "pst/Dialect/PST/PSTOps.cpp.inc"

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

LogicalResult ParameterOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (getRole() == ParameterRole::Trainable &&
      !type.getElementType().isF32()) // (C1)
    return emitOpError("is trainable, so its elements must be f32, but got ")
           << type;
  if (getInitializer().getKind() == InitializerKind::File && // (C2)
      getInitializer().getSource().empty())
    return emitOpError("is initialised from a file, but names no tensor");
  double value = getInitializer().getValue().convertToDouble();
  if (getInitializer().getKind() == InitializerKind::Normal && // (C3)
      !(value >= 0.0 && std::isfinite(value)))
    return emitOpError("must have a standard deviation from 0, but got ")
           << value;
  InitializerAttr init = getInitializer();
  if (init.isPart() && // (C4)
      (type.getRank() == 0 || init.getColumn() < 0 ||
       init.getSourceColumns() < type.getShape().back() ||
       init.getColumn() > init.getSourceColumns() - type.getShape().back()))
    return emitOpError("takes columns from ")
           << init.getColumn() << " of a tensor of " << init.getSourceColumns()
           << ", but they must hold those of " << type;
  return success();
}

/// Finds the parameter that `op` names and checks its type.
static FailureOr<ParameterOp> verifyParameterUse(Operation *op,
                                                 FlatSymbolRefAttr name,
                                                 ShapedType type,
                                                 SymbolTableCollection &table) {
  auto parameter = table.lookupNearestSymbolFrom<ParameterOp>(op, name);
  if (!parameter)
    return op->emitOpError("names ") << name << ", which is no 'pst.parameter'";
  auto declared = cast<RankedTensorType>(parameter.getType());
  if (declared.getShape() != type.getShape() ||
      declared.getElementType() != type.getElementType()) {
    InFlightDiagnostic error = op->emitOpError("has type ")
                               << type << ", but the parameter " << name
                               << " is " << declared;
    error.attachNote(parameter.getLoc()) << "declared here";
    return error;
  }
  return parameter;
}

static LogicalResult verifyRole(Operation *op, ParameterOp parameter,
                                ArrayRef<ParameterRole> roles) {
  if (llvm::is_contained(roles, parameter.getRole()))
    return success();
  InFlightDiagnostic error = op->emitOpError("needs a parameter of role ");
  llvm::interleave(
      roles,
      [&](ParameterRole role) {
        error << "'" << stringifyParameterRole(role) << "'";
      },
      [&] { error << " or "; });
  error << ", but " << FlatSymbolRefAttr::get(parameter) << " is '"
        << stringifyParameterRole(parameter.getRole()) << "'";
  error.attachNote(parameter.getLoc()) << "declared here";
  return error;
}

/// The roles of parameters that functions overwrite.
static constexpr ParameterRole kOverwritten[] = {ParameterRole::State,
                                                 ParameterRole::Cache};

void LoadOp::build(OpBuilder &builder, OperationState &state,
                   ParameterOp parameter, Part part) {
  build(builder, state, parameter.getType(), parameter.getSymName(), part,
        /*update=*/false);
}

LogicalResult LoadOp::verifySymbolUses(SymbolTableCollection &table) {
  FailureOr<ParameterOp> parameter = verifyParameterUse(
      *this, getParameterAttr(), getResult().getType(), table);
  if (failed(parameter))
    return failure();
  if (getPart() == Part::Gradient) {
    if (getUpdate()) // (C3)
      return emitOpError("is for update, which a gradient is without saying");
    return verifyRole(*this, *parameter, ParameterRole::Trainable);
  }
  return getUpdate() ? verifyRole(*this, *parameter, kOverwritten) : success();
}

void LoadOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  effects.emplace_back(MemoryEffects::Read::get(), getParameterAttr());
}

LogicalResult StoreOp::verifySymbolUses(SymbolTableCollection &table) {
  FailureOr<ParameterOp> parameter = verifyParameterUse(
      *this, getParameterAttr(), cast<ShapedType>(getValue().getType()), table);
  return failed(parameter) ? failure()
                           : verifyRole(*this, *parameter, kOverwritten);
}

void StoreOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  effects.emplace_back(MemoryEffects::Write::get(), getParameterAttr());
}

LogicalResult AccumulateOp::verifySymbolUses(SymbolTableCollection &table) {
  FailureOr<ParameterOp> parameter = verifyParameterUse(
      *this, getParameterAttr(), cast<ShapedType>(getValue().getType()), table);
  return failed(parameter)
             ? failure()
             : verifyRole(*this, *parameter, ParameterRole::Trainable);
}

LogicalResult AccumulateOp::verify() {
  Operation *producer = getValue().getDefiningOp();
  if (getFused() &&
      (!producer || !getValue().hasOneUse() ||
       !producer->hasTrait<pst::answers::AddsToGradients>())) // (C3)
    return emitOpError("is fused, but its value is not the result of an op "
                       "that adds to gradients, or is used elsewhere");
  return success();
}

void AccumulateOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  effects.emplace_back(MemoryEffects::Read::get(), getParameterAttr());
  effects.emplace_back(MemoryEffects::Write::get(), getParameterAttr());
}

LogicalResult BufferOp::verifySymbolUses(SymbolTableCollection &table) {
  FailureOr<ParameterOp> parameter = verifyParameterUse(
      *this, getParameterAttr(), getResult().getType(), table); // (C1)
  if (failed(parameter))
    return failure();
  return getPart() == Part::Gradient // (C2)
             ? verifyRole(*this, *parameter, ParameterRole::Trainable)
             : success();
}

//===----------------------------------------------------------------------===//
// Operations on virtual weights
//===----------------------------------------------------------------------===//

FailureOr<CriterionOp>
pst::verifyCriterionUse(Operation *op, FlatSymbolRefAttr name,
                        ValueRange factors, SymbolTableCollection &table,
                        int64_t &rows, int64_t &columns) {
  auto criterion = table.lookupNearestSymbolFrom<CriterionOp>(op, name);
  if (!criterion)
    return op->emitOpError("names ") << name << ", which is no 'pst.criterion'";
  if (failed(verifyFactors(op, criterion, factors.getTypes(), rows, columns)))
    return failure();
  return criterion;
}

static LogicalResult verifyShape(Operation *op, StringRef what, Value value,
                                 ArrayRef<int64_t> shape) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getShape() == shape)
    return success();
  auto expected = RankedTensorType::get(shape, type.getElementType());
  return op->emitOpError("must have ")
         << what << " of type " << expected << ", but got " << type;
}

LogicalResult TopKThresholdOp::inferReturnTypes(
    MLIRContext *context, std::optional<Location>, ValueRange operands,
    DictionaryAttr attributes, OpaqueProperties properties, RegionRange regions,
    SmallVectorImpl<Type> &types) {
  Adaptor op(operands, attributes, properties, regions);
  size_t layers = op.getSparsities().size();
  auto scalar = [](Type type) { return RankedTensorType::get({}, type); };
  types.append(layers, scalar(Float32Type::get(context)));
  types.append(2 * layers, scalar(IntegerType::get(context, 64)));
  return success();
}

LogicalResult TopKThresholdOp::verifySymbolUses(SymbolTableCollection &table) {
  size_t layers = getSparsities().size();
  if (!getPrevious().empty() && getPrevious().size() != layers)
    return emitOpError("must have a previous threshold for each of its ")
           << layers << " layers, but got " << getPrevious().size(); // (C3)
  return verifyLayers(*this, layers, "sparsities", table); // (C1), (C2)
}

LogicalResult MaskedMatmulOp::verify() {
  if (failed(verifyPruned(*this))) // (C5)
    return failure();
  if (!getStored().empty() && // (C6)
      failed(verifyStored(*this, Storage::Compressed, getStored().getTypes(),
                          getType().getDimSize(1),
                          getInput().getType().getDimSize(1))))
    return failure();
  if (getStored().size() > 4) // (C6)
    return emitOpError("takes the four tensors of a stored weight whose values "
                       "are as they are, but got values of ")
           << getStored().front().getType();
  if (getProbability().has_value() != static_cast<bool>(getSeed()) ||
      getSite().has_value() != static_cast<bool>(getSeed())) // (C7)
    return emitOpError("must have a seed, a probability and a site of its "
                       "dropout, or none of them");
  if (getProbability() && !(getProbability()->convertToDouble() >= 0 &&
                            getProbability()->convertToDouble() < 1)) // (C7)
    return emitOpError("must drop with a probability from 0 to below 1, but "
                       "got ")
           << getProbability()->convertToDouble();
  if (getLength() && !getSeed()) // (C7)
    return emitOpError("must have a length with a dropout alone");
  if (getSeed() && failed(nn::verifyDroppedRows(*this, getType(), getLength())))
    return failure();                                        // (C7)
  if ((getKept() || getPreactivation()) && !getActivation()) // (C8)
    return emitOpError("keeps something for an activation, or has what one "
                       "was applied to, but no activation");
  for (auto [what, value] :
       {std::pair<StringRef, Value>("what is kept", getKept()),
        {"what an activation was applied to", getPreactivation()}})
    if (value && value.getType() != getType()) // (C8)
      return emitOpError("must have ")
             << what << " of the result's type " << getType() << ", but got "
             << value.getType();
  return verifyAddend(*this);
}

LogicalResult MaskedMatmulOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C1)
  if (failed(criterion) ||
      failed(verifyMask(*this, *criterion, getSelectionAttr(),
                        getState().getTypes(), rows, columns,
                        /*required=*/false))) // (C3)
    return failure();
  int64_t tokens = getInput().getType().getDimSize(0);
  int64_t in = getTransposed() ? rows : columns;
  int64_t out = getTransposed() ? columns : rows;
  if (failed(verifyShape(*this, "an input", getInput(), {tokens, in})) ||
      failed(verifyShape(*this, "a result", getResult(), {tokens, out})))
    return failure();                                                // (C2)
  if (getInput().getType().getEncoding() != getType().getEncoding()) // (C2)
    return emitOpError("must have both input and result packed alike, but "
                       "makes ")
           << getType() << " of " << getInput().getType();
  return getBias() ? verifyShape(*this, "a bias", getBias(), {out}) // (C4)
                   : success();
}

LogicalResult LowRankAccumulateOp::verify() {
  ArrayRef<int64_t> wrt = getWrt();
  if (wrt.size() != getNumResults()) // (C4)
    return emitOpError("asks for ") << wrt.size() << " gradients, but has "
                                    << getNumResults() << " results";
  for (auto [i, tensor] : llvm::enumerate(wrt)) {
    if (tensor < 0 || tensor >= static_cast<int64_t>(getFactors().size()) ||
        (i && tensor <= wrt[i - 1]))
      return emitOpError("'wrt' must ascend within the ")
             << getFactors().size() << " factor tensors";
    auto type = cast<RankedTensorType>(getFactors()[tensor].getType());
    if (!type.getElementType().isF32()) // (C5)
      return emitOpError("has no gradient of factor tensor #")
             << tensor << ", which is only read, as " << type;
    if (getGradients()[i].getType() != getFactors()[tensor].getType())
      return emitOpError("result #")
             << i << " must have type " << getFactors()[tensor].getType()
             << ", as factor tensor #" << tensor << " has, but got "
             << getGradients()[i].getType();
  }
  return success();
}

LogicalResult
LowRankAccumulateOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C1)
  if (failed(criterion) ||
      failed(verifyMask(*this, *criterion, getSelectionAttr(),
                        getState().getTypes(), rows, columns,
                        /*required=*/true))) // (C3)
    return failure();
  int64_t tokens = getInput().getType().getDimSize(0);
  if (failed(verifyShape(*this, "an output gradient", getOutputGradient(),
                         {tokens, rows})))
    return failure();
  return verifyShape(*this, "an input", getInput(), {tokens, columns}); // (C2)
}

LogicalResult MaskedWeightOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C1)
  if (failed(criterion) ||
      failed(verifyMask(*this, *criterion, getSelectionAttr(),
                        getState().getTypes(), rows, columns,
                        /*required=*/false))) // (C2)
    return failure();
  return verifyShape(*this, "a result", getResult(), {rows, columns}); // (C1)
}

LogicalResult MaskBitsOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C1)
  if (failed(criterion) || failed(verifyHasScore(*this, *criterion)) ||
      failed(verifyMask(*this, *criterion, getSelectionAttr(),
                        getState().getTypes(), rows, columns,
                        /*required=*/true))) // (C2)
    return failure();
  RankedTensorType expected =
      SelectionAttr::get(getContext(), SelectionKind::Held)
          .getMaskType(getWeightType(*criterion, getFactors()));
  if (getType() != expected) // (C1)
    return emitOpError("must have a mask of type ")
           << expected << ", but got " << getType();
  return success();
}

//===----------------------------------------------------------------------===//
// AdamWOp, SpaceOp, LaunchOp
//===----------------------------------------------------------------------===//

/// As of tensors (hasSizes).
static constexpr int64_t kMostElements = int64_t(1) << 40;

LogicalResult AdamWOp::verify() {
  int64_t size = getSize(), decayed = getDecayed();
  if (size < 0 || size > kMostElements) // (C1)
    return emitOpError("must update between 0 and 2^40 elements, but got ")
           << size;
  if (decayed < 0 || decayed > size) // (C1)
    return emitOpError("must decay between 0 and ")
           << size << " elements, but got " << decayed;
  ArrayRef<int64_t> ranges = getRanges().value_or(ArrayRef<int64_t>());
  if (ranges.size() != 2 * getOtherRates().size()) // (C2)
    return emitOpError("must have a begin and an end for each of its ")
           << getOtherRates().size() << " other rates, but got "
           << ranges.size() << " numbers";
  int64_t last = 0;
  for (size_t i = 0; i < ranges.size(); i += 2) {
    if (ranges[i] < last || ranges[i + 1] <= ranges[i] ||
        ranges[i + 1] > size) // (C2)
      return emitOpError("must have ascending ranges of its ")
             << size << " elements, but got [" << ranges[i] << ", "
             << ranges[i + 1] << ")";
    last = ranges[i + 1];
  }
  return success();
}

LogicalResult SpaceOp::verify() {
  if (llvm::is_contained({"trainable", "gradient", "moment1", "moment2"},
                         getSpace())) // (C1)
    return success();
  return emitOpError("must name the space \"trainable\", \"gradient\", "
                     "\"moment1\" or \"moment2\", but got ")
         << getSpaceAttr();
}

LogicalResult LaunchOp::verify() {
  int64_t workspace = getWorkspace(), outputs = getOutputs().size();
  if (workspace < 0 || workspace > outputs) // (C2)
    return emitOpError("must have between 0 and ")
           << outputs << " outputs for workspace, but got " << workspace;
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &table) {
  auto kernel = table.lookupNearestSymbolFrom<FunctionOpInterface>(
      *this, getKernelAttr());
  if (!kernel)
    return emitOpError("names ") << getKernelAttr() << ", which is no function";
  auto complain = [&](const Twine &what) {
    InFlightDiagnostic error = emitOpError("calls ") << getKernelAttr() << what;
    error.attachNote(kernel.getLoc()) << "kernel defined here";
    return error;
  };
  if (kernel.getNumResults() != 0) // (C1)
    return complain(", which returns a value instead of writing to buffers");
  if (kernel.getNumArguments() != getNumOperands())
    return complain(" with " + Twine(getNumOperands()) +
                    " operands, but it takes " +
                    Twine(kernel.getNumArguments()));
  for (auto [i, pair] : llvm::enumerate(
           llvm::zip(getOperandTypes(), kernel.getArgumentTypes()))) {
    auto given = dyn_cast<ShapedType>(std::get<0>(pair));
    auto taken = dyn_cast<ShapedType>(std::get<1>(pair));
    bool same = given && taken
                    ? given.getShape() == taken.getShape() &&
                          given.getElementType() == taken.getElementType()
                    : std::get<0>(pair) == std::get<1>(pair);
    if (!same) {
      InFlightDiagnostic error = emitOpError("operand #")
                                 << i << " is " << std::get<0>(pair) << ", but "
                                 << getKernelAttr() << " takes "
                                 << std::get<1>(pair);
      error.attachNote(kernel.getLoc()) << "kernel defined here";
      return error;
    }
  }
  return success();
}

void LaunchOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  // Also on tensors: the destination may be a parameter's buffer, so a launch
  // is never dead.
  for (OpOperand &operand : getInputsMutable())
    if (isa<BaseMemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Read::get(), &operand,
                           SideEffects::DefaultResource::get());
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}
