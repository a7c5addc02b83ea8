// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

// The gradient of the weight exists as strips on the threads' stacks; only
// what is wanted of the factors is folded, and sums over rows are kept per
// task and added in order. Here: no gradient of the dense factor, and of the
// low rank one only the right side.

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

// CHECK-LABEL: func.func private @lowrank_accumulate_40x200_40x50_200x50_200x3_3x50_lora_wrt2(
// CHECK-SAME: %{{.*}}: memref<40x200xf32>, %{{.*}}: memref<40x50xf32>, %{{.*}}: memref<200x50xf32>, %{{.*}}: memref<200x3xf32>, %{{.*}}: memref<3x50xf32>, %[[DQ:.*]]: memref<3x50xf32>, %[[PACKED:.*]]: memref<2568xf32>, %[[PARTIAL:.*]]: memref<4x3x50xf32>)
// CHECK-NOT: memref<200x50xf32>
// CHECK: scf.parallel
// CHECK: vector.store %{{.*}}, %[[PACKED]]
// CHECK: scf.parallel
// CHECK: memref.alloca() {alignment = 64 : i64} : memref<3456xf32>
// CHECK: memref.alloca() {alignment = 64 : i64} : memref<1536xf32>
// CHECK: vector.store %{{.*}}, %[[PARTIAL]]
// CHECK: scf.parallel
// CHECK: vector.load %[[PARTIAL]]
// CHECK: vector.store %{{.*}}, %[[DQ]]
// CHECK: return
func.func @backward(%dy: tensor<40x200xf32>, %x: tensor<40x50xf32>, %w: tensor<200x50xf32>, %u: tensor<200x3xf32>, %v: tensor<3x50xf32>) -> tensor<3x50xf32> {
  %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [2] : tensor<40x200xf32>, tensor<40x50xf32>, (tensor<200x50xf32>, tensor<200x3xf32>, tensor<3x50xf32>) -> tensor<3x50xf32>
  return %dv : tensor<3x50xf32>
}

// Tokens that take several blocks are added up in a workspace, which holds G of
// a group of rows; what a tile is added to is fetched while it is multiplied.

// CHECK-LABEL: func.func private @lowrank_accumulate_600x200_600x50_200x50_200x3_3x50_lora_wrt2(
// CHECK-SAME: %[[HELD:[a-z0-9]+]]: memref<13824xf32>, %{{[a-z0-9]+}}: memref<4x3x50xf32>) attributes {pst.blocks = {k = 304 : i64
// CHECK: memref.prefetch %[[HELD]][%{{.*}}], write
// CHECK: math.fma
// CHECK: arith.addf
// CHECK: vector.store %{{.*}}, %[[HELD]]
func.func @many_tokens(%dy: tensor<600x200xf32>, %x: tensor<600x50xf32>, %w: tensor<200x50xf32>, %u: tensor<200x3xf32>, %v: tensor<3x50xf32>) -> tensor<3x50xf32> {
  %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [2] : tensor<600x200xf32>, tensor<600x50xf32>, (tensor<200x50xf32>, tensor<200x3xf32>, tensor<3x50xf32>) -> tensor<3x50xf32>
  return %dv : tensor<3x50xf32>
}
