// RUN: pst-opt %s --pst-hoist-scratch | FileCheck %s

// Each thread allocates its scratch once, before its iterations.

// CHECK-LABEL: func.func @scratch
// CHECK: omp.parallel {
// CHECK-NEXT: %[[SCRATCH:.*]] = memref.alloca() : memref<8xf32>
// CHECK-NEXT: omp.wsloop {
// CHECK-NEXT: omp.loop_nest
// CHECK-NOT: memref.alloca_scope
// CHECK: memref.store %{{.*}}, %[[SCRATCH]]
func.func @scratch(%out: memref<16xf32>, %value: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  omp.parallel {
    omp.wsloop {
      omp.loop_nest (%i) : index = (%c0) to (%c16) step (%c1) {
        memref.alloca_scope {
          %scratch = memref.alloca() : memref<8xf32>
          memref.store %value, %scratch[%c0] : memref<8xf32>
          %loaded = memref.load %scratch[%c0] : memref<8xf32>
          memref.store %loaded, %out[%i] : memref<16xf32>
        }
        omp.yield
      }
    }
    omp.terminator
  }
  return
}

// What runs on one thread does not pile it up in a loop either.

// CHECK-LABEL: func.func @loop
// CHECK-NEXT: memref.alloca() : memref<8xf32>
// CHECK: scf.for
// CHECK-NOT: memref.alloca
func.func @loop(%value: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  scf.for %i = %c0 to %c16 step %c1 {
    %scratch = memref.alloca() : memref<8xf32>
    memref.store %value, %scratch[%c0] : memref<8xf32>
  }
  return
}
