// A frozen parameter has values from a file; what says otherwise is told at its
// place.

// REQUIRES: pst-compile
// RUN: not pst-compile %s --emit=plan 2>&1 | FileCheck %s

// CHECK: frozen-without-file.mlir:[[#@LINE+1]]:1: error: 'pst.parameter' op is frozen, so its values must come from a file: write init<file "TENSOR">, or make it trainable
pst.parameter @w frozen init<normal 1.0> : tensor<4x3xf32>

func.func @forward(%x: tensor<2x4xf32>) -> tensor<2x3xf32> {
  %w = pst.load @w : tensor<4x3xf32>
  %y = nn.linear %x, %w transposed : tensor<2x4xf32>, tensor<4x3xf32> -> tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}
