//===- SplitParts.cpp - -pst-split-parts ----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Codegen/Passes.h"
#include "llvm/Support/MathExtras.h"

namespace pst {
#define GEN_PASS_DEF_SPLITPARTS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;

namespace {

struct SplitParts : pst::impl::SplitPartsBase<SplitParts> {
  using SplitPartsBase::SplitPartsBase;
  void runOnOperation() override;

  LogicalResult initialize(MLIRContext *context) override {
    if (partSize >= 1 && maxParts >= 1)
      return success();
    return emitError(UnknownLoc::get(context))
           << "part-size and max-parts of pst-split-parts must be positive, "
              "but "
              "are "
           << partSize.getValue() << " and " << maxParts.getValue();
  }

private:
  /// A part in the making, and the ops that it holds.
  struct Part {
    SmallVector<Operation *> symbols;
    int64_t size = 0;
  };
  SmallVector<Part> choose(ModuleOp module);
};

} // namespace

/// Whether other parts may have a copy of the symbol: what only declares, or
/// holds constants.
static bool mayBeCopied(Operation *symbol) {
  if (auto global = dyn_cast<memref::GlobalOp>(symbol))
    return global.getConstant();
  auto function = dyn_cast<func::FuncOp>(symbol);
  return function && function.isExternal();
}

/// Entry points, and what is no function, come first and together. Kernels go
/// to the part that is the smallest yet, the largest kernel first. What may be
/// copied is in no part.
SmallVector<SplitParts::Part> SplitParts::choose(ModuleOp module) {
  struct Kernel {
    Operation *function;
    int64_t size;
  };
  SmallVector<Kernel> kernels;
  Part entries;
  int64_t total = 0;
  for (Operation &op : *module.getBody()) {
    if (mayBeCopied(&op))
      continue;
    int64_t size = 0;
    op.walk([&](Operation *) { ++size; });
    total += size;
    if (auto function = dyn_cast<func::FuncOp>(op);
        function && function.isPrivate()) {
      kernels.push_back({function, size});
    } else {
      entries.symbols.push_back(&op);
      entries.size += size;
    }
  }
  int64_t count = std::clamp<int64_t>(llvm::divideCeil(total, partSize), 1,
                                      std::max<int64_t>(maxParts, 1));
  SmallVector<Part> parts(count);
  parts.front() = std::move(entries);
  llvm::sort(kernels, [](const Kernel &lhs, const Kernel &rhs) {
    return lhs.size != rhs.size ? lhs.size > rhs.size
                                : lhs.function->isBeforeInBlock(rhs.function);
  });
  for (const Kernel &kernel : kernels) {
    Part &smallest =
        *llvm::min_element(parts, [](const Part &lhs, const Part &rhs) {
          return lhs.size < rhs.size;
        });
    smallest.symbols.push_back(kernel.function);
    smallest.size += kernel.size;
  }
  for (Part &part : parts)
    llvm::sort(part.symbols, [](Operation *lhs, Operation *rhs) {
      return lhs->isBeforeInBlock(rhs);
    });
  llvm::erase_if(parts, [](const Part &part) { return part.symbols.empty(); });
  return parts;
}

void SplitParts::runOnOperation() {
  ModuleOp module = getOperation();
  if (auto inner = module.getOps<ModuleOp>(); !inner.empty()) {
    (*inner.begin())
        .emitOpError("lies in a module that is to be split: is this what "
                     "--emit=llvm printed?");
    return signalPassFailure();
  }
  SymbolTable symbols(module);
  SmallVector<Part> parts = choose(module);
  llvm::DenseMap<Operation *, size_t> home;
  for (auto [i, part] : llvm::enumerate(parts))
    for (Operation *op : part.symbols)
      home[op] = i;

  // What each part uses of the others, in the order of the module.
  SmallVector<llvm::SetVector<Operation *>> foreign(parts.size());
  for (auto [i, part] : llvm::enumerate(parts))
    for (Operation *user : part.symbols)
      for (auto uses = SymbolTable::getSymbolUses(user);
           SymbolTable::SymbolUse use : *uses) {
        Operation *used = symbols.lookup(use.getSymbolRef().getRootReference());
        auto place = home.find(used);
        if (place != home.end() && place->second == i)
          continue;
        if (place != home.end() && !isa<func::FuncOp>(used)) {
          use.getUser()->emitOpError("uses the variable '")
              << use.getSymbolRef() << "', which entry points alone may use";
          return signalPassFailure();
        }
        if (used)
          foreign[i].insert(used);
      }

  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  SmallVector<Operation *> copied;
  for (Operation &op : *module.getBody())
    if (mayBeCopied(&op))
      copied.push_back(&op);
  for (auto [i, part] : llvm::enumerate(parts)) {
    auto inner =
        ModuleOp::create(builder, module.getLoc(), ("part" + Twine(i)).str());
    OpBuilder body = OpBuilder::atBlockEnd(inner.getBody());
    for (Operation *op : foreign[i]) {
      auto function = dyn_cast<func::FuncOp>(op);
      if (!function || function.isExternal()) {
        body.clone(*op);
        continue;
      }
      auto declaration =
          func::FuncOp::create(body, function.getLoc(), function.getSymName(),
                               function.getFunctionType());
      declaration.setPrivate();
    }
  }
  // Only now, for a declaration is made of what it declares.
  for (auto [part, inner] :
       llvm::zip_equal(parts, llvm::to_vector(module.getOps<ModuleOp>())))
    for (Operation *op : part.symbols)
      op->moveBefore(inner.getBody(), inner.getBody()->end());
  for (Operation *op : copied)
    op->erase();
}
