// RUN: pst-opt %s --pst-recompute="level=all" | FileCheck %s
// RUN: pst-opt %s --pst-recompute | FileCheck %s --check-prefix=CHEAP

// The price counts what the ops themselves count: causal attention sees 10 of
// the 16 pairs of each of 2 sequences, so that one product of its 4 columns is
// 2 x 2 x 10 x 4 = 160 operations; two forward, which are done again where all is, and five
// backward. The gradient of the weight is 2 x 4 x 3 x 8 = 192.

// CHEAP: pst.recompute = {flops = 0.000000e+00 : f64, step = 1.312000e+03 : f64}
// CHECK: pst.recompute = {flops = 3.200000e+02 : f64, step = 1.312000e+03 : f64}
func.func @forward_backward(%q: tensor<8x4xf32>, %x: tensor<8x3xf32>, %mask: tensor<2x4xi32>, %labels: tensor<8xi32>, %scale: f32)
    -> (tensor<f32>, tensor<4x3xf32>) {
  %a = nn.attention %q, %q, %q, %mask heads 2 causal : tensor<8x4xf32>, tensor<2x4xi32>
  %loss = nn.cross_entropy %a, %labels, %scale : tensor<8x4xf32>, tensor<8xi32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %d = nn.cross_entropy_backward %a, %labels, %scale, %one : tensor<8x4xf32>, tensor<8xi32>
  %dq, %dk, %dv = nn.attention_backward %q, %q, %q, %mask, %d heads 2 causal : tensor<8x4xf32>, tensor<2x4xi32>
  %dw = nn.matmul %dq, %x {transpose_lhs} : tensor<8x4xf32>, tensor<8x3xf32> -> tensor<4x3xf32>
  return %loss, %dw : tensor<f32>, tensor<4x3xf32>
}
