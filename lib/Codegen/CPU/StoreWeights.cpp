//===- StoreWeights.cpp - -pst-store-weights ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/PlainWeight.h"
#include "FewRows.h"
#include "ProductCost.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Bundle/Manifest.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/NN/NNPacking.h"
#include "pst/Dialect/PST/BitmaskLayout.h"
#include "pst/Dialect/PST/CompressedLayout.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"

namespace pst {
#define GEN_PASS_DEF_STOREWEIGHTS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
/// A weight, what reads it, and how it is to be stored.
struct Weight {
  ParameterOp parameter;
  std::optional<int64_t> kept; ///< Its elements that are not zero, if counted.
  SmallVector<nn::LinearOp> products;
  SmallVector<OpOperand *> tables; ///< Of ops that read rows with scales.
  int64_t rows, columns;           ///< Of S, the products being Y = X S^T.
  bool transposed;                 ///< S is the parameter's transpose.
  Type value;                      ///< Of what is stored.
  Storage storage;
  int64_t room;

  bool skipsZeros() const { return storage != Storage::Quantized; }
  /// The room for so many elements.
  int64_t roomFor(int64_t elements) const {
    return storage == Storage::Bitmask ? bitmask().roomFor(elements)
                                       : compressed().roomFor(elements);
  }
  /// Those of the stored tensors.
  SmallVector<Type> types() const {
    MLIRContext *context = value.getContext();
    if (storage == Storage::Compressed)
      return compressed().types(context, room, value);
    if (storage == Storage::Bitmask)
      return bitmask().types(context, room, value);
    return {RankedTensorType::get({rows, columns}, value),
            RankedTensorType::get({rows}, Float32Type::get(context))};
  }
  SmallVector<StringRef> names() const {
    SmallVector<StringRef> names{"values"};
    if (storage == Storage::Compressed)
      llvm::append_values(names, "columns", "cells", "used");
    else if (storage == Storage::Bitmask)
      llvm::append_values(names, "bits", "starts", "used");
    if (value.isInteger(8))
      names.push_back("scales");
    return names;
  }
  CompressedLayout compressed() const { return {rows, columns}; }
  BitmaskLayout bitmask() const { return {rows, columns}; }
};

struct StoreWeights : pst::impl::StoreWeightsBase<StoreWeights> {
  using StoreWeightsBase::StoreWeightsBase;

  void runOnOperation() override {
    if (storage == WeightStorage::Dense && type != FrozenType::Int8)
      return;
    SmallVector<Weight> weights = findWeights();
    findTokens(weights);
    llvm::erase_if(weights, [&](Weight &weight) { return !choose(weight); });
    if (weights.empty())
      return;
    shareRooms(weights);
    store(weights);
  }

private:
  SmallVector<Weight> findWeights();
  void findTokens(ArrayRef<Weight> weights);
  bool choose(Weight &weight);
  Storage fastest(Weight &weight);
  static void shareRooms(MutableArrayRef<Weight> weights);
  void store(ArrayRef<Weight> weights);
  static void packWhole(func::FuncOp pack, const Weight &weight,
                        MutableArrayRef<ParameterOp> stored,
                        CriterionOp criterion);
  static void packPieces(func::FuncOp pack, const Weight &weight,
                         MutableArrayRef<ParameterOp> stored,
                         CriterionOp criterion);
  void read(const Weight &weight, ArrayRef<ParameterOp> stored);

  /// Whether a product is of packed tokens, and its rows.
  using Rows = std::pair<bool, int64_t>;
  static Rows rowsOf(nn::LinearOp product) {
    RankedTensorType type = product.getType();
    return {static_cast<bool>(nn::getPacked(type)), nn::storedRows(type)};
  }
  Rows tokens; ///< Of products of tokens.
};
} // namespace

/// Those of which products alone make use, and in 8 bits what reads rows with
/// scales; all in one form.
SmallVector<Weight> StoreWeights::findWeights() {
  llvm::StringMap<SmallVector<OpOperand *>> uses;
  getOperation().walk([&](LoadOp load) {
    for (OpOperand &use : load->getUses())
      uses[load.getParameter()].push_back(&use);
  });
  SmallVector<Weight> weights;
  for (auto parameter : getOperation().getOps<ParameterOp>()) {
    auto matrix = cast<RankedTensorType>(parameter.getType());
    ArrayRef<OpOperand *> readers = uses[parameter.getSymName()];
    if (parameter.getRole() != ParameterRole::Frozen || readers.empty() ||
        matrix.getRank() != 2)
      continue;
    Weight weight{};
    weight.parameter = parameter;
    if (auto kept = parameter->getAttrOfType<IntegerAttr>(kKeptAttribute))
      weight.kept = kept.getInt();
    for (OpOperand *use : readers) {
      auto product = dyn_cast<nn::LinearOp>(use->getOwner());
      auto table = dyn_cast<ScalingOpInterface>(use->getOwner());
      if (product && &product.getWeightMutable() == use)
        weight.products.push_back(product);
      else if (table && table.scalesOperand(use->getOperandNumber()))
        weight.tables.push_back(use);
    }
    // Rows of tables have scales: no S is their transpose.
    weight.transposed = weight.tables.empty() &&
                        weight.products.size() == readers.size() &&
                        weight.products.front().getTransposed();
    weight.rows = matrix.getDimSize(weight.transposed);
    weight.columns = matrix.getDimSize(!weight.transposed);
    if (weight.products.size() + weight.tables.size() == readers.size() &&
        llvm::all_of(weight.products, [&](nn::LinearOp product) {
          return product.getTransposed() == weight.transposed;
        }))
      weights.push_back(std::move(weight));
  }
  return weights;
}

/// A prompt is read once, and then a token follows the other.
static bool isOfPrompts(nn::LinearOp product) {
  return product->getParentOfType<func::FuncOp>().getSymName() == "prefill";
}

/// Products of tokens are those that are packed, else those of most rows; the
/// others are of a row for each example.
void StoreWeights::findTokens(ArrayRef<Weight> weights) {
  tokens = {};
  for (const Weight &weight : weights)
    for (nn::LinearOp product : weight.products)
      if (!isOfPrompts(product))
        tokens = std::max(tokens, rowsOf(product));
}

/// How the weight is to be stored, if not as it is.
bool StoreWeights::choose(Weight &weight) {
  bool inBytes = type == FrozenType::Int8;
  Type element = getElementTypeOrSelf(weight.parameter.getType());
  weight.value = inBytes ? IntegerType::get(&getContext(), 8) : element;
  bool maySkipZeros =
      storage != WeightStorage::Dense && weight.kept && weight.tables.empty() &&
      weight.compressed().wholeRoom() <= CompressedLayout::kMostRoom;
  weight.storage = maySkipZeros ? fastest(weight) : Storage::Dense;
  if (weight.storage == Storage::Dense && inBytes)
    weight.storage = Storage::Quantized;
  return weight.storage != Storage::Dense;
}

/// The storage with which the products take least time, or the one that it is
/// to be anyway; notes what they take.
Storage StoreWeights::fastest(Weight &weight) {
  double dense = 0, compressed = 0, bitmask = 0;
  for (nn::LinearOp product : weight.products) {
    if (isOfPrompts(product))
      continue;
    Rows rows = rowsOf(product);
    cpu::ProductCost cost{storageTokens && rows == tokens ? storageTokens
                                                          : rows.second,
                          weight.rows, weight.columns};
    cost.readsInPlace = cpu::FewRows::pays(cost.tokens, cost.n, cost.k);
    cost.valueBits = weight.value.getIntOrFloatBitWidth();
    cost.expandBits = expandBits;
    cost.hasFastGather = hasFastGather;
    dense += cost.dense();
    compressed += cost.compressed(*weight.kept);
    bitmask += cost.bitmask(*weight.kept);
  }
  Builder builder(&getContext());
  auto microseconds = [&](StringRef name, double time) {
    return builder.getNamedAttr(name, builder.getF64FloatAttr(time / 1e3));
  };
  SmallVector<NamedAttribute> costs{microseconds("compressed", compressed),
                                    microseconds("dense", dense)};
  if (expandBits > 0 || storage == WeightStorage::Bitmask)
    costs.push_back(microseconds("bitmask", bitmask));
  weight.parameter->setAttr(kCostAttribute, builder.getDictionaryAttr(costs));
  if (storage == WeightStorage::Bitmask)
    return Storage::Bitmask;
  if (storage == WeightStorage::Compressed)
    return Storage::Compressed;
  if (expandBits > 0 && bitmask < std::min(compressed, dense))
    return Storage::Bitmask;
  return compressed < dense ? Storage::Compressed : Storage::Dense;
}

/// Gives weights of one shape that keep about as many elements the same room:
/// then their kernels are the same, too.
void StoreWeights::shareRooms(MutableArrayRef<Weight> weights) {
  auto kind = [](const Weight &weight) {
    return std::tuple(weight.storage, weight.rows, weight.columns,
                      weight.transposed);
  };
  SmallVector<Weight *> order;
  for (Weight &weight : weights)
    if (weight.skipsZeros())
      order.push_back(&weight);
  llvm::sort(order, [&](const Weight *a, const Weight *b) {
    return std::tuple(kind(*a), -*a->kept, a) <
           std::tuple(kind(*b), -*b->kept, b);
  });
  const Weight *largest = nullptr;
  for (Weight *weight : order) {
    if (!largest || kind(*weight) != kind(*largest) ||
        4 * *weight->kept < 3 * *largest->kept)
      largest = weight;
    weight->room = weight->roomFor(*largest->kept);
  }
}

/// Declares where a weight is stored.
static SmallVector<ParameterOp> declare(const Weight &weight) {
  ParameterOp parameter = weight.parameter;
  OpBuilder builder(parameter->getContext());
  builder.setInsertionPointAfter(parameter);
  auto zeros = InitializerAttr::get(builder.getContext(),
                                    InitializerKind::Zeros, "", APFloat(0.0));
  SmallVector<ParameterOp> stored;
  for (auto [name, type] : llvm::zip_equal(weight.names(), weight.types()))
    stored.push_back(ParameterOp::create(
        builder, parameter.getLoc(),
        (parameter.getSymName() + ".pst_" + name).str(), ParameterRole::State,
        zeros, cast<RankedTensorType>(type), /*offset=*/nullptr,
        /*decay=*/false, /*group=*/nullptr));
  return stored;
}

/// What a function that stores a matrix row by row is given of it at once, so
/// that little of it need be in memory.
static constexpr int64_t kPieceBytes = 1 << 20;

/// @pack.0, @pack.1, ...: each stores a weight. A function for each, so that no
/// two need be in memory at once as their file has them.
void StoreWeights::store(ArrayRef<Weight> weights) {
  ModuleOp module = getOperation();
  CriterionOp criterion = kernel::declarePlainWeight(module);
  SymbolTable symbols(module);
  for (auto [i, weight] : llvm::enumerate(weights)) {
    ParameterOp parameter = weight.parameter;
    auto pack = func::FuncOp::create(parameter.getLoc(),
                                     (StringRef(kPackPrefix) + Twine(i)).str(),
                                     FunctionType::get(&getContext(), {}, {}));
    symbols.insert(pack);
    SmallVector<ParameterOp> stored = declare(weight);
    bool inPieces = !weight.skipsZeros() && !weight.transposed;
    (inPieces ? packPieces : packWhole)(pack, weight, stored, criterion);
    read(weight, stored);
  }
}

/// Stores all of it; of one of which zeros are left out it returns how many
/// slots it lacks: 0 unless more elements are not zero than there were.
void StoreWeights::packWhole(func::FuncOp pack, const Weight &weight,
                             MutableArrayRef<ParameterOp> stored,
                             CriterionOp criterion) {
  Location loc = pack.getLoc();
  OpBuilder builder = OpBuilder::atBlockEnd(pack.addEntryBlock());
  ParameterOp parameter = weight.parameter;
  Value whole = LoadOp::create(builder, loc, parameter);
  auto packed = MaterializeOp::create(
      builder, loc, weight.types(), criterion.getSymName(), whole,
      /*selection=*/SelectionAttr(),
      /*state=*/ValueRange(), /*pruned=*/Value(), weight.transposed,
      weight.storage, /*unordered=*/false);
  for (auto [value, place] : llvm::zip_equal(packed.getStored(), stored))
    StoreOp::create(builder, loc, value, place.getSymName());
  SmallVector<Value> lacking;
  if (weight.skipsZeros()) {
    // After all of that is stored, which then is written in place.
    auto constant = [&](int64_t value) {
      return arith::ConstantOp::create(builder, loc,
                                       builder.getI32IntegerAttr(value));
    };
    Value used = tensor::ExtractOp::create(builder, loc, packed.getStored()[3],
                                           ValueRange());
    Value beyond =
        arith::SubIOp::create(builder, loc, used, constant(weight.room));
    Value slots = arith::MaxSIOp::create(builder, loc, beyond, constant(0));
    auto count = RankedTensorType::get({}, builder.getI32Type());
    lacking.push_back(
        tensor::FromElementsOp::create(builder, loc, count, slots));
    pack.setFunctionType(builder.getFunctionType({}, {count}));
    pack.setResultAttr(0, kNameAttribute, parameter.getSymNameAttr());
  }
  func::ReturnOp::create(builder, loc, lacking);
}

/// Takes some rows of it, named as it is, and returns them as they are stored,
/// named as the parameters in which they are.
void StoreWeights::packPieces(func::FuncOp pack, const Weight &weight,
                              MutableArrayRef<ParameterOp> stored,
                              CriterionOp criterion) {
  Location loc = pack.getLoc();
  ParameterOp parameter = weight.parameter;
  auto matrix = cast<RankedTensorType>(parameter.getType());
  int64_t rowBytes = matrix.getDimSize(1) * matrix.getElementTypeBitWidth() / 8;
  // Vectors of rows are whole where they can be.
  int64_t rows = std::max<int64_t>(kPieceBytes / rowBytes / 64 * 64, 64);
  rows = std::min(rows, matrix.getDimSize(0));
  auto of = [&](Type type) -> Type {
    auto whole = cast<RankedTensorType>(type);
    SmallVector<int64_t> shape(whole.getShape());
    shape[0] = rows;
    return RankedTensorType::get(shape, whole.getElementType());
  };
  SmallVector<Type> results = llvm::map_to_vector(weight.types(), of);
  Builder types(pack.getContext());
  pack.setFunctionType(types.getFunctionType({of(matrix)}, results));
  pack.setArgAttr(0, kNameAttribute, parameter.getSymNameAttr());
  for (auto [i, place] : llvm::enumerate(stored))
    pack.setResultAttr(i, kNameAttribute, place.getSymNameAttr());
  OpBuilder builder = OpBuilder::atBlockEnd(pack.addEntryBlock());
  auto packed = MaterializeOp::create(
      builder, loc, results, criterion.getSymName(), pack.getArgument(0),
      /*selection=*/SelectionAttr(), /*state=*/ValueRange(),
      /*pruned=*/Value(), /*transposed=*/false, weight.storage,
      /*unordered=*/false);
  func::ReturnOp::create(builder, loc, packed.getStored());
}

/// nn.linear -> pst.stored_matmul; other readers get values and scales.
void StoreWeights::read(const Weight &weight, ArrayRef<ParameterOp> stored) {
  auto loadAll = [&](Operation *reader) {
    OpBuilder builder(reader);
    SmallVector<Value> tensors;
    for (ParameterOp place : stored)
      tensors.push_back(LoadOp::create(builder, reader->getLoc(), place));
    return tensors;
  };
  auto eraseUnused = [](Operation *load) {
    if (load->use_empty())
      load->erase();
  };
  for (nn::LinearOp product : weight.products) {
    OpBuilder builder(product);
    SmallVector<Value> tensors = loadAll(product);
    Operation *load = product.getWeight().getDefiningOp();
    product.replaceAllUsesWith(
        StoredMatmulOp::create(builder, product.getLoc(), product.getType(),
                               product.getInput(), weight.storage, tensors,
                               product.getBias(), /*addend=*/Value(),
                               /*activation=*/nn::ActivationKindAttr())
            .getResult());
    product.erase();
    eraseUnused(load);
  }
  for (OpOperand *table : weight.tables) {
    SmallVector<Value> tensors = loadAll(table->getOwner());
    Operation *load = table->get().getDefiningOp();
    table->set(tensors[0]);
    cast<ScalingOpInterface>(table->getOwner()).setScales(tensors[1]);
    eraseUnused(load);
  }
}
