// RUN: pst-opt %s --split-input-file --pst-recompute --pst-mixed-precision=type=bf16 | FileCheck %s

// Functions that are only declared, or whose results are in memory already,
// have nothing that these passes could look at.

// CHECK: func.func private @forward_backward()
func.func private @forward_backward()

// -----

// CHECK: func.func @forward_backward(%{{.*}}: memref<4xf32>)
func.func @forward_backward(%loss: memref<4xf32>) {
  return
}

// -----

// CHECK: func.func private @forward(tensor<4xf32>) -> tensor<4xf32>
func.func private @forward(tensor<4xf32>) -> tensor<4xf32>
