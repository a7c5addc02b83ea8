// RUN: pst-opt %s --pst-expand-math | FileCheck %s

// No transcendental function is left to a library.

// CHECK-LABEL: func.func @f(
// CHECK-NOT: math.{{exp|erf|tanh|log}}
// CHECK: return
func.func @f(%x: vector<8xf32>, %y: f32) -> (vector<8xf32>, vector<8xf32>, f32, f32) {
  %0 = math.exp %x : vector<8xf32>
  %1 = math.erf %x : vector<8xf32>
  %2 = math.tanh %y : f32
  %3 = math.log %y : f32
  return %0, %1, %2, %3 : vector<8xf32>, vector<8xf32>, f32, f32
}
