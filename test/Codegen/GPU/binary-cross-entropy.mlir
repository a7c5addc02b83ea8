// The loss of several labels an example: one block sums it, a thread for 16
// bytes makes its gradient. Assembled for both architectures without spills.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s

// CHECK-DAG: binary_cross_entropy_32x28_f32_sum: {{[1-3][0-9]}} registers, 32 bytes shared
// CHECK-DAG: binary_cross_entropy_backward_32x28_f32: {{[1-4][0-9]}} registers, 0 bytes shared
// CHECK-DAG: binary_cross_entropy_7x5xbf16_7x5_f32_sum: {{[1-3][0-9]}} registers, 32 bytes shared
// CHECK-DAG: binary_cross_entropy_backward_7x5xbf16_7x5_f32: {{[1-4][0-9]}} registers, 0 bytes shared

func.func @wide(%x: tensor<32x28xf32>, %labels: tensor<32x28xf32>, %scale: f32, %g: tensor<f32>)
    -> (tensor<f32>, tensor<32x28xf32>) {
  %loss = nn.binary_cross_entropy %x, %labels, %scale : tensor<32x28xf32>, tensor<32x28xf32>
  %d = nn.binary_cross_entropy_backward %x, %labels, %scale, %g : tensor<32x28xf32>, tensor<32x28xf32>
  return %loss, %d : tensor<f32>, tensor<32x28xf32>
}

func.func @narrow(%x: tensor<7x5xbf16>, %labels: tensor<7x5xf32>, %scale: f32, %g: tensor<f32>)
    -> (tensor<f32>, tensor<7x5xbf16>) {
  %loss = nn.binary_cross_entropy %x, %labels, %scale : tensor<7x5xbf16>, tensor<7x5xf32>
  %d = nn.binary_cross_entropy_backward %x, %labels, %scale, %g : tensor<7x5xbf16>, tensor<7x5xf32>
  return %loss, %d : tensor<f32>, tensor<7x5xbf16>
}
