// RUN: pst-opt %s --pst-emulate-launches | FileCheck %s

// A kernel becomes a function of one thread; its shared memory is the block's,
// and where threads wait for each other the emulator is called.

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @sum(%x: memref<64xf32>, %scale: f32, %y: memref<f32>)
        workgroup(%shared: memref<64xf32, #gpu.address_space<workgroup>>)
        kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
      %c1 = arith.constant 1 : i32
      %c32 = arith.constant 32 : i32
      %thread = gpu.thread_id x
      %v = memref.load %x[%thread] : memref<64xf32>
      %other, %valid = gpu.shuffle xor %v, %c1, %c32 : f32
      %scaled = arith.mulf %other, %scale : f32
      memref.store %scaled, %shared[%thread] : memref<64xf32, #gpu.address_space<workgroup>>
      %all = arith.constant -1 : i32
      nvvm.bar.warp.sync %all : i32
      gpu.barrier
      memref.store %scaled, %y[] : memref<f32>
      gpu.return
    }
  }
  func.func @main(%x: memref<64xf32>, %scale: f32, %y: memref<f32>) {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    gpu.launch_func @kernels::@sum blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1)
        args(%x : memref<64xf32>, %scale : f32, %y : memref<f32>)
    return
  }
}

// CHECK-NOT: gpu.
// CHECK-LABEL: func.func @main
// CHECK: llvm.alloca %{{.*}} x i64
// CHECK: memref.extract_aligned_pointer_as_index
// CHECK: llvm.mlir.addressof @sum_thread
// CHECK: llvm.call @pst_emulate_launch(

// CHECK-LABEL: llvm.func internal @sum_thread(
// CHECK-SAME: %{{.*}}: !llvm.ptr, %{{.*}}: i64, %[[THREAD:.*]]: i64, %[[SHARED:.*]]: !llvm.ptr)
// CHECK: arith.index_cast %[[THREAD]] : i64 to index
// CHECK: llvm.call @pst_emulate_shuffle_xor(
// CHECK: memref.store %{{.*}} : memref<64xf32>
// CHECK: llvm.call @pst_emulate_barrier_warp()
// CHECK: llvm.call @pst_emulate_barrier()
// CHECK: llvm.return
