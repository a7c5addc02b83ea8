// RUN: pst-opt %s --pst-keep-weights | FileCheck %s
// RUN: pst-opt %s --pst-keep-weights=room=0 | FileCheck %s --check-prefix=NONE
// RUN: pst-compile %s --target=cuda --emit=kernels | FileCheck %s --check-prefix=LAUNCHES

// A weight of several products is evaluated once, before the first of them, as
// it is multiplied: as bf16 beside activations of bf16, and apart from that
// beside some of f32. One of a single product stays, and one without room.

// CHECK: module attributes {{.*}}pst.kept_weights = {bytes = 96 : i64, kept = 2 : i64, weights = 2 : i64}
// CHECK: pst.criterion @pst_as_it_is(%[[W:.*]]: dense) {
// CHECK-NEXT: pst.yield weight %[[W]]
// NONE: pst.kept_weights = {bytes = 0 : i64, kept = 0 : i64, weights = 2 : i64}
// NONE-NOT: pst.masked_weight

pst.criterion @scored(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @forward_backward
// CHECK-SAME: %[[X:.*]]: tensor<8x4xbf16>, %[[Z:.*]]: tensor<8x4xf32>, %[[WEIGHT:[^:]*]]: tensor<4x4xf32>, %[[S:[^:]*]]: tensor<4x4xf32>
// CHECK: %[[N:.*]] = pst.masked_weight @scored(%[[WEIGHT]], %[[S]]) threshold(%[[T:.*]], %[[C:.*]]) : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xbf16>
// CHECK-NEXT: %[[Y:.*]] = pst.masked_matmul %[[X]], @pst_as_it_is(%[[N]]) : tensor<8x4xbf16>, (tensor<4x4xbf16>) -> tensor<8x4xbf16>
// CHECK-NEXT: pst.masked_matmul %[[Y]], @pst_as_it_is(%[[N]]) transposed
// CHECK-NEXT: %[[F:.*]] = pst.masked_weight @scored(%[[WEIGHT]], %[[S]]) threshold(%[[T]], %[[C]]) : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
// CHECK-NEXT: pst.masked_matmul %[[Z]], @pst_as_it_is(%[[F]]) :
// CHECK-NEXT: pst.masked_matmul %[[Z]], @pst_as_it_is(%[[F]]) transposed
// CHECK-NEXT: pst.masked_matmul %[[X]], @scored(%[[S]], %[[S]]) threshold(%[[T]], %[[C]]) :

// LAUNCHES-LABEL: func.func private @masked_matmul_8x4xbf16_4x4xbf16_pst_as_it_is(
// LAUNCHES-NOT: @masked_weight_
// LAUNCHES: gpu.launch_func @kernels::@matmul_8x4xbf16_4x4xbf16_right_transposed
// LAUNCHES-LABEL: func.func private @masked_matmul_8x4xbf16_4x4xbf16_pst_as_it_is_transposed(
func.func @forward_backward(%x: tensor<8x4xbf16>, %z: tensor<8x4xf32>, %w: tensor<4x4xf32>, %s: tensor<4x4xf32>, %t: tensor<f32>, %c: tensor<i64>, %p: tensor<i64>)
    -> (tensor<8x4xbf16>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xbf16>) {
  %y = pst.masked_matmul %x, @scored(%w, %s) threshold(%t, %c) pruned(%p) : tensor<8x4xbf16>, (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<8x4xbf16>
  %dx = pst.masked_matmul %y, @scored(%w, %s) transposed threshold(%t, %c) pruned(%p) : tensor<8x4xbf16>, (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<8x4xbf16>
  %v = pst.masked_matmul %z, @scored(%w, %s) threshold(%t, %c) : tensor<8x4xf32>, (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<8x4xf32>
  %dz = pst.masked_matmul %z, @scored(%w, %s) transposed threshold(%t, %c) : tensor<8x4xf32>, (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<8x4xf32>
  %one = pst.masked_matmul %x, @scored(%s, %s) threshold(%t, %c) : tensor<8x4xbf16>, (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<8x4xbf16>
  return %dx, %v, %dz, %one : tensor<8x4xbf16>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xbf16>
}
