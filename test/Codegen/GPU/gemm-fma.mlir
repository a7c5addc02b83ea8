// Products of f32 by fused multiply-adds. Long sums are summed in parts, whose
// totals take registers: those of a tile fit.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s

// CHECK-DAG: matmul_2048x4096_2048x2048_right_transposed: {{(1[01][0-9]|12[0-8])}} registers, 8448 bytes shared
// CHECK-DAG: matmul_2048x8190_2048x2048_right_transposed: {{(1[0-9][0-9]|2[0-2][0-9])}} registers, 8448 bytes shared

func.func @short(%x: tensor<2048x4096xf32>, %w: tensor<2048x4096xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<2048x4096xf32>, tensor<2048x4096xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}

func.func @long(%x: tensor<2048x8190xf32>, %w: tensor<2048x8190xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<2048x8190xf32>, tensor<2048x8190xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}
