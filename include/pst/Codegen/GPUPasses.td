//===- GPUPasses.td - Passes for NVIDIA GPUs ---------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_CODEGEN_GPUPASSES_TD
#define PST_CODEGEN_GPUPASSES_TD

include "mlir/Pass/PassBase.td"

def GroupSelections : Pass<"pst-group-selections", "::mlir::ModuleOp"> {
  let summary = "Selects in many layers at once";
  let description = [{
    The `pst.topk_threshold`s of a block whose results are stored become one for
    many layers, which takes hardly more launches than one of a layer did. Layers of
    equal types lie side by side in it. As many are brought together as a
    kernel's 4096 bytes of parameters have room for, and as leave a workspace of
    64 MiB at most; of layers whose kernels differ too much (one is small, or
    its rows have another alignment) none.

    Before:
    ```mlir
    %t, %c, %p = pst.topk_threshold @c(%v), %sparsity : (tensor<2x2xf32>)
    pst.store %t, @v.threshold : tensor<f32>
    %u, %d, %q = pst.topk_threshold @c(%w), %sparsity : (tensor<2x2xf32>)
    pst.store %u, @w.threshold : tensor<f32>
    ```
    After:
    ```mlir
    %t:2, %c:2, %p:2 = pst.topk_threshold @c(%v, %w), %sparsity, %sparsity : (tensor<2x2xf32>, tensor<2x2xf32>)
    pst.store %t#0, @v.threshold : tensor<f32>
    pst.store %t#1, @w.threshold : tensor<f32>
    ```
  }];
  let dependentDialects = ["::pst::PSTDialect"];
}

def KeepWeights : Pass<"pst-keep-weights", "::mlir::ModuleOp"> {
  let summary = "Evaluates masked weights once a step";
  let description = [{
    In `@forward_backward`, a virtual weight that several products are by (a
    layer's, and that of its input's gradient) is evaluated before the first,
    in the type in which it is multiplied, and kept until the last. The values
    are those that each product would have evaluated for itself. What is kept
    takes `room` MiB at most, the smallest weights first; the module's
    `pst.kept_weights` says how many are kept, of how many, in how many bytes.

    Before:
    ```mlir
    %y = pst.masked_matmul %x, @lora(%w, %u, %v) : tensor<5x3xbf16>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x4xbf16>
    %dx = pst.masked_matmul %dy, @lora(%w, %u, %v) transposed : tensor<5x4xbf16>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x3xbf16>
    ```
    After:
    ```mlir
    %weight = pst.masked_weight @lora(%w, %u, %v) : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xbf16>
    %y = pst.masked_matmul %x, @pst_as_it_is(%weight) : tensor<5x3xbf16>, (tensor<4x3xbf16>) -> tensor<5x4xbf16>
    %dx = pst.masked_matmul %dy, @pst_as_it_is(%weight) transposed : tensor<5x4xbf16>, (tensor<4x3xbf16>) -> tensor<5x3xbf16>
    ```
  }];
  let options = [
    Option<"room", "room", "int64_t", "64",
           "MiB that the weights that are kept may take">
  ];
  let dependentDialects = ["::pst::PSTDialect"];
}

def EmitGPUKernels : Pass<"pst-emit-gpu-kernels", "::mlir::ModuleOp"> {
  let summary = "Replaces nn and pst ops by launches of generated GPU kernels";
  let description = [{
    Each op on tensors becomes a `pst.launch` of a function on buffers, as with
    `-pst-emit-cpu-kernels`; but that function is a list of `gpu.launch_func`s,
    whose kernels are collected in the `gpu.module` `@kernels`. Grids, blocks and
    shared memory are constants. The plan of a product (its tiles, buffers, the
    order of tiles) is in its launch's attribute `pst.gemm_plan`.

    Before:
    ```mlir
    %y = nn.activation relu %x : tensor<2x3xf32>
    ```
    After:
    ```mlir
    gpu.module @kernels {
      gpu.func @activation_2x3_relu(%x: memref<2x3xf32>, %y: memref<2x3xf32>) kernel { ... }
    }
    func.func private @activation_2x3_relu(%x: memref<2x3xf32>, %y: memref<2x3xf32>) {
      gpu.launch_func @kernels::@activation_2x3_relu blocks in (%c1, %c1, %c1) threads in (%c256, %c1, %c1) args(%x : memref<2x3xf32>, %y : memref<2x3xf32>)
      return
    }
    %y = pst.launch @activation_2x3_relu ins(%x : tensor<2x3xf32>) outs(%e : tensor<2x3xf32>) -> tensor<2x3xf32>
    ```
  }];
  let options = [
    Option<"arch", "arch", "std::string", "\"sm_90a\"",
           "The GPUs that the kernels are for: sm_80 and newer, or sm_90a alone">,
    Option<"tf32", "tf32", "bool", "false",
           "Products of f32 round their operands to tf32, 10 bits of mantissa">,
    Option<"gemmPlan", "gemm-plan", "std::string", "\"\"",
           "What of the plans of products by TMA and wgmma is given, such as "
           "columns=128,stages=4,release=0,band=16">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
    "::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
    "::mlir::NVVM::NVVMDialect", "::mlir::nvgpu::NVGPUDialect",
    "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect", "::mlir::vector::VectorDialect",
    "::pst::PSTDialect"
  ];
}

def EmulateLaunches : Pass<"pst-emulate-launches", "::mlir::ModuleOp"> {
  let summary = "Turns GPU kernels into functions of one thread, for the emulator";
  let description = [{
    For tests on machines without a GPU: each kernel becomes a function that the
    CPU runs once for each thread of the grid, and each `gpu.launch_func` a call
    of the emulator (`lib/Emulator`), which switches between the threads of a
    block wherever they wait for each other.

    Before:
    ```mlir
    gpu.launch_func @kernels::@activation_2x3_relu blocks in (%c1, %c1, %c1) threads in (%c256, %c1, %c1) args(%x : memref<2x3xf32>, %y : memref<2x3xf32>)
    ```
    After:
    ```mlir
    llvm.call @pst_emulate_launch(%kernel, %arguments, %blocks, %threads, %shared)
    ```
    With `export` only the kernels are left, for others to launch: @NAME_thread,
    and @NAME_shared, how many bytes its static shared memory has.
  }];
  let options = [
    Option<"exportKernels", "export", "bool", "false",
           "leave kernels that other code can find, and no entry points">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::memref::MemRefDialect"
  ];
}

def LoadScalars : Pass<"pst-load-scalars", "::mlir::ModuleOp"> {
  let summary = "Entry points for GPUs take scalars in memory, where kernels load them";
  let description = [{
    A learning rate or a seed changes from step to step. What a kernel gets by
    value is fixed when the launches of an entry point are recorded, so such
    arguments become buffers of one element, which the runtime fills. Constants
    stay values: where other launches give a kernel constants, it gets a copy,
    called `..._loads_` and the positions of the parameters that it loads.

    Before:
    ```mlir
    gpu.func @scale_8(%rate: f32, %w: memref<8xf32>) kernel { ... }
    func.func @apply(%rate: f32, %w: memref<8xf32>) {
      gpu.launch_func @kernels::@scale_8 blocks in (%c1, %c1, %c1) threads in (%c256, %c1, %c1) args(%rate : f32, %w : memref<8xf32>)
    ```
    After:
    ```mlir
    gpu.func @scale_8(%at: memref<f32>, %w: memref<8xf32>) kernel {
      %rate = memref.load %at[] : memref<f32>
      ...
    }
    func.func @apply(%rate: memref<f32>, %w: memref<8xf32>) {
      gpu.launch_func @kernels::@scale_8 blocks in (%c1, %c1, %c1) threads in (%c256, %c1, %c1) args(%rate : memref<f32>, %w : memref<8xf32>)
    ```
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def LowerGPUMath : Pass<"pst-lower-gpu-math", "::mlir::gpu::GPUModuleOp"> {
  let summary = "Turns math in GPU kernels into intrinsics of LLVM";
  let description = [{
    `convert-gpu-to-nvvm` makes calls of libdevice of every op of the `math`
    dialect. Kernels hold only those that NVPTX itself knows, and that round as
    IEEE 754 says. Vectors are rounded to bf16 in pairs.

    Before:
    ```mlir
    %y = math.fma %a, %b, %c : f32
    ```
    After:
    ```mlir
    %y = llvm.call_intrinsic "llvm.fma"(%a, %b, %c) : (f32, f32, f32) -> f32
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def LowerTensorMaps : Pass<"pst-lower-tensor-maps", "::mlir::ModuleOp"> {
  let summary = "Gives kernels their tensor maps as NVPTX wants them";
  let description = [{
    A kernel takes a tensor map as 128 bytes by value. What a launch passes stays
    `nvgpu.tma.create.descriptor`: the runtime reads the matrix, its box and the
    swizzle off it, and encodes it. The pass runs before
    `convert-gpu-to-nvvm`, which knows no such type, and again after it, for it
    drops `llvm.byval` and `nvvm.grid_constant`.

    Before:
    ```mlir
    gpu.func @k(%map: !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, 3>, ...>) kernel { ... }
    gpu.launch_func @kernels::@k blocks in (...) threads in (...) args(%map : !nvgpu.tensormap.descriptor<...>)
    ```
    After:
    ```mlir
    llvm.func @k(%map: !llvm.ptr {llvm.align = 64 : i64, llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant}) attributes {nvvm.kernel} { ... }
    %pointer = builtin.unrealized_conversion_cast %map : !nvgpu.tensormap.descriptor<...> to !llvm.ptr
    gpu.launch_func @kernels::@k blocks in (...) threads in (...) args(%pointer : !llvm.ptr)
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect"];
}

#endif // PST_CODEGEN_GPUPASSES_TD
