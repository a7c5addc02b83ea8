//===- Pipelines.cpp - The stages, as named phases ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Pipelines.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/Arith/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/FuncBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/Extensions/InlinerExtension.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/Linalg/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/OpenMP/OpenMPToLLVMIRTranslation.h"
#include "mlir/Transforms/InliningUtils.h"
#include "mlir/Transforms/Passes.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/NN/NNDialect.h"
#include "pst/Dialect/PST/PSTDialect.h"
#include "pst/Options/Targets.h"
#include "pst/Transforms/Bufferize.h"
#include "pst/Transforms/Passes.h"

using namespace mlir;
using namespace pst;

std::optional<Stage> pst::parseStage(StringRef name) {
  auto words = ArrayRef(runtime::Words<Stage>::list);
  const auto *found = llvm::find(words, name);
  if (found == words.end())
    return std::nullopt;
  return static_cast<Stage>(found - words.begin());
}

namespace {
struct InlineTensorMaps : DialectInlinerInterface {
  using DialectInlinerInterface::DialectInlinerInterface;
  bool isLegalToInline(Operation *, Region *, bool,
                       IRMapping &) const override {
    return true;
  }
};
} // namespace

void pst::registerDialects(DialectRegistry &registry) {
  registry.insert<PSTDialect, nn::NNDialect, arith::ArithDialect,
                  bufferization::BufferizationDialect, func::FuncDialect,
                  gpu::GPUDialect, linalg::LinalgDialect, LLVM::LLVMDialect,
                  math::MathDialect, memref::MemRefDialect, NVVM::NVVMDialect,
                  nvgpu::NVGPUDialect, omp::OpenMPDialect, scf::SCFDialect,
                  tensor::TensorDialect, vector::VectorDialect>();
  func::registerInlinerExtension(registry);
  registerBufferization(registry);
  arith::registerBufferizableOpInterfaceExternalModels(registry);
  linalg::registerBufferizableOpInterfaceExternalModels(registry);
  scf::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerBufferizableOpInterfaceExternalModels(registry);
  bufferization::func_ext::registerBufferizableOpInterfaceExternalModels(
      registry);
  // What convert-gpu-to-nvvm finds beside its own ops.
  arith::registerConvertArithToLLVMInterface(registry);
  cf::registerConvertControlFlowToLLVMInterface(registry);
  registerConvertFuncToLLVMInterface(registry);
  registerConvertMemRefToLLVMInterface(registry);
  ub::registerConvertUBToLLVMInterface(registry);
  // So that launches with tensor maps become part of their entry points.
  registry.addExtension(+[](MLIRContext *, nvgpu::NVGPUDialect *dialect) {
    dialect->addInterfaces<InlineTensorMaps>();
  });
  vector::registerConvertVectorToLLVMInterface(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerGPUDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  registerOpenMPDialectTranslation(registry);
}

/// nn and pst ops to launches, the rest of the tensors to buffers, everything
/// to its place.
static void buildMemory(OpPassManager &passes, const CompilerOptions &options) {
  passes.addPass(createProtectArguments());
  passes.addNestedPass<func::FuncOp>(createConvertElementwiseToLinalgPass());
  bufferization::OneShotBufferizePassOptions whole;
  whole.bufferizeFunctionBoundaries = true;
  whole.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  passes.addPass(bufferization::createOneShotBufferizePass(whole));
  passes.addPass(createCSEPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createStoreInPlace());
  passes.addPass(createPlanMemory({options.sanitizeAddress}));
}

/// For a GPU: entry points become lists of launches.
static void buildLaunchLists(OpPassManager &passes) {
  passes.addPass(createLowerLaunches());
  passes.addPass(createInlinerPass());
  passes.addPass(createLoadScalars());
  passes.addPass(createCSEPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createSymbolDCEPass());
}

/// Kernels become nvvm.
static void buildNVVM(OpPassManager &passes) {
  passes.addPass(createLowerTensorMaps());
  OpPassManager &kernels = passes.nest<gpu::GPUModuleOp>();
  kernels.addPass(createSCFToControlFlowPass());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(createLowerAffinePass());
  kernels.addPass(createLowerGPUMath());
  ConvertGpuOpsToNVVMOpsOptions options;
  options.useBarePtrCallConv = true;
  kernels.addPass(createConvertGpuOpsToNVVMOps(options));
  kernels.addPass(createConvertNVVMToLLVMPass());
  kernels.addPass(createCanonicalizerPass());
  kernels.addPass(createCSEPass());
  kernels.addPass(createReconcileUnrealizedCastsPass());
  passes.addPass(createLowerTensorMaps());
}

/// Buffers to the llvm dialect; the order is that of docs/Rationale.md.
static void buildLLVM(OpPassManager &program, CodeForm code) {
  program.addPass(createLowerLaunches());
  SplitPartsOptions parts;
  bool onlyKernels = code == CodeForm::EmulatedKernels;
  if (onlyKernels || code == CodeForm::EmulatedObject) {
    program.addPass(createEmulateLaunches({onlyKernels}));
    parts.maxParts = 1; // kernels are variables to their launches
  }
  program.addPass(createSplitParts(parts));
  OpPassManager &passes = program.nest<ModuleOp>();
  passes.addNestedPass<func::FuncOp>(createConvertLinalgToLoopsPass());
  passes.addPass(createExpandMath());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addNestedPass<func::FuncOp>(createConvertVectorToSCFPass());
  passes.addPass(createConvertSCFToOpenMPPass());
  passes.addPass(createHoistScratch());
  // At once, or the alloca scopes it leaves hinder scf-to-cf.
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createSCFToControlFlowPass());
  passes.addPass(memref::createExpandStridedMetadataPass());
  passes.addPass(createLowerAffinePass());
  passes.addPass(createConvertVectorToLLVMPass());
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createFinalizeMemRefToLLVMConversionPass());
  ConvertFuncToLLVMPassOptions functions;
  functions.useBarePtrCallConv = true;
  passes.addPass(createConvertFuncToLLVMPass(functions));
  // Later than functions, which it would convert to whole descriptors.
  passes.addPass(createConvertOpenMPToLLVMPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  passes.addPass(createCSEPass());
  if (!onlyKernels)
    passes.addPass(createWrapEntryPoints());
}

static void buildCPUKernels(OpPassManager &passes,
                            const CompilerOptions &options) {
  passes.addPass(createFuseEpilogues());
  passes.addPass(createChooseProducts({options.products}));
  passes.addPass(createNarrowFrozen({options.frozenType}));
  passes.addPass(createFuseAccumulations());
  EmitCPUKernelsOptions kernels;
  if (options.vectorWidth)
    kernels.vectorWidth = options.vectorWidth;
  kernels.expandBits = options.expandBits;
  if (!options.blocks.empty()) {
    kernels.mBlock = options.blocks[0];
    kernels.nBlock = options.blocks[1];
    kernels.kBlock = options.blocks[2];
  }
  passes.addPass(createEmitCPUKernels(kernels));
}

static void buildGPUKernels(OpPassManager &passes,
                            const CompilerOptions &options) {
  passes.addPass(createNarrowFrozen({options.frozenType}));
  passes.addPass(createFuseEpilogues({/*training=*/true}));
  passes.addPass(createKeepWeights());
  passes.addPass(createFuseAccumulations());
  passes.addPass(createGroupSelections());
  passes.addPass(createEmitGPUKernels(
      {runtime::spell(options.gpuArch),
       /*tf32=*/options.precision == Precision::TF32, options.gemmPlan}));
}

/// Of what is measured, padding is to have no part.
static int64_t roomForTokens(const CompilerOptions &options) {
  return options.calibration && options.tokenCapacity == 0
             ? options.model.batch * options.model.length
             : options.tokenCapacity;
}

void pst::buildStage(OpPassManager &passes, Stage stage,
                     const CompilerOptions &options) {
  switch (stage) {
  case Stage::Import:
    break;
  case Stage::Sparsify:
    // First, so that what is measured is of all tokens.
    if (options.calibration)
      passes.addPass(createCalibrate(
          {options.recipe.targetModules, options.recipe.excludeModules}));
    passes.addPass(createBoundIds());
    passes.addPass(createSelectEarly());
    // First: what a product costs depends on the tokens that there is room for.
    passes.addPass(createPackTokens({roomForTokens(options)}));
    if (options.training)
      passes.addPass(createSparsify(options.recipe));
    else if (targetOf(options).kernels == KernelFamily::CPU) {
      // First, so that values are stored in the weight's type.
      passes.addPass(createNarrowFrozen({options.frozenType}));
      passes.addPass(createStoreWeights(
          {options.weightStorage, options.frozenType, options.expandBits,
           options.hasFastGather, options.storageTokens}));
    }
    break;
  case Stage::Autodiff:
    // First, so that gradients have the types of what they are gradients of.
    if (options.precision == Precision::BF16)
      passes.addPass(createMixedPrecision({FrozenType::BF16}));
    passes.addPass(createAutodiff(AutodiffOptions{!options.training}));
    passes.addPass(createCSEPass());
    passes.addPass(createCanonicalizerPass());
    // Last: CSE would undo it.
    passes.addPass(createRecompute({options.recompute}));
    break;
  case Stage::Optimizer:
    passes.addPass(createAddOptimizer());
    break;
  case Stage::Kernels:
    if (targetOf(options).kernels == KernelFamily::CPU)
      buildCPUKernels(passes, options);
    else
      buildGPUKernels(passes, options);
    break;
  case Stage::Memory:
    buildMemory(passes, options);
    if (options.profile)
      passes.addPass(createProfileLaunches());
    break;
  case Stage::LLVM:
    switch (targetOf(options).code) {
    case CodeForm::PTX:
      buildLaunchLists(passes);
      buildNVVM(passes);
      break;
    case CodeForm::EmulatedKernels:
      buildLaunchLists(passes);
      buildLLVM(passes, CodeForm::EmulatedKernels);
      break;
    case CodeForm::Object:
    case CodeForm::EmulatedObject:
      buildLLVM(passes, targetOf(options).code);
      break;
    }
    break;
  }
}
