//===- LowRankAccumulate.cpp - Gradients of a virtual weight's factors ----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// G = dY^T X exists only as strips on the stacks of the threads:
//
//   for jc in blocks of columns:
//     parallel: pack the panels of X(:, jc), all tokens
//     parallel for tasks, for their strips of rows ic:
//       G = dY(:, ic)^T X(:, jc)                     (over blocks of tokens)
//       for substrips of G that fit the cache, element by element:
//         evaluate the criterion, mask, and take dWeight = G * M and
//         dScore = G * W' back to the factors;
//         dense: store;  row, col: add up;  lowrank: dF to a buffer, then
//         dP += dF Q^T, and this task's dQ += P^T dF
//   parallel: sum the tasks' dQ and column sums, in ascending order
//
// What each task does is fixed by the shapes, so the sums have one order for
// any number of threads.

#include "Gemm.h"
#include "KernelContext.h"
#include "VirtualWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Tasks, each with sums of its own over its rows.
static constexpr int64_t kLargestTasks = 16;
/// Rows of a substrip: what is known of dF at once.
static constexpr int64_t kSubstrip = 24;
/// Ranks that one pass over dF serves.
static constexpr int64_t kRanks = 8;

namespace {
/// A factor and the gradients that are wanted of it.
struct FactorGradient {
  unsigned factor;
  FactorKind kind;
  unsigned tensor;     ///< Position of its first tensor.
  int64_t rank = 1;    ///< lowrank only
  Value first, second; ///< Result buffers of its tensors; null: not wanted.
  Value partial;       ///< Sums of each task: tasks x rank x m (col, lowrank).
  Value adjoint;       ///< Stack buffer of dF for a substrip (lowrank).
  Value rowSum;        ///< Stack buffer of one vector (row).
};

class Accumulation {
public:
  Accumulation(KernelBuilder &b, const GemmBlocking &blocking,
               const VirtualWeight &weight,
               SmallVector<FactorGradient> &gradients)
      : b(b), s(blocking), weight(weight), gradients(gradients),
        stripsPerTask(llvm::divideCeil(s.blocksOfM(), kLargestTasks)) {}

  static int64_t tasks(const GemmBlocking &s) {
    return llvm::divideCeil(s.blocksOfM(),
                            llvm::divideCeil(s.blocksOfM(), kLargestTasks));
  }

  void emit(Value outputGradient, Value input, Value packed) {
    for (FactorGradient &g : gradients)
      if (g.first &&
          (g.kind == FactorKind::Row || g.kind == FactorKind::LowRank))
        clear(g.first);
    MatrixReader x = MatrixReader::of(input);
    MatrixReader dy = MatrixReader::of(outputGradient);
    b.loop(0, s.n, s.nBlock, [&](Value jc) {
      Value columns = remaining(b, s.n, jc, s.nBlock);
      Value panels = ceilDivide(b, columns, s.tileColumns);
      b.parallel(s.blocksOfK() * s.panelsOfN(), [&](Value task) {
        Value block = b.divi(task, s.panelsOfN());
        Value panel = b.remi(task, s.panelsOfN());
        Value pc = b.muli(block, s.kBlock);
        b.ifThen(b.cmpi(arith::CmpIPredicate::slt, panel, panels), [&] {
          packPanel(b, s.lanes, x, /*transposed=*/false,
                    {packed, s.tileColumns}, b.muli(task, s.panelStrideB()),
                    b.addi(jc, b.muli(panel, s.tileColumns)), pc,
                    remaining(b, s.k, pc, s.kBlock), s.hasWholeDepth());
        });
      });
      b.parallel(tasks(s), [&](Value task) {
        Value strip = b.stackBuffer(s.mBlock * s.nBlock);
        Value packedA = b.stackBuffer(s.packedSizeA());
        allocate();
        clearPartials(task, jc, columns);
        Value begin = b.muli(task, stripsPerTask * s.mBlock);
        Value end =
            b.mini(b.addi(begin, stripsPerTask * s.mBlock), b.index(s.m));
        b.loop(begin, end, s.mBlock, [&](Value ic) {
          multiply(dy, ic, packed, packedA, panels, strip);
          Value rows = remaining(b, s.m, ic, s.mBlock);
          b.loop(b.index(0), rows, kSubstrip, [&](Value substrip) {
            Value count = b.mini(b.subi(rows, substrip), b.index(kSubstrip));
            fold(task, strip, substrip, b.addi(ic, substrip), count, jc,
                 columns);
          });
        });
      });
    });
    reduce();
  }

private:
  /// The strip of G at rows ic: over the blocks of tokens, in order.
  void multiply(const MatrixReader &dy, Value ic, Value packed, Value packedA,
                Value panels, Value strip) {
    Value panelsA = ceilDivide(b, remaining(b, s.m, ic, s.mBlock), s.tileRows);
    int64_t vectors = s.tileColumns / s.lanes;
    b.loop(0, s.blocksOfK(), 1, [&](Value block) {
      Value pc = b.muli(block, s.kBlock);
      Value depth = remaining(b, s.k, pc, s.kBlock);
      Value first = b.cmpi(arith::CmpIPredicate::eq, block, b.index(0));
      b.loop(b.index(0), panelsA, 1, [&](Value p) {
        packPanel(b, s.lanes, dy, /*transposed=*/false, {packedA, s.tileRows},
                  b.muli(p, s.panelStrideA()),
                  b.addi(ic, b.muli(p, s.tileRows)), pc, depth,
                  s.hasWholeDepth());
      });
      Value base = b.muli(block, s.panelsOfN() * s.panelStrideB());
      b.loop(b.index(0), panels, 1, [&](Value jr) {
        b.loop(b.index(0), panelsA, 1, [&](Value ir) {
          SmallVector<Value> tile = multiplyPanels(
              b, s, packedA, b.muli(ir, s.panelStrideA()), packed,
              b.addi(base, b.muli(jr, s.panelStrideB())), depth);
          Value at = b.addi(b.muli(ir, s.tileRows * s.nBlock),
                            b.muli(jr, s.tileColumns));
          auto place = [&](size_t i) {
            return b.addi(at, i / vectors * s.nBlock + i % vectors * s.lanes);
          };
          b.ifElse(
              first,
              [&] {
                for (auto [i, sum] : llvm::enumerate(tile))
                  b.store(sum, strip, place(i));
              },
              [&] {
                for (auto [i, sum] : llvm::enumerate(tile))
                  b.store(b.addf(b.load(strip, place(i), s.lanes), sum), strip,
                          place(i));
              });
        });
      });
    });
  }

  void allocate() {
    for (FactorGradient &g : gradients) {
      if (g.kind == FactorKind::LowRank)
        g.adjoint = b.stackBuffer(kSubstrip * s.nBlock);
      if (g.kind == FactorKind::Row)
        g.rowSum = b.stackBuffer(s.lanes);
    }
  }

  /// for j in [0, columns): vectors, then what is left one by one.
  void forColumns(Value columns, function_ref<void(Value, int64_t)> body) {
    Value whole = b.muli(b.divi(columns, s.lanes), s.lanes);
    b.loop(b.index(0), whole, s.lanes, [&](Value j) { body(j, s.lanes); });
    if (s.n % s.lanes)
      b.loop(whole, columns, 1, [&](Value j) { body(j, 1); });
  }

  void addTo(Value memref, ValueRange at, Value value, int64_t lanes) {
    b.store(b.addf(b.load(memref, at, lanes), value), memref, at);
  }

  void clear(Value matrix) {
    auto type = cast<MemRefType>(matrix.getType());
    b.loop(0, type.getDimSize(0), 1, [&](Value i) {
      if (type.getRank() == 1)
        return b.store(b.f32(0.0), matrix, i);
      b.loop(0, type.getDimSize(1), 1,
             [&](Value j) { b.store(b.f32(0.0), matrix, {i, j}); });
    });
  }

  void clearPartials(Value task, Value jc, Value columns) {
    for (FactorGradient &g : gradients)
      if (g.partial)
        b.loop(0, g.rank, 1, [&](Value k) {
          forColumns(columns, [&](Value j, int64_t lanes) {
            b.store(b.f32(0.0, lanes), g.partial, {task, k, b.addi(jc, j)});
          });
        });
  }

  /// Folds `count` rows of G, which begin at row `substrip` of the strip and
  /// at `row` of the weight.
  void fold(Value task, Value strip, Value substrip, Value row, Value count,
            Value jc, Value columns) {
    b.loop(b.index(0), count, 1, [&](Value i) {
      Value inRow = b.addi(row, i);
      Value stripRow = b.muli(b.addi(substrip, i), s.nBlock);
      for (FactorGradient &g : gradients)
        if (g.rowSum)
          b.store(b.f32(0.0, s.lanes), g.rowSum, b.index(0));
      forColumns(columns, [&](Value j, int64_t lanes) {
        Value column = b.addi(jc, j);
        Value gradient = b.load(strip, b.addi(stripRow, j), lanes);
        SmallVector<Value> adjoints =
            factorAdjoints(gradient, inRow, column, lanes);
        for (FactorGradient &g : gradients) {
          Value adjoint = adjoints[g.factor];
          if (!adjoint)
            adjoint = b.f32(0.0, lanes);
          switch (g.kind) {
          case FactorKind::Dense:
            b.store(adjoint, g.first, {inRow, column});
            break;
          case FactorKind::Row:
            addTo(g.rowSum, b.index(0), adjoint, lanes);
            break;
          case FactorKind::Col:
            addTo(g.partial, {task, b.index(0), column}, adjoint, lanes);
            break;
          case FactorKind::LowRank:
            b.store(adjoint, g.adjoint, b.addi(b.muli(i, s.nBlock), j));
            break;
          }
        }
      });
      for (FactorGradient &g : gradients)
        if (g.rowSum)
          addTo(g.first, inRow,
                b.sumLanes(b.load(g.rowSum, b.index(0), s.lanes)), 1);
    });
    for (FactorGradient &g : gradients) {
      if (g.kind != FactorKind::LowRank)
        continue;
      forRanks(g.rank, [&](Value k, int64_t ranks) {
        if (g.first)
          foldLeft(g, row, count, k, ranks, jc, columns);
        if (g.second)
          foldRight(g, task, row, count, k, ranks, jc, columns);
      });
    }
  }

  SmallVector<Value> factorAdjoints(Value gradient, Value row, Value column,
                                    int64_t lanes) {
    EmittedCriterion element = weight.evaluate(b, row, column, lanes);
    Value mask = weight.mask(b, element, row, column);
    Value scoreAdjoint;
    if (element.getScore())
      scoreAdjoint = b.mulf(gradient, element.getWeight());
    return element.emitBackward(VirtualWeight::underMask(b, mask, gradient),
                                scoreAdjoint);
  }

  /// for k in [0, rank): kRanks at a time, then the rest at once.
  void forRanks(int64_t rank, function_ref<void(Value, int64_t)> body) {
    int64_t whole = rank / kRanks * kRanks;
    if (whole)
      b.loop(0, whole, kRanks, [&](Value k) { body(k, kRanks); });
    if (whole != rank)
      body(b.index(whole), rank - whole);
  }

  /// dP[row + i, k..] += sum_j dF[i, j] Q[k.., jc + j]
  void foldLeft(const FactorGradient &g, Value row, Value count, Value k,
                int64_t ranks, Value jc, Value columns) {
    Value right = weight.getFactor(g.tensor + 1);
    auto step = [&](Value i, int64_t lanes) {
      return [&, i, lanes](Value j, ValueRange carried) {
        SmallVector<Value> sums(carried);
        Value adjoint =
            b.load(g.adjoint, b.addi(b.muli(i, s.nBlock), j), lanes);
        for (int64_t r = 0; r < ranks; ++r)
          sums[r] = b.fma(adjoint,
                          b.load(right, {b.addi(k, r), b.addi(jc, j)}, lanes),
                          sums[r]);
        return sums;
      };
    };
    Value whole = b.muli(b.divi(columns, s.lanes), s.lanes);
    b.loop(b.index(0), count, 1, [&](Value i) {
      SmallVector<Value> sums = b.loop(
          b.index(0), whole, s.lanes,
          SmallVector<Value>(ranks, b.f32(0.0, s.lanes)), step(i, s.lanes));
      for (Value &sum : sums)
        sum = b.sumLanes(sum);
      if (s.n % s.lanes)
        sums = b.loop(whole, columns, 1, sums, step(i, 1));
      for (int64_t r = 0; r < ranks; ++r)
        addTo(g.first, {b.addi(row, i), b.addi(k, r)}, sums[r], 1);
    });
  }

  /// This task's dQ[k.., jc + j] += sum_i P[row + i, k..] dF[i, j]
  void foldRight(const FactorGradient &g, Value task, Value row, Value count,
                 Value k, int64_t ranks, Value jc, Value columns) {
    Value left = weight.getFactor(g.tensor);
    forColumns(columns, [&](Value j, int64_t lanes) {
      SmallVector<Value> sums = b.loop(
          b.index(0), count, 1, SmallVector<Value>(ranks, b.f32(0.0, lanes)),
          [&](Value i, ValueRange carried) {
            SmallVector<Value> sums(carried);
            Value adjoint =
                b.load(g.adjoint, b.addi(b.muli(i, s.nBlock), j), lanes);
            for (int64_t r = 0; r < ranks; ++r)
              sums[r] = b.fma(
                  b.loadSplat(left, {b.addi(row, i), b.addi(k, r)}, lanes),
                  adjoint, sums[r]);
            return sums;
          });
      for (int64_t r = 0; r < ranks; ++r)
        addTo(g.partial, {task, b.addi(k, r), b.addi(jc, j)}, sums[r], lanes);
    });
  }

  /// Sums the tasks' partial results, in ascending order.
  void reduce() {
    for (FactorGradient &g : gradients) {
      if (!g.partial)
        continue;
      b.parallel(g.rank, [&](Value k) {
        b.vectorLoop(s.n, s.lanes, [&](Value j, int64_t lanes) {
          Value sum = b.load(g.partial, {b.index(0), k, j}, lanes);
          for (int64_t task = 1; task < tasks(s); ++task)
            sum = b.addf(sum, b.load(g.partial, {b.index(task), k, j}, lanes));
          if (g.kind == FactorKind::Col)
            b.store(sum, g.first, j);
          else
            b.store(sum, g.second, {k, j});
        });
      });
    }
  }

  KernelBuilder &b;
  const GemmBlocking &s;
  const VirtualWeight &weight;
  SmallVector<FactorGradient> &gradients;
  int64_t stripsPerTask;
};

struct LowRankAccumulatePattern : KernelPattern<LowRankAccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(LowRankAccumulateOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    int64_t tokens = op.getInput().getType().getDimSize(0);
    // Strips of 96 x 384 of G, and of 96 x 256 of dY, keep within L2.
    GemmBlocking blocking(type.getDimSize(0), type.getDimSize(1), tokens,
                          context.lanes(), /*largestM=*/96, /*largestN=*/384,
                          /*largestK=*/256);
    SmallVector<FactorGradient> gradients = wantedGradients(op, criterion);
    Type f32 = rewriter.getF32Type();
    SmallVector<RankedTensorType> workspaces{RankedTensorType::get(
        blocking.blocksOfK() * blocking.packedSizeB(), f32)};
    std::string name = "lowrank_accumulate_" + std::to_string(tokens) + "_" +
                       criterionName(criterion, op.getFactors()) + "_wrt";
    for (int64_t tensor : op.getWrt())
      name += "_" + std::to_string(tensor);
    for (FactorGradient &g : gradients)
      if (needsPartial(op, g))
        workspaces.push_back(RankedTensorType::get(
            {Accumulation::tasks(blocking), g.rank, blocking.n}, f32));
    SmallVector<Value> inputs{op.getOutputGradient(), op.getInput()};
    llvm::append_range(inputs, op.getFactors());
    if (op.getThreshold())
      llvm::append_range(inputs, ValueRange{op.getThreshold(), op.getCut()});
    context.replaceByLaunch(
        rewriter, op, name, inputs, workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          size_t factors = op.getFactors().size();
          Value threshold, cut;
          if (op.getThreshold()) {
            threshold = b.load(arguments[2 + factors], {});
            cut = b.load(arguments[3 + factors], {});
          }
          VirtualWeight weight(criterion, arguments.slice(2, factors),
                               threshold, cut);
          ValueRange results =
              arguments.slice(inputs.size(), op.getNumResults());
          ValueRange scratch =
              arguments.drop_front(inputs.size() + op.getNumResults());
          Value packed = scratch.front();
          scratch = scratch.drop_front();
          for (FactorGradient &g : gradients) {
            g.first = resultOf(op, g.tensor, results);
            if (g.kind == FactorKind::LowRank)
              g.second = resultOf(op, g.tensor + 1, results);
            if (needsPartial(op, g)) {
              g.partial = scratch.front();
              scratch = scratch.drop_front();
            }
          }
          Accumulation(b, blocking, weight, gradients)
              .emit(arguments[0], arguments[1], packed);
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

  static SmallVector<FactorGradient> wantedGradients(LowRankAccumulateOp op,
                                                     CriterionOp criterion) {
    SmallVector<FactorGradient> gradients;
    for (unsigned i = 0; i < criterion.getNumFactors(); ++i) {
      FactorGradient g;
      g.factor = i;
      g.kind = criterion.getKind(i);
      g.tensor = criterion.getFirstTensor(i);
      bool lowRank = g.kind == FactorKind::LowRank;
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
