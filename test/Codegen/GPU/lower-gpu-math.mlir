// RUN: pst-opt %s --pass-pipeline='builtin.module(gpu.module(pst-lower-gpu-math))' | FileCheck %s

// What NVPTX knows by itself becomes an intrinsic; upstream would call
// libdevice, which the user's machine does not have.

// CHECK-LABEL: gpu.func @math
// CHECK: llvm.call_intrinsic "llvm.fma"(%{{.*}}) : (f32, f32, f32) -> f32
// CHECK: llvm.call_intrinsic "llvm.fabs"(%{{.*}}) : (f32) -> f32
// CHECK: llvm.call_intrinsic "llvm.nvvm.sqrt.rn.f"(%{{.*}}) : (f32) -> f32
// CHECK: llvm.call_intrinsic "llvm.nvvm.sqrt.rn.d"(%{{.*}}) : (f64) -> f64
gpu.module @kernels {
  gpu.func @math(%x: memref<f32>, %z: memref<f64>) kernel {
    %a = memref.load %x[] : memref<f32>
    %b = math.fma %a, %a, %a : f32
    %c = math.absf %b : f32
    %d = math.sqrt %c : f32
    memref.store %d, %x[] : memref<f32>
    %e = memref.load %z[] : memref<f64>
    %f = math.sqrt %e : f64
    memref.store %f, %z[] : memref<f64>
    gpu.return
  }
}
