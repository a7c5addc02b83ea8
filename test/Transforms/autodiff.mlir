// RUN: pst-opt %s --pst-autodiff | FileCheck %s
// RUN: pst-opt %s --pst-autodiff=inference | FileCheck %s --check-prefix=INFERENCE

// Gradients of a value with two uses are added; what no trainable parameter
// reaches gets none; dropout leaves the evaluation, and its seed with it.

// CHECK-LABEL: func.func @forward(
// CHECK-SAME: %[[X:.*]]: tensor<2x3xf32>, %{{.*}}: tensor<2xi32>, %{{.*}}: f32) -> (tensor<f32> {pst.name = "loss"}, tensor<2x4xf32>)
// CHECK-NOT: nn.dropout

// CHECK-LABEL: func.func @forward_backward(
// CHECK-SAME: -> (tensor<f32> {pst.name = "loss"})
// CHECK: nn.linear
// CHECK: %[[H:.*]] = nn.linear
// CHECK: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : tensor<f32>
// CHECK: %[[D:.*]] = nn.cross_entropy_backward %{{.*}}, %{{.*}}, %{{.*}}, %[[ONE]]
// CHECK: %[[DX:.*]] = nn.dropout %[[D]], %{{.*}} probability 1.000000e-01 site 5
// CHECK: %[[DA:.*]] = nn.activation_backward tanh %[[H]], %[[D]]
// CHECK: %[[SUM:.*]] = nn.add %[[DX]], %[[DA]]
// CHECK: %[[DW:.*]] = nn.matmul %[[SUM]], %{{.*}} {transpose_lhs}
// CHECK-NOT: nn.matmul
// CHECK: pst.accumulate %[[DW]], @trained : tensor<4x3xf32>
// CHECK-NOT: pst.accumulate

// INFERENCE-LABEL: func.func @forward(
// INFERENCE-NOT: nn.dropout
// INFERENCE-NOT: func.func @forward_backward

pst.parameter @frozen frozen init<file "f"> : tensor<3x3xf32>
pst.parameter @trained trainable init<file "t"> : tensor<4x3xf32>
func.func @forward(%x: tensor<2x3xf32>, %labels: tensor<2xi32>, %scale: f32, %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<2x4xf32>) {
  %f = pst.load @frozen : tensor<3x3xf32>
  %g = nn.linear %x, %f : tensor<2x3xf32>, tensor<3x3xf32> -> tensor<2x3xf32>
  %w = pst.load @trained : tensor<4x3xf32>
  %h = nn.linear %g, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  %a = nn.activation tanh %h : tensor<2x4xf32>
  %d = nn.dropout %h, %seed probability 0.1 site 5 : tensor<2x4xf32>
  %y = nn.add %a, %d : tensor<2x4xf32>
  %loss = nn.cross_entropy %y, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss, %y : tensor<f32>, tensor<2x4xf32>
}
