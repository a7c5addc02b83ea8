//===- LaunchContext.cpp - Kernels of a module, each made once ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LaunchContext.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

static Type bufferType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor ? MemRefType::get(tensor.getShape(), tensor.getElementType())
                : type;
}

func::FuncOp LaunchContext::getOrCreateFunction(Location loc, StringRef name,
                                                TypeRange arguments,
                                                Body body) {
  if (auto function = symbols.lookup<func::FuncOp>(name))
    return function;
  MLIRContext *mlirContext = module.getContext();
  auto function = func::FuncOp::create(
      loc, name, FunctionType::get(mlirContext, arguments, {}));
  function.setPrivate();
  symbols.insert(function, module.getBody()->end());
  Block *block = function.addEntryBlock();
  CodeBuilder builder(loc, mlirContext);
  builder.setInsertionPointToStart(block);
  body(builder, block->getArguments());
  builder.setInsertionPointToEnd(block);
  func::ReturnOp::create(builder);
  return function;
}

static Value createEmpty(RewriterBase &rewriter, Location loc, Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor::EmptyOp::create(rewriter, loc, tensor.getShape(),
                                 tensor.getElementType());
}

Value LaunchContext::createDestination(RewriterBase &rewriter,
                                       OpResult result) {
  return createEmpty(rewriter, result.getLoc(), result.getType());
}

void LaunchContext::replaceByLaunchInto(RewriterBase &rewriter, Operation *op,
                                        StringRef name, ValueRange inputs,
                                        ValueRange outputs,
                                        ArrayRef<RankedTensorType> workspaces,
                                        Body body) {
  Location loc = op->getLoc();
  SmallVector<Value> destinations(outputs);
  for (OpResult result : op->getResults())
    destinations.push_back(createDestination(rewriter, result));
  for (RankedTensorType type : workspaces)
    destinations.push_back(createEmpty(rewriter, loc, type));
  SmallVector<Type> arguments;
  for (Type type : inputs.getTypes())
    arguments.push_back(bufferType(type));
  for (Value destination : destinations)
    arguments.push_back(bufferType(destination.getType()));
  bool isKnown = symbols.lookup(name);
  func::FuncOp kernel = getOrCreateFunction(loc, name, arguments, body);
  if (!isKnown)
    made(kernel, op);
  auto launch = LaunchOp::create(
      rewriter, loc, TypeRange(ValueRange(destinations)), kernel.getSymName(),
      inputs, destinations, workspaces.size());
  rewriter.replaceOp(
      op, launch.getResults().slice(outputs.size(), op->getNumResults()));
}

std::string pst::kernel::shapeName(Value value) {
  std::string name;
  auto type = cast<ShapedType>(value.getType());
  for (int64_t size : type.getShape())
    name += (name.empty() ? "" : "x") + std::to_string(size);
  return type.getElementType().isBF16() ? name + "_bf16" : name;
}

std::string pst::kernel::elementsName(ValueRange values) {
  std::string name;
  bool narrow = false;
  for (Value value : values) {
    bool isBF16 = getElementTypeOrSelf(value).isBF16();
    narrow |= isBF16;
    name += std::string(name.empty() ? "_" : "x") + (isBF16 ? "bf16" : "f32");
  }
  return narrow ? name : "";
}

std::string pst::kernel::attributeName(const llvm::APFloat &value) {
  return llvm::utohexstr(value.bitcastToAPInt().getZExtValue(),
                         /*LowerCase=*/true);
}
