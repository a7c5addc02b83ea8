//===- EmulateWarpOps.cpp - Calls of the emulator's tensor cores ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EmulateWarpOps.h"
#include "EmulateAsync.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;
using namespace pst::cuda;

/// A place for four words on the stack of the function that `op` is in.
static Value fourWords(Operation *op) {
  // At its beginning: a loop would take more of the stack every time.
  auto function = op->getParentOfType<LLVM::LLVMFuncOp>();
  auto b = ImplicitLocOpBuilder::atBlockBegin(op->getLoc(),
                                              &function.getBody().front());
  Value count = LLVM::ConstantOp::create(b, b.getI64IntegerAttr(4));
  return LLVM::AllocaOp::create(b, LLVM::LLVMPointerType::get(b.getContext()),
                                b.getI32Type(), count);
}

static Value wordAt(ImplicitLocOpBuilder &b, Value words, int32_t i) {
  return LLVM::GEPOp::create(b, words.getType(), b.getI32Type(), words,
                             ArrayRef<LLVM::GEPArg>{i});
}

/// Values of 32 bits, in a place of their own.
static Value storeWords(ImplicitLocOpBuilder &b, Operation *op,
                        ValueRange values) {
  Value words = fourWords(op);
  for (auto [i, value] : llvm::enumerate(values))
    LLVM::StoreOp::create(b, value, wordAt(b, words, i));
  return words;
}

/// Replaces an op that returns a struct of them.
static void replaceByWords(ImplicitLocOpBuilder &b, Operation *op,
                           Value words) {
  Type type = op->getResult(0).getType();
  Value result = LLVM::PoisonOp::create(b, type);
  for (auto [i, element] :
       llvm::enumerate(cast<LLVM::LLVMStructType>(type).getBody()))
    result = LLVM::InsertValueOp::create(
        b, result, LLVM::LoadOp::create(b, element, wordAt(b, words, i)), i);
  op->getResult(0).replaceAllUsesWith(result);
}

static bool isOf(NVVM::MmaOp op, int64_t k, NVVM::MMATypes type) {
  NVVM::MMAShapeAttr shape = op.getShape();
  return shape.getM() == 16 && shape.getN() == 8 && shape.getK() == k &&
         op.getMultiplicandAPtxType() == type &&
         op.getMultiplicandBPtxType() == type && op.getOperandC().size() == 4;
}

bool pst::cuda::emulateWarpOp(Operation *op) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  auto constant = [&](int32_t value) -> Value {
    return LLVM::ConstantOp::create(b, b.getI32IntegerAttr(value));
  };
  auto mma = dyn_cast<NVVM::MmaOp>(op);
  bool isTF32 = mma && isOf(mma, 8, NVVM::MMATypes::tf32);
  if (isTF32 || (mma && isOf(mma, 16, NVVM::MMATypes::bf16))) {
    Value a = storeWords(b, op, mma.getOperandA());
    Value right = storeWords(b, op, mma.getOperandB());
    Value sums = storeWords(b, op, mma.getOperandC());
    callEmulator(b, "pst_emulate_mma", {}, {a, right, sums, constant(isTF32)});
    replaceByWords(b, op, sums);
  } else if (auto convert = dyn_cast<NVVM::ConvertFloatToTF32Op>(op);
             convert && convert.getRnd() == NVVM::FPRoundingMode::RNA) {
    convert.replaceAllUsesWith(callEmulator(b, "pst_emulate_round_tf32",
                                            b.getI32Type(), convert.getSrc()));
  } else if (auto load = dyn_cast<NVVM::LdMatrixOp>(op);
             load && load.getNum() == 4) {
    Value words = fourWords(op);
    bool trans = load.getLayout() == NVVM::MMALayout::col;
    callEmulator(b, "pst_emulate_load_matrices", {},
                 {load.getPtr(), constant(trans), words});
    replaceByWords(b, op, words);
  } else if (isa<NVVM::SyncWarpOp>(op)) {
    callEmulator(b, "pst_emulate_barrier_warp", {}, {});
  } else if (auto copy = dyn_cast<NVVM::CpAsyncOp>(op)) {
    Value size = constant(copy.getSize());
    Value bytes = copy.getCpSize() ? copy.getCpSize() : size;
    callEmulator(b, "pst_emulate_copy_async", {},
                 {copy.getDst(), copy.getSrc(), size, bytes});
  } else if (isa<NVVM::CpAsyncCommitGroupOp>(op)) {
    callEmulator(b, "pst_emulate_copy_commit", {}, {});
  } else if (auto wait = dyn_cast<NVVM::CpAsyncWaitGroupOp>(op)) {
    callEmulator(b, "pst_emulate_copy_wait", {}, constant(wait.getN()));
  } else {
    return false;
  }
  op->erase();
  return true;
}
