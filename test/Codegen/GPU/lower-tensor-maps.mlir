// RUN: pst-opt %s --pst-lower-tensor-maps | FileCheck %s
// RUN: pst-opt %s --pass-pipeline='builtin.module(pst-lower-tensor-maps,gpu.module(convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=1},reconcile-unrealized-casts),pst-lower-tensor-maps)' | FileCheck %s --check-prefix=NVVM

// Tensor maps are pointers to the kernel, and at last 128 bytes by value; the
// launch keeps what tells the runtime how to encode them.

!map = !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, #gpu.address_space<workgroup>>, swizzle = swizzle_128b, l2promo = l2promo_128b, oob = zero, interleave = none>

module attributes {gpu.container_module} {
  gpu.module @kernels {
    // CHECK: gpu.func @first(%{{.*}}: memref<f32>, %[[MAP:.*]]: !llvm.ptr) kernel attributes {pst.tensor_maps = array<i32: 1>}
    // CHECK-NEXT: nvvm.prefetch tensormap, %[[MAP]]
    // NVVM: llvm.func @first(%{{.*}}: !llvm.ptr, %[[MAP:.*]]: !llvm.ptr {llvm.align = 64 : i64, llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant})
    // NVVM-NOT: pst.tensor_maps
    gpu.func @first(%x: memref<f32>, %map: !map) kernel {
      %pointer = builtin.unrealized_conversion_cast %map : !map to !llvm.ptr
      nvvm.prefetch tensormap, %pointer : !llvm.ptr
      gpu.return
    }
  }
  // CHECK-LABEL: func.func @main
  func.func @main(%x: memref<f32>, %a: memref<1000x520xbf16>) {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %c128 = arith.constant 128 : index
    %unranked = memref.cast %a : memref<1000x520xbf16> to memref<*xbf16>
    // CHECK: %[[MAP:.*]] = nvgpu.tma.create.descriptor
    // CHECK: %[[POINTER:.*]] = builtin.unrealized_conversion_cast %[[MAP]] : !nvgpu.tensormap.descriptor<{{.*}}> to !llvm.ptr
    // CHECK: gpu.launch_func @kernels::@first {{.*}} args(%{{.*}} : memref<f32>, %[[POINTER]] : !llvm.ptr)
    %map = nvgpu.tma.create.descriptor %unranked box[%c128, %c64] : memref<*xbf16> -> !map
    gpu.launch_func @kernels::@first blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1)
        args(%x : memref<f32>, %map : !map)
    return
  }
}
