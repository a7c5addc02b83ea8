//===- Recipes.cpp - The methods of the field, as criteria ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A new method is a new file of the folder Recipes, which the build makes part
// of the compiler.

#include "pst/Transforms/Recipes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace pst;

namespace {
struct BuiltIn {
  StringRef name, text;
};
} // namespace

static constexpr BuiltIn kRecipes[] = {
#include "Recipes.inc"
};

ArrayRef<StringRef> pst::recipeNames() {
  static const SmallVector<StringRef> names =
      llvm::map_to_vector(kRecipes, [](const BuiltIn &r) { return r.name; });
  return names;
}

std::optional<StringRef> pst::recipeText(StringRef name) {
  for (const BuiltIn &recipe : kRecipes)
    if (recipe.name == name)
      return recipe.text;
  return std::nullopt;
}

namespace {
/// Takes hyperparameters out of a criterion, and what they make nothing.
class Resolver {
public:
  Resolver(CriterionOp recipe, const llvm::StringMap<double> &given,
           llvm::StringMap<double> &values)
      : recipe(recipe), given(given), values(values) {}

  LogicalResult run();

private:
  FailureOr<double> valueOf(StringRef name, double own, bool isWhole);
  LogicalResult resolveRanks();
  LogicalResult resolve(HyperparameterOp op);
  void simplify(Operation &op);
  void dropFactors();
  bool isAbsent(Value value) const { return absent.contains(value); }

  CriterionOp recipe;
  const llvm::StringMap<double> &given;
  llvm::StringMap<double> &values;
  /// What is zero because a rank or a hyperparameter is.
  llvm::DenseSet<Value> absent;
};
} // namespace

FailureOr<double> Resolver::valueOf(StringRef name, double own, bool isWhole) {
  auto found = given.find(name);
  double value = found == given.end() ? own : found->second;
  if (isWhole && !(value >= 0 && value <= CriterionOp::kHighestRank &&
                   value == static_cast<double>(static_cast<int64_t>(value))))
    return recipe.emitOpError("needs a rank for '")
           << name << "', a whole number from 0 (which leaves a term out) to "
           << CriterionOp::kHighestRank << ", but got " << value;
  values[name] = value;
  return value;
}

LogicalResult Resolver::resolveRanks() {
  if (!recipe.getFactors())
    return success();
  SmallVector<Attribute> factors;
  for (unsigned i = 0; i < recipe.getNumFactors(); ++i) {
    FactorAttr factor = recipe.getDeclaration(i);
    int64_t rank = factor.getRank();
    if (!factor.getRankName().empty()) {
      FailureOr<double> value = valueOf(factor.getRankName(), rank, true);
      if (failed(value))
        return failure();
      rank = static_cast<int64_t>(*value);
    }
    if (recipe.getKind(i) == FactorKind::LowRank && rank == 0)
      absent.insert(recipe.getBody().getArgument(i));
    factors.push_back(FactorAttr::get(recipe.getContext(), rank,
                                      /*rankName=*/"", factor.getTensors()));
  }
  recipe.setFactorsAttr(ArrayAttr::get(recipe.getContext(), factors));
  return success();
}

LogicalResult Resolver::resolve(HyperparameterOp op) {
  bool isChoice = op.getType().isInteger(1);
  double own =
      isChoice ? static_cast<double>(cast<BoolAttr>(op.getValue()).getValue())
               : cast<FloatAttr>(op.getValue()).getValueAsDouble();
  FailureOr<double> value = valueOf(op.getName(), own, /*isWhole=*/false);
  if (failed(value))
    return failure();
  if (isChoice && *value != 0.0 && *value != 1.0)
    return op.emitOpError("is a choice, so it must be 0 or 1, but got ")
           << *value;
  OpBuilder builder(op);
  TypedAttr constant =
      isChoice ? TypedAttr(builder.getBoolAttr(*value != 0.0))
               : TypedAttr(builder.getF32FloatAttr(static_cast<float>(*value)));
  auto made = arith::ConstantOp::create(builder, op.getLoc(), constant);
  if (!isChoice && *value == 0.0)
    absent.insert(made);
  op.replaceAllUsesWith(made.getResult());
  op.erase();
  return success();
}

/// Replaces the result of an op whose operands are absent, in part or all.
void Resolver::simplify(Operation &op) {
  auto use = [&](Value value) { op.getResult(0).replaceAllUsesWith(value); };
  TypeSwitch<Operation *>(&op)
      .Case([&](arith::SelectOp select) {
        if (auto constant =
                select.getCondition().getDefiningOp<arith::ConstantOp>())
          use(cast<BoolAttr>(constant.getValue()).getValue()
                  ? select.getTrueValue()
                  : select.getFalseValue());
      })
      .Case([&](arith::MulFOp mul) {
        if (isAbsent(mul.getLhs()) || isAbsent(mul.getRhs()))
          absent.insert(mul);
      })
      .Case([&](arith::AddFOp add) {
        if (isAbsent(add.getLhs()))
          use(add.getRhs());
        else if (isAbsent(add.getRhs()))
          use(add.getLhs());
      })
      .Case([&](arith::SubFOp sub) {
        if (isAbsent(sub.getRhs()))
          use(sub.getLhs());
      })
      .Case<arith::NegFOp, math::AbsFOp, DetachOp>([&](Operation *of) {
        if (isAbsent(of->getOperand(0)))
          absent.insert(of->getResult(0));
      });
}

/// Removes what nothing reads; factors but the weight with their declarations.
void Resolver::dropFactors() {
  Block &block = recipe.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
  SmallVector<int32_t> kinds(recipe.getKinds());
  for (unsigned i = recipe.getNumFactors(); i-- > 1;) {
    if (!block.getArgument(i).use_empty())
      continue;
    block.eraseArgument(i);
    kinds.erase(kinds.begin() + i);
    SmallVector<Attribute> factors(recipe.getFactorsAttr().getValue());
    factors.erase(factors.begin() + i);
    recipe.setFactorsAttr(ArrayAttr::get(recipe.getContext(), factors));
  }
  recipe.setKinds(kinds);
  if (kinds.size() == 1)
    recipe.removeFactorsAttr();
}

LogicalResult Resolver::run() {
  Block &block = recipe.getBody().front();
  if (failed(resolveRanks()))
    return failure();
  for (auto op : llvm::make_early_inc_range(block.getOps<HyperparameterOp>()))
    if (failed(resolve(op)))
      return failure();
  for (const auto &entry : given)
    if (!values.contains(entry.first())) {
      InFlightDiagnostic error = recipe.emitOpError("has no hyperparameter '")
                                 << entry.first() << "'; it has: ";
      if (values.empty())
        error << "none";
      SmallVector<StringRef> names = llvm::to_vector(values.keys());
      llvm::sort(names);
      llvm::interleaveComma(names, error);
      return error;
    }
  for (Operation &op : block.without_terminator())
    simplify(op);
  // What still reads what is absent, reads a zero.
  OpBuilder builder = OpBuilder::atBlockBegin(&block);
  for (Operation &op : llvm::make_early_inc_range(block))
    for (OpOperand &operand : op.getOpOperands())
      if (isAbsent(operand.get()) &&
          !isAbsent(op.getNumResults() ? op.getResult(0) : Value()))
        operand.set(arith::ConstantOp::create(builder, op.getLoc(),
                                              builder.getF32FloatAttr(0.0f)));
  dropFactors();
  return success();
}

LogicalResult pst::resolveRecipe(CriterionOp recipe,
                                 const llvm::StringMap<double> &given,
                                 llvm::StringMap<double> &values) {
  return Resolver(recipe, given, values).run();
}
