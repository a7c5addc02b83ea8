//===- KernelContext.cpp - GPU kernels of a module, each made once --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "NoteWork.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Dialect/NN/NNOps.h"
#include <algorithm>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// The gpu.module that holds all kernels.
static constexpr StringLiteral kModule = "kernels";
/// Threads of a block that maps elements, and elements of each.
static constexpr int64_t kThreads = 256;
static constexpr int64_t kElements = 4;

static gpu::GPUModuleOp kernelModule(ModuleOp module) {
  if (auto found = module.lookupSymbol<gpu::GPUModuleOp>(kModule))
    return found;
  module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                  UnitAttr::get(module.getContext()));
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  return gpu::GPUModuleOp::create(builder, module.getLoc(), kModule);
}

KernelIdentity KernelPart::of(StringRef function) const {
  if (shared)
    return *shared;
  KernelIdentity identity(function);
  return part.empty() ? identity : identity.add(part);
}

KernelPart KernelPart::then(StringRef next) const {
  if (shared)
    return KernelIdentity(*shared).add(next);
  return KernelPart(part.empty() ? next.str() : part + "_" + next.str());
}

gpu::LaunchFuncOp
KernelContext::launch(CodeBuilder &host, const KernelPart &part, int64_t blocks,
                      int64_t threads, ValueRange arguments,
                      function_ref<void(ThreadBuilder &, ValueRange)> body,
                      int64_t sharedBytes) {
  Location loc = host.getLoc();
  gpu::GPUModuleOp kernels = kernelModule(module);
  llvm::BitVector packedOnes = packedAmong(arguments);
  SmallVector<Value> operands;
  if (packedOnes.any())
    operands = {packedRows()->places, packedRows()->starts};
  llvm::append_range(operands, arguments);
  KernelIdentity identity = part.of(currentKernel());
  identity.distinguish(ValueRange(operands).getTypes());
  if (packedOnes.any())
    identity.add("packed", SmallVector<unsigned>(packedOnes.set_bits()))
        .distinguish(host.getI64IntegerAttr(packedRows()->length));
  StringRef name = kernelNames.of(identity);
  auto kernel = kernels.lookupSymbol<gpu::GPUFuncOp>(name);
  if (!kernel) {
    OpBuilder builder = OpBuilder::atBlockEnd(kernels.getBody());
    kernel = gpu::GPUFuncOp::create(
        builder, loc, name,
        FunctionType::get(builder.getContext(), ValueRange(operands).getTypes(),
                          {}));
    kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(),
                    builder.getUnitAttr());
    kernel.setKnownBlockSizeAttr(
        builder.getDenseI32ArrayAttr({int32_t(threads), 1, 1}));
    ThreadBuilder thread(loc, kernel, threads);
    SmallVector<Value> inner(kernel.getArguments());
    buildKernel(thread, inner, packedOnes, body);
    gpu::ReturnOp::create(thread);
  }
  Value one = host.index(1);
  return gpu::LaunchFuncOp::create(
      host, kernel, gpu::KernelDim3{host.index(blocks), one, one},
      gpu::KernelDim3{host.index(threads), one, one},
      sharedBytes ? host.i32(sharedBytes) : Value(), operands);
}

/// Rows that each token has in a matrix: several, if it has room for more rows
/// than there are places.
static int64_t rowsOfToken(Value matrix, Value places) {
  auto type = dyn_cast<MemRefType>(matrix.getType());
  int64_t capacity = cast<MemRefType>(places.getType()).getDimSize(0);
  return type ? std::max<int64_t>(type.getDimSize(0) / capacity, 1) : 1;
}

void KernelContext::buildKernel(
    ThreadBuilder &b, ValueRange values, const llvm::BitVector &packedOnes,
    function_ref<void(ThreadBuilder &, ValueRange)> body) {
  int64_t length = packedOnes.any() ? packedRows()->length : 0;
  PackedScope scope(*this);
  if (packedOnes.any()) {
    PackedRows packed{values[0], values[1], PackedRows::readCount(b, values[1]),
                      length};
    values = values.drop_front(2);
    scope.enter(packed, values, packedOnes);
    for (unsigned i : packedOnes.set_bits())
      if (int64_t each = rowsOfToken(values[i], packed.places); each > 1)
        setRows(values[i], b.muli(packed.count, each));
  }
  body(b, values);
}

void KernelContext::withRows(Value count, ValueRange matrices,
                             function_ref<void()> body) {
  PackedRows part = *packedRows();
  part.starts = count;
  PackedScope scope(*this);
  scope.enter(part, matrices, llvm::BitVector(matrices.size(), true));
  body();
}

void KernelContext::made(func::FuncOp kernel, Operation *op) {
  noteWork(kernel, op);
}

/// The place of `matrix` among the arguments of a launch.
static size_t placeAmong(ValueRange arguments, Value matrix) {
  size_t place = llvm::find(arguments, matrix) - arguments.begin();
  assert(place < arguments.size() && "the matrix is an argument");
  return place;
}

/// body(i) for each i in [0, count), `perThread` of them on each thread, which
/// gets it from `prepare` first. `present` is how many there are in a kernel,
/// if that is less; null: all.
static void launchItems(
    KernelContext &context, CodeBuilder &host, const KernelPart &part,
    int64_t count, int64_t perThread, ValueRange arguments,
    function_ref<std::function<void(Value)>(ThreadBuilder &, ValueRange)>
        prepare,
    function_ref<Value(ThreadBuilder &, ValueRange)> present) {
  int64_t perBlock = kThreads * perThread;
  int64_t blocks = (count + perBlock - 1) / perBlock;
  context.launch(host, part, blocks, kThreads, arguments,
                 [&](ThreadBuilder &b, ValueRange values) {
                   Value all = present(b, values);
                   std::function<void(Value)> body = prepare(b, values);
                   Value begin = b.muli(b.block(), perBlock);
                   Value end = b.mini(b.addi(begin, perBlock),
                                      all ? all : b.index(count));
                   b.strided(begin, end, body);
                 });
}

/// The groups of `size` elements in the rows of a matrix that there are; null:
/// all, of one that is not packed.
static Value presentGroups(KernelContext &context, ThreadBuilder &b,
                           Value matrix, int64_t size) {
  Value rows = context.packedCount(matrix);
  if (!rows)
    return nullptr;
  int64_t columns = cast<ShapedType>(matrix.getType()).getDimSize(1);
  return b.muli(rows, columns / size);
}

void KernelContext::launchElements(
    CodeBuilder &host, const KernelPart &part, int64_t count,
    ValueRange arguments,
    function_ref<void(ThreadBuilder &, ValueRange, Value)> body) {
  launchItems(
      *this, host, part, count, kElements, arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        return [&b, values, body](Value i) { body(b, values, i); };
      },
      [](ThreadBuilder &, ValueRange) { return Value(); });
}

/// Groups of one element are no gain: a thread takes several.
static int64_t groupsPerThread(int64_t size) {
  return size == 1 ? kElements : 1;
}

/// Elements of `value`'s type that 16 bytes hold.
static int64_t elementsOfAccess(Value value) {
  return 128 / getElementTypeOrSelf(value).getIntOrFloatBitWidth();
}

int64_t pst::cuda::groupOf(Value matrix) {
  int64_t group = elementsOfAccess(matrix);
  return cast<ShapedType>(matrix.getType()).getShape().back() % group ? 1
                                                                      : group;
}

void KernelContext::launchMatrix(
    CodeBuilder &host, const KernelPart &part, Value matrix,
    ValueRange arguments,
    function_ref<void(ThreadBuilder &, ValueRange, Value, Value, int64_t)>
        body) {
  auto type = cast<ShapedType>(matrix.getType());
  int64_t columns = type.getDimSize(1), size = groupOf(matrix);
  size_t place = placeAmong(arguments, matrix);
  launchItems(
      *this, host, part, type.getNumElements() / size, groupsPerThread(size),
      arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        return [&b, values, body, columns, size](Value group) {
          Value i = b.muli(group, size);
          body(b, values, b.divi(i, columns), b.remi(i, columns), size);
        };
      },
      [&](ThreadBuilder &b, ValueRange values) {
        return presentGroups(*this, b, values[place], size);
      });
}

void KernelContext::launchMap(
    CodeBuilder &host, const KernelPart &part, size_t inputs,
    ValueRange arguments,
    function_ref<ElementFunction(CodeBuilder &, ValueRange)> prepare) {
  Value result = arguments.back();
  int64_t count = cast<ShapedType>(result.getType()).getNumElements();
  int64_t size = isPacked(result) ? groupOf(result) : elementsOfAccess(result);
  if (count % size != 0)
    size = 1;
  auto mapGroup = [=](ThreadBuilder &b, ValueRange values,
                      const ElementFunction &function, Value i) {
    SmallVector<Group> loaded;
    for (Value input : values.take_front(inputs))
      loaded.push_back(b.loadGroup(b.flatten(input), i, size));
    Group results;
    for (int64_t e = 0; e < size; ++e) {
      SmallVector<Value> elements;
      for (const Group &input : loaded)
        elements.push_back(input[e]);
      results.push_back(function(elements, b.addi(i, e), /*lanes=*/1));
    }
    b.storeGroup(results, b.flatten(values.back()), i);
  };
  launchItems(
      *this, host, part, count / size, groupsPerThread(size), arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        return [&b, values, mapGroup, size,
                function = prepare(b, values)](Value group) {
          mapGroup(b, values, function, b.muli(group, size));
        };
      },
      [&](ThreadBuilder &b, ValueRange values) {
        return presentGroups(*this, b, values.back(), size);
      });
}

void KernelContext::launchRows(
    CodeBuilder &host, const KernelPart &part, Value matrix, int64_t columns,
    ValueRange arguments,
    function_ref<void(ThreadBuilder &, ValueRange, Value)> body,
    int64_t group) {
  int64_t rows = cast<ShapedType>(matrix.getType()).getDimSize(0);
  size_t place = placeAmong(arguments, matrix);
  int64_t perThread = std::max(group, kElements);
  int64_t wanted = (columns + perThread - 1) / perThread;
  int64_t threads =
      std::clamp((wanted + kWarp - 1) / kWarp * kWarp, kWarp, kThreads);
  launch(host, part, rows, threads, arguments,
         [&](ThreadBuilder &b, ValueRange values) {
           b.ifBelow(b.block(), packedCount(values[place]),
                     [&] { body(b, values, b.block()); });
         });
}

/// The sum of partials[p, i] over p, ascending. Many loads are on their way
/// before the first addition, for all that a thread does is wait for memory.
static Value sumPartials(ThreadBuilder &b, Value partials, int64_t parts,
                         int64_t count, Value i) {
  constexpr int64_t kInFlight = 16;
  Value in = b.flatten(partials);
  auto addTerms = [&](Value sum, Value first, int64_t terms) {
    SmallVector<Value> values;
    for (int64_t p = 0; p < terms; ++p)
      values.push_back(b.load(in, b.addi(b.muli(b.addi(first, p), count), i)));
    for (Value value : values)
      sum = b.addf(sum, value);
    return sum;
  };
  Value sum = b.f32(0.0);
  int64_t whole = parts / kInFlight * kInFlight;
  if (whole)
    sum = b.loop(b.index(0), b.index(whole), kInFlight, {sum},
                 [&](Value p, ValueRange carried) -> SmallVector<Value> {
                   return {addTerms(carried[0], p, kInFlight)};
                 })[0];
  return addTerms(sum, b.index(whole), parts - whole);
}

void KernelContext::launchSums(CodeBuilder &host, ArrayRef<PartialSum> sums) {
  struct Work {
    int64_t parts, count, firstBlock;
  };
  SmallVector<Work> works;
  SmallVector<Value> arguments;
  KernelIdentity identity("sum");
  int64_t blocks = 0;
  for (const PartialSum &sum : sums) {
    auto type = cast<MemRefType>(sum.partials.getType());
    int64_t parts = type.getDimSize(0), count = type.getNumElements() / parts;
    identity.add(sum.added ? "added" : "of").add(type);
    works.push_back({parts, count, blocks});
    blocks += (count + kThreads - 1) / kThreads;
    llvm::append_values(arguments, sum.partials, sum.result);
  }
  launch(host, std::move(identity), blocks, kThreads, arguments,
         [&](ThreadBuilder &b, ValueRange values) {
           for (auto [s, work] : llvm::enumerate(works)) {
             Value i = b.addi(
                 b.muli(b.subi(b.block(), b.index(work.firstBlock)), kThreads),
                 b.thread());
             // Blocks of the results before have a negative i: a large one.
             Value inside =
                 b.cmpi(arith::CmpIPredicate::ult, i, b.index(work.count));
             b.ifThen(inside, [&] {
               Value out = b.flatten(values[2 * s + 1]);
               Value sum =
                   sumPartials(b, values[2 * s], work.parts, work.count, i);
               if (sums[s].added)
                 sum = b.addf(b.load(out, i), sum);
               b.store(sum, out, i);
             });
           }
         });
}
