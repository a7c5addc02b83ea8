// RUN: pst-opt %s --pst-load-scalars | FileCheck %s

module attributes {gpu.container_module} {
  gpu.module @kernels {
    // All launches give it arguments: it is changed itself.
    // CHECK: gpu.func @scale(%[[X:.*]]: memref<4xf32>, %[[AT:.*]]: memref<f32>) kernel
    // CHECK: %[[S:.*]] = memref.load %[[AT]][] : memref<f32>
    // CHECK: memref.store %[[S]], %[[X]]
    gpu.func @scale(%x: memref<4xf32>, %s: f32) kernel {
      %c0 = arith.constant 0 : index
      memref.store %s, %x[%c0] : memref<4xf32>
      gpu.return
    }
    // Another launch gives it a constant, which stays a value.
    // CHECK: gpu.func @shift_loads_0(%{{.*}}: memref<i64>, %{{.*}}: memref<4xi64>) kernel
    // CHECK: gpu.func @shift(%{{.*}}: i64, %{{.*}}: memref<4xi64>) kernel
    gpu.func @shift(%s: i64, %x: memref<4xi64>) kernel {
      %c0 = arith.constant 0 : index
      memref.store %s, %x[%c0] : memref<4xi64>
      gpu.return
    }
  }
  // CHECK: func.func @main(%[[X:.*]]: memref<4xf32>, %[[Y:.*]]: memref<4xi64>, %[[S:.*]]: memref<f32>, %[[T:.*]]: memref<i64>)
  func.func @main(%x: memref<4xf32>, %y: memref<4xi64>, %s: f32, %t: i64) {
    %c1 = arith.constant 1 : index
    %two = arith.constant 2 : i64
    // CHECK: gpu.launch_func {{ *}}@kernels::@scale {{.*}} args(%[[X]] : memref<4xf32>, %[[S]] : memref<f32>)
    gpu.launch_func @kernels::@scale blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : memref<4xf32>, %s : f32)
    // CHECK: gpu.launch_func {{ *}}@kernels::@shift_loads_0 {{.*}} args(%[[T]] : memref<i64>, %[[Y]] : memref<4xi64>)
    gpu.launch_func @kernels::@shift blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%t : i64, %y : memref<4xi64>)
    // CHECK: gpu.launch_func {{ *}}@kernels::@shift blocks {{.*}} args(%{{.*}} : i64, %[[Y]] : memref<4xi64>)
    gpu.launch_func @kernels::@shift blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%two : i64, %y : memref<4xi64>)
    return
  }
}
