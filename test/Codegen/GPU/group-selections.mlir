// REQUIRES: pst-compile, ptxas
// RUN: pst-opt %s --pst-group-selections | FileCheck %s
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s --check-prefix=LAUNCHES
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS

pst.criterion @c(%w: dense, %uv: lowrank) {
  %m = math.absf %w : f32
  %s = arith.addf %m, %uv : f32
  pst.yield weight %w score %s
}
pst.parameter @a frozen init<zeros> : tensor<512x256xf32>
pst.parameter @b frozen init<zeros> : tensor<256x512xf32>
pst.parameter @d frozen init<zeros> : tensor<512x256xf32>
pst.parameter @small frozen init<zeros> : tensor<4x256xf32>
pst.parameter @a.u trainable init<zeros> : tensor<512x8xf32>
pst.parameter @a.v trainable init<zeros> : tensor<8x256xf32>
pst.parameter @b.u trainable init<zeros> : tensor<256x8xf32>
pst.parameter @b.v trainable init<zeros> : tensor<8x512xf32>
pst.parameter @d.u trainable init<zeros> : tensor<512x8xf32>
pst.parameter @d.v trainable init<zeros> : tensor<8x256xf32>
pst.parameter @small.u trainable init<zeros> : tensor<4x8xf32>
pst.parameter @a.tau state init<zeros> : tensor<f32>
pst.parameter @a.cut state init<zeros> : tensor<i64>
pst.parameter @b.tau state init<zeros> : tensor<f32>
pst.parameter @d.tau state init<zeros> : tensor<f32>
pst.parameter @small.tau state init<zeros> : tensor<f32>

// Those of equal types lie side by side; a small layer stays by itself, and so
// does one whose threshold is looked at at once.
// CHECK-LABEL: func.func @select
// CHECK-NOT: pst.topk_threshold
// CHECK: %[[SMALL:[a-z0-9_]+]], %{{.*}} = pst.topk_threshold @c({{.*}} : (tensor<4x256xf32>, tensor<4x8xf32>, tensor<8x256xf32>)
// CHECK: pst.store %[[SMALL]], @small.tau
// CHECK-NOT: pst.store
// CHECK: %[[T:.*]]:3, %[[C:.*]]:3, %{{.*}}:3 = pst.topk_threshold @c(%[[A:.*]], %{{.*}}, %{{.*}}, %[[D:.*]], %{{.*}}, %{{.*}}, %[[B:.*]], %{{.*}}, %{{.*}}), %arg0, %arg0, %arg1
// CHECK-SAME: (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>, tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>, tensor<256x512xf32>, tensor<256x8xf32>, tensor<8x512xf32>)
// CHECK: pst.store %[[T]]#0, @a.tau
// CHECK: pst.store %[[C]]#0, @a.cut
// CHECK: pst.store %[[T]]#2, @b.tau
// CHECK: pst.store %[[T]]#1, @d.tau

// One launch for the small one; for the others seven, but one more to gather.
// LAUNCHES-LABEL: func.func @select
// LAUNCHES-COUNT-9: gpu.launch_func
// LAUNCHES-NOT: gpu.launch_func
// LAUNCHES: return

// Parts of a grid have their shared memory in the same places: no more than one
// layer takes.
// KERNELS-DAG: topk_thresholds_2x_{{.*}}_sample: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: topk_thresholds_2x_{{.*}}_bracket: {{[1-7]?[0-9]}} registers, 41104 bytes shared
// KERNELS-DAG: topk_thresholds_2x_{{.*}}_gather0: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 10312 bytes shared
// KERNELS-DAG: topk_thresholds_2x_{{.*}}_gather1: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 10312 bytes shared
// KERNELS-DAG: topk_thresholds_2x_{{.*}}_search: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 41060 bytes shared
func.func @select(%sparsity: f64, %other: f64) {
  %a = pst.load @a : tensor<512x256xf32>
  %au = pst.load @a.u : tensor<512x8xf32>
  %av = pst.load @a.v : tensor<8x256xf32>
  %b = pst.load @b : tensor<256x512xf32>
  %bu = pst.load @b.u : tensor<256x8xf32>
  %bv = pst.load @b.v : tensor<8x512xf32>
  %d = pst.load @d : tensor<512x256xf32>
  %du = pst.load @d.u : tensor<512x8xf32>
  %dv = pst.load @d.v : tensor<8x256xf32>
  %small = pst.load @small : tensor<4x256xf32>
  %su = pst.load @small.u : tensor<4x8xf32>
  %at, %ac, %ap = pst.topk_threshold @c(%a, %au, %av), %sparsity : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>)
  pst.store %at, @a.tau : tensor<f32>
  pst.store %ac, @a.cut : tensor<i64>
  %bt, %bc, %bp = pst.topk_threshold @c(%b, %bu, %bv), %other : (tensor<256x512xf32>, tensor<256x8xf32>, tensor<8x512xf32>)
  pst.store %bt, @b.tau : tensor<f32>
  %st, %sc, %sp = pst.topk_threshold @c(%small, %su, %av), %sparsity : (tensor<4x256xf32>, tensor<4x8xf32>, tensor<8x256xf32>)
  pst.store %st, @small.tau : tensor<f32>
  %dt, %dc, %dp = pst.topk_threshold @c(%d, %du, %dv), %sparsity : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>)
  pst.store %dt, @d.tau : tensor<f32>
  return
}

// What reads a threshold in between keeps its selection where it is.
// CHECK-LABEL: func.func @looks
// CHECK: pst.topk_threshold {{.*}} : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>)
// CHECK: pst.store %{{.*}}, @a.tau
// CHECK: pst.load @a.tau
// CHECK: pst.topk_threshold {{.*}} : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>)
func.func @looks(%sparsity: f64) -> tensor<f32> {
  %a = pst.load @a : tensor<512x256xf32>
  %au = pst.load @a.u : tensor<512x8xf32>
  %av = pst.load @a.v : tensor<8x256xf32>
  %at, %ac, %ap = pst.topk_threshold @c(%a, %au, %av), %sparsity : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>)
  pst.store %at, @a.tau : tensor<f32>
  %was = pst.load @a.tau : tensor<f32>
  %d = pst.load @d : tensor<512x256xf32>
  %dt, %dc, %dp = pst.topk_threshold @c(%d, %au, %av), %sparsity : (tensor<512x256xf32>, tensor<512x8xf32>, tensor<8x256xf32>)
  pst.store %dt, @d.tau : tensor<f32>
  return %was : tensor<f32>
}
