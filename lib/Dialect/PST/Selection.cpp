//===- Selection.cpp - Which elements of a scored weight stay -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Selection.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace pst;

//===----------------------------------------------------------------------===//
// The attribute: <topk layer> | <topk row> | <topk global> | <nm 2:4>
//              | <block 16x16 mean> | <rows max> | <held>
//===----------------------------------------------------------------------===//

LogicalResult
SelectionAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                      SelectionKind kind, int64_t first, int64_t second,
                      BlockScore) {
  // Groups and vectors begin together, or the larger one holds several whole.
  constexpr int64_t kLargestGroup = 32;
  if (kind == SelectionKind::NM &&
      (first < 1 || first >= second || second > kLargestGroup ||
       !llvm::isPowerOf2_64(second)))
    return emitError() << "some of a group of 2, 4, 8, 16 or 32 neighbours "
                          "must stay and some go, but got "
                       << first << ":" << second;
  if (kind == SelectionKind::Block && (first < 1 || second < 0))
    return emitError() << "a block must have rows and columns, but got "
                       << first << "x" << second;
  return success();
}

Attribute SelectionAttr::parse(AsmParser &parser, Type) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word;
  if (parser.parseLess() || parser.parseKeyword(&word))
    return {};
  auto kind = SelectionKind::Block;
  int64_t first = 0, second = 0;
  if (word == "topk") {
    StringRef scope;
    SMLoc scopeLoc = parser.getCurrentLocation();
    if (parser.parseKeyword(&scope))
      return {};
    std::optional<SelectionKind> found = symbolizeSelectionKind(scope);
    if (!found || *found > SelectionKind::Global) {
      parser.emitError(scopeLoc)
          << "expected who competes: 'layer', 'row' or 'global', but got '"
          << scope << "'";
      return {};
    }
    kind = *found;
  } else if (word == "nm") {
    kind = SelectionKind::NM;
    if (parser.parseInteger(first) || parser.parseColon() ||
        parser.parseInteger(second))
      return {};
  } else if (word == "block") {
    SmallVector<int64_t> sizes;
    SMLoc sizesLoc = parser.getCurrentLocation();
    if (parser.parseDimensionList(sizes, /*allowDynamic=*/false,
                                  /*withTrailingX=*/false))
      return {};
    if (sizes.size() != 2) {
      parser.emitError(sizesLoc, "expected rows and columns of a block: 16x16");
      return {};
    }
    first = sizes[0];
    second = sizes[1];
  } else if (word == "rows") {
    first = 1;
  } else if (word == "held") {
    kind = SelectionKind::Held;
  } else {
    parser.emitError(loc) << "expected a selection: 'topk', 'nm', 'block', "
                             "'rows' or 'held', but got '"
                          << word << "'";
    return {};
  }
  auto score = BlockScore::Mean;
  if (kind == SelectionKind::Block) {
    SMLoc scoreLoc = parser.getCurrentLocation();
    if (parser.parseKeyword(&word))
      return {};
    std::optional<BlockScore> found = symbolizeBlockScore(word);
    if (!found) {
      parser.emitError(scoreLoc)
          << "expected the score of a block: 'mean' or 'max', but got '" << word
          << "'";
      return {};
    }
    score = *found;
  }
  if (parser.parseGreater())
    return {};
  return parser.getChecked<SelectionAttr>(loc, parser.getContext(), kind, first,
                                          second, score);
}

std::string SelectionAttr::getText() const {
  switch (getKind()) {
  case SelectionKind::Layer:
  case SelectionKind::Row:
  case SelectionKind::Global:
    return "topk " + stringifySelectionKind(getKind()).str();
  case SelectionKind::NM:
    return "nm " + std::to_string(getKept()) + ":" + std::to_string(getGroup());
  case SelectionKind::Block:
    return (getSecond() ? "block " + std::to_string(getFirst()) + "x" +
                              std::to_string(getSecond())
                        : "rows") +
           " " + stringifyBlockScore(getScore()).str();
  case SelectionKind::Held:
    return "held";
  }
  llvm_unreachable("all kinds are listed");
}

std::string SelectionAttr::getName() const {
  std::string name = getText();
  for (char &c : name)
    if (c == ' ' || c == ':')
      c = '_';
  return name;
}

void SelectionAttr::print(AsmPrinter &printer) const {
  printer << "<" << getText() << ">";
}

FailureOr<SelectionAttr>
pst::parseSelection(MLIRContext *context, StringRef text, StringRef blockScore,
                    function_ref<InFlightDiagnostic()> emitError) {
  auto unknown = [&, given = text]() -> FailureOr<SelectionAttr> {
    return emitError() << "unknown selection '" << given
                       << "': topk, row, global, 2:4 (or another N:M), "
                          "block:16x16 (or another size) and rows are known";
  };
  std::optional<BlockScore> score = symbolizeBlockScore(blockScore);
  if (!score)
    return emitError() << "unknown score of blocks '" << blockScore
                       << "': mean and max are known";
  auto make = [&](SelectionKind kind, int64_t first = 0, int64_t second = 0,
                  BlockScore score =
                      BlockScore::Mean) -> FailureOr<SelectionAttr> {
    SelectionAttr made = SelectionAttr::getChecked(emitError, context, kind,
                                                   first, second, score);
    if (!made)
      return failure();
    return made;
  };
  auto parsePair = [](StringRef pair, char separator, int64_t &first,
                      int64_t &second) {
    auto [left, right] = pair.split(separator);
    return !left.getAsInteger(10, first) && !right.getAsInteger(10, second);
  };
  if (text == "topk")
    return make(SelectionKind::Layer);
  if (text == "row")
    return make(SelectionKind::Row);
  if (text == "global")
    return make(SelectionKind::Global);
  if (text == "rows")
    return make(SelectionKind::Block, 1, 0, *score);
  int64_t first, second;
  if (text.consume_front("block:")) {
    // Columns of 0 would mean all of them.
    if (!parsePair(text, 'x', first, second) || second < 1)
      return unknown();
    return make(SelectionKind::Block, first, second, *score);
  }
  if (!parsePair(text, ':', first, second))
    return unknown();
  return make(SelectionKind::NM, first, second);
}

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

RankedTensorType SelectionAttr::getBlockScoreType(RankedTensorType weight) {
  int64_t columns = weight.getDimSize(1);
  int64_t rows = llvm::divideCeil(weight.getDimSize(0), getBlockRows());
  columns = llvm::divideCeil(columns, getBlockColumns(columns));
  return RankedTensorType::get({rows, columns}, Float32Type::get(getContext()));
}

RankedTensorType SelectionAttr::getMaskType(RankedTensorType weight) {
  return RankedTensorType::get(
      {weight.getDimSize(0),
       llvm::divideCeilSigned(weight.getDimSize(1), kWordBits)},
      IntegerType::get(getContext(), kWordBits));
}

SmallVector<Type> SelectionAttr::getStateTypes(RankedTensorType weight) {
  auto f32 = Float32Type::get(getContext());
  auto i64 = IntegerType::get(getContext(), 64);
  auto tensor = [](ArrayRef<int64_t> shape, Type element) -> Type {
    return RankedTensorType::get(shape, element);
  };
  switch (getKind()) {
  case SelectionKind::Layer:
  case SelectionKind::Global:
    return {tensor({}, f32), tensor({}, i64)};
  case SelectionKind::Row:
    return {tensor(weight.getDimSize(0), f32),
            tensor(weight.getDimSize(0), i64)};
  case SelectionKind::NM:
    return {tensor({}, i64)};
  case SelectionKind::Block:
    return {getBlockScoreType(weight), tensor({}, f32), tensor({}, i64)};
  case SelectionKind::Held:
    return {getMaskType(weight), tensor({}, f32)};
  }
  llvm_unreachable("all kinds are listed");
}

LogicalResult pst::verifyHasScore(Operation *op, CriterionOp criterion) {
  if (criterion.hasScore())
    return success();
  return op->emitOpError("selects by a score, but ")
         << FlatSymbolRefAttr::get(criterion) << " yields none";
}

LogicalResult pst::verifyMask(Operation *op, CriterionOp criterion,
                              SelectionAttr selection, TypeRange state,
                              int64_t rows, int64_t columns, bool required) {
  if (!selection) {
    if (!state.empty())
      return op->emitOpError("has the state of a selection, but none itself");
    if (required && criterion.hasScore())
      return op->emitOpError("needs a selection, since ")
             << FlatSymbolRefAttr::get(criterion) << " yields a score";
    return success();
  }
  if (failed(verifyHasScore(op, criterion)))
    return failure();
  if (selection.getKind() == SelectionKind::NM &&
      columns % selection.getGroup() != 0)
    return op->emitOpError("selects among each ")
           << selection.getGroup()
           << " neighbours in a row, which must divide the weight's columns, "
              "but it has "
           << columns;
  SmallVector<Type> expected = selection.getStateTypes(RankedTensorType::get(
      {rows, columns}, Float32Type::get(op->getContext())));
  if (state == TypeRange(expected))
    return success();
  InFlightDiagnostic error = op->emitOpError("must have, for ")
                             << selection << " of a " << rows << " x "
                             << columns << " weight, the state (" << expected
                             << "), but got (";
  llvm::interleaveComma(state, error);
  return error << ")";
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

static bool isLayer(SelectionAttr selection) {
  return selection.getKind() == SelectionKind::Layer;
}

ParseResult
pst::parseMask(OpAsmParser &parser, SelectionAttr &selection,
               SmallVectorImpl<OpAsmParser::UnresolvedOperand> &state,
               SmallVectorImpl<Type> &types) {
  if (succeeded(parser.parseOptionalKeyword("threshold"))) {
    selection = SelectionAttr::get(parser.getContext(), SelectionKind::Layer);
    // Of a layer's the types are known, whatever the weight's shape.
    types = selection.getStateTypes(RankedTensorType());
    return parser.parseOperandList(state, types.size(),
                                   AsmParser::Delimiter::Paren);
  }
  if (failed(parser.parseOptionalKeyword("selection")))
    return success();
  return failure(parser.parseCustomAttributeWithFallback(selection) ||
                 parser.parseLParen() || parser.parseOperandList(state) ||
                 parser.parseColonTypeList(types) || parser.parseRParen());
}

void pst::printMask(OpAsmPrinter &printer, Operation *, SelectionAttr selection,
                    ValueRange state, TypeRange types) {
  if (!selection)
    return;
  if (isLayer(selection)) {
    printer << " threshold(" << state << ")";
    return;
  }
  printer << " selection";
  printer.printStrippedAttrOrType(selection);
  printer << "(" << state << " : " << types << ")";
}

//===----------------------------------------------------------------------===//
// The ops that find the state
//===----------------------------------------------------------------------===//

LogicalResult RowThresholdsOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C2)
  if (failed(criterion) || failed(verifyHasScore(*this, *criterion))) // (C1)
    return failure();
  if (getThresholds().getType().getDimSize(0) != rows || // (C3)
      getCuts().getType().getDimSize(0) != rows)
    return emitOpError("must have a threshold and a cut for each of ")
           << rows << " rows, but got " << getThresholds().getType() << " and "
           << getCuts().getType();
  return success();
}

LogicalResult BlockScoresOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C2)
  if (failed(criterion) || failed(verifyHasScore(*this, *criterion))) // (C1)
    return failure();
  SelectionAttr selection = getSelection();
  if (selection.getKind() != SelectionKind::Block) // (C3)
    return emitOpError("scores blocks, but ") << selection << " has none";
  RankedTensorType expected =
      selection.getBlockScoreType(getWeightType(*criterion, getFactors()));
  if (getType() != expected)
    return emitOpError("must have scores of type ")
           << expected << ", but got " << getType();
  return success();
}

LogicalResult
CommonThresholdOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifyLayers(*this, getCuts().size(), "cuts", table); // (C1) to (C3)
}
