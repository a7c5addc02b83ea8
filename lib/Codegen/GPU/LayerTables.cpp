//===- LayerTables.cpp - One kernel for several layers --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LayerTables.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

void pst::cuda::forLayerBlocks(ThreadBuilder &b, ArrayRef<LayerBlocks> runs,
                               function_ref<void(size_t, Value)> emit) {
  if (runs.size() == 1 && runs.front().layers == 1)
    return emit(0, b.index(0));
  int64_t firstBlock = 0;
  for (auto [i, run] : llvm::enumerate(runs)) {
    int64_t each = run.each, count = run.layers * each, place = i;
    if (!count)
      continue;
    Value number = b.subi(b.block(), b.index(firstBlock));
    // Of runs before it is negative: a large one.
    Value isHere = b.cmpi(arith::CmpIPredicate::ult, number, b.index(count));
    b.onPart(isHere, b.remi(number, each),
             [&] { emit(place, b.divi(number, each)); });
    firstBlock += count;
  }
}

SmallVector<Value>
pst::cuda::chooseLayer(ThreadBuilder &b, int64_t layers, Value layer,
                       function_ref<SmallVector<Value>(int64_t)> valuesOf) {
  SmallVector<Value> first = valuesOf(0);
  if (layers == 1)
    return first;
  auto pointersOf = [&](int64_t i) {
    SmallVector<Value> values = valuesOf(i);
    for (Value &value : values)
      if (isa<MemRefType>(value.getType()))
        value = b.pointer(value);
    return values;
  };
  SmallVector<Type> types;
  for (Value value : first)
    types.push_back(isa<MemRefType>(value.getType())
                        ? LLVM::LLVMPointerType::get(b.getContext())
                        : value.getType());
  SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, layers));
  auto table = scf::IndexSwitchOp::create(b, types, layer, cases,
                                          /*caseRegionsCount=*/cases.size());
  OpBuilder::InsertionGuard guard(b);
  for (auto [i, region] : llvm::enumerate(table->getRegions())) {
    b.setInsertionPointToEnd(&region.emplaceBlock());
    scf::YieldOp::create(b, pointersOf(i));
  }
  b.setInsertionPointAfter(table);
  SmallVector<Value> chosen(table.getResults());
  for (auto [value, like] : llvm::zip(chosen, first))
    if (auto type = dyn_cast<MemRefType>(like.getType()))
      value = b.bufferAt(value, type);
  return chosen;
}
