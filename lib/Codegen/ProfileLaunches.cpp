//===- ProfileLaunches.cpp - -pst-profile-launches ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "llvm/ADT/MapVector.h"

namespace pst {
#define GEN_PASS_DEF_PROFILELAUNCHES
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {

// What libomp offers needs no further library: every program has it already.
constexpr llvm::StringLiteral kClock = "omp_get_wtime";
constexpr llvm::StringLiteral kTimes = "pst_profile_times";
constexpr llvm::StringLiteral kProfile = "profile";

struct ProfileLaunches : pst::impl::ProfileLaunchesBase<ProfileLaunches> {
  void runOnOperation() override;

private:
  Value readClock(ImplicitLocOpBuilder &builder) {
    return func::CallOp::create(builder, kClock, builder.getF64Type())
        .getResult(0);
  }
  /// times[row] += [now - since, 1]
  void count(ImplicitLocOpBuilder &builder, int64_t row, Value since);
  void addReader(ModuleOp module, ArrayRef<std::string> names);

  MemRefType times; // rows x 2: seconds, calls
};

} // namespace

void ProfileLaunches::count(ImplicitLocOpBuilder &builder, int64_t row,
                            Value since) {
  Value now = readClock(builder);
  Value amounts[] = {
      arith::SubFOp::create(builder, now, since),
      arith::ConstantOp::create(builder, builder.getF64FloatAttr(1))};
  Value global = memref::GetGlobalOp::create(builder, times, kTimes);
  Value index = arith::ConstantIndexOp::create(builder, row);
  for (int64_t i = 0; i < 2; ++i) {
    Value place[] = {index, arith::ConstantIndexOp::create(builder, i)};
    Value old = memref::LoadOp::create(builder, global, place);
    Value sum = arith::AddFOp::create(builder, old, amounts[i]);
    memref::StoreOp::create(builder, sum, global, place);
  }
}

/// The entry point that hands the times out and sets them back to zero.
void ProfileLaunches::addReader(ModuleOp module, ArrayRef<std::string> names) {
  ImplicitLocOpBuilder builder(module.getLoc(), module.getBodyRegion());
  Type f64 = builder.getF64Type();
  SmallVector<Type> types(names.size(), MemRefType::get({2}, f64));
  auto reader = func::FuncOp::create(builder, kProfile,
                                     builder.getFunctionType(types, {}));
  for (auto [i, name] : llvm::enumerate(names)) {
    reader.setArgAttr(i, kKindAttribute, builder.getStringAttr("output"));
    reader.setArgAttr(i, kNameAttribute, builder.getStringAttr(name));
  }
  Block *block = reader.addEntryBlock();
  builder.setInsertionPointToStart(block);
  Value global = memref::GetGlobalOp::create(builder, times, kTimes);
  Value zero = arith::ConstantOp::create(builder, builder.getF64FloatAttr(0));
  Value columns[] = {arith::ConstantIndexOp::create(builder, 0),
                     arith::ConstantIndexOp::create(builder, 1)};
  for (unsigned i = 0; i < names.size(); ++i) {
    Value row = arith::ConstantIndexOp::create(builder, i);
    for (Value column : columns) {
      Value place[] = {row, column};
      Value value = memref::LoadOp::create(builder, global, place);
      memref::StoreOp::create(builder, value, block->getArgument(i), column);
      memref::StoreOp::create(builder, zero, global, place);
    }
  }
  func::ReturnOp::create(builder);
}

void ProfileLaunches::runOnOperation() {
  ModuleOp module = getOperation();
  // A row for each kernel, and one for each entry point as a whole.
  llvm::MapVector<StringRef, SmallVector<LaunchOp>> launches;
  SmallVector<func::FuncOp> entries;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isPrivate() || function.isExternal())
      continue;
    if (function.getSymName() == kProfile) {
      function.emitOpError("takes the name of the entry point that "
                           "-pst-profile-launches adds; rename it");
      return signalPassFailure();
    }
    entries.push_back(function);
    function.walk([&](LaunchOp launch) {
      launches[launch.getKernel()].push_back(launch);
    });
  }
  SmallVector<std::string> names;
  for (func::FuncOp entry : entries)
    names.push_back(("entry point " + entry.getSymName()).str());
  for (auto &[kernel, ignored] : launches)
    names.push_back(kernel.str());

  ImplicitLocOpBuilder builder(module.getLoc(), module.getBodyRegion());
  Type f64 = builder.getF64Type();
  times = MemRefType::get({static_cast<int64_t>(names.size()), 2}, f64);
  auto zeros =
      DenseElementsAttr::get(RankedTensorType::get(times.getShape(), f64),
                             builder.getF64FloatAttr(0).getValue());
  memref::GlobalOp::create(builder, kTimes, builder.getStringAttr("private"),
                           times, zeros, /*constant=*/false,
                           /*alignment=*/IntegerAttr());
  auto clock =
      func::FuncOp::create(builder, kClock, builder.getFunctionType({}, {f64}));
  clock.setPrivate();

  int64_t row = 0;
  for (func::FuncOp entry : entries) {
    Block &block = entry.getBody().front();
    ImplicitLocOpBuilder at =
        ImplicitLocOpBuilder::atBlockBegin(entry.getLoc(), &block);
    Value since = readClock(at);
    at.setInsertionPoint(entry.getBody().back().getTerminator());
    count(at, row++, since);
  }
  for (auto &[kernel, calls] : launches) {
    for (LaunchOp launch : calls) {
      ImplicitLocOpBuilder at(launch.getLoc(), launch);
      Value since = readClock(at);
      at.setInsertionPointAfter(launch);
      count(at, row, since);
    }
    ++row;
  }
  addReader(module, names);
}
