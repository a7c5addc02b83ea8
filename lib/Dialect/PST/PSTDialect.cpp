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

//===----------------------------------------------------------------------===//
// InitializerAttr: <file "name"> | <file "name" columns 8 of 24> | <zeros>
//                | <normal 0.02> | <constant 1.0>
//===----------------------------------------------------------------------===//

InitializerAttr InitializerAttr::get(MLIRContext *context, InitializerKind kind,
                                     StringRef source, APFloat value,
                                     int64_t column, int64_t sourceColumns) {
  return Base::get(context, kind, source, value, column, sourceColumns);
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
  std::string source;
  double value = 0.0;
  int64_t column = 0, sourceColumns = 0;
  if (*kind == InitializerKind::File &&
      (parser.parseString(&source) ||
       (succeeded(parser.parseOptionalKeyword("columns")) &&
        (parser.parseInteger(column) || parser.parseKeyword("of") ||
         parser.parseInteger(sourceColumns)))))
    return {};
  if ((*kind == InitializerKind::Normal ||
       *kind == InitializerKind::Constant) &&
      parser.parseFloat(value))
    return {};
  if (parser.parseGreater())
    return {};
  return InitializerAttr::get(parser.getContext(), *kind, source,
                              APFloat(value), column, sourceColumns);
}

void InitializerAttr::print(AsmPrinter &printer) const {
  printer << "<" << stringifyInitializerKind(getKind());
  if (getKind() == InitializerKind::File) {
    printer << " ";
    printer.printString(getSource());
    if (isPart())
      printer << " columns " << getColumn() << " of " << getSourceColumns();
  }
  if (getKind() == InitializerKind::Normal ||
      getKind() == InitializerKind::Constant) {
    printer << " ";
    printer.printFloat(getValue());
  }
  printer << ">";
}
