//===- Passes.td - Passes that choose and lower kernels ----*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_CODEGEN_PASSES_TD
#define PST_CODEGEN_PASSES_TD

include "mlir/Pass/PassBase.td"

def EmitCPUKernels : Pass<"pst-emit-cpu-kernels", "::mlir::ModuleOp"> {
  let summary = "Replaces nn and pst ops by launches of generated CPU kernels";
  let description = [{
    Each op on tensors becomes a `pst.launch` of a function on buffers, built
    once for each distinct kernel and shape and shared by all ops that need it.
    The kernels are written in `scf`, `vector`, `memref`, `arith` and `math`;
    `scf.parallel` marks what may run on several threads, in chunks that do not
    depend on their number.

    Before:
    ```mlir
    %y = nn.activation relu %x : tensor<2x3xf32>
    ```
    After:
    ```mlir
    %e = tensor.empty() : tensor<2x3xf32>
    %y = pst.launch @relu_2x3 ins(%x : tensor<2x3xf32>) outs(%e : tensor<2x3xf32>) -> tensor<2x3xf32>
    ```
  }];
  let options = [
    Option<"vectorWidth", "vector-width", "int64_t", /*default=*/"8",
           "f32 lanes of the target's vectors (4: NEON, 8: AVX2, 16: AVX-512)">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
    "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
    "::mlir::vector::VectorDialect"
  ];
}

def LowerLaunches : Pass<"pst-lower-launches", "::mlir::ModuleOp"> {
  let summary = "Turns kernel launches on buffers into calls";
  let description = [{
    Before:
    ```mlir
    pst.launch @relu_2x3 ins(%x : memref<2x3xf32>) outs(%y : memref<2x3xf32>)
    ```
    After:
    ```mlir
    func.call @relu_2x3(%x, %y) : (memref<2x3xf32>, memref<2x3xf32>) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

#endif // PST_CODEGEN_PASSES_TD
