// RUN: pst-opt %s --pst-autodiff --split-input-file | FileCheck %s

// The loss over a vocabulary gives gradients to its input and, where it is
// trained, to the vocabulary's weight, in one op.

pst.parameter @frozen frozen init<file "frozen"> : tensor<3x3xf32>
pst.parameter @head trainable init<zeros> : tensor<7x3xf32>
pst.parameter @bias trainable init<zeros> : tensor<3xf32>

func.func @forward(%x: tensor<2x3xf32> {pst.name = "x"}, %labels: tensor<2xi32> {pst.name = "labels"}, %loss_scale: f32 {pst.name = "loss_scale"}) -> (tensor<f32> {pst.name = "loss"}) {
  %frozen = pst.load @frozen : tensor<3x3xf32>
  %bias = pst.load @bias : tensor<3xf32>
  %head = pst.load @head : tensor<7x3xf32>
  %y = nn.linear %x, %frozen bias(%bias : tensor<3xf32>) : tensor<2x3xf32>, tensor<3x3xf32> -> tensor<2x3xf32>
  %loss = nn.linear_cross_entropy %y, %head, %labels, %loss_scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}

// CHECK-LABEL: func.func @forward_backward
// CHECK: %[[DY:.*]], %[[DW:.*]] = nn.linear_cross_entropy_backward %[[Y:.*]], %[[HEAD:.*]], %{{.*}}, %{{.*}}, %{{.*}} : {{.*}} weight tensor<7x3xf32>
// CHECK: %[[DB:.*]] = nn.column_sum %[[DY]]
// CHECK-DAG: pst.accumulate %[[DW]], @head : tensor<7x3xf32>
// CHECK-DAG: pst.accumulate %[[DB]], @bias : tensor<3xf32>

// -----

// Smoothed labels are so in the gradient too.

pst.parameter @head trainable init<zeros> : tensor<7x3xf32>

func.func @forward(%x: tensor<2x3xf32> {pst.name = "x"}, %labels: tensor<2xi32> {pst.name = "labels"}, %smoothing: f32 {pst.name = "label_smoothing"}, %loss_scale: f32 {pst.name = "loss_scale"}) -> (tensor<f32> {pst.name = "loss"}) {
  %head = pst.load @head : tensor<7x3xf32>
  %loss = nn.linear_cross_entropy %x, %head, %labels, %loss_scale smoothing %smoothing : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}

// CHECK-LABEL: func.func @forward_backward
// CHECK-SAME: %[[SMOOTHING:[a-z0-9_]+]]: f32 {pst.name = "label_smoothing"}
// CHECK: nn.linear_cross_entropy_backward {{.*}} smoothing %[[SMOOTHING]] : {{.*}} weight tensor<7x3xf32>
