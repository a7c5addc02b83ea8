// RUN: pst-opt %s --pst-fuse-accumulations | FileCheck %s
// RUN: pst-opt %s --pst-fuse-accumulations --pst-emit-cpu-kernels | FileCheck %s --check-prefix=CPU
// RUN: pst-opt %s --pst-fuse-accumulations --pst-emit-gpu-kernels | FileCheck %s --check-prefix=GPU

// An addition to a gradient goes into the op that makes what is added, where
// its kernel can add, nothing else uses the result, and nothing between the two
// touches that gradient.

pst.parameter @bias trainable init<zeros> : tensor<3xf32>
pst.parameter @scale trainable init<zeros> : tensor<3xf32>
pst.parameter @u trainable init<zeros> : tensor<4x2xf32>

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

// CHECK-LABEL: func.func @fused
// CHECK: pst.accumulate %{{.*}}, @bias fused : tensor<3xf32>
// CHECK: %{{.*}}, %[[SCALE:.*]], %{{.*}} = nn.layer_norm_backward
// CHECK-NOT: fused
// CHECK: pst.load @bias gradient
// CHECK: pst.accumulate %[[SCALE]], @scale fused : tensor<3xf32>
// CHECK: pst.accumulate %{{.*}}, @u fused : tensor<4x2xf32>

// CPU-LABEL: func.func @fused
// CPU: %[[BIAS:.*]] = pst.load @bias gradient : tensor<3xf32>
// CPU-NEXT: pst.launch @column_sum_5x3_3_added0 ins(%{{.*}}) outs(%[[BIAS]] : tensor<3xf32>)
// CPU: pst.launch @layer_norm_backward_5x3_3_epsilon{{[0-9a-f]+}}_added1_unread2 ins
// CPU: pst.launch @lowrank_accumulate_{{[0-9x_]+}}_lora_wrt1_added0 ins
// CPU-NOT: pst.accumulate
// CPU-NOT: @accumulate_
// CPU-LABEL: func.func @order

// GPU-LABEL: func.func @fused
// GPU: pst.launch @column_sum_5x3_3_added0 ins
// GPU: pst.launch @layer_norm_backward_5x3_3_epsilon{{[0-9a-f]+}}_added1_unread2 ins
// GPU: pst.launch @lowrank_accumulate_{{[0-9x_]+}}_lora_wrt1_added0 ins
func.func @fused(%g: tensor<5x3xf32>, %x: tensor<5x3xf32>, %s: tensor<3xf32>, %dy: tensor<5x4xf32>,
                 %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>) -> (tensor<5x3xf32>, tensor<3xf32>) {
  %b = nn.column_sum %g : tensor<5x3xf32> -> tensor<3xf32>
  pst.accumulate %b, @bias : tensor<3xf32>
  %dx, %ds, %dt = nn.layer_norm_backward %x, %s, %g epsilon 1.000000e-05 : tensor<5x3xf32>, tensor<3xf32>
  %other = pst.load @bias gradient : tensor<3xf32>
  pst.accumulate %ds, @scale : tensor<3xf32>
  %du = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [1] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x2xf32>
  pst.accumulate %du, @u : tensor<4x2xf32>
  return %dx, %other : tensor<5x3xf32>, tensor<3xf32>
}

// Two gradients of one parameter: the second one's op stands before the first
// one's addition, and would add too early.
// CHECK-LABEL: func.func @order
// CHECK: pst.accumulate %{{.*}}, @bias : tensor<3xf32>
// CHECK: pst.accumulate %{{.*}}, @bias : tensor<3xf32>
func.func @order(%g: tensor<5x3xf32>) {
  %first = nn.column_sum %g : tensor<5x3xf32> -> tensor<3xf32>
  %second = nn.column_sum %g : tensor<5x3xf32> -> tensor<3xf32>
  %before = pst.load @bias gradient : tensor<3xf32>
  pst.accumulate %first, @bias : tensor<3xf32>
  pst.accumulate %second, @bias : tensor<3xf32>
  return
}

// What is used elsewhere stays, and what no op makes that can add.
// CHECK-LABEL: func.func @stays
// CHECK-NOT: fused
func.func @stays(%g: tensor<5x3xf32>, %a: tensor<3xf32>) -> tensor<3xf32> {
  %b = nn.column_sum %g : tensor<5x3xf32> -> tensor<3xf32>
  pst.accumulate %b, @bias : tensor<3xf32>
  pst.accumulate %a, @scale : tensor<3xf32>
  return %b : tensor<3xf32>
}
