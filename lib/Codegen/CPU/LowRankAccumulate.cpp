//===- LowRankAccumulate.cpp - Gradients of a virtual weight's factors ----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// G = dY^T X exists for a block of rows and columns at a time:
//
//   for jc in blocks of columns, for groups of tasks:
//     for pc in blocks of tokens:
//       parallel: pack the panels of X(pc, jc)
//       parallel for the tasks of the group, for their strips of rows ic:
//         G(ic, jc) += dY(pc, ic)^T X(pc, jc)
//         after the last tokens: fold G(ic, jc) into the factors' gradients
//                                                        (FactorGradients.cpp)
//   parallel: sum what the tasks summed, in ascending order
//
// If all tokens are one block, a strip of G is done at once and lies on the
// thread's stack. What each task does is fixed by the shapes, so the sums have
// one order for any number of threads.

#include "FactorGradients.h"
#include "Gemm.h"
#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Tokens in a block.
static constexpr int64_t kLargestDepth = 512;

namespace {
/// How the rows of the weight are shared out.
struct TaskSizes {
  int64_t stripsPerTask; ///< Strips are blocks of rows of the product.
  int64_t tasksPerGroup, groups;

  TaskSizes(const GemmBlocking &s) {
    constexpr int64_t kLargestTasks = 16; // each has sums of its own
    constexpr int64_t kHeldRows = 1536;   // G of a group is held: 4.5 MiB
    int64_t strips = s.blocksOfM();
    groups =
        s.blocksOfK() == 1 ? 1 : llvm::divideCeil(strips * s.mBlock, kHeldRows);
    tasksPerGroup = llvm::divideCeil(std::min(strips, kLargestTasks), groups);
    stripsPerTask = llvm::divideCeil(strips, groups * tasksPerGroup);
    tasksPerGroup = llvm::divideCeil(strips, groups * stripsPerTask);
  }
  int64_t tasks() const { return groups * tasksPerGroup; }
  int64_t stripsPerGroup() const { return tasksPerGroup * stripsPerTask; }
};

class Accumulation {
public:
  Accumulation(KernelBuilder &b, const GemmBlocking &blocking,
               const TaskSizes &sizes, FactorGradients &gradients)
      : b(b), s(blocking), sizes(sizes), gradients(gradients) {}

  /// `packed` has room for a block of X, `held` for the strips of a group; null
  /// if all tokens are one block.
  /// `count` is how many tokens there are; null: all.
  void emit(Value outputGradient, Value input, Value count, Value packed,
            Value held) {
    wholeDepth = !count && s.hasWholeDepth();
    Value tokens = count ? count : b.index(s.k);
    s.note(b);
    gradients.clear();
    MatrixReader x = MatrixReader::of(input);
    int64_t groupRows = sizes.stripsPerGroup() * s.mBlock;
    b.loop(0, s.n, s.nBlock, [&](Value jc) {
      Value columns = remaining(b, s.n, jc, s.nBlock);
      Value panels = ceilDivide(b, columns, s.tileColumns);
      b.loop(0, sizes.groups, 1, [&](Value group) {
        b.loop(b.index(0), tokens, s.kBlock, [&](Value pc) {
          Value depth = count ? remaining(b, count, pc, s.kBlock)
                              : remaining(b, s.k, pc, s.kBlock);
          b.parallel(s.panelsOfN(), [&](Value panel) {
            b.ifThen(b.cmpi(arith::CmpIPredicate::slt, panel, panels), [&] {
              packPanel(b, s.lanes, x, /*transposed=*/false,
                        {packed, s.tileColumns},
                        b.muli(panel, s.panelStrideB()),
                        b.addi(jc, b.muli(panel, s.tileColumns)), pc, depth,
                        wholeDepth);
            });
          });
          b.parallel(sizes.tasksPerGroup, [&](Value inGroup) {
            Value packedA = b.stackBuffer(s.packedSizeA());
            Value strip = held ? held : b.stackBuffer(s.mBlock * s.nBlock);
            gradients.allocate();
            int64_t taskRows = sizes.stripsPerTask * s.mBlock;
            Value task = b.addi(b.muli(group, sizes.tasksPerGroup), inGroup);
            Value begin = b.muli(task, taskRows);
            Value end = b.mini(b.addi(begin, taskRows), b.index(s.m));
            Value first = b.cmpi(arith::CmpIPredicate::eq, pc, b.index(0));
            b.ifThen(first, [&] { gradients.clearTask(task, jc, columns); });
            b.loop(begin, end, s.mBlock, [&](Value ic) {
              Value base = b.index(0);
              if (held)
                base = b.muli(b.subi(ic, b.muli(group, groupRows)), s.nBlock);
              multiply(outputGradient, ic, pc, depth, packed, packedA, panels,
                       strip, base);
              auto fold = [&] {
                gradients.fold(task, strip, base, ic,
                               remaining(b, s.m, ic, s.mBlock), jc, columns);
              };
              if (!held)
                return fold();
              b.ifThen(b.cmpi(arith::CmpIPredicate::sge, b.addi(pc, s.kBlock),
                              tokens),
                       fold);
            });
          });
        });
      });
    });
    gradients.reduce(sizes.tasks());
  }

private:
  /// Packs the panels of a block of dY, columns ic .. ic + mBlock - 1, row by
  /// row: rows lie far apart, so each is read once, for all panels.
  void packStrip(Value dy, Value ic, Value pc, Value depth, Value panels,
                 Value packedA) {
    auto panelByPanel = [&] {
      MatrixReader reader = MatrixReader::of(dy);
      b.loop(b.index(0), panels, 1, [&](Value p) {
        packPanel(b, s.lanes, reader, /*transposed=*/false,
                  {packedA, s.tileRows}, b.muli(p, s.panelStrideA()),
                  b.addi(ic, b.muli(p, s.tileRows)), pc, depth, wholeDepth);
      });
    };
    // A vector reaches beyond the last panel; so near the end, go the other
    // way.
    if (s.m < s.mBlock + s.lanes)
      return panelByPanel();
    Value fits = b.cmpi(arith::CmpIPredicate::sle, ic,
                        b.index(s.m - s.mBlock - s.lanes));
    b.ifElse(
        fits,
        [&] {
          b.loop(b.index(0), depth, 1, [&](Value k) {
            Value row = b.addi(pc, k), to = b.muli(k, s.tileRows);
            for (int64_t p = 0; p < s.mBlock / s.tileRows; ++p)
              for (int64_t c = 0; c < s.tileRows; c += s.lanes)
                b.store(
                    b.load(dy, {row, b.addi(ic, p * s.tileRows + c)}, s.lanes),
                    packedA, b.addi(to, p * s.panelStrideA() + c));
          });
          if (wholeDepth)
            return;
          Value padded = b.muli(ceilDivide(b, depth, GemmBlocking::kUnroll),
                                GemmBlocking::kUnroll);
          b.loop(b.muli(depth, s.tileRows), b.muli(padded, s.tileRows), 1,
                 [&](Value i) {
                   for (int64_t p = 0; p < s.mBlock / s.tileRows; ++p)
                     b.store(b.f32(0.0), packedA,
                             b.addi(i, p * s.panelStrideA()));
                 });
        },
        panelByPanel);
  }

  /// Adds dY(pc, ic)^T X(pc, jc) to the strip at `base`, or sets it for the
  /// first tokens.
  void multiply(Value dy, Value ic, Value pc, Value depth, Value packed,
                Value packedA, Value panels, Value strip, Value base) {
    Value panelsA = ceilDivide(b, remaining(b, s.m, ic, s.mBlock), s.tileRows);
    int64_t vectors = s.tileColumns / s.lanes;
    packStrip(dy, ic, pc, depth, panelsA, packedA);
    b.loop(b.index(0), panels, 1, [&](Value jr) {
      b.loop(b.index(0), panelsA, 1, [&](Value ir) {
        Value at = b.addi(base, b.addi(b.muli(ir, s.tileRows * s.nBlock),
                                       b.muli(jr, s.tileColumns)));
        auto place = [&](size_t i) {
          return b.addi(at, i / vectors * s.nBlock + i % vectors * s.lanes);
        };
        int64_t size = s.tileRows * vectors;
        if (s.blocksOfK() > 1) // it has been a while since it was written
          for (int64_t i = 0; i < size; ++i)
            memref::PrefetchOp::create(b, strip, place(i), /*isWrite=*/true,
                                       /*localityHint=*/3,
                                       /*isDataCache=*/true);
        SmallVector<Value> tile =
            multiplyPanels(b, s, packedA, b.muli(ir, s.panelStrideA()), packed,
                           b.muli(jr, s.panelStrideB()), depth);
        auto set = [&] {
          for (auto [i, sum] : llvm::enumerate(tile))
            b.store(sum, strip, place(i));
        };
        if (s.blocksOfK() == 1)
          return set();
        b.ifElse(b.cmpi(arith::CmpIPredicate::eq, pc, b.index(0)), set, [&] {
          for (auto [i, sum] : llvm::enumerate(tile))
            b.store(b.addf(b.load(strip, place(i), s.lanes), sum), strip,
                    place(i));
        });
      });
    });
  }

  KernelBuilder &b;
  const GemmBlocking &s;
  const TaskSizes &sizes;
  FactorGradients &gradients;
  bool wholeDepth = false; ///< No block of tokens needs padding.
};

struct LowRankAccumulatePattern : KernelPattern<LowRankAccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(LowRankAccumulateOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    int64_t tokens = op.getInput().getType().getDimSize(0);
    // Deep blocks of tokens, so that G is seldom added to. If one block holds
    // them all, the strip and what is packed for it share the stack: half a
    // MiB.
    bool isOneBlock = tokens <= kLargestDepth;
    GemmBlocking blocking(type.getDimSize(0), type.getDimSize(1), tokens,
                          context.lanes(), /*largestM=*/isOneBlock ? 72 : 96,
                          /*largestN=*/768, kLargestDepth);
    TaskSizes sizes(blocking);
    SmallVector<FactorGradient> gradients = wantedGradients(op, criterion);
    Type f32 = rewriter.getF32Type();
    SmallVector<RankedTensorType> workspaces{
        RankedTensorType::get(blocking.packedSizeB(), f32)};
    bool holds = blocking.blocksOfK() > 1;
    if (holds)
      workspaces.push_back(RankedTensorType::get(
          sizes.stripsPerGroup() * blocking.mBlock * blocking.nBlock, f32));
    for (FactorGradient &g : gradients)
      if (needsPartial(op, g))
        workspaces.push_back(
            RankedTensorType::get({sizes.tasks(), g.rank, blocking.n}, f32));
    for (FactorGradient &g : gradients)
      if (needsSums(g))
        workspaces.push_back(
            cast<RankedTensorType>(op.getFactors()[g.tensor].getType()));
    SmallVector<Value> inputs{op.getOutputGradient(), op.getInput()};
    llvm::append_range(inputs, weightOperands(op));
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          VirtualWeight weight(
              b, criterion, op.getSelectionAttr(),
              arguments.take_front(inputs.size()).drop_front(2));
          ValueRange results =
              arguments.slice(inputs.size(), op.getNumResults());
          ValueRange scratch =
              arguments.drop_front(inputs.size() + op.getNumResults());
          Value packed = scratch.front();
          scratch = scratch.drop_front();
          Value held;
          if (holds) {
            held = scratch.front();
            scratch = scratch.drop_front();
          }
          for (FactorGradient &g : gradients) {
            g.first = resultOf(op, g.tensor, results);
            if (g.kind == FactorKind::LowRank)
              g.second = resultOf(op, g.tensor + 1, results);
            if (needsPartial(op, g)) {
              g.partial = scratch.front();
              scratch = scratch.drop_front();
            }
          }
          for (FactorGradient &g : gradients) {
            g.sums = g.first;
            if (needsSums(g)) {
              g.sums = scratch.front();
              scratch = scratch.drop_front();
            }
          }
          FactorGradients folded(b, weight, context.lanes(), blocking.nBlock,
                                 gradients);
          Accumulation(b, blocking, sizes, folded)
              .emit(arguments[0], arguments[1],
                    context.packedCount(arguments[1]), packed, held);
        });
    return success();
  }

private:
  static bool wants(LowRankAccumulateOp op, unsigned tensor) {
    return llvm::is_contained(op.getWrt(), static_cast<int64_t>(tensor));
  }

  /// The result that holds the gradient of a factor tensor, or null.
  static Value resultOf(LowRankAccumulateOp op, unsigned tensor,
                        ValueRange results) {
    for (auto [i, wanted] : llvm::enumerate(op.getWrt()))
      if (wanted == static_cast<int64_t>(tensor))
        return results[i];
    return nullptr;
  }

  static bool needsPartial(LowRankAccumulateOp op, const FactorGradient &g) {
    return g.kind == FactorKind::Col ||
           (g.kind == FactorKind::LowRank && wants(op, g.tensor + 1));
  }

  /// Whether what is added to a gradient grows bit by bit: it is summed first,
  /// so that the gradient sees one addition.
  static bool needsSums(const FactorGradient &g) {
    return g.addsFirst &&
           (g.kind == FactorKind::Row || g.kind == FactorKind::LowRank);
  }

  SmallVector<FactorGradient> wantedGradients(LowRankAccumulateOp op,
                                              CriterionOp criterion) const {
    auto isAdded = [&](int64_t tensor) {
      const auto *at = llvm::find(op.getWrt(), tensor);
      return at != op.getWrt().end() &&
             context.isAdded(op->getResult(at - op.getWrt().begin()));
    };
    SmallVector<FactorGradient> gradients;
    for (unsigned i = 0; i < criterion.getNumFactors(); ++i) {
      FactorGradient g;
      g.factor = i;
      g.kind = criterion.getKind(i);
      g.tensor = criterion.getFirstTensor(i);
      bool lowRank = g.kind == FactorKind::LowRank;
      g.addsFirst = isAdded(g.tensor);
      g.addsSecond = lowRank && isAdded(g.tensor + 1);
      if (lowRank)
        g.rank =
            cast<ShapedType>(op.getFactors()[g.tensor].getType()).getDimSize(1);
      if (wants(op, g.tensor) || (lowRank && wants(op, g.tensor + 1)))
        gradients.push_back(g);
    }
    return gradients;
  }
};
} // namespace

void pst::cpu::populateLowRankAccumulateKernels(RewritePatternSet &patterns,
                                                KernelContext &context) {
  patterns.add<LowRankAccumulatePattern>(patterns.getContext(), context);
}
