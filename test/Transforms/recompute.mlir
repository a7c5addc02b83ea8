// RUN: pst-opt %s --pst-recompute | FileCheck %s
// RUN: pst-opt %s --pst-recompute="level=all" | FileCheck %s --check-prefix=ALL
// RUN: pst-opt %s --pst-recompute="level=none" | FileCheck %s --check-prefix=NONE
// RUN: not pst-opt %s --pst-recompute="level=some" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: for the --level option: Cannot find option named 'some'!

// The price is said: 2 x 2 x 3 x 4 operations of the product.
// ALL: pst.recompute = {flops = 4.800000e+01 : f64, step = 4.800000e+01 : f64}
// CHECK: pst.recompute = {flops = 0.000000e+00 : f64, step = 4.800000e+01 : f64}

// With `all` the product is computed again first, then the activation of it.
// ALL: nn.cross_entropy %
// ALL: %[[H:.*]] = nn.linear
// ALL: %[[A:.*]] = nn.activation gelu %[[H]]
// ALL: %[[D:.*]] = nn.cross_entropy_backward %[[A]],
// ALL: nn.activation_backward gelu %[[H]], %[[D]]

// NONE-NOT: pst.recompute
// NONE: %[[A:.*]] = nn.activation
// NONE-NOT: nn.activation gelu
// NONE: nn.cross_entropy_backward %[[A]],

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
