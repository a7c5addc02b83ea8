// RUN: pst-opt %s --pst-recompute | FileCheck %s

// The activation that the backward reads is computed again next to its reader;
// the forward's own use and the activation's input stay.

// CHECK-LABEL: func.func @forward_backward(
// CHECK: %[[H:.*]] = nn.linear
// CHECK: %[[A:.*]] = nn.activation gelu %[[H]]
// CHECK: nn.cross_entropy %[[A]],
// CHECK: %[[AGAIN:.*]] = nn.activation gelu %[[H]]
// CHECK-NEXT: %[[D:.*]] = nn.cross_entropy_backward %[[AGAIN]],
// CHECK: nn.activation_backward gelu %[[H]], %[[D]]
func.func @forward_backward(%x: tensor<2x3xf32>, %w: tensor<4x3xf32>, %labels: tensor<2xi32>, %scale: f32)
    -> (tensor<f32>, tensor<2x4xf32>) {
  %h = nn.linear %x, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  %a = nn.activation gelu %h : tensor<2x4xf32>
  %loss = nn.cross_entropy %a, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %d = nn.cross_entropy_backward %a, %labels, %scale, %one : tensor<2x4xf32>, tensor<2xi32>
  %dh = nn.activation_backward gelu %h, %d : tensor<2x4xf32>
  return %loss, %dh : tensor<f32>, tensor<2x4xf32>
}
