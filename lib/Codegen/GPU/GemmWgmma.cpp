//===- GemmWgmma.cpp - Products by TMA and wgmma --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The product of bf16 matrices on sm_90a, in f32. As many blocks as the GPU has
// multiprocessors; each takes every so many-th tile of C, of 128 rows and 64 to
// 256 columns. Of its three warpgroups the last only loads, and the first two
// multiply, 64 rows each; buffers of 64 of k go round between them:
//
//   load:      for each tile, for k0 in steps of 64:
//     wait until the buffer is empty
//     buffer = op(A)[128 rows, k0 : k0 + 64], op(B)[k0 : k0 + 64, columns];
//              zeros outside; the copy's end fills the buffer
//   multiply:  for each tile:
//     for k0 in steps of 64:
//       wait until the buffer is full
//       for kk in steps of 16: sums += A[64 rows, kk] B[kk, columns]  (wgmma)
//       wait for the products of the step before; its buffer is empty
//     wait for the last; what is done with the tile
//
// What is done with a tile: WgmmaTile.cpp.
//
// Two barriers belong to each buffer. The one that means "full" waits for the
// loading thread and for the bytes it announced; the one that means "empty" for
// one thread of each multiplying warpgroup. In their n-th round they are in
// phase n: who fills waits for the phase before, which at first has passed.
//
// Where k ends with the rows of packed matrices, what a buffer has of k beyond
// them is undefined: who multiplies writes zeros over it first.
//
// Blocks do not form clusters: two that loaded op(B) for each other took 1.6
// times as long on an H200 (docs/GPU.md).

#include "WgmmaTile.h"

using namespace mlir;
using namespace pst::cuda;

/// Registers of a thread that loads, and of one that multiplies. A block begins
/// with 168 for each of its 384 threads, and gets no others: what one gives up
/// is what two can take.
static constexpr int64_t kLoadRegisters = 40, kMultiplyRegisters = 232;

namespace {

/// Emits a block.
class WgmmaBlock {
public:
  WgmmaBlock(ThreadBuilder &b, const GemmPlan &plan, const GemmExtent &extent,
             Value left, Value right)
      : b(b), plan(plan), extent(extent), buffers(plan), async(b),
        left(async.tensorMapAddress(left)),
        right(async.tensorMapAddress(right)), thread(b, b.thread()) {
    if (plan.scratch)
      scratch = async.shared({b, b.index(buffers.scratchStart())});
  }

  void emit(TileFunction body) {
    b.onFirstThread([&] {
      for (int64_t stage = 0; stage < buffers.stages; ++stage) {
        Code at(b, b.index(stage));
        async.initBarrier(async.shared(buffers.full(at)), 1);
        async.initBarrier(async.shared(buffers.empty(at)), kWgmmaConsumers);
      }
      async.fenceBarrierInit();
      async.prefetch(left);
      async.prefetch(right);
    });
    b.barrier();
    Value loads = b.cmpi(arith::CmpIPredicate::eq, thread / kWarpgroup,
                         b.index(kWgmmaConsumers));
    b.ifElse(
        loads,
        [&] {
          async.decreaseRegisters(kLoadRegisters);
          b.ifThen(isFirst(), [&] { load(); });
        },
        [&] {
          async.increaseRegisters(kMultiplyRegisters);
          multiply(body);
        });
  }

private:
  /// Of the warpgroup.
  Value isFirst() {
    return b.cmpi(arith::CmpIPredicate::eq, thread % kWarpgroup, b.index(0));
  }

  /// Of each part of k, one at least.
  Value depthSteps() const {
    Value steps = stepsOfPart(b, plan, extent, OperandTile::kDepth);
    return extent.depth ? arith::MaxSIOp::create(b, steps, b.index(1)) : steps;
  }

  /// body(place, part of k, step), which returns the next step, for each tile
  /// of the block, and each part of k that it sums over (null if there is one);
  /// steps count what went through the buffers.
  void forTiles(function_ref<Value(Place<Code>, Value, Code)> body) {
    // Read by each of the two that loop: of one value that both begin with,
    // ptxas spills the counters.
    Value block = gpu::BlockIdOp::create(b, gpu::Dimension::x);
    Value end = b.index(plan.blocks()), rows;
    if (extent.rows) {
      rows = b.divi(b.addi(extent.rows, plan.tileM - 1), plan.tileM);
      end = b.muli(rows, plan.tilesOfN() * plan.splits);
    }
    b.loop(
        block, end, wgmmaBlocks(plan), {b.index(0)},
        [&](Value number, ValueRange steps) -> SmallVector<Value> {
          Value part;
          if (plan.splits > 1) {
            part = b.remi(number, plan.splits);
            number = b.divi(number, plan.splits);
          }
          Code at(b, number);
          Place<Code> place =
              rows ? placeInBands(at, Code(b, rows), plan.tilesOfN(), plan.band)
                   : tilePlace(at, plan.tilesOfM(), plan.tilesOfN(), plan.band);
          return {body(place, part, {b, steps[0]})};
        });
  }

  void load() {
    forTiles([&](Place<Code> place, Value part, Code steps) {
      Value count = depthSteps();
      return b.loop(b.index(0), count, 1, {steps},
                    [&](Value depth, ValueRange carried) -> SmallVector<Value> {
                      Code step(b, carried[0]);
                      loadStep(step, depthOf(depth, part, count),
                               place.row * plan.tileM,
                               place.column * plan.tileN);
                      return {step + 1};
                    })[0];
    });
  }

  /// Where the `step`-th of the `steps` of a part of k begins in k.
  Code depthOf(Value step, Value part, Value steps) {
    if (part)
      step = b.addi(step, arith::MulIOp::create(b, part, steps));
    return Code(b, step) * OperandTile::kDepth;
  }

  void loadStep(Code step, Code depth, Code row, Code column) {
    Code stage = pipelineStage(step, buffers.stages);
    Code before = (pipelineParity(step, buffers.stages) + 1) % 2;
    async.waitParity(async.shared(buffers.empty(stage)), before);
    Value full = async.shared(buffers.full(stage));
    async.arriveExpecting(full, buffers.stageBytes());
    Code start = buffers.start(stage);
    loadTile(buffers.left, left, full, start, row, depth);
    loadTile(buffers.right, right, full, start + buffers.left.bytes(), column,
             depth);
  }

  void loadTile(const OperandTile &tile, Value map, Value full, Code start,
                Code first, Code depth) {
    for (int64_t box = 0; box < tile.boxes(); ++box) {
      Value target = async.shared(start + box * tile.boxBytes());
      if (tile.depthIsInner)
        async.load(target, map, full, depth, first);
      else
        async.load(target, map, full, first + box * kSwizzleElements, depth);
    }
  }

  void multiply(TileFunction body) {
    forTiles([&](Place<Code> place, Value part, Code steps) -> Value {
      // A first step of its own: were it told by a condition, accumulators
      // would be moved between the products.
      Value count = depthSteps();
      Value sums = multiplyStep(steps, depthOf(b.index(0), part, count),
                                async.noAccumulators(plan.tileN),
                                /*first=*/true);
      if (plan.release == 0) {
        async.waitProducts(/*pending=*/0);
        release(steps, /*ago=*/0);
      }
      SmallVector<Value> last =
          b.loop(b.index(1), count, 1, {sums, steps + 1},
                 [&](Value depth, ValueRange carried) -> SmallVector<Value> {
                   Code step(b, carried[1]);
                   Value next = multiplyStep(step, depthOf(depth, part, count),
                                             carried[0], /*first=*/false);
                   async.waitProducts(/*pending=*/plan.release);
                   release(step, plan.release);
                   return {next, step + 1};
                 });
      SmallVector<Value> values = async.finishProducts(last[0], plan.tileN);
      Code next(b, last[1]);
      if (plan.release)
        release(next, plan.release);
      body(WgmmaTile(plan, buffers, async, place, part, thread, values,
                     scratch));
      return next;
    });
    // What is stored must stay until it was read.
    if (plan.storedBytes)
      b.ifThen(isFirst(), [&] { async.awaitStores(/*pending=*/0); });
  }

  Value multiplyStep(Code step, Code depth, Value sums, bool first) {
    Code stage = pipelineStage(step, buffers.stages);
    async.waitParity(async.shared(buffers.full(stage)),
                     pipelineParity(step, buffers.stages));
    if (extent.depth)
      clearBeyond(buffers.start(stage), depth);
    Code start = buffers.start(stage) + async.sharedStart();
    Code rows = thread / kWarpgroup * kWgmmaRows;
    Value left =
        async.descriptor(buffers.left, start + buffers.left.start(rows, 0));
    Value right = async.descriptor(buffers.right, start + buffers.left.bytes());
    async.fenceProducts();
    for (int64_t i = 0; i < OperandTile::kDepth / kWgmmaDepth; ++i) {
      int64_t zero = 0;
      sums =
          async.multiply(sums, async.advance(left, buffers.left.start(zero, i)),
                         async.advance(right, buffers.right.start(zero, i)),
                         plan.tileN, buffers.left.depthIsInner,
                         buffers.right.depthIsInner, first && i == 0);
    }
    async.commitProducts();
    return sums;
  }

  /// Zeros in the buffer at `start`, whose k begin at `depth`, from the end of
  /// k on. Both operands are boxes of 64 rows of 128 bytes, one for each k.
  void clearBeyond(Code start, Code depth) {
    Value rest = b.subi(extent.depth, depth);
    b.ifBelow(rest, b.index(OperandTile::kDepth), [&] {
      constexpr int64_t kPiece = 16, kPieces = 128 / kPiece;
      auto type = VectorType::get(kPiece / 4, b.getI32Type());
      Value zeros = arith::ConstantOp::create(b, type, b.getZeroAttr(type));
      b.loop(
          thread, b.index(buffers.stageBytes() / kPiece),
          kWgmmaConsumers * kWarpgroup, [&](Value piece) {
            Code at(b, piece);
            Value isBeyond = b.cmpi(arith::CmpIPredicate::sge,
                                    at / kPieces % OperandTile::kDepth, rest);
            b.ifThen(isBeyond, [&] {
              LLVM::StoreOp::create(b, zeros, async.shared(start + at * kPiece),
                                    /*alignment=*/kPiece);
            });
          });
      async.fenceWrites();
      barrierOfConsumers(b);
    });
  }

  /// The buffer of the step `ago` steps before this one is empty.
  void release(Code step, int64_t ago) {
    Code stage = pipelineStage(step + (-ago), buffers.stages);
    b.ifThen(isFirst(),
             [&] { async.arrive(async.shared(buffers.empty(stage))); });
  }

  ThreadBuilder &b;
  const GemmPlan &plan;
  const GemmExtent &extent;
  WgmmaBuffers buffers;
  AsyncBuilder async;
  Value left, right; ///< addresses of the tensor maps
  Code thread;
  Value scratch;
};

} // namespace

int64_t pst::cuda::wgmmaBlocks(const GemmPlan &plan) {
  return std::min(plan.blocks(), kMultiprocessors);
}

int64_t pst::cuda::wgmmaSharedBytes(const GemmPlan &plan) {
  return WgmmaBuffers(plan).bytes();
}

std::pair<Value, Value> pst::cuda::wgmmaOperands(CodeBuilder &host,
                                                 const GemmPlan &plan,
                                                 Value left, Value right) {
  WgmmaBuffers buffers(plan);
  return {createTensorMap(host, left, buffers.left.boxRows()),
          createTensorMap(host, right, buffers.right.boxRows())};
}

Value pst::cuda::wgmmaResult(CodeBuilder &host, GemmPlan &plan, Value result) {
  auto type = cast<MemRefType>(result.getType());
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  if (type.getDimSize(1) * bytes % 16 != 0)
    return result;
  plan.storedBytes = bytes;
  plan.storesBeyond = type.getDimSize(1) > plan.n;
  return createTensorMap(host, result, kWgmmaRows);
}

void pst::cuda::emitWgmmaTiles(ThreadBuilder &b, const GemmPlan &plan,
                               const GemmExtent &extent, Value left,
                               Value right, TileFunction body) {
  WgmmaBlock(b, plan, extent, left, right).emit(body);
}
