// Layers that compete with each other are selected in by launches for all of
// them: only `gather` has one for each type.
// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS

pst.criterion @c(%w: dense, %uv: lowrank) {
  %m = math.absf %w : f32
  %s = arith.addf %m, %uv : f32
  pst.yield weight %w score %s
}

// KERNELS-DAG: _bracket: {{[1-7]?[0-9]}} registers
// KERNELS-DAG: _count: {{([1-9]?[0-9]|1[0-2][0-9])}} registers
// KERNELS-DAG: _gather0: {{([1-9]?[0-9]|1[0-2][0-9])}} registers
// KERNELS-DAG: _gather1: {{([1-9]?[0-9]|1[0-2][0-9])}} registers
// KERNELS-DAG: _sample: {{[1-3]?[0-9]}} registers
// KERNELS-DAG: _search: {{([1-9]?[0-9]|1[0-2][0-9])}} registers

// CHECK: func.func @select
// CHECK: gpu.launch_func {{.*}}_sample blocks
// CHECK-NEXT: gpu.launch_func {{.*}}_bracket blocks
// CHECK-NEXT: gpu.launch_func {{.*}}_gather0 blocks
// CHECK-NEXT: gpu.launch_func {{.*}}_gather1 blocks
// CHECK-COUNT-5: gpu.launch_func {{.*}}_search blocks
// CHECK-NEXT: gpu.launch_func {{.*}}_count blocks
// CHECK-NOT: gpu.launch_func
func.func @select(%a: tensor<512x256xf32>, %au: tensor<512x8xf32>, %av: tensor<8x256xf32>,
                  %b: tensor<256x512xf32>, %bu: tensor<256x8xf32>, %bv: tensor<8x512xf32>,
                  %d: tensor<512x256xf32>, %du: tensor<512x8xf32>, %dv: tensor<8x256xf32>,
                  %sparsity: f64) -> (tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>) {
  %tau, %cuts:3, %pruned:3 = pst.common_threshold @c(%a, %au, %av, %b, %bu, %bv, %d, %du, %dv), %sparsity
      : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>, tensor<256x512xf32>, tensor<256x8xf32>, tensor<8x512xf32>,
         tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
  return %tau, %cuts#0, %cuts#1, %cuts#2, %pruned#0, %pruned#1, %pruned#2 : tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
}
