// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

// A weight is written out row by row; columns beyond the last whole vector go
// through the same arithmetic one by one, and the cut then compares indices.

pst.criterion @movement(%w: dense, %s: dense) {
  %t = arith.addf %s, %s : f32
  pst.yield weight %w score %t
}

// CHECK-LABEL: func.func private @masked_weight_3x11_f32_i64_movement(
// CHECK: scf.parallel
// CHECK: arith.addf %{{.*}}, %{{.*}} : vector<8xf32>
// CHECK: arith.select %{{.*}}, %{{.*}}, %{{.*}} : vector<8xi1>, vector<8xf32>
// CHECK: scf.for
// CHECK: arith.addf %{{.*}}, %{{.*}} : f32
// CHECK: %[[EARLY:.*]] = arith.cmpi slt, %{{.*}}, %{{.*}} : i32
// CHECK: %[[LEAST:.*]] = arith.select %[[EARLY]], %{{.*}}, %{{.*}} : f32
// CHECK: %[[KEEP:.*]] = arith.cmpf oge, %{{.*}}, %[[LEAST]] : f32
// CHECK: arith.select %[[KEEP]], %{{.*}}, %{{.*}} : f32
// CHECK: return
func.func @export(%w: tensor<3x11xf32>, %s: tensor<3x11xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<3x11xf32> {
  %0 = pst.masked_weight @movement(%w, %s) threshold(%tau, %cut) : (tensor<3x11xf32>, tensor<3x11xf32>) -> tensor<3x11xf32>
  return %0 : tensor<3x11xf32>
}
