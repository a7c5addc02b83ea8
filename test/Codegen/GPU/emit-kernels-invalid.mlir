// RUN: pst-opt %s --pst-emit-gpu-kernels --verify-diagnostics

func.func @loss(%x: tensor<4x3xf32>, %w: tensor<5x3xf32>, %labels: tensor<4xi32>, %scale: f32) -> tensor<f32> {
  // expected-error @below {{'nn.linear_cross_entropy' op has no kernel for GPUs}}
  %loss = nn.linear_cross_entropy %x, %w, %labels, %scale : tensor<4x3xf32>, tensor<5x3xf32>, tensor<4xi32>
  return %loss : tensor<f32>
}
