// RUN: pst-opt %s --pst-emit-cpu-kernels | FileCheck %s

// A frozen weight of bf16 is widened where it is loaded, by a shift: exactly,
// and with no other kernel than that of its name. Arithmetic is f32.

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

// CHECK-LABEL: func.func private @masked_weight_4x16xbf16_4x2_2x16_4x16_lora(
// CHECK-SAME: %[[W:.*]]: memref<4x16xbf16>, %{{.*}}: memref<4x2xf32>, %{{.*}}: memref<2x16xf32>, %{{.*}}: memref<4x16xf32>)
// CHECK: %[[ROW:.*]] = memref.reinterpret_cast %[[W]]
// CHECK: %[[NARROW:.*]] = vector.load %[[ROW]]{{.*}}, vector<8xbf16>
// CHECK: %[[BITS:.*]] = arith.bitcast %[[NARROW]] : vector<8xbf16> to vector<8xi16>
// CHECK: %[[WORDS:.*]] = arith.extui %[[BITS]] : vector<8xi16> to vector<8xi32>
// CHECK: %[[SHIFTED:.*]] = arith.shli %[[WORDS]], %{{.*}} : vector<8xi32>
// CHECK: arith.bitcast %[[SHIFTED]] : vector<8xi32> to vector<8xf32>
// CHECK-NOT: arith.truncf
func.func @materialize(%w: tensor<4x16xbf16>, %u: tensor<4x2xf32>, %v: tensor<2x16xf32>) -> tensor<4x16xf32> {
  %m = pst.masked_weight @lora(%w, %u, %v) : (tensor<4x16xbf16>, tensor<4x2xf32>, tensor<2x16xf32>) -> tensor<4x16xf32>
  return %m : tensor<4x16xf32>
}
