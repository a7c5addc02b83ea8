// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

// The packing evaluates the criterion and its mask, in a fixed order: the rank
// sum by fused multiply-adds from zero, then the region. No flags that would
// let LLVM change it; no buffer of the weight's size but the packed block.

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  %m = math.absf %v : f32
  pst.yield weight %v score %m
}

// CHECK-LABEL: func.func @forward
// CHECK: pst.launch @masked_matmul_6x8_16x8_16x2_2x8_f32_i64_6x16_lora ins
// CHECK: pst.launch @masked_matmul_6x16_16x8_16x2_2x8_f32_i64_6x8_lora_transposed ins
func.func @forward(%x: tensor<6x8xf32>, %w: tensor<16x8xf32>, %u: tensor<16x2xf32>, %v: tensor<2x8xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> (tensor<6x16xf32>, tensor<6x8xf32>) {
  %y = pst.masked_matmul %x, @lora(%w, %u, %v) threshold(%tau, %cut) : tensor<6x8xf32>, (tensor<16x8xf32>, tensor<16x2xf32>, tensor<2x8xf32>) -> tensor<6x16xf32>
  %dx = pst.masked_matmul %y, @lora(%w, %u, %v) transposed threshold(%tau, %cut) : tensor<6x16xf32>, (tensor<16x8xf32>, tensor<16x2xf32>, tensor<2x8xf32>) -> tensor<6x8xf32>
  return %y, %dx : tensor<6x16xf32>, tensor<6x8xf32>
}

// CHECK-LABEL: func.func private @masked_matmul_6x8_16x8_16x2_2x8_f32_i64_6x16_lora(
// CHECK-SAME: %{{.*}}: memref<6x8xf32>, %[[W:.*]]: memref<16x8xf32>, %[[U:.*]]: memref<16x2xf32>, %[[V:.*]]: memref<2x8xf32>, %{{.*}}: memref<f32>, %{{.*}}: memref<i64>, %{{.*}}: memref<6x16xf32>, %{{.*}}: memref<136xf32>)
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<8xf32>
// CHECK-DAG: %[[LANE:.*]] = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7]> : vector<8xi32>
// CHECK: %[[ROW:.*]] = memref.reinterpret_cast %[[W]]
// CHECK: %[[DENSE:.*]] = vector.load %[[ROW]]
// CHECK: memref.reinterpret_cast %[[U]]
// CHECK: vector.load %[[V]]
// CHECK: %[[FIRST:.*]] = math.fma %{{.*}}, %{{.*}}, %[[ZERO]] : vector<8xf32>
// CHECK: %[[SUM:.*]] = math.fma %{{.*}}, %{{.*}}, %[[FIRST]] : vector<8xf32>
// CHECK: %[[WEIGHT:.*]] = arith.addf %[[DENSE]], %[[SUM]] : vector<8xf32>
// CHECK: %[[SCORE:.*]] = math.absf %[[WEIGHT]] : vector<8xf32>
// CHECK: %[[EARLY:.*]] = arith.cmpi sgt, %{{.*}}, %[[LANE]] : vector<8xi32>
// CHECK: %[[LEAST:.*]] = arith.select %[[EARLY]], %{{.*}}, %{{.*}} : vector<8xi1>, vector<8xf32>
// CHECK: %[[KEEP:.*]] = arith.cmpf oge, %[[SCORE]], %[[LEAST]] : vector<8xf32>
// CHECK: arith.select %[[KEEP]], %[[WEIGHT]], %[[ZERO]]
// CHECK: vector.shuffle
// CHECK-NOT: fastmath

// Transposed, a row of the weight is a row of the panel.

// CHECK-LABEL: func.func private @masked_matmul_6x16_16x8_16x2_2x8_f32_i64_6x8_lora_transposed(
