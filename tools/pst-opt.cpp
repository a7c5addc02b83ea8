//===- pst-opt.cpp - Runs passes on MLIR ----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Codegen/Passes.h"
#include "pst/Pipelines.h"
#include "pst/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  pst::registerDialects(registry);
  mlir::registerAllPasses();
  pst::registerPSTCodegenPasses();
  pst::registerPSTGPUPasses();
  pst::registerPSTTransformsPasses();
  pst::registerStagePipelines();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "PST optimizer driver\n", registry));
}
