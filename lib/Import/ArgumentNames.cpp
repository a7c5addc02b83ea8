//===- ArgumentNames.cpp - What a text calls its functions' arguments -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Import/Import.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace pst;

/// The line (from 1) of a text.
static StringRef lineOf(StringRef text, unsigned number) {
  for (unsigned i = 1; i < number; ++i)
    text = text.split('\n').second;
  return text.take_until([](char c) { return c == '\n'; });
}

// The parser forgets names, but keeps where each argument stands.
void pst::nameArguments(ModuleOp module, StringRef text) {
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal() || !function.isPublic())
      continue;
    for (BlockArgument argument : function.getArguments()) {
      auto place = argument.getLoc()->findInstanceOf<FileLineColLoc>();
      if (!place || place.getLine() == 0 || place.getColumn() == 0 ||
          function.getArgAttr(argument.getArgNumber(), kNameAttribute))
        continue;
      StringRef rest =
          lineOf(text, place.getLine()).drop_front(place.getColumn() - 1);
      if (!rest.consume_front("%"))
        continue;
      StringRef name = rest.take_while(
          [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; });
      // Numbers are no names.
      if (!name.empty() && !llvm::isDigit(name.front()))
        function.setArgAttr(argument.getArgNumber(), kNameAttribute,
                            StringAttr::get(module.getContext(), name));
    }
  }
}
