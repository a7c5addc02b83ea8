//===- LaunchContext.cpp - Kernels of a module, each made once ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LaunchContext.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "pst/Dialect/NN/NNPacking.h"
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
    if (llvm::any_of(op->getResultTypes(), nn::getPacked)) {
      op->emitOpError("makes a packed matrix, for which there are no kernels "
                      "for ")
          << target;
      return WalkResult::interrupt();
    }
    if (!isOurs ||
        isa<ParameterOp, LoadOp, StoreOp, SpaceOp, BufferOp, LaunchOp>(op))
      return WalkResult::advance();
    op->emitOpError("has no kernel for ") << target;
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

func::FuncOp LaunchContext::create(Location loc, StringRef name,
                                   TypeRange arguments,
                                   const llvm::BitVector &packedOnes,
                                   int64_t length, Body body) {
  MLIRContext *mlirContext = module.getContext();
  auto function = func::FuncOp::create(
      loc, name, FunctionType::get(mlirContext, arguments, {}));
  function.setPrivate();
  symbols.insert(function, module.getBody()->end());
  Block *block = function.addEntryBlock();
  CodeBuilder builder(loc, mlirContext);
  builder.setInsertionPointToStart(block);
  func::FuncOp outer = std::exchange(current, function);
  {
    PackedScope scope(*this);
    ValueRange values = block->getArguments();
    if (packedOnes.any()) {
      Value places = values[0], starts = values[1];
      values = values.drop_front(2);
      scope.enter({places, starts, countRows(builder, starts), length}, values,
                  packedOnes);
    }
    body(builder, values);
  }
  current = outer;
  builder.setInsertionPointToEnd(block);
  func::ReturnOp::create(builder);
  return function;
}

void LaunchContext::callPart(CodeBuilder &builder, StringRef part,
                             ValueRange arguments, Body body) {
  llvm::BitVector packedOnes = packedAmong(arguments);
  SmallVector<Value> operands;
  if (packedOnes.any())
    operands = {packed.places, packed.starts};
  llvm::append_range(operands, arguments);
  StringRef name = names.of(KernelIdentity(currentKernel()).add(part));
  auto function = symbols.lookup<func::FuncOp>(name);
  if (!function)
    function = create(builder.getLoc(), name, ValueRange(operands).getTypes(),
                      packedOnes, packed.length, body);
  func::CallOp::create(builder, function, operands);
}

//===----------------------------------------------------------------------===//
// Packed matrices
//===----------------------------------------------------------------------===//

Value PackedRows::readStart(CodeBuilder &b, Value starts, Value sequence) {
  return arith::IndexCastOp::create(b, b.getIndexType(),
                                    b.load(starts, sequence));
}

Value PackedRows::readCount(CodeBuilder &b, Value starts) {
  int64_t last = cast<MemRefType>(starts.getType()).getDimSize(0) - 1;
  return readStart(b, starts, b.index(last));
}

LaunchContext::PackedScope::PackedScope(LaunchContext &context)
    : context(context), packed(std::exchange(context.packed, {})),
      rows(std::exchange(context.rows, llvm::DenseMap<Value, Value>())) {}

LaunchContext::PackedScope::~PackedScope() {
  context.packed = packed;
  context.rows = std::move(rows);
}

void LaunchContext::PackedScope::enter(const PackedRows &packed,
                                       ValueRange arguments,
                                       const llvm::BitVector &packedOnes) {
  context.packed = packed;
  for (unsigned i : packedOnes.set_bits())
    context.rows[arguments[i]] = packed.count;
}

llvm::BitVector LaunchContext::packedAmong(ValueRange arguments) const {
  llvm::BitVector packedOnes(arguments.size());
  for (auto [i, argument] : llvm::enumerate(arguments))
    packedOnes[i] = isPacked(argument);
  return packedOnes;
}

/// fn(value) for each value of the function that is a packed matrix.
static void forPacked(func::FuncOp function,
                      function_ref<void(Value, nn::PackedAttr)> fn) {
  function.walk([&](Operation *op) {
    for (Value result : op->getResults())
      if (nn::PackedAttr encoding = nn::getPacked(result.getType()))
        fn(result, encoding);
  });
}

LogicalResult LaunchContext::storePacked(func::FuncOp function) {
  FunctionType type = function.getFunctionType();
  for (TypeRange types :
       {TypeRange(type.getInputs()), TypeRange(type.getResults())})
    if (llvm::any_of(types, nn::getPacked))
      return function.emitOpError("takes or returns a packed matrix, which is "
                                  "known within a function only");
  auto places = function.getOps<nn::TokenPlacesOp>();
  bool isPacked = false;
  forPacked(function, [&](Value, nn::PackedAttr) { isPacked = true; });
  if (isPacked && places.empty())
    return function.emitOpError("has packed matrices, but no nn.token_places "
                                "that says which rows there are");
  forPacked(function, [](Value value, nn::PackedAttr encoding) {
    auto type = cast<RankedTensorType>(value.getType());
    value.setType(
        RankedTensorType::get({encoding.getCapacity(), type.getDimSize(1)},
                              type.getElementType(), encoding));
  });
  if (places.empty())
    return success();
  nn::TokenPlacesOp op = *places.begin();
  int64_t length = cast<ShapedType>(op.getMask().getType()).getDimSize(1);
  IRRewriter rewriter(op);
  tokenPlaces[function] = {op.getPlaces(), op.getStarts(), length};
  replaceByLaunch(rewriter, op, op.getMask(), /*workspaces=*/{},
                  [&](CodeBuilder &b, ValueRange arguments) {
                    placeTokens(b, arguments[0], arguments[1], arguments[2]);
                  });
  // Nothing else is lowered yet.
  LaunchOp launch = *function.getOps<LaunchOp>().begin();
  tokenPlaces[function] = {launch.getResult(0), launch.getResult(1), length};
  return success();
}

void LaunchContext::placeTokens(CodeBuilder &b, Value mask, Value places,
                                Value starts) {
  auto type = cast<MemRefType>(mask.getType());
  int64_t length = type.getDimSize(1);
  Value capacity = b.index(cast<MemRefType>(places.getType()).getDimSize(0));
  auto store = [&](Value index, Value to, Value at) {
    b.store(arith::IndexCastOp::create(b, b.getI32Type(), index), to, at);
  };
  Value count = b.loop(
      b.index(0), b.index(type.getDimSize(0)), 1, {b.index(0)},
      [&](Value sequence, ValueRange before) -> SmallVector<Value> {
        store(before[0], starts, sequence);
        Value first = b.muli(sequence, length);
        return b.loop(
            b.index(0), b.index(length), 1, before,
            [&](Value i, ValueRange at) -> SmallVector<Value> {
              Value isToken = b.cmpi(arith::CmpIPredicate::ne,
                                     b.load(mask, {sequence, i}), b.i32(0));
              Value fits = b.cmpi(arith::CmpIPredicate::slt, at[0], capacity);
              Value counts = arith::AndIOp::create(b, isToken, fits);
              b.ifThen(counts, [&] {
                Value inSequence = b.subi(
                    at[0], arith::IndexCastOp::create(
                               b, b.getIndexType(), b.load(starts, sequence)));
                store(b.addi(first, inSequence), places, at[0]);
              });
              return {b.select(counts, b.addi(at[0], 1), at[0])};
            });
      })[0];
  store(count, starts, b.index(type.getDimSize(0)));
  b.loop(count, capacity, 1,
         [&](Value row) { b.store(b.i32(0), places, row); });
}

void LaunchContext::forgetPacked(func::FuncOp function) {
  forPacked(function, [](Value value, nn::PackedAttr) {
    value.setType(cast<RankedTensorType>(value.getType()).dropEncoding());
  });
}

Value LaunchContext::rowsOf(CodeBuilder &b, Value matrix) const {
  if (Value count = packedCount(matrix))
    return count;
  return b.index(cast<ShapedType>(matrix.getType()).getDimSize(0));
}

Value LaunchContext::placeOf(CodeBuilder &b, Value row) const {
  if (!packed.places)
    return row;
  return arith::IndexCastOp::create(b, b.getIndexType(),
                                    b.load(packed.places, row));
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

static Value createEmpty(RewriterBase &rewriter, Location loc, Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor::EmptyOp::create(rewriter, loc, tensor.getShape(),
                                 tensor.getElementType(), tensor.getEncoding());
}

void LaunchContext::takeAccumulations(func::FuncOp function) {
  function.walk([&](AccumulateOp op) {
    if (!op.getFused())
      return;
    accumulations[op.getValue()] = op.getParameterAttr();
    op.erase();
  });
}

bool LaunchContext::isWanted(OpResult result) const {
  if (isAdded(result) || !result.use_empty())
    return true;
  auto known = tokenPlaces.find(result.getOwner()->getParentOp());
  // Of other launches, once there are some.
  return known != tokenPlaces.end() &&
         (known->second.places == result || known->second.starts == result);
}

Value LaunchContext::createDestination(RewriterBase &rewriter,
                                       OpResult result) {
  if (auto op = dyn_cast<DestinationStyleOpInterface>(result.getOwner()))
    return op.getTiedOpOperand(result)->get();
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
  SmallVector<Value> read(inputs);
  llvm::BitVector packedOnes;
  for (ValueRange values : {ValueRange(inputs), ValueRange(destinations)})
    for (Type type : values.getTypes())
      packedOnes.push_back(nn::getPacked(type) != nullptr);
  int64_t length = 0;
  if (packedOnes.any()) {
    const TokenPlaces &known =
        tokenPlaces.at(op->getParentOfType<func::FuncOp>());
    length = known.length;
    read.insert(read.begin(), {known.places, known.starts});
    identity.distinguish(rewriter.getI64IntegerAttr(length));
  }
  SmallVector<Type> arguments;
  for (ValueRange values : {ValueRange(read), ValueRange(destinations)})
    for (Type type : values.getTypes())
      arguments.push_back(bufferType(type));
  StringRef name = names.of(identity.distinguish(arguments));
  auto kernel = symbols.lookup<func::FuncOp>(name);
  if (!kernel) {
    kernel = create(loc, name, arguments, packedOnes, length, body);
    made(kernel, op);
  }
  auto launch = LaunchOp::create(
      rewriter, loc, TypeRange(ValueRange(destinations)), kernel.getSymName(),
      read, destinations, workspaces.size());
  rewriter.replaceOp(
      op, launch.getResults().slice(outputs.size(), op->getNumResults()));
}
