//===- LaunchContext.cpp - Kernels of a module, each made once ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LaunchContext.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "pst/Dialect/NN/NNDialect.h"
#include "pst/Dialect/PST/PSTDialect.h"

#include <utility>

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

static Type bufferType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor ? MemRefType::get(tensor.getShape(), tensor.getElementType())
                : type;
}

LaunchContext::LaunchContext(ModuleOp module)
    : module(module), symbols(module) {
  for (Operation &op : *module.getBody())
    if (auto symbol = dyn_cast<SymbolOpInterface>(op))
      names.reserve(symbol.getName());
}

LogicalResult LaunchContext::checkAllLowered(StringRef target) {
  WalkResult result = module.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (isa<CriterionOp>(op))
      return WalkResult::skip();
    bool isOurs = isa_and_nonnull<nn::NNDialect, PSTDialect>(op->getDialect());
    // Declarations, and what the memory plan takes.
    if (!isOurs ||
        isa<ParameterOp, LoadOp, StoreOp, SpaceOp, BufferOp, LaunchOp>(op))
      return WalkResult::advance();
    op->emitOpError("has no kernel for ") << target;
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

func::FuncOp LaunchContext::create(Location loc, StringRef name,
                                   TypeRange arguments, Body body) {
  MLIRContext *mlirContext = module.getContext();
  auto function = func::FuncOp::create(
      loc, name, FunctionType::get(mlirContext, arguments, {}));
  function.setPrivate();
  symbols.insert(function, module.getBody()->end());
  Block *block = function.addEntryBlock();
  CodeBuilder builder(loc, mlirContext);
  builder.setInsertionPointToStart(block);
  func::FuncOp outer = std::exchange(current, function);
  body(builder, block->getArguments());
  current = outer;
  builder.setInsertionPointToEnd(block);
  func::ReturnOp::create(builder);
  return function;
}

func::FuncOp LaunchContext::getOrCreatePart(CodeBuilder &builder,
                                            StringRef part, TypeRange arguments,
                                            Body body) {
  StringRef name = names.of(KernelIdentity(currentKernel()).add(part));
  if (auto function = symbols.lookup<func::FuncOp>(name))
    return function;
  return create(builder.getLoc(), name, arguments, body);
}

static Value createEmpty(RewriterBase &rewriter, Location loc, Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor::EmptyOp::create(rewriter, loc, tensor.getShape(),
                                 tensor.getElementType());
}

void LaunchContext::takeAccumulations(func::FuncOp function) {
  function.walk([&](AccumulateOp op) {
    if (!op.getFused())
      return;
    accumulations[op.getValue()] = op.getParameterAttr();
    op.erase();
  });
}

Value LaunchContext::createDestination(RewriterBase &rewriter,
                                       OpResult result) {
  auto parameter = accumulations.find(result);
  if (parameter == accumulations.end())
    return createEmpty(rewriter, result.getLoc(), result.getType());
  return LoadOp::create(rewriter, result.getLoc(), result.getType(),
                        parameter->second,
                        PartAttr::get(rewriter.getContext(), Part::Gradient));
}

void LaunchContext::replaceByLaunch(RewriterBase &rewriter, Operation *op,
                                    KernelIdentity identity, ValueRange inputs,
                                    ValueRange outputs,
                                    ArrayRef<RankedTensorType> workspaces,
                                    Body body) {
  Location loc = op->getLoc();
  SmallVector<Value> destinations(outputs);
  SmallVector<unsigned> added, unread;
  for (OpResult result : op->getResults()) {
    destinations.push_back(createDestination(rewriter, result));
    if (isAdded(result))
      added.push_back(result.getResultNumber());
    else if (!isWanted(result))
      unread.push_back(result.getResultNumber());
  }
  identity.add("added", added).add("unread", unread);
  for (RankedTensorType type : workspaces)
    destinations.push_back(createEmpty(rewriter, loc, type));
  SmallVector<Type> arguments;
  for (Type type : inputs.getTypes())
    arguments.push_back(bufferType(type));
  for (Value destination : destinations)
    arguments.push_back(bufferType(destination.getType()));
  StringRef name = names.of(identity.distinguish(arguments));
  auto kernel = symbols.lookup<func::FuncOp>(name);
  if (!kernel) {
    kernel = create(loc, name, arguments, body);
    made(kernel, op);
  }
  auto launch = LaunchOp::create(
      rewriter, loc, TypeRange(ValueRange(destinations)), kernel.getSymName(),
      inputs, destinations, workspaces.size());
  rewriter.replaceOp(
      op, launch.getResults().slice(outputs.size(), op->getNumResults()));
}
