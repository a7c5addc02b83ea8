// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

// Selection counts halves of the scores' ordered bits, in chunks of rows whose
// number comes from the shape; the scores themselves are stored nowhere.

pst.criterion @magnitude(%w: dense) {
  %m = math.absf %w : f32
  pst.yield weight %w score %m
}

// CHECK-LABEL: func.func @select
// CHECK: pst.launch @topk_threshold_magnitude_300x1000 ins(%{{.*}}, %{{.*}} : tensor<300x1000xf32>, f64)
// CHECK-SAME: workspace = 2 : i64

// CHECK-LABEL: func.func private @topk_threshold_magnitude_300x1000(
// CHECK-SAME: %{{.*}}: memref<300x1000xf32>, %[[SPARSITY:.*]]: f64, %[[TAU:.*]]: memref<f32>, %[[CUT:.*]]: memref<i64>, %[[COUNTS:.*]]: memref<4x65536xi32>, %[[TOTALS:.*]]: memref<65536xi64>)
// CHECK: %[[PRODUCT:.*]] = arith.mulf %[[SPARSITY]], %{{.*}} : f64
// CHECK: arith.fptosi %[[PRODUCT]] : f64 to i64
// CHECK: scf.parallel
// CHECK: math.absf
// CHECK: arith.cmpf uno
// CHECK: scf.while
// CHECK: scf.parallel
// CHECK: scf.while
// CHECK: memref.store %{{.*}}, %[[TAU]][] : memref<f32>
// CHECK: memref.store %{{.*}}, %[[CUT]][] : memref<i64>
func.func @select(%w: tensor<300x1000xf32>, %sparsity: f64) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut = pst.topk_threshold @magnitude(%w), %sparsity : (tensor<300x1000xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}
