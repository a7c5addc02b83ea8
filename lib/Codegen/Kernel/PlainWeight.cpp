//===- PlainWeight.cpp - Weights that are one factor ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PlainWeight.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace pst;

CriterionOp pst::kernel::declarePlainWeight(ModuleOp module) {
  constexpr StringLiteral kName = "pst_as_it_is";
  SymbolTable symbols(module);
  if (auto made = symbols.lookup<CriterionOp>(kName))
    return made;
  OpBuilder builder(module->getContext());
  auto made = CriterionOp::create(
      builder, module.getLoc(), kName,
      ArrayRef<int32_t>{static_cast<int32_t>(FactorKind::Dense)},
      /*factors=*/ArrayAttr());
  Block *block = builder.createBlock(&made.getBody());
  Value weight = block->addArgument(builder.getF32Type(), module.getLoc());
  YieldOp::create(builder, module.getLoc(), weight, /*score=*/Value());
  symbols.insert(made, module.getBody()->begin());
  return made;
}

bool pst::kernel::isPlainWeight(CriterionOp criterion) {
  Block &body = criterion.getBody().front();
  auto yield = dyn_cast<YieldOp>(body.front());
  return criterion.getNumFactors() == 1 && yield &&
         yield.getWeight() == body.getArgument(0);
}
