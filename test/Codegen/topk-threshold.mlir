// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s
// RUN: pst-opt %s --pst-emit-cpu-kernels=vector-width=16 | FileCheck %s --check-prefix=WIDE

// A large layer is selected from a bracket that a sample tells: chunks of rows
// keep the scores inside it, a seventh of all at most. What was known from the
// step before narrows the sample; the radix over all scores is the way out.

// Scores are compressed by a table of permutations, or by an instruction where
// there are sixteen lanes.
// CHECK: memref.global "private" constant @pst_compress_8 : memref<256x8xi8>
// WIDE-NOT: pst_compress
// WIDE: llvm.call_intrinsic "llvm.experimental.vector.compress"

pst.criterion @magnitude(%w: dense) {
  %m = math.absf %w : f32
  pst.yield weight %w score %m
}

// CHECK-LABEL: func.func @large
// CHECK: pst.launch @topk_threshold_300x1000_f32_i64_magnitude_unread2 ins(%{{.*}}, %{{.*}}, %{{.*}} : tensor<300x1000xf32>, f64, tensor<f32>)
// CHECK-SAME: workspace = 4 : i64
func.func @large(%w: tensor<300x1000xf32>, %sparsity: f64, %previous: tensor<f32>) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut, %pruned = pst.topk_threshold @magnitude(%w), %sparsity previous(%previous) : (tensor<300x1000xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}

// A small one is kept whole: no sample, no radix, and nothing to know before.

// CHECK-LABEL: func.func @small
// CHECK: pst.launch @topk_threshold_30x100_f32_i64_magnitude_unread2 ins(%{{.*}}, %{{.*}} : tensor<30x100xf32>, f64)
// CHECK-SAME: workspace = 3 : i64
func.func @small(%w: tensor<30x100xf32>, %sparsity: f64, %previous: tensor<f32>) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut, %pruned = pst.topk_threshold @magnitude(%w), %sparsity previous(%previous) : (tensor<30x100xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}

// CHECK-LABEL: func.func private @topk_threshold_300x1000_f32_i64_magnitude_unread2(
// CHECK-SAME: %{{.*}}: memref<300x1000xf32>, %[[SPARSITY:[^:]*]]: f64, %{{.*}}: memref<f32>, %[[TAU:[^:]*]]: memref<f32>, %[[CUT:[^:]*]]: memref<i64>, %[[PRUNED:[^:]*]]: memref<i64>, %[[VALUES:[^:]*]]: memref<46431xf32>, %{{.*}}: memref<9x6xi64>, %{{.*}}: memref<2049xi64>, %[[COUNTS:[^:]*]]: memref<9x2049xi32>)
// CHECK: %[[PRODUCT:.*]] = arith.mulf %[[SPARSITY]], %{{.*}} : f64
// CHECK: arith.fptosi %[[PRODUCT]] : f64 to i64
// The sample, perhaps twice.
// CHECK: scf.while
// CHECK: scf.for
// CHECK: vector.load %{{.*}} : memref<256x8xi8>, vector<8xi8>
// The pass over all scores: of four rows, one after the other.
// CHECK: scf.parallel
// CHECK-COUNT-4: vector.load %{{.*}} : memref<4000xf32, strided<[1], offset: ?>>, vector<8xf32>
// CHECK-COUNT-4: vector.load %{{.*}} : memref<256x8xi8>, vector<8xi8>
// The radix: only here are scores counted per chunk.
// CHECK: scf.if
// CHECK: scf.parallel
// CHECK: memref.store %{{.*}}, %[[COUNTS]]
// CHECK: memref.store %{{.*}}, %[[TAU]][] : memref<f32>
// CHECK: memref.store %{{.*}}, %[[CUT]][] : memref<i64>
// CHECK: memref.store %{{.*}}, %[[PRUNED]][] : memref<i64>

// CHECK-LABEL: func.func private @topk_threshold_30x100_f32_i64_magnitude_unread2(
// CHECK-SAME: memref<3216xf32>, %{{.*}}: memref<1x6xi64>, %{{.*}}: memref<2049xi64>)
// CHECK-NOT: scf.parallel
// CHECK: vector.load %{{.*}} : memref<256x8xi8>, vector<8xi8>
// CHECK: return
