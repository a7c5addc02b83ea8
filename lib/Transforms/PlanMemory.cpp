//===- PlanMemory.cpp - -pst-plan-memory ----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Every `memref.alloc` of an entry point lives from the first to the last op
// that touches it (or a view of it). Buffers are placed largest first, each at
// the lowest offset at which it overlaps no placed buffer that lives at the
// same time. With red zones each has its own place, and bytes behind it.

#include "Occupancy.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/Transforms/BufferViewFlowAnalysis.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Bundle/Manifest.h"
#include "pst/Dialect/Interfaces/Work.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"

namespace pst {
#define GEN_PASS_DEF_PLANMEMORY
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Buffers start at cache lines.
static constexpr int64_t kAlignment = 64;
/// Between buffers that the address sanitizer is to tell apart. A vector that
/// is one row too far begins in it.
static constexpr int64_t kRedZone = 1024;
/// More than there is to place parameters in.
static constexpr int64_t kMostBytes = int64_t{1} << 60;

namespace {

struct Buffer {
  memref::AllocOp alloc;
  int64_t size = 0;            // bytes, aligned
  int64_t first = 0, last = 0; // ops of the entry block, both included
  bool workspace = false;
  int64_t offset = 0;
};

/// What one entry point needs of the arena.
struct ArenaUse {
  int64_t bytes = 0;
  int64_t workspace = 0; // of them, live at the worst op
};

/// The arguments that an entry point gets for what it reaches by name. Its type
/// and its attributes know them when all are there: there may be thousands.
class EntryArguments {
public:
  EntryArguments(func::FuncOp function) : function(function) {}

  /// The argument of this kind and name, appended if it is not there yet.
  Value get(StringRef kind, StringRef name, MemRefType type) {
    Value &argument = arguments[(kind + ":" + name).str()];
    if (!argument)
      argument = append(kind, name, type);
    return argument;
  }

  /// Appends an argument.
  Value append(StringRef kind, StringRef name, Type type) {
    Builder builder(function.getContext());
    attributes.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr(kKindAttribute, builder.getStringAttr(kind)),
         builder.getNamedAttr(kNameAttribute, builder.getStringAttr(name))}));
    return function.front().addArgument(type, function.getLoc());
  }

  /// Makes what was appended part of the function's type, which returns
  /// nothing.
  void finish() {
    SmallVector<DictionaryAttr> all;
    size_t before = function.front().getNumArguments() - attributes.size();
    for (size_t i = 0; i < before; ++i)
      all.push_back(function.getArgAttrDict(i));
    llvm::append_range(all, attributes);
    function.setType(FunctionType::get(
        function.getContext(), function.front().getArgumentTypes(), {}));
    function.setAllArgAttrs(all);
  }

private:
  func::FuncOp function;
  SmallVector<DictionaryAttr> attributes; ///< Of what was appended.
  llvm::StringMap<Value> arguments;
};

struct PlanMemory : pst::impl::PlanMemoryBase<PlanMemory> {
  using PlanMemoryBase::PlanMemoryBase;
  void runOnOperation() override;

private:
  LogicalResult returnThroughArguments(func::FuncOp function,
                                       EntryArguments &arguments);
  FailureOr<SmallVector<Buffer>> collect(func::FuncOp function);
  void place(SmallVectorImpl<Buffer> &buffers);
  ArenaUse measure(ArrayRef<Buffer> buffers);
  void resolveNames(func::FuncOp function, EntryArguments &arguments);

  llvm::StringMap<int64_t> spaces; // bytes
  /// By name: a module of many layers has as many of them, and asks for each.
  DenseMap<StringAttr, ParameterOp> parameters;
};

} // namespace

/// Fails for what memory cannot be planned for: functions of several blocks,
/// calls of entry points, whose buffers their callers do not have, and calls of
/// functions that are not there.
static LogicalResult verifyFunctions(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isPrivate() && !function.isExternal() &&
        !llvm::hasSingleElement(function.getBody()))
      return function.emitOpError("must be one block to be an entry point: "
                                  "write branches as scf.if");
  SymbolTableCollection symbols;
  WalkResult result = module.walk([&](func::CallOp call) {
    auto callee = symbols.lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    if (callee && callee.isPrivate() && !callee.isExternal())
      return WalkResult::advance();
    InFlightDiagnostic error = call.emitOpError("calls @") << call.getCallee();
    if (callee && !callee.isExternal())
      error << ", which is an entry point: what is called must be private";
    else
      error << ", which has no body";
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

/// Names the inputs, and turns each returned buffer into an output argument:
/// a buffer allocated here is written in place, another one copied.
LogicalResult PlanMemory::returnThroughArguments(func::FuncOp function,
                                                 EntryArguments &arguments) {
  Builder builder(&getContext());
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    if (!function.getArgAttr(i, kNameAttribute))
      function.setArgAttr(i, kNameAttribute,
                          builder.getStringAttr("arg" + Twine(i)));
    function.setArgAttr(i, kKindAttribute, builder.getStringAttr("input"));
    auto type = dyn_cast<MemRefType>(function.getArgument(i).getType());
    if (type && (!type.hasStaticShape() || !type.getLayout().isIdentity()))
      return function.emitOpError("argument #")
             << i << " must have a static shape, but got " << type;
  }
  auto ret = cast<func::ReturnOp>(function.getBody().front().getTerminator());
  for (unsigned i = 0; i < ret.getNumOperands(); ++i) {
    // Asked for anew: a buffer returned before is an output by now, and what is
    // returned twice is copied from there.
    Value value = ret.getOperand(i);
    auto type = dyn_cast<MemRefType>(value.getType());
    if (!type || !type.hasStaticShape())
      return ret.emitOpError("result #")
             << i << " of an entry point must be a tensor of static shape, "
             << "but got " << value.getType();
    auto name = function.getResultAttrOfType<StringAttr>(i, kNameAttribute);
    Value output = arguments.append(
        "output", name ? name.getValue() : ("result" + Twine(i)).str(),
        MemRefType::get(type.getShape(), type.getElementType()));
    if (auto alloc = value.getDefiningOp<memref::AllocOp>()) {
      alloc.replaceAllUsesWith(output);
      alloc.erase();
    } else {
      OpBuilder copy(ret);
      memref::CopyOp::create(copy, ret.getLoc(), value, output);
    }
  }
  ret->setOperands({});
  function.removeResAttrsAttr();
  return success();
}

FailureOr<SmallVector<Buffer>> PlanMemory::collect(func::FuncOp function) {
  Block &entry = function.getBody().front();
  DenseMap<Operation *, int64_t> order;
  for (auto [i, op] : llvm::enumerate(entry))
    order[&op] = i;
  BufferViewFlowAnalysis views(function);
  SmallVector<Buffer> buffers;
  WalkResult result = function.walk([&](memref::AllocOp alloc) {
    MemRefType type = alloc.getType();
    if (!type.hasStaticShape()) {
      alloc.emitOpError("has a shape that is not known before the run: ")
          << type;
      return WalkResult::interrupt();
    }
    Buffer buffer;
    buffer.alloc = alloc;
    buffer.size =
        llvm::alignTo(std::max<int64_t>(bytesOf(type), 1), kAlignment) +
        (redZones ? kRedZone : 0);
    buffer.first = order.size();
    for (Value view : views.resolve(alloc))
      for (OpOperand &use : view.getUses()) {
        Operation *user = use.getOwner();
        int64_t position = order[entry.findAncestorOpInBlock(*user)];
        buffer.first = std::min(buffer.first, position);
        buffer.last = std::max(buffer.last, position);
        if (auto launch = dyn_cast<LaunchOp>(user)) {
          int64_t scratch = launch.getNumOperands() - launch.getWorkspace();
          buffer.workspace |= use.getOperandNumber() >= scratch;
        }
      }
    buffers.push_back(buffer);
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return buffers;
}

void PlanMemory::place(SmallVectorImpl<Buffer> &buffers) {
  if (redZones) {
    int64_t end = kRedZone;
    for (Buffer &buffer : buffers)
      buffer.offset = std::exchange(end, end + buffer.size);
    return;
  }
  SmallVector<Buffer *> bySize;
  for (Buffer &buffer : buffers)
    bySize.push_back(&buffer);
  llvm::sort(bySize, [](Buffer *a, Buffer *b) {
    return std::pair(-a->size, a) < std::pair(-b->size, b);
  });
  // Whether two live at one time, the times at which some begin to live tell.
  std::vector<int64_t> times;
  for (const Buffer &buffer : buffers)
    times.push_back(buffer.first);
  llvm::sort(times);
  times.erase(llvm::unique(times), times.end());
  Occupancy taken(times.size());
  for (Buffer *buffer : bySize) {
    if (buffer->first > buffer->last)
      continue; // nothing touches it
    size_t first = llvm::lower_bound(times, buffer->first) - times.begin();
    size_t last = llvm::upper_bound(times, buffer->last) - times.begin() - 1;
    buffer->offset = taken.findFree(first, last, buffer->size);
    taken.take(first, last, buffer->offset, buffer->size);
  }
}

ArenaUse PlanMemory::measure(ArrayRef<Buffer> buffers) {
  // Bytes that live at an op: what begins there or before, less what ended
  // before it.
  int64_t ops = 0;
  for (const Buffer &buffer : buffers)
    ops = std::max({ops, buffer.first + 1, buffer.last + 1});
  SmallVector<int64_t> live(ops + 1), workspace(ops + 1);
  for (const Buffer &buffer : buffers) {
    if (buffer.first > buffer.last)
      continue; // nothing touches it
    int64_t scratch = buffer.workspace ? buffer.size : 0;
    live[buffer.first] += buffer.size;
    live[buffer.last + 1] -= buffer.size;
    workspace[buffer.first] += scratch;
    workspace[buffer.last + 1] -= scratch;
  }
  for (int64_t op = 0; op < ops; ++op) {
    live[op + 1] += live[op];
    workspace[op + 1] += workspace[op];
  }
  ArenaUse use;
  int64_t worst = -1;
  for (const Buffer &at : buffers) {
    // Live bytes peak where a buffer begins to live.
    if (live[at.first] > worst) {
      worst = live[at.first];
      use.workspace = workspace[at.first];
    }
    use.bytes = std::max(use.bytes, at.offset + at.size);
  }
  return use;
}

/// Replaces `pst.buffer` and `pst.space` by views of the spaces' arguments, or
/// by the argument of a frozen parameter.
void PlanMemory::resolveNames(func::FuncOp function,
                              EntryArguments &arguments) {
  Type i8 = IntegerType::get(&getContext(), 8);
  auto viewOf = [&](OpBuilder &builder, Location loc, StringRef space,
                    int64_t offset, MemRefType type) -> Value {
    Value base =
        arguments.get("space", space, MemRefType::get({spaces[space]}, i8));
    Value start = arith::ConstantIndexOp::create(builder, loc, offset);
    return memref::ViewOp::create(builder, loc, type, base, start,
                                  ValueRange{});
  };
  function.walk([&](BufferOp op) {
    ParameterOp parameter = parameters.lookup(op.getParameterAttr().getAttr());
    OpBuilder builder(op);
    MemRefType type = op.getType();
    Value buffer;
    if (parameter.getRole() == ParameterRole::Frozen)
      buffer = arguments.get("parameter", parameter.getSymName(), type);
    else
      buffer = viewOf(builder, op.getLoc(),
                      op.getPart() == Part::Gradient
                          ? "gradient"
                          : stringifyParameterRole(parameter.getRole()),
                      parameter.getOffset().value_or(0), type);
    op.replaceAllUsesWith(buffer);
    op.erase();
  });
  function.walk([&](SpaceOp op) {
    OpBuilder builder(op);
    op.replaceAllUsesWith(viewOf(builder, op.getLoc(), op.getSpace(), 0,
                                 cast<MemRefType>(op.getType())));
    op.erase();
  });
}

/// What the address sanitizer offers to programs that place buffers themselves.
static constexpr StringLiteral kPoison = "__asan_poison_memory_region",
                               kUnpoison = "__asan_unpoison_memory_region";

/// Tells the sanitizer that the bytes of `buffer` may be touched, or may not.
static void mark(OpBuilder &builder, Location loc, StringRef call,
                 Value buffer) {
  Value operands[] = {
      memref::ExtractAlignedPointerAsIndexOp::create(builder, loc, buffer),
      arith::ConstantIndexOp::create(
          builder, loc, bytesOf(cast<MemRefType>(buffer.getType())))};
  func::CallOp::create(builder, loc, call, TypeRange(), operands);
}

static void declareMarks(ModuleOp module) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  Type index = builder.getIndexType();
  for (StringRef name : {kPoison, kUnpoison})
    func::FuncOp::create(builder, module.getLoc(), name,
                         builder.getFunctionType({index, index}, {}))
        .setPrivate();
}

/// What of the frozen parameters is in memory at once. A weight that @pack.N
/// alone reads is there for that function only, one after the other, and so are
/// rows of one that it reads in pieces.
static int64_t frozenBytes(ModuleOp module) {
  llvm::StringMap<int64_t> packed;
  llvm::StringSet<> others;
  for (auto function : module.getOps<func::FuncOp>()) {
    bool packs = isPackEntry(function.getSymName());
    function.walk([&](BufferOp op) {
      if (packs)
        packed[op.getParameter()] = bytesOf(op.getType());
      else
        others.insert(op.getParameter());
    });
    for (unsigned i = 0; packs && i < function.getNumArguments(); ++i)
      if (auto name = function.getArgAttrOfType<StringAttr>(i, kNameAttribute))
        packed[name] =
            bytesOf(cast<MemRefType>(function.getArgument(i).getType()));
  }
  int64_t sum = 0, largest = 0;
  for (auto parameter : module.getOps<ParameterOp>()) {
    if (parameter.getRole() != ParameterRole::Frozen)
      continue;
    auto found = packed.find(parameter.getSymName());
    if (found != packed.end() && !others.contains(parameter.getSymName()))
      largest = std::max(largest, found->second);
    else
      sum += bytesOf(cast<RankedTensorType>(parameter.getType()));
  }
  return sum + largest;
}

void PlanMemory::runOnOperation() {
  ModuleOp module = getOperation();
  Builder builder(&getContext());
  if (failed(verifyFunctions(module)))
    return signalPassFailure();

  // The spaces end where the parameter furthest out ends.
  int64_t frozen = frozenBytes(module), trainable = 0, state = 0, cache = 0;
  parameters.clear();
  for (auto parameter : module.getOps<ParameterOp>()) {
    parameters[parameter.getSymNameAttr()] = parameter;
    auto type = cast<RankedTensorType>(parameter.getType());
    int64_t offset = parameter.getOffset().value_or(0);
    if (offset < 0 || offset > kMostBytes) {
      parameter.emitOpError("has the offset ")
          << offset << ", which no memory has";
      return signalPassFailure();
    }
    int64_t end = offset + bytesOf(type);
    if (parameter.getRole() == ParameterRole::Frozen)
      continue;
    int64_t &space = parameter.getRole() == ParameterRole::Trainable ? trainable
                     : parameter.getRole() == ParameterRole::State   ? state
                                                                     : cache;
    space = std::max<int64_t>(space, llvm::alignTo(end, kAlignment));
  }
  for (StringRef space : {"trainable", "gradient", "moment1", "moment2"})
    spaces[space] = trainable;
  spaces["state"] = state;
  spaces["cache"] = cache;

  struct Entry {
    func::FuncOp function;
    std::unique_ptr<EntryArguments> arguments;
    SmallVector<Buffer> buffers;
  };
  SmallVector<Entry> entries;
  ArenaUse worst;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isPrivate() || function.isExternal())
      continue;
    Entry entry{function, std::make_unique<EntryArguments>(function), {}};
    if (failed(returnThroughArguments(function, *entry.arguments)))
      return signalPassFailure();
    resolveNames(function, *entry.arguments);
    FailureOr<SmallVector<Buffer>> buffers = collect(function);
    if (failed(buffers))
      return signalPassFailure();
    entry.buffers = std::move(*buffers);
    place(entry.buffers);
    ArenaUse use = measure(entry.buffers);
    if (use.bytes > worst.bytes)
      worst = use;
    entries.push_back(std::move(entry));
  }

  // One arena serves every entry point.
  Type i8 = builder.getI8Type();
  for (Entry &entry : entries) {
    Value arena;
    if (!entry.buffers.empty())
      arena = entry.arguments->get("space", "arena",
                                   MemRefType::get({worst.bytes}, i8));
    entry.arguments->finish();
    if (arena && redZones) {
      Block &block = entry.function.getBody().front();
      OpBuilder at = OpBuilder::atBlockBegin(&block);
      mark(at, entry.function.getLoc(), kPoison, arena);
      // Another entry point has other buffers.
      at.setInsertionPoint(block.getTerminator());
      mark(at, entry.function.getLoc(), kUnpoison, arena);
    }
    for (Buffer &buffer : entry.buffers) {
      OpBuilder at(buffer.alloc);
      Location loc = buffer.alloc.getLoc();
      Value start = arith::ConstantIndexOp::create(at, loc, buffer.offset);
      MemRefType type = buffer.alloc.getType();
      Value view =
          memref::ViewOp::create(at, loc, type, arena, start, ValueRange{});
      if (redZones)
        mark(at, loc, kUnpoison, view);
      buffer.alloc.replaceAllUsesWith(view);
      buffer.alloc.erase();
    }
  }
  auto bytes = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  if (redZones) {
    declareMarks(module);
    module->setAttr(kRedZonesAttribute, builder.getUnitAttr());
  }
  module->setAttr(
      kMemoryAttribute,
      builder.getDictionaryAttr(
          {bytes("frozen", frozen), bytes("trainable", trainable),
           bytes("state", state), bytes("cache", cache),
           bytes("arena", worst.bytes), bytes("workspace", worst.workspace)}));
}
