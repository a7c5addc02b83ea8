//===- PSTCriterion.cpp - Criteria, and what they ask of their factors ----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace pst;

unsigned CriterionOp::getFirstTensor(unsigned i) {
  unsigned first = 0;
  for (unsigned f = 0; f < i; ++f)
    first += getKind(f) == FactorKind::LowRank ? 2 : 1;
  return first;
}

unsigned CriterionOp::getNumTensors() {
  return getFirstTensor(getNumFactors());
}

FactorAttr CriterionOp::getDeclaration(unsigned i) {
  return getFactors() ? cast<FactorAttr>((*getFactors())[i]) : FactorAttr();
}

bool CriterionOp::isRecipe() {
  return getKind(0) == FactorKind::Dense &&
         (getNumFactors() == 1 || getFactors());
}

YieldOp CriterionOp::getYield() {
  return cast<YieldOp>(getBody().front().getTerminator());
}

bool CriterionOp::hasScore() {
  return static_cast<bool>(getYield().getScore());
}

static bool dependsOn(Value value, Value factor) {
  if (value == factor)
    return true;
  Operation *op = value.getDefiningOp();
  return op && llvm::any_of(op->getOperands(), [&](Value operand) {
           return dependsOn(operand, factor);
         });
}

bool CriterionOp::isInWeight(unsigned i) {
  return dependsOn(getYield().getWeight(), getBody().getArgument(i));
}

/// pst.criterion @name(%w: dense, %uv: lowrank<8>(U init<...>, V init<...>))
///     trains_model { ... }
ParseResult CriterionOp::parse(OpAsmParser &parser, OperationState &result) {
  StringAttr name;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<int32_t> kinds;
  SmallVector<Attribute> factors;
  bool isDeclared = false;
  Builder &builder = parser.getBuilder();
  auto parseFactor = [&]() -> ParseResult {
    OpAsmParser::Argument &argument = arguments.emplace_back();
    argument.type = builder.getF32Type();
    StringRef word;
    if (parser.parseArgument(argument) || parser.parseColon())
      return failure();
    SMLoc loc = parser.getCurrentLocation();
    if (parser.parseKeyword(&word))
      return failure();
    std::optional<FactorKind> kind = symbolizeFactorKind(word);
    if (!kind)
      return parser.emitError(loc)
             << "expected a kind of factor: 'dense', 'lowrank', 'row' or "
                "'col', but got '"
             << word << "'";
    kinds.push_back(static_cast<int32_t>(*kind));
    int64_t rank = 0;
    std::string rankName;
    SmallVector<FactorTensorAttr> tensors;
    bool hasRank = succeeded(parser.parseOptionalLess());
    if ((hasRank && (FactorAttr::parseRank(parser, rank, rankName) ||
                     parser.parseGreater())) ||
        FactorAttr::parseTensors(parser, tensors))
      return failure();
    if (hasRank && *kind != FactorKind::LowRank) // (C5)
      return parser.emitError(loc)
             << "a rank is for a 'lowrank' factor, not for a '" << word << "'";
    isDeclared |= hasRank || !tensors.empty();
    factors.push_back(
        FactorAttr::get(builder.getContext(), rank, rankName, tensors));
    return success();
  };
  if (parser.parseSymbolName(name, getSymNameAttrName(result.name),
                             result.attributes) ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseFactor))
    return failure();
  result.addAttribute(getKindsAttrName(result.name),
                      builder.getDenseI32ArrayAttr(kinds));
  if (isDeclared)
    result.addAttribute(getFactorsAttrName(result.name),
                        builder.getArrayAttr(factors));
  if (succeeded(parser.parseOptionalKeyword("trains_model")))
    result.addAttribute(getTrainsModelAttrName(result.name),
                        builder.getUnitAttr());
  if (parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  return parser.parseRegion(*result.addRegion(), arguments);
}

void CriterionOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getSymName());
  printer << "(";
  for (auto [i, argument] : llvm::enumerate(getBody().getArguments())) {
    if (i)
      printer << ", ";
    printer.printOperand(argument);
    printer << ": " << stringifyFactorKind(getKind(i));
    FactorAttr factor = getDeclaration(i);
    if (!factor)
      continue;
    if (getKind(i) == FactorKind::LowRank) {
      printer << "<";
      factor.printRank(printer);
      printer << ">";
    }
    factor.printTensors(printer);
  }
  printer << ")";
  if (getTrainsModel())
    printer << " trains_model";
  printer.printOptionalAttrDictWithKeyword(
      (*this)->getAttrs(), {getSymNameAttrName(), getKindsAttrName(),
                            getFactorsAttrName(), getTrainsModelAttrName()});
  printer << " ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

/// Whether the emitter and its derivative know the op.
static bool isArithmetic(Operation &op) {
  return isa<arith::ConstantOp, arith::AddFOp, arith::SubFOp, arith::MulFOp,
             arith::DivFOp, arith::NegFOp, arith::MaximumFOp, arith::MinimumFOp,
             arith::CmpFOp, arith::SelectOp, arith::AndIOp, arith::OrIOp,
             arith::XOrIOp, math::AbsFOp, math::SqrtOp, math::ExpOp,
             math::LogOp, HyperparameterOp, DetachOp, YieldOp>(op);
}

/// Declarations of the factors: C4 to C6.
static LogicalResult verifyDeclarations(CriterionOp criterion) {
  if (!criterion.getFactors())
    return success();
  if (criterion.getFactors()->size() != criterion.getNumFactors())
    return criterion.emitOpError("declares ")
           << criterion.getFactors()->size() << " factors, but has "
           << criterion.getNumFactors();
  if (criterion.getKind(0) != FactorKind::Dense || // (C4)
      !criterion.getDeclaration(0).getTensors().empty())
    return criterion.emitOpError(
        "declares its factors, so the first one must be 'dense' and without "
        "tensors: it is the layer's weight");
  llvm::StringSet<> names;
  for (unsigned i = 1; i < criterion.getNumFactors(); ++i) {
    FactorAttr factor = criterion.getDeclaration(i);
    FactorKind kind = criterion.getKind(i);
    bool isLowRank = kind == FactorKind::LowRank;
    size_t expected = isLowRank ? 2 : 1;
    auto complain = [&] {
      return criterion.emitOpError("factor #")
             << i << " (" << stringifyFactorKind(kind) << ") ";
    };
    if (factor.getTensors().size() != expected) // (C4), (C5)
      return complain() << "must declare " << expected << " tensor"
                        << (isLowRank ? "s" : "")
                        << ", as in '(NAME init<zeros>"
                        << (isLowRank ? ", NAME init<zeros>" : "")
                        << ")', but declares " << factor.getTensors().size();
    int64_t highest = isLowRank ? CriterionOp::kHighestRank : 0;
    if (factor.getRank() < 0 || factor.getRank() > highest) // (C5)
      return complain() << "must have a rank from 0 to " << highest
                        << ", but has " << factor.getRank();
    for (FactorTensorAttr tensor : factor.getTensors()) {
      if (!names.insert(tensor.getName()).second) // (C5)
        return complain() << "has a tensor '" << tensor.getName()
                          << "', as another one is called";
      InitializerAttr init = tensor.getInitializer();
      bool isFile = init.getKind() == InitializerKind::File;
      if (tensor.getRole() != ParameterRole::Trainable && // (C6)
          !(tensor.getRole() == ParameterRole::Frozen && isFile))
        return complain() << "tensor '" << tensor.getName()
                          << "' must be trained, or frozen and from a file";
      if (isFile && (init.getFile().empty() || init.isPart())) // (C6)
        return complain() << "tensor '" << tensor.getName()
                          << "' must name its file, as in 'init<file \"*\" "
                             "from \"FILE\">'";
    }
  }
  return success();
}

LogicalResult CriterionOp::verify() {
  Block &block = getBody().front();
  if (block.getNumArguments() != getNumFactors() ||
      llvm::any_of(block.getArgumentTypes(),
                   [](Type type) { return !type.isF32(); }))
    return emitOpError("must have one f32 argument for each kind of factor");
  if (block.empty() || !isa<YieldOp>(block.back()))
    return emitOpError("must end with 'pst.yield'");
  for (int32_t kind : getKinds())
    if (!symbolizeFactorKind(kind))
      return emitOpError("has a factor of the unknown kind ") << kind;
  for (Operation &op : block) { // (C1)
    if (!isArithmetic(op))
      return op.emitOpError("has no place in a criterion: its arithmetic is "
                            "arith.{constant,addf,subf,mulf,divf,negf,maximumf,"
                            "minimumf,cmpf,select,andi,ori,xori}, math.{absf,"
                            "sqrt,exp,log}, pst.hyperparameter and pst.detach");
    bool isCondition =
        isa<arith::CmpFOp, arith::AndIOp, arith::OrIOp, arith::XOrIOp>(op);
    bool isConstant = isa<arith::ConstantOp, HyperparameterOp>(op);
    for (Type type : op.getResultTypes())
      if (!(isCondition ? type.isInteger(1)
                        : type.isF32() || (isConstant && type.isInteger(1))))
        return op.emitOpError("must compute with f32")
               << (isCondition || isConstant ? " and i1" : "")
               << " in a criterion, but got " << type;
    auto fast = dyn_cast<arith::ArithFastMathInterface>(op);
    if (fast && fast.getFastMathFlagsAttr() && // (C3)
        fast.getFastMathFlagsAttr().getValue() != arith::FastMathFlags::none)
      return op.emitOpError("must have no fast-math flags: all kernels must "
                            "see the same score, to the bit");
  }
  auto isDense = [](int32_t kind) {
    return kind == static_cast<int32_t>(FactorKind::Dense);
  };
  if (llvm::none_of(getKinds(), isDense)) // (C2)
    return emitOpError("needs a 'dense' factor, which gives the weight its "
                       "shape");
  return verifyDeclarations(*this);
}

OpFoldResult HyperparameterOp::fold(FoldAdaptor) { return getValue(); }

LogicalResult pst::verifyFactors(Operation *op, CriterionOp criterion,
                                 TypeRange factors, int64_t &rows,
                                 int64_t &columns) {
  if (factors.size() != criterion.getNumTensors()) {
    InFlightDiagnostic error = op->emitOpError("has ")
                               << factors.size() << " factor tensors, but "
                               << FlatSymbolRefAttr::get(criterion) << " reads "
                               << criterion.getNumTensors();
    error.attachNote(criterion.getLoc()) << "criterion declared here";
    return error;
  }
  rows = columns = -1;
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::Dense) {
      auto type = cast<RankedTensorType>(factors[criterion.getFirstTensor(i)]);
      if (type.getRank() != 2)
        return op->emitOpError("factor #")
               << i << " (dense) must be a matrix, but got " << type;
      rows = type.getDimSize(0);
      columns = type.getDimSize(1);
      break;
    }
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i) {
    unsigned first = criterion.getFirstTensor(i);
    FactorKind kind = criterion.getKind(i);
    auto type = cast<RankedTensorType>(factors[first]);
    auto complain = [&](Type found, const Twine &expected) {
      return op->emitOpError("factor #")
             << i << " (" << stringifyFactorKind(kind) << ") must have "
             << expected << ", as the " << rows << "x" << columns
             << " weight has, but got " << found;
    };
    bool mayBeNarrow = kind == FactorKind::Dense; // and is only read
    if (!type.getElementType().isF32() &&
        !(mayBeNarrow && type.getElementType().isBF16()))
      return op->emitOpError("factor #")
             << i << " (" << stringifyFactorKind(kind)
             << ") must have elements of type f32"
             << (mayBeNarrow ? " or bf16" : "") << ", but got " << type;
    auto is = [](RankedTensorType type, ArrayRef<int64_t> shape) {
      return type.getShape() == shape;
    };
    switch (kind) {
    case FactorKind::Dense:
      if (!is(type, {rows, columns}))
        return complain(type, Twine(rows) + "x" + Twine(columns) + " elements");
      break;
    case FactorKind::Row:
      if (!is(type, {rows}))
        return complain(type, Twine(rows) + " elements");
      break;
    case FactorKind::Col:
      if (!is(type, {columns}))
        return complain(type, Twine(columns) + " elements");
      break;
    case FactorKind::LowRank: {
      auto right = cast<RankedTensorType>(factors[first + 1]);
      if (!right.getElementType().isF32())
        return op->emitOpError("factor #")
               << i << " (lowrank) must have elements of type f32, but got "
               << right;
      if (type.getRank() != 2 || type.getDimSize(0) != rows)
        return complain(type, Twine(rows) + " rows on the left");
      if (right.getRank() != 2 || right.getDimSize(1) != columns)
        return complain(right, Twine(columns) + " columns on the right");
      if (type.getDimSize(1) != right.getDimSize(0)) {
        return op->emitOpError("factor #")
               << i << " (lowrank) must have one rank on both sides, but got "
               << type << " and " << right;
      }
      break;
    }
    }
  }
  return success();
}

RankedTensorType pst::getWeightType(CriterionOp criterion, ValueRange factors) {
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::Dense)
      return cast<RankedTensorType>(
          factors[criterion.getFirstTensor(i)].getType());
  llvm_unreachable("a criterion has a dense factor");
}
