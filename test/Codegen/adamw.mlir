// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// The optimizer writes the four buffers in place. The norm's partial sums, in
// f64, are one for each 8192 elements, whatever the number of threads.

// CHECK-LABEL: func.func @apply
// CHECK: %[[P:.*]] = pst.space "trainable" : tensor<40000xf32>
// CHECK: %[[G:.*]] = pst.space "gradient" : tensor<40000xf32>
// CHECK: %[[M1:.*]] = pst.space "moment1" : tensor<40000xf32>
// CHECK: %[[M2:.*]] = pst.space "moment2" : tensor<40000xf32>
// CHECK: %[[RESULTS:.*]]:6 = pst.launch @adamw_f32_decayed20000_size40000 ins({{.*}}) outs(%[[P]], %[[G]], %[[M1]], %[[M2]], %{{.*}}, %{{.*}} : {{.*}}, tensor<f32>, tensor<5xf64>) {workspace = 1 : i64}
// CHECK: return %[[RESULTS]]#4
func.func @apply(%lr: f32, %b1: f32, %b2: f32, %eps: f32, %decay: f32, %c1: f32, %c2: f32, %most: f32) -> tensor<f32> {
  %norm = pst.adamw size 40000 decayed 20000 (%lr, %b1, %b2, %eps, %decay, %c1, %c2, %most)
  return %norm : tensor<f32>
}

// CHECK-LABEL: func.func private @adamw_f32_decayed20000_size40000(
// CHECK: scf.parallel (%{{.*}}) = (%c0) to (%c5) step (%c1)
// CHECK: arith.extf {{.*}} : vector<8xf32> to vector<8xf64>
// CHECK: scf.reduce
// CHECK: scf.for {{.*}} -> (f64)
// CHECK: scf.parallel (%{{.*}}) = (%c0) to (%c2) step (%c1)
// CHECK: arith.divf {{.*}} : vector<8xf32>
