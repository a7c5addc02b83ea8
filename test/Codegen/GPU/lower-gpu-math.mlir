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

// Two numbers are rounded to bf16 by one instruction, the second is the upper
// half of its result.

// CHECK-LABEL: gpu.func @rounding
// CHECK-DAG: %[[C0:.*]] = llvm.mlir.constant(0 : i64)
// CHECK-DAG: %[[C1:.*]] = llvm.mlir.constant(1 : i64)
// CHECK-DAG: %[[LOW:.*]] = llvm.extractelement %{{.*}}[%[[C0]] : i64] : vector<2xf32>
// CHECK-DAG: %[[HIGH:.*]] = llvm.extractelement %{{.*}}[%[[C1]] : i64] : vector<2xf32>
// CHECK: llvm.call_intrinsic "llvm.nvvm.ff2bf16x2.rn"(%[[HIGH]], %[[LOW]]) : (f32, f32) -> vector<2xbf16>
// CHECK-NOT: arith.truncf
// CHECK: gpu.return
gpu.module @narrow {
  gpu.func @rounding(%x: memref<2xf32>, %y: memref<2xbf16>) kernel {
    %c0 = arith.constant 0 : index
    %a = vector.load %x[%c0] : memref<2xf32>, vector<2xf32>
    %b = arith.truncf %a : vector<2xf32> to vector<2xbf16>
    vector.store %b, %y[%c0] : memref<2xbf16>, vector<2xbf16>
    gpu.return
  }
}
