//===- pst-opt.cpp - Runs passes on MLIR ----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/NN/NNDialect.h"
#include "pst/Dialect/PST/PSTDialect.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<pst::PSTDialect, pst::nn::NNDialect>();
  mlir::registerAllPasses();
  pst::registerPSTCodegenPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "PST optimizer driver\n", registry));
}
