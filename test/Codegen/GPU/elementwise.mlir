// RUN: pst-opt %s --pst-emit-gpu-kernels | FileCheck %s

// An op becomes a launch of a function that launches kernels; what is launched
// is known when the program is compiled.

// CHECK: module attributes {gpu.container_module}
// CHECK-LABEL: func.func @sums
// CHECK: pst.launch @add_50x24 ins(%{{.*}}, %{{.*}} : tensor<50x24xf32>, tensor<50x24xf32>)
// CHECK: pst.launch @add_50x24
// CHECK: pst.launch @column_sum_50x24_24 {{.*}} {workspace = 1 : i64}
func.func @sums(%x: tensor<50x24xf32>) -> tensor<24xf32> {
  %y = nn.add %x, %x : tensor<50x24xf32>
  %z = nn.add %y, %x : tensor<50x24xf32>
  %s = nn.column_sum %z : tensor<50x24xf32> -> tensor<24xf32>
  return %s : tensor<24xf32>
}

// CHECK-LABEL: func.func private @add_50x24(
// CHECK-SAME: %[[LHS:.*]]: memref<50x24xf32>, %[[RHS:.*]]: memref<50x24xf32>, %[[OUT:.*]]: memref<50x24xf32>)
// CHECK: gpu.launch_func @kernels::@add_50x24 blocks in (%c2{{.*}}) threads in (%c256{{.*}}) args(%[[LHS]] : memref<50x24xf32>, %[[RHS]] : memref<50x24xf32>, %[[OUT]] : memref<50x24xf32>)
// CHECK-NEXT: return

// One kernel each, in one module.

// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @add_50x24({{.*}}) kernel attributes {known_block_size = array<i32: 256, 1, 1>}
// CHECK: gpu.thread_id x
// CHECK: arith.addf
// CHECK-NOT: gpu.func @add_50x24

// Partial sums, then their sum in a fixed order: two launches.

// CHECK-LABEL: func.func private @column_sum_50x24_24(
// CHECK: gpu.launch_func @kernels::@column_sum_50x24_24_chunks
// CHECK: gpu.launch_func @kernels::@sum_of_1x24
