// The plan of a product by TMA and wgmma is in its launch, and can be given as far
// as the shape and the memory allow: eight buffers of 128 + 128 columns do not fit.

// RUN: pst-opt %s --pst-emit-gpu-kernels | FileCheck %s --check-prefix=CHOSEN
// RUN: pst-opt %s --pst-emit-gpu-kernels="gemm-plan=columns=128,stages=8,release=0,band=16" | FileCheck %s --check-prefix=GIVEN
// RUN: pst-opt %s --pst-emit-gpu-kernels="gemm-plan=columns=128,stages=3" | FileCheck %s --check-prefix=STAGES
// RUN: not pst-opt %s --pst-emit-gpu-kernels="gemm-plan=columns=100" 2>&1 | FileCheck %s --check-prefix=ERROR

// CHOSEN: gpu.launch_func @kernels::@matmul{{.*}}pst.gemm_plan = {band = 8 : i64, columns = 256 : i64, release = 1 : i64, rows = 128 : i64, splits = 1 : i64, stages = 4 : i64}
// CHOSEN: gpu.launch_func @kernels::@matmul{{.*}}f32{{.*}}pst.gemm_plan = {columns = 64 : i64, rows = 64 : i64, splits = 1 : i64}
// GIVEN: dynamic_shared_memory_size %c229472_i32 {{.*}}pst.gemm_plan = {band = 16 : i64, columns = 128 : i64, release = 0 : i64, rows = 128 : i64, splits = 1 : i64, stages = 6 : i64}
// STAGES: dynamic_shared_memory_size %c131120_i32 {{.*}}stages = 3 : i64
// ERROR: error: --gemm_plan: 'columns=100' is no part of a plan: columns=64, 128, 192 or 256, stages=2 to 8, release=0 or 1, band=2, 4, ... or 64

func.func @main(%a: tensor<2048x512xbf16>, %b: tensor<4096x512xbf16>, %c: tensor<256x256xf32>)
    -> (tensor<2048x4096xbf16>, tensor<256x256xf32>) {
  %large = nn.matmul %a, %b {transpose_rhs} : tensor<2048x512xbf16>, tensor<4096x512xbf16> -> tensor<2048x4096xbf16>
  %small = nn.matmul %c, %c : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  return %large, %small : tensor<2048x4096xbf16>, tensor<256x256xf32>
}
