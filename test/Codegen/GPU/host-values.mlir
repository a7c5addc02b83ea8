// What a CPU would do between two kernels is a kernel too: constants, and
// scalars that become tensors.

// RUN: pst-opt %s --pst-emit-gpu-kernels | FileCheck %s

// CHECK: func.func @main(%[[S:.*]]: f64)
// CHECK: %[[C:.*]] = pst.launch @constant_2x3
// CHECK: %[[E:.*]] = pst.launch @elements_truncf_f32 ins(%[[S]] : f64)
// CHECK: return %[[C]], %[[E]]
func.func @main(%s: f64) -> (tensor<2x3xf32>, tensor<f32>) {
  %ones = arith.constant dense<1.0> : tensor<2x3xf32>
  %t = arith.truncf %s : f64 to f32
  %e = tensor.from_elements %t : tensor<f32>
  return %ones, %e : tensor<2x3xf32>, tensor<f32>
}

// CHECK: func.func @frequencies
// CHECK: pst.launch @constant_2 outs
func.func @frequencies() -> tensor<2xf32> {
  %f = arith.constant dense<[1.0, 0.5]> : tensor<2xf32>
  return %f : tensor<2xf32>
}

// Vectors are what kernels for CPUs are made of, and are left.
// CHECK: func.func @vectors
// CHECK-DAG: arith.constant dense<1.000000e+00> : vector<16xf32>
// CHECK-DAG: arith.constant dense<[1.000000e+00, 5.000000e-01]> : vector<2xf32>
func.func @vectors(%x: memref<16xf32>, %y: memref<2xf32>) {
  %c0 = arith.constant 0 : index
  %u = arith.constant dense<1.0> : vector<16xf32>
  %v = arith.constant dense<[1.0, 0.5]> : vector<2xf32>
  vector.store %u, %x[%c0] : memref<16xf32>, vector<16xf32>
  vector.store %v, %y[%c0] : memref<2xf32>, vector<2xf32>
  return
}

// CHECK: gpu.func @constant_2x3
// CHECK: gpu.func @elements_truncf_f32(%[[S:.*]]: f64
// CHECK: arith.truncf %[[S]] : f64 to f32

// CHECK: gpu.func @constant_2(
// CHECK-DAG: arith.constant 1.000000e+00 : f32
// CHECK-DAG: arith.constant 5.000000e-01 : f32
