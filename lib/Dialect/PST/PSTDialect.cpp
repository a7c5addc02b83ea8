//===- PSTDialect.cpp - The pst dialect -----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/PST/PSTDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace pst;

#include "pst/Dialect/PST/PSTDialect.cpp.inc"
#include "pst/Dialect/PST/PSTEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "pst/Dialect/PST/PSTAttributes.cpp.inc"

void PSTDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "pst/Dialect/PST/PSTOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "pst/Dialect/PST/PSTAttributes.cpp.inc"
      >();
}

Operation *PSTDialect::materializeConstant(OpBuilder &builder, Attribute value,
                                           Type type, Location loc) {
  return arith::ConstantOp::materialize(builder, value, type, loc);
}

//===----------------------------------------------------------------------===//
// InitializerAttr: <file "name"> | <file "name" columns 8 of 24>
//                | <file "name" from "path"> | <zeros> | <normal 0.02>
//                | <constant 1.0>
//===----------------------------------------------------------------------===//

InitializerAttr InitializerAttr::get(MLIRContext *context, InitializerKind kind,
                                     StringRef source, APFloat value,
                                     int64_t column, int64_t sourceColumns,
                                     StringRef file) {
  return Base::get(context, kind, source, value, column, sourceColumns, file);
}

Attribute InitializerAttr::parse(AsmParser &parser, Type) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word;
  if (parser.parseLess() || parser.parseKeyword(&word))
    return {};
  std::optional<InitializerKind> kind = symbolizeInitializerKind(word);
  if (!kind) {
    parser.emitError(loc) << "expected an initializer: 'file', 'zeros', "
                             "'normal' or 'constant', but got '"
                          << word << "'";
    return {};
  }
  std::string source, file;
  double value = 0.0;
  int64_t column = 0, sourceColumns = 0;
  if (*kind == InitializerKind::File &&
      (parser.parseString(&source) ||
       (succeeded(parser.parseOptionalKeyword("columns")) &&
        (parser.parseInteger(column) || parser.parseKeyword("of") ||
         parser.parseInteger(sourceColumns))) ||
       (succeeded(parser.parseOptionalKeyword("from")) &&
        parser.parseString(&file))))
    return {};
  if ((*kind == InitializerKind::Normal ||
       *kind == InitializerKind::Constant) &&
      parser.parseFloat(value))
    return {};
  if (parser.parseGreater())
    return {};
  return InitializerAttr::get(parser.getContext(), *kind, source,
                              APFloat(value), column, sourceColumns, file);
}

void InitializerAttr::print(AsmPrinter &printer) const {
  printer << "<" << stringifyInitializerKind(getKind());
  if (getKind() == InitializerKind::File) {
    printer << " ";
    printer.printString(getSource());
    if (isPart())
      printer << " columns " << getColumn() << " of " << getSourceColumns();
    if (!getFile().empty()) {
      printer << " from ";
      printer.printString(getFile());
    }
  }
  if (getKind() == InitializerKind::Normal ||
      getKind() == InitializerKind::Constant) {
    printer << " ";
    printer.printFloat(getValue());
  }
  printer << ">";
}

//===----------------------------------------------------------------------===//
// FactorAttr: <weight_rank = 8 (U trainable init<normal 1.0>, ...)>
//===----------------------------------------------------------------------===//

Attribute FactorTensorAttr::parse(AsmParser &parser, Type) {
  FactorTensorAttr tensor;
  if (parser.parseLess() || !(tensor = parseDeclared(parser)) ||
      parser.parseGreater())
    return {};
  return tensor;
}

void FactorTensorAttr::print(AsmPrinter &printer) const {
  printer << "<";
  printDeclared(printer);
  printer << ">";
}

/// U init<normal 1.0> | norm frozen init<file "norms.safetensors">
FactorTensorAttr FactorTensorAttr::parseDeclared(AsmParser &parser) {
  StringRef name, word;
  SMLoc loc;
  if (parser.parseKeyword(&name))
    return {};
  auto role = ParameterRole::Trainable;
  loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&word))
    return {};
  if (word != "init") {
    std::optional<ParameterRole> given = symbolizeParameterRole(word);
    if (!given) {
      parser.emitError(loc) << "expected 'trainable', 'frozen' or 'init' of "
                               "tensor '"
                            << name << "', but got '" << word << "'";
      return {};
    }
    role = *given;
    if (parser.parseKeyword("init"))
      return {};
  }
  auto initializer =
      dyn_cast_or_null<InitializerAttr>(InitializerAttr::parse(parser, {}));
  if (!initializer)
    return {};
  return FactorTensorAttr::get(parser.getContext(), name, role, initializer);
}

void FactorTensorAttr::printDeclared(AsmPrinter &printer) const {
  printer << getName() << " ";
  if (getRole() != ParameterRole::Trainable)
    printer << stringifyParameterRole(getRole()) << " ";
  printer << "init";
  getInitializer().print(printer);
}

ParseResult FactorAttr::parseRank(AsmParser &parser, int64_t &rank,
                                  std::string &name) {
  name.clear();
  OptionalParseResult number = parser.parseOptionalInteger(rank);
  if (number.has_value())
    return *number;
  return failure(parser.parseKeywordOrString(&name) || parser.parseEqual() ||
                 parser.parseInteger(rank));
}

ParseResult
FactorAttr::parseTensors(AsmParser &parser,
                         SmallVectorImpl<FactorTensorAttr> &tensors) {
  return parser.parseCommaSeparatedList(
      AsmParser::Delimiter::OptionalParen, [&]() -> ParseResult {
        tensors.push_back(FactorTensorAttr::parseDeclared(parser));
        return success(static_cast<bool>(tensors.back()));
      });
}

void FactorAttr::printRank(AsmPrinter &printer) const {
  if (!getRankName().empty()) {
    printer.printKeywordOrString(getRankName());
    printer << " = ";
  }
  printer << getRank();
}

void FactorAttr::printTensors(AsmPrinter &printer) const {
  if (getTensors().empty())
    return;
  printer << "(";
  llvm::interleaveComma(getTensors(), printer, [&](FactorTensorAttr tensor) {
    tensor.printDeclared(printer);
  });
  printer << ")";
}

Attribute FactorAttr::parse(AsmParser &parser, Type) {
  int64_t rank = 0;
  std::string name;
  SmallVector<FactorTensorAttr> tensors;
  if (parser.parseLess() || parseRank(parser, rank, name) ||
      parseTensors(parser, tensors) || parser.parseGreater())
    return {};
  return FactorAttr::get(parser.getContext(), rank, name, tensors);
}

void FactorAttr::print(AsmPrinter &printer) const {
  printer << "<";
  printRank(printer);
  printTensors(printer);
  printer << ">";
}
