// RUN: pst-opt %s --pst-profile-launches --split-input-file --verify-diagnostics | FileCheck %s

// Seconds and calls are summed by kernel, however many launches it has, and by
// entry point; @profile hands them out in that order and sets them to zero.

// CHECK-LABEL: func.func @profile(
// CHECK-SAME: memref<2xf64> {pst.kind = "output", pst.name = "entry point f"}
// CHECK-SAME: %[[K:.*]]: memref<2xf64> {pst.kind = "output", pst.name = "k"}
// CHECK: %[[T:.*]] = memref.get_global @pst_profile_times : memref<2x2xf64>
// CHECK: %[[V:.*]] = memref.load %[[T]]
// CHECK: memref.store %[[V]]
// CHECK: memref.store %{{.*}}, %[[T]]
// CHECK: memref.global "private" @pst_profile_times : memref<2x2xf64> = dense<0.000000e+00>
// CHECK: func.func private @omp_get_wtime() -> f64
// CHECK-LABEL: func.func @f(
// CHECK: %[[WHOLE:.*]] = call @omp_get_wtime()
// CHECK: %[[SINCE:.*]] = call @omp_get_wtime()
// CHECK-NEXT: pst.launch @k
// CHECK-NEXT: %[[NOW:.*]] = call @omp_get_wtime()
// CHECK: arith.subf %[[NOW]], %[[SINCE]]
// CHECK: call @omp_get_wtime()
// CHECK-NEXT: pst.launch @k
// CHECK-NEXT: call @omp_get_wtime()
// CHECK: %[[END:.*]] = call @omp_get_wtime()
// CHECK: arith.subf %[[END]], %[[WHOLE]]
// CHECK: return
func.func @f(%x: memref<3xf32>, %y: memref<3xf32>) {
  pst.launch @k ins(%x : memref<3xf32>) outs(%y : memref<3xf32>)
  pst.launch @k ins(%y : memref<3xf32>) outs(%x : memref<3xf32>)
  return
}
func.func private @k(memref<3xf32>, memref<3xf32>)

// -----

// expected-error@+1 {{'func.func' op takes the name of the entry point that -pst-profile-launches adds; rename it}}
func.func @profile(%x: memref<3xf32>) {
  return
}
