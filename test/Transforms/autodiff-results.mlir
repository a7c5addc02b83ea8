// RUN: pst-opt %s --load-dialect-plugin=%test_dialect --pst-autodiff --split-input-file --verify-diagnostics | FileCheck %s

// Of an op's results some have no gradient: one that the loss does not depend
// on, and one of integers. Its backward is told which ones are there; what is
// made of the integers takes none.

pst.parameter @w trainable init<zeros> : tensor<2x4xf32>
pst.parameter @c frozen init<zeros> : tensor<4xf32>

// CHECK-LABEL: func.func @forward_backward
// CHECK: %[[R:.*]]:3 = "test.differentiable"(%[[W:.*]], %{{.*}})
// CHECK: %[[D:.*]] = nn.cross_entropy_backward %[[R]]#1, %[[R]]#2,
// CHECK: %[[DW:.*]] = "test.backward"(%[[D]]) {present = array<i1: false, true, false>} : (tensor<2x4xf32>) -> tensor<2x4xf32>
// CHECK: pst.accumulate %[[DW]], @w
// CHECK-NOT: pst.accumulate
func.func @forward(%scale: f32) -> tensor<f32> {
  %w = pst.load @w : tensor<2x4xf32>
  %c = pst.load @c : tensor<4xf32>
  %unused, %logits, %labels = "test.differentiable"(%w, %c) : (tensor<2x4xf32>, tensor<4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>, tensor<2xi32>)
  %loss = nn.cross_entropy %logits, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}

// -----

// A backward that forgets an operand is found out.

pst.parameter @w trainable init<zeros> : tensor<2x4xf32>
func.func @forward(%x: tensor<2x4xf32>, %labels: tensor<2xi32>, %scale: f32) -> tensor<f32> {
  %w = pst.load @w : tensor<2x4xf32>
  // expected-error@+1 {{'test.differentiable' op stands between a trainable parameter and the loss, but its backward has no gradient for operand #1}}
  %y = "test.differentiable"(%x, %w) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %loss = nn.cross_entropy %y, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}
