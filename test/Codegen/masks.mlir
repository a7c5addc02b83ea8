// How a kernel asks whether elements stay, by the selection.
// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

pst.criterion @movement(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

// Vectors hold whole groups of four: three exchanges of lanes, and no score is
// read twice.
// CHECK-LABEL: func.func private @masked_weight_{{.*}}nm_2_4(
// CHECK: scf.for
// CHECK-COUNT-2: vector.load
// CHECK-NOT: vector.load
// CHECK-COUNT-3: vector.shuffle {{.*}} : vector<8xi32>, vector<8xi32>
// CHECK-NOT: vector.shuffle
// CHECK: arith.select %{{.*}}, %{{.*}}, %{{.*}} : vector<8xi1>, vector<8xf32>
// CHECK: return
func.func @groups(%w: tensor<3x16xf32>, %s: tensor<3x16xf32>, %kept: tensor<i64>) -> tensor<3x16xf32> {
  %0 = pst.masked_weight @movement(%w, %s) selection<nm 2:4>(%kept : tensor<i64>) : (tensor<3x16xf32>, tensor<3x16xf32>) -> tensor<3x16xf32>
  return %0 : tensor<3x16xf32>
}

// A row's threshold is read where the row is.
// CHECK-LABEL: func.func private @masked_weight_{{.*}}topk_row(
// CHECK: scf.parallel (%[[ROW:.*]]) =
// CHECK: memref.load %{{.*}}[%[[ROW]]] : memref<3xf32>
// CHECK: memref.load %{{.*}}[%[[ROW]]] : memref<3xi64>
// CHECK: return
func.func @rows(%w: tensor<3x16xf32>, %s: tensor<3x16xf32>, %tau: tensor<3xf32>, %cut: tensor<3xi64>) -> tensor<3x16xf32> {
  %0 = pst.masked_weight @movement(%w, %s) selection<topk row>(%tau, %cut : tensor<3xf32>, tensor<3xi64>) : (tensor<3x16xf32>, tensor<3x16xf32>) -> tensor<3x16xf32>
  return %0 : tensor<3x16xf32>
}

// Vectors lie within a block of 16 columns, whose score is one load; the
// elements' own scores are not computed.
// CHECK-LABEL: func.func private @masked_weight_{{.*}}block_2x16_mean(
// CHECK: scf.for
// CHECK: vector.load
// CHECK-NOT: vector.load
// CHECK: memref.load %{{.*}} : memref<2x1xf32>
// CHECK-NOT: memref.load %{{.*}} : memref<2x1xf32>
// CHECK: return
func.func @blocks(%w: tensor<3x16xf32>, %s: tensor<3x16xf32>, %scores: tensor<2x1xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<3x16xf32> {
  %0 = pst.masked_weight @movement(%w, %s) selection<block 2x16 mean>(%scores, %tau, %cut : tensor<2x1xf32>, tensor<f32>, tensor<i64>) : (tensor<3x16xf32>, tensor<3x16xf32>) -> tensor<3x16xf32>
  return %0 : tensor<3x16xf32>
}

// Of a mask that is kept a vector is some bits of a word, and nobody reads the
// factors of scores.
// CHECK-LABEL: func.func private @masked_weight_{{.*}}held(
// CHECK: scf.for
// CHECK-COUNT-1: vector.load
// CHECK-NOT: vector.load
// CHECK: memref.load %{{.*}} : memref<3x1xi32>
// CHECK: arith.andi %{{.*}}, %{{.*}} : vector<8xi32>
// CHECK: arith.select %{{.*}}, %{{.*}}, %{{.*}} : vector<8xi1>, vector<8xf32>
// CHECK: return
func.func @held(%w: tensor<3x16xf32>, %s: tensor<3x16xf32>, %mask: tensor<3x1xi32>, %f: tensor<f32>) -> tensor<3x16xf32> {
  %0 = pst.masked_weight @movement(%w, %s) selection<held>(%mask, %f : tensor<3x1xi32>, tensor<f32>) : (tensor<3x16xf32>, tensor<3x16xf32>) -> tensor<3x16xf32>
  return %0 : tensor<3x16xf32>
}
