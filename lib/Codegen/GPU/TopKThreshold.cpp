//===- TopKThreshold.cpp - Finds the score that separates the kept --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Selection in about one pass over the criterion, exact for any scores, which
// are never stored. A key is a score's bits as an unsigned number in the order
// of the scores (ScoreKey.h). The launches:
//
//   sample, parallel: the keys of elements spread over the weight; one block
//       clears the tallies
//   bracket, one block: two keys of the sample between which the threshold
//       most likely lies
//   gather, parallel: count the keys above the bracket, and those inside in
//       512 equal parts of it; keep those inside, with their index, of each
//       tile its own. If the bracket is one key, it is enough to count them.
//       The block that ends last finds the part in which the count from above
//       reaches the rank
//   search, parallel, four times: if all of that part was kept and it is small,
//       collect it in one list; the block that ends last selects there, and the
//       next searches return at once. If it is large, or if not all was kept,
//       count what was kept, or else all elements evaluated again, in 8192
//       parts: of keys, and, as soon as one key is left, of indices
//
// So ties cost no more than other scores: those that are kept are counted
// where they were kept, and of a bracket that is one key, the search evaluates
// only the row of tiles in which the last one that stays lies. At worst, when
// the sample misled, all is evaluated three times more by all multiprocessors:
// a rank among elements of 32 bits of key and 32 of index is found 13 bits at
// a time, and once the index's turn has come, elements outside of its range are
// not evaluated any more.
//
// Small weights have no bracket: one block selects among all elements. All
// counts are integers, so the result depends on no order, and not on the way.

#include "TopKThreshold.h"
#include "../Kernel/ScoreKey.h"
#include "LayerTables.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Two blocks for each multiprocessor of an H200.
static constexpr int64_t kTiles = 264;

/// So that together the layers have some blocks for each place on a GPU.
static int64_t blocksOf(int64_t layers) {
  constexpr int64_t kWaves = 4, kLeast = 16;
  return std::clamp<int64_t>(llvm::divideCeil(kWaves * kTiles, layers), kLeast,
                             kTiles);
}

SelectionSizes::SelectionSizes(ShapedType weight, int64_t layers)
    : tiles(weight, blocksOf(layers)), searchBlocks(blocksOf(layers)) {
  constexpr int64_t kSmall = 1 << 15;
  isSampled = elements() > kSmall;
  int64_t tile = tiles.height * tiles.width * tiles.lanes;
  capacity = llvm::alignTo(tile / 8 + WeightTiles::kThreads, 4);
}

namespace {
/// Where the parts of a layer's workspace are, one behind the other.
struct WorkspacePlaces {
  using Shape = SmallVector<int64_t>;
  explicit WorkspacePlaces(ArrayRef<Shape> shapes) : shapes(shapes) {
    constexpr int64_t kAligned = 4; // i32 of an access
    for (const Shape &shape : shapes) {
      starts.push_back(size);
      size = llvm::alignTo(size + ShapedType::getNumElements(shape), kAligned);
    }
  }
  /// What layers that compete share.
  static WorkspacePlaces shared(int64_t sampled, int64_t layers) {
    return WorkspacePlaces(ArrayRef<Shape>{{kTallies},
                                           {sampled},
                                           {SelectionSizes::kParts},
                                           {SelectionSizes::kBins},
                                           {SelectionSizes::kListed, 2},
                                           {layers * kLayerCounts}});
  }
  static WorkspacePlaces own(const SelectionSizes &s) {
    return WorkspacePlaces(
        ArrayRef<Shape>{{s.tiles.count()}, {s.tiles.count(), s.capacity, 2}});
  }
  /// Of a workspace that begins at the `start`-th (i64) i32 of `pointer`.
  void place(ThreadBuilder &b, Value pointer, Value start,
             ArrayRef<Value *> buffers) const {
    for (auto [buffer, shape, offset] : llvm::zip(buffers, shapes, starts)) {
      Value at = LLVM::GEPOp::create(b, pointer.getType(), b.getI32Type(),
                                     pointer, b.addi(start, b.i64(offset)));
      *buffer = b.bufferAt(at, MemRefType::get(shape, b.getI32Type()));
    }
  }
  SmallVector<Shape> shapes;
  SmallVector<int64_t> starts;
  int64_t size = 0;
};
} // namespace

int64_t SelectionBuffers::sharedSize(const CommonSizes &common) {
  return WorkspacePlaces::shared(common.sampled, common.layers).size;
}

int64_t SelectionBuffers::ownSize(const SelectionSizes &sizes) {
  return WorkspacePlaces::own(sizes).size;
}

void SelectionBuffers::placeShared(ThreadBuilder &b, const CommonSizes &common,
                                   Value workspace) {
  WorkspacePlaces::shared(common.sampled, common.layers)
      .place(b, workspace, b.i64(0),
             {&tallies, &sample, &parts, &bins, &list, &counts});
}

void SelectionBuffers::placeOwn(ThreadBuilder &b, const SelectionSizes &sizes,
                                Value workspace, Value own) {
  WorkspacePlaces::own(sizes).place(b, workspace, own, {&keptSizes, &kept});
}

/// A layer by itself shares with nobody, and has no counts.
int64_t SelectionSizes::workspaceSize() const {
  return isSampled ? WorkspacePlaces::shared(sampled, /*layers=*/0).size +
                         SelectionBuffers::ownSize(*this)
                   : 0;
}

void SelectionBuffers::placeWorkspaces(ThreadBuilder &b,
                                       const SelectionSizes &sizes,
                                       Value workspace) {
  auto shared = WorkspacePlaces::shared(sizes.sampled, /*layers=*/0);
  shared.place(b, workspace, b.i64(0),
               {&tallies, &sample, &parts, &bins, &list});
  placeOwn(b, sizes, workspace, b.i64(shared.size));
}

Value ScoreSelection::keyAt(ThreadBuilder &b, const Buffers &w, Value row,
                            Value column) {
  VirtualWeight weight(criterion, w.factors);
  return keyOfScore(b, weight.evaluate(b, row, column, 1).getScore());
}

Value ScoreSelection::keyOfElement(ThreadBuilder &b, const Buffers &w,
                                   Value i) {
  return keyAt(b, w, b.divi(i, s.tiles.columns), b.remi(i, s.tiles.columns));
}

Value ScoreSelection::numPruned(ThreadBuilder &b, const Buffers &w) {
  Value product = b.mulf(b.f64(double(elements())), w.sparsity);
  return arith::FPToSIOp::create(b, b.getI64Type(), product);
}

Value ScoreSelection::numKept(ThreadBuilder &b, const Buffers &w) {
  return arith::TruncIOp::create(b, b.getI32Type(),
                                 b.subi(b.i64(elements()), numPruned(b, w)));
}

Value ScoreSelection::entry(ThreadBuilder &b, Value key, Value index) {
  return vector::FromElementsOp::create(b, VectorType::get(2, b.getI32Type()),
                                        ValueRange{key, index});
}

/// By one thread: `key` is the threshold (`nan`: it is NaN instead), and
/// `index` that of the last element that stays.
void ScoreSelection::writeResults(ThreadBuilder &b, const Buffers &w, Value key,
                                  Value index, Value nan) {
  // Nothing kept: no score is above infinity, and none before index 0.
  Value none = isEqual(b, numKept(b, w), b.i32(0));
  Value tau = b.select(none, b.f32(INFINITY), scoreOfKey(b, key));
  b.store(b.select(nan, b.f32(NAN), tau), w.threshold, {});
  if (common) { // the layers' own results are still to come
    storeTally(b, key, w.tallies, RangeLow);
    storeTally(b, index, w.tallies, RangeFirst);
    return;
  }
  Value at = arith::ExtUIOp::create(b, b.getI64Type(), index);
  b.store(b.select(either(b, none, nan), b.i64(0), b.addi(at, b.i64(1))), w.cut,
          {});
  b.store(b.select(nan, b.i64(s.elements()), numPruned(b, w)), w.pruned, {});
}

/// Among `size` elements (index), of which some may lie outside of the range.
void ScoreSelection::selectAmong(ThreadBuilder &b, const Buffers &w,
                                 RadixSelect &radix, Value size,
                                 const Range &range, Element keyOf,
                                 Element indexOf, Value nan) {
  // The largest complement is that of the smallest index.
  Value largest = minus(b, range.size, b.i32(1));
  auto placeOf = [&](Value i) {
    return minus(b, largest, minus(b, indexOf(i), range.first));
  };
  auto isInside = [&](Value i) {
    return b.cmpi(arith::CmpIPredicate::ule, placeOf(i), largest);
  };
  RankedKey found = radix.largest(
      b, size, range.low, range.bits, range.wanted,
      [&](Value i) -> RadixSelect::Element { return {keyOf(i), isInside(i)}; });
  RankedKey last = radix.largest(
      b, size, b.i32(0), bitWidth(b, largest), found.wanted,
      [&](Value i) -> RadixSelect::Element {
        return {placeOf(i),
                both(b, isInside(i), isEqual(b, keyOf(i), found.key))};
      });
  b.onFirstThread([&] {
    Value index = plus(b, range.first, minus(b, largest, last.key));
    writeResults(b, w, found.key, index, nan);
  });
}

void ScoreSelection::selectAmongAll(ThreadBuilder &b, const Buffers &w) {
  b.setBlocksPerMultiprocessor(1);
  RadixSelect radix(b);
  Value nan = b.sharedBuffer({1}, b.getI32Type()), first = b.index(0);
  auto keyOf = [&](Value i) { return keyOfElement(b, w, i); };
  b.onFirstThread([&] { b.store(b.i32(0), nan, first); });
  b.barrier();
  b.strided(s.elements(), [&](Value i) {
    b.ifThen(isNaNKey(b, keyOf(i)), [&] { b.store(b.i32(1), nan, first); });
  });
  b.barrier();
  Value isNaN = isEqual(b, b.load(nan, first), b.i32(1));
  Range range(b.i32(0), b.i32(32), b.i32(0), b.i32(int32_t(s.elements())),
              numKept(b, w));
  selectAmong(
      b, w, radix, b.index(s.elements()), range, keyOf,
      [&](Value i) { return toI32(b, i); }, isNaN);
}

static SmallVector<SelectionRun> selectionRuns(TopKThresholdOp op,
                                               CriterionOp criterion) {
  int64_t layers = op.getSparsities().size(),
          tensors = criterion.getNumTensors();
  SmallVector<SelectionRun> runs;
  auto factorsOf = [&](int64_t layer) {
    return op.getFactors().slice(layer * tensors, tensors);
  };
  int64_t workspace = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    SelectionSizes sizes(getWeightType(criterion, factorsOf(layer)), layers);
    if (layer > 0 &&
        factorsOf(layer).getTypes() == factorsOf(layer - 1).getTypes())
      ++runs.back().layers;
    else
      runs.push_back({sizes, layer, /*layers=*/1, workspace});
    workspace += sizes.workspaceSize();
  }
  return runs;
}

namespace {
/// The launches of an op: each has the blocks of all layers, those of a run
/// behind those of another.
class SelectionLaunches {
public:
  using Emit = void (ScoreSelection::*)(ThreadBuilder &,
                                        const SelectionBuffers &);

  /// `arguments`: the factors and the three results of one layer after the
  /// other, then different sparsities (of each layer the one of that number),
  /// then the workspace, if there is one.
  SelectionLaunches(KernelContext &context, CodeBuilder &host,
                    CriterionOp criterion, ArrayRef<SelectionRun> runs,
                    ArrayRef<int64_t> sparsities, ValueRange arguments)
      : context(context), host(host), criterion(criterion), runs(runs),
        sparsities(sparsities), arguments(arguments) {}

  void launch() {
    bool isSampled = llvm::all_of(
        runs, [](const SelectionRun &run) { return run.sizes.isSampled; });
    if (!isSampled)
      return launchKernel("all", runs, SelectionSizes::kThreads,
                          &ScoreSelection::selectAmongAll,
                          [](const SelectionSizes &) { return 1; });
    launchKernel(
        "sample", runs, SelectionSizes::kSampleThreads, &ScoreSelection::sample,
        [](const SelectionSizes &) { return SelectionSizes::kSampleBlocks; });
    launchKernel("bracket", runs, SelectionSizes::kBracketThreads,
                 &ScoreSelection::findBracket,
                 [](const SelectionSizes &) { return 1; });
    // Each by itself: ptxas needs all registers for one, and spills of several.
    for (auto [i, run] : llvm::enumerate(runs))
      launchKernel(runs.size() == 1 ? "gather" : "gather" + std::to_string(i),
                   run, WeightTiles::kThreads, &ScoreSelection::gather,
                   [](const SelectionSizes &s) { return s.tiles.count(); });
    for (int64_t i = 0; i < SelectionSizes::kSearches; ++i)
      launchKernel("search", runs, WeightTiles::kThreads,
                   &ScoreSelection::search,
                   [](const SelectionSizes &s) { return s.searchBlocks; });
  }

private:
  /// For the layers of some runs; `blocks` tells how many blocks a layer has.
  void launchKernel(const std::string &part, ArrayRef<SelectionRun> runs,
                    int64_t threads, Emit emit,
                    function_ref<int64_t(const SelectionSizes &)> blocks) {
    int64_t all = 0;
    SmallVector<LayerBlocks> counts;
    for (const SelectionRun &run : runs) {
      counts.push_back({run.layers, blocks(run.sizes)});
      all += run.layers * counts.back().each;
    }
    context.launch(host, part, all, threads, arguments,
                   [&](ThreadBuilder &b, ValueRange values) {
                     forLayerBlocks(b, counts, [&](size_t i, Value layer) {
                       ScoreSelection selection(criterion, runs[i].sizes);
                       (selection.*emit)(b,
                                         buffersOf(b, runs[i], layer, values));
                     });
                   });
  }

  size_t buffersOfLayer() { return criterion.getNumTensors() + kResults; }

  /// Those of the `layer`-th (index) of a run.
  SelectionBuffers buffersOf(ThreadBuilder &b, const SelectionRun &run,
                             Value layer, ValueRange values) {
    size_t each = buffersOfLayer();
    int64_t layers = sparsities.size();
    ValueRange ofLayers = values.take_front(layers * each);
    ValueRange rest = values.drop_front(layers * each);
    auto valuesOf = [&](int64_t i) {
      SmallVector<Value> all(ofLayers.slice((run.firstLayer + i) * each, each));
      all.push_back(rest[sparsities[run.firstLayer + i]]);
      return all;
    };
    SmallVector<Value> own = chooseLayer(b, run.layers, layer, valuesOf);
    SelectionBuffers w;
    w.sparsity = own.pop_back_val();
    w.pruned = own.pop_back_val();
    w.cut = own.pop_back_val();
    w.threshold = own.pop_back_val();
    w.factors = own;
    if (run.sizes.isSampled) {
      Value place =
          b.addi(b.muli(layer, run.sizes.workspaceSize()), run.workspace);
      Value start = b.pointer(rest.back());
      start = LLVM::GEPOp::create(
          b, start.getType(), b.getI32Type(), start,
          arith::IndexCastOp::create(b, b.getI64Type(), place).getResult());
      w.placeWorkspaces(b, run.sizes, start);
    }
    return w;
  }

  static constexpr size_t kResults = 3;

  KernelContext &context;
  CodeBuilder &host;
  CriterionOp criterion;
  ArrayRef<SelectionRun> runs;
  ArrayRef<int64_t> sparsities;
  ValueRange arguments;
};

struct TopKThresholdPattern : KernelPattern<TopKThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(TopKThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    SmallVector<SelectionRun> runs = selectionRuns(op, criterion);
    int64_t size = 0;
    for (const SelectionRun &run : runs) {
      if (run.sizes.elements() > UINT32_MAX)
        return op.emitOpError("selects among ")
               << run.sizes.elements()
               << " scores: kernels for GPUs count up to " << UINT32_MAX;
      size += run.layers * run.sizes.workspaceSize();
    }
    SmallVector<RankedTensorType> workspaces;
    if (size)
      workspaces.push_back(RankedTensorType::get(size, rewriter.getI32Type()));
    // Most layers share a sparsity.
    llvm::SetVector<Value> different(op.getSparsities().begin(),
                                     op.getSparsities().end());
    SmallVector<int64_t> sparsities;
    for (Value sparsity : op.getSparsities())
      sparsities.push_back(llvm::find(different, sparsity) - different.begin());
    SmallVector<Value> inputs(op.getFactors());
    llvm::append_range(inputs, different);
    context.replaceByLaunch(
        rewriter, op, identityOf(op, runs, sparsities, rewriter), inputs,
        /*outputs=*/{}, workspaces,
        [&](CodeBuilder &host, ValueRange arguments) {
          size_t layers = sparsities.size(),
                 tensors = criterion.getNumTensors();
          ValueRange results = arguments.drop_front(inputs.size());
          SmallVector<Value> ordered;
          for (size_t layer = 0; layer < layers; ++layer) {
            llvm::append_range(ordered,
                               arguments.slice(layer * tensors, tensors));
            for (size_t result = 0; result < 3; ++result)
              ordered.push_back(results[result * layers + layer]);
          }
          llvm::append_range(ordered, arguments.slice(op.getFactors().size(),
                                                      different.size()));
          llvm::append_range(ordered, results.drop_front(3 * layers));
          SelectionLaunches(context, host, criterion, runs, sparsities, ordered)
              .launch();
        });
    return success();
  }

private:
  /// Of many layers the name has each type once.
  static KernelIdentity identityOf(TopKThresholdOp op,
                                   ArrayRef<SelectionRun> runs,
                                   ArrayRef<int64_t> sparsities,
                                   Builder &builder) {
    if (sparsities.size() == 1)
      return KernelIdentity(op);
    KernelIdentity identity("topk_thresholds");
    size_t tensors = op.getFactors().size() / sparsities.size();
    for (const SelectionRun &run : runs)
      identity.add(std::to_string(run.layers) + "x")
          .add(op.getFactors()
                   .slice(run.firstLayer * tensors, tensors)
                   .getTypes());
    return identity.add(op.getCriterion())
        .distinguish(builder.getI64ArrayAttr(sparsities));
  }
};
} // namespace

void pst::cuda::populateTopKThresholdKernels(RewritePatternSet &patterns,
                                             KernelContext &context) {
  patterns.add<TopKThresholdPattern>(patterns.getContext(), context);
}
