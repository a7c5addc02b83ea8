//===- CommonThreshold.cpp - One threshold for several layers -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The threshold is found as within one layer (TopKThreshold.cpp), by the same
// kernels: the elements of all layers, one layer behind the other, are those of
// one weight, and what they are counted in is common. So equal scores stay by
// layers first, as they should. What differs:
//
//   sample: of each layer as many as it has its share of the elements
//   search, five times: a rank is found 13 bits at a time down to one element,
//       since the block that ends last does not know the layers' factors
//   count, parallel: what stays of each layer, and what equals the threshold
//       behind the last one that stays; of each layer the block that ends last
//       writes its results
//
// A launch is for as many layers as its parameters have room for, by a table of
// layers of equal types (LayerTables.h): there is one for all layers of
// BERT-base, but for `gather`, of which each type has its own, and for `count`,
// whose layers have results.

#include "KernelContext.h"
#include "LayerTables.h"
#include "TopKThreshold.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
struct CommonLayer {
  SelectionSizes sizes;
  int64_t number, firstIndex, firstSample, sampled;
  int64_t workspace; ///< where its own begins, in i32
};

/// Layers of equal types.
using LayerRun = SmallVector<CommonLayer>;

struct CommonLayers {
  CommonLayers(CommonThresholdOp op, CriterionOp criterion);

  SmallVector<LayerRun> runs; ///< in the order in which types come first
  CommonSizes all{};
  int64_t workspaceSize;
};
} // namespace

CommonLayers::CommonLayers(CommonThresholdOp op, CriterionOp criterion) {
  size_t tensors = criterion.getNumTensors();
  all.layers = op.getCuts().size();
  auto factorsOf = [&](int64_t layer) {
    return op.getFactors().slice(layer * tensors, tensors);
  };
  SmallVector<CommonLayer> layers;
  for (int64_t i = 0; i < all.layers; ++i) {
    SelectionSizes sizes(getWeightType(criterion, factorsOf(i)), all.layers);
    // Small layers keep no more blocks busy.
    constexpr int64_t kEach = 4 * WeightTiles::kThreads;
    sizes.searchBlocks = std::min<int64_t>(
        sizes.searchBlocks, llvm::divideCeil(sizes.elements(), kEach));
    layers.push_back({sizes, i, all.elements, 0, 0, 0});
    all.elements += sizes.elements();
    all.tiles += sizes.tiles.count();
    all.searchBlocks += sizes.searchBlocks;
  }
  // Layers differ in how many of their scores lie near the threshold, so that
  // the bracket must be narrower than within a layer.
  all.sampled =
      std::clamp<int64_t>(all.elements / 8, 1, 4 * SelectionSizes::kSample);
  auto samplesBefore = [&](int64_t element) {
    return llvm::divideCeil(element * all.sampled, all.elements);
  };
  workspaceSize = SelectionBuffers::sharedSize(all);
  llvm::MapVector<Type, LayerRun> byType;
  for (CommonLayer &layer : layers) {
    int64_t elements = layer.sizes.elements();
    layer.firstSample = samplesBefore(layer.firstIndex);
    layer.sampled =
        samplesBefore(layer.firstIndex + elements) - layer.firstSample;
    layer.workspace = workspaceSize;
    workspaceSize += SelectionBuffers::ownSize(layer.sizes);
    SmallVector<Type> types(factorsOf(layer.number).getTypes());
    byType[TupleType::get(op.getContext(), types)].push_back(layer);
  }
  for (auto &[type, run] : byType) {
    int64_t most = 0;
    for (const CommonLayer &layer : run)
      most = std::max(most, layer.sampled);
    for (CommonLayer &layer : run)
      layer.sizes.sampled = most;
    runs.push_back(std::move(run));
  }
}

namespace {
class CommonSelection {
public:
  using Emit = void (ScoreSelection::*)(ThreadBuilder &,
                                        const SelectionBuffers &);

  /// `arguments`: the layers' factors, the sparsity (f64), the threshold, the
  /// layers' cuts, how many elements of each are pruned, and the workspace.
  CommonSelection(KernelContext &context, CodeBuilder &host,
                  CriterionOp criterion, const CommonLayers &layers,
                  ValueRange arguments)
      : context(context), host(host), criterion(criterion), layers(layers),
        tensors(criterion.getNumTensors()),
        factors(arguments.take_front(layers.all.layers * tensors)) {
    size_t count = layers.all.layers;
    ValueRange rest = arguments.drop_front(count * tensors);
    shared = {rest.back(), rest[0], rest[1]};
    cuts = rest.slice(2, count);
    pruned = rest.slice(2 + count, count);
  }

  void launch() {
    launchLayers("sample", SelectionSizes::kSampleThreads,
                 &ScoreSelection::sample, [](const SelectionSizes &s) {
                   return llvm::divideCeilSigned(
                       s.sampled, SelectionSizes::kSampleThreads);
                 });
    context.launch(host, "bracket", 1, SelectionSizes::kBracketThreads, shared,
                   [&](ThreadBuilder &b, ValueRange values) {
                     ScoreSelection selection(
                         criterion, layers.runs[0][0].sizes, &layers.all);
                     selection.findBracket(b, sharedBuffers(b, values));
                   });
    // Each type by itself: ptxas needs all registers for one, and spills of
    // several.
    for (auto [i, run] : llvm::enumerate(layers.runs))
      launchLayers("gather" + std::to_string(i), run, WeightTiles::kThreads,
                   &ScoreSelection::gather,
                   [](const SelectionSizes &s) { return s.tiles.count(); });
    auto searchBlocks = [](const SelectionSizes &s) { return s.searchBlocks; };
    for (int64_t i = 0; i < CommonSizes::kSearches; ++i)
      launchLayers("search", WeightTiles::kThreads, &ScoreSelection::search,
                   searchBlocks);
    launchLayers("count", WeightTiles::kThreads, &ScoreSelection::countStaying,
                 searchBlocks, /*writes=*/true);
  }

private:
  using Blocks = function_ref<int64_t(const SelectionSizes &)>;

  void launchLayers(const std::string &part, int64_t threads, Emit emit,
                    Blocks blocks, bool writes = false) {
    launchLayers(part, layers.runs, threads, emit, blocks, writes);
  }

  /// In as many launches as the parameters take; `writes` tells whether layers'
  /// results are among them.
  void launchLayers(const std::string &part, ArrayRef<LayerRun> runs,
                    int64_t threads, Emit emit, Blocks blocks,
                    bool writes = false) {
    int64_t values = kParameterBytes / kPointerBytes - shared.size();
    auto room = std::max<int64_t>(1, values / (tensors + (writes ? 2 : 0)));
    SmallVector<LayerRun> together;
    int64_t left = room, number = 0;
    auto launch = [&] {
      std::string name = part;
      if (number++)
        name += "_" + std::to_string(number);
      launchTogether(name, together, threads, emit, blocks, writes);
      together.clear();
      left = room;
    };
    for (ArrayRef<CommonLayer> run : runs) {
      while (!run.empty()) {
        if (!left)
          launch();
        auto taken = std::min<size_t>(left, run.size());
        together.emplace_back(run.take_front(taken));
        run = run.drop_front(taken);
        left -= taken;
      }
    }
    launch();
  }

  void launchTogether(const std::string &part, ArrayRef<LayerRun> runs,
                      int64_t threads, Emit emit, Blocks blocks, bool writes) {
    SmallVector<Value> arguments(shared);
    SmallVector<LayerBlocks> counts;
    int64_t all = 0;
    for (const LayerRun &run : runs) {
      for (const CommonLayer &layer : run) {
        llvm::append_range(arguments,
                           factors.slice(layer.number * tensors, tensors));
        if (writes)
          llvm::append_values(arguments, cuts[layer.number],
                              pruned[layer.number]);
      }
      counts.push_back(
          {static_cast<int64_t>(run.size()), blocks(run.front().sizes)});
      all += counts.back().layers * counts.back().each;
    }
    if (!all)
      return;
    context.launch(host, part, all, threads, arguments,
                   [&](ThreadBuilder &b, ValueRange values) {
                     size_t first = shared.size(),
                            each = tensors + (writes ? 2 : 0);
                     SmallVector<ValueRange> ofRuns;
                     for (const LayerRun &run : runs) {
                       ofRuns.push_back(values.slice(first, run.size() * each));
                       first += run.size() * each;
                     }
                     forLayerBlocks(b, counts, [&](size_t i, Value layer) {
                       ScoreSelection selection(
                           criterion, runs[i].front().sizes, &layers.all);
                       (selection.*emit)(b, buffersOf(b, values, runs[i], layer,
                                                      ofRuns[i], writes));
                     });
                   });
  }

  SelectionBuffers sharedBuffers(ThreadBuilder &b, ValueRange values) {
    SelectionBuffers w;
    w.placeShared(b, layers.all, b.pointer(values[0]));
    w.sparsity = values[1];
    w.threshold = values[2];
    return w;
  }

  SelectionBuffers buffersOf(ThreadBuilder &b, ValueRange values,
                             const LayerRun &run, Value layer, ValueRange ofRun,
                             bool writes) {
    SelectionBuffers w = sharedBuffers(b, values);
    size_t each = ofRun.size() / run.size();
    SmallVector<Value> own = chooseLayer(b, run.size(), layer, [&](int64_t i) {
      SmallVector<Value> all(ofRun.slice(i * each, each));
      llvm::append_values(all, b.index(run[i].number),
                          b.i32(static_cast<int32_t>(run[i].firstIndex)),
                          b.index(run[i].firstSample), b.index(run[i].sampled),
                          b.i64(run[i].workspace));
      return all;
    });
    w.placeOwn(b, run.front().sizes, b.pointer(values[0]), own.pop_back_val());
    w.sampled = own.pop_back_val();
    w.firstSample = own.pop_back_val();
    w.firstIndex = own.pop_back_val();
    w.layer = own.pop_back_val();
    if (writes) {
      w.pruned = own.pop_back_val();
      w.cut = own.pop_back_val();
    }
    w.factors = own;
    return w;
  }

  KernelContext &context;
  CodeBuilder &host;
  CriterionOp criterion;
  const CommonLayers &layers;
  size_t tensors;
  ValueRange factors;
  SmallVector<Value> shared; ///< the workspace, the sparsity, the threshold
  ValueRange cuts, pruned;
};

struct CommonThresholdPattern : KernelPattern<CommonThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(CommonThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    CommonLayers layers(op, criterion);
    if (layers.all.elements > UINT32_MAX)
      return op.emitOpError("selects among ")
             << layers.all.elements << " scores: kernels for GPUs count up to "
             << UINT32_MAX;
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    context.replaceByLaunch(
        rewriter, op, inputs,
        {RankedTensorType::get(layers.workspaceSize, rewriter.getI32Type())},
        [&](CodeBuilder &host, ValueRange arguments) {
          CommonSelection(context, host, criterion, layers, arguments).launch();
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateCommonThresholdKernels(RewritePatternSet &patterns,
                                               KernelContext &context) {
  patterns.add<CommonThresholdPattern>(patterns.getContext(), context);
}
