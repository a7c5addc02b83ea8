// RUN: pst-opt %s --pst-emulate-launches | FileCheck %s

// Asynchronous instructions become calls of the emulator's units; accumulators
// go by way of memory, and a tensor map is what its recipe says.

!map = !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, #gpu.address_space<workgroup>>, swizzle = swizzle_128b, l2promo = l2promo_128b, oob = zero, interleave = none>
!sums = !llvm.struct<(f32, f32, f32, f32)>

// CHECK-LABEL: func.func @main
// CHECK-DAG: %[[COLUMNS:.*]] = arith.constant 520 : i64
// CHECK-DAG: %[[ROWS:.*]] = arith.constant 1000 : i64
// CHECK-DAG: %[[STRIDE:.*]] = arith.constant 1040 : i64
// CHECK-DAG: llvm.store %[[COLUMNS]]
// CHECK-DAG: llvm.store %[[ROWS]]
// CHECK-DAG: llvm.store %[[STRIDE]]
// CHECK-NOT: nvgpu
// CHECK: llvm.call @pst_emulate_launch(

// CHECK-LABEL: llvm.func internal @product_thread(
// CHECK: %[[SUMS:.*]] = llvm.alloca %{{.*}} x !llvm.struct<(f32, f32, f32, f32)>
// CHECK: llvm.call @pst_emulate_mbarrier_init(
// CHECK: llvm.call @pst_emulate_mbarrier_fence()
// CHECK: llvm.call @pst_emulate_barrier_part(
// CHECK: llvm.call @pst_emulate_mbarrier_arrive(%{{.*}}, %{{.*}})
// CHECK: llvm.call @pst_emulate_tensor_load(
// CHECK: llvm.call @pst_emulate_mbarrier_arrive(
// CHECK: llvm.call @pst_emulate_mbarrier_wait(
// CHECK: llvm.call @pst_emulate_set_max_registers(
// CHECK: llvm.call @pst_emulate_wgmma_fence()
// CHECK: llvm.store %{{.*}}, %[[PLACE:.*]] : !llvm.struct<(f32, f32, f32, f32)>, !llvm.ptr
// CHECK: llvm.call @pst_emulate_wgmma(%[[PLACE]],
// CHECK: llvm.load %[[PLACE]] : !llvm.ptr -> !llvm.struct<(f32, f32, f32, f32)>
// CHECK: llvm.call @pst_emulate_wgmma_commit()
// CHECK: llvm.call @pst_emulate_wgmma_wait(
// CHECK: llvm.call @pst_emulate_wgmma_wait(
// CHECK: llvm.call @pst_emulate_shared_write(%{{.*}}, %{{.*}}) : (!llvm.ptr, i32)
// CHECK-NEXT: llvm.store %{{.*}} : f32, !llvm.ptr
// CHECK: llvm.call @pst_emulate_proxy_fence()
// CHECK: llvm.call @pst_emulate_tensor_store(
// CHECK: llvm.call @pst_emulate_store_commit()
// CHECK: llvm.call @pst_emulate_store_wait(
// CHECK-NOT: nvvm.

module attributes {gpu.container_module} {
  gpu.module @kernels {
    llvm.mlir.global external @dynamic_shared_memory() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>
    gpu.func @product(%map: !map, %y: memref<f32>) kernel {
      %shared = llvm.mlir.addressof @dynamic_shared_memory : !llvm.ptr<3>
      %pointer = builtin.unrealized_conversion_cast %map : !map to !llvm.ptr
      %zero = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %threads = arith.constant 128 : i32
      %bytes = arith.constant 16384 : i32
      %bits = arith.constant 0 : i64
      nvvm.mbarrier.init %shared, %one : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.barrier id = %one number_of_threads = %threads
      nvvm.mbarrier.arrive.expect_tx %shared, %bytes : !llvm.ptr<3>, i32
      %cluster = llvm.addrspacecast %shared : !llvm.ptr<3> to !llvm.ptr<7>
      nvvm.cp.async.bulk.tensor.shared.cluster.global %cluster, %pointer, %shared, box[%zero, %zero] : !llvm.ptr<7>, !llvm.ptr
      nvvm.mbarrier.arrive %shared : !llvm.ptr<3>
      nvvm.mbarrier.try_wait.parity %shared, %zero, %bytes : !llvm.ptr<3>, i32, i32
      nvvm.setmaxregister increase 232
      nvvm.wgmma.fence.aligned
      %none = llvm.mlir.poison : !sums
      %sums = nvvm.wgmma.mma_async %bits, %bits, %none, <m = 64, n = 8, k = 16>, D [<f32>, <zero>], A [<bf16>, <one>, <row>], B [<bf16>, <one>, <col>] : !sums -> !sums
      nvvm.wgmma.commit.group.sync.aligned
      nvvm.wgmma.wait.group.sync.aligned 1
      %s0 = llvm.extractvalue %sums[0] : !sums
      %s1 = llvm.extractvalue %sums[1] : !sums
      %s2 = llvm.extractvalue %sums[2] : !sums
      %s3 = llvm.extractvalue %sums[3] : !sums
      %done = llvm.inline_asm has_side_effects asm_dialect = att "wgmma.wait_group.sync.aligned 0;", "=f,=f,=f,=f,0,1,2,3" %s0, %s1, %s2, %s3 : (f32, f32, f32, f32) -> !sums
      %value = llvm.extractvalue %done[0] : !sums
      memref.store %value, %y[] : memref<f32>
      llvm.store %value, %shared : f32, !llvm.ptr<3>
      nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>}
      nvvm.cp.async.bulk.tensor.global.shared.cta %pointer, %shared, box[%zero, %zero] : !llvm.ptr, !llvm.ptr<3>
      nvvm.cp.async.bulk.commit.group
      nvvm.cp.async.bulk.wait_group 0 {read}
      gpu.return
    }
  }
  func.func @main(%a: memref<1000x520xbf16>, %y: memref<f32>) {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %c128 = arith.constant 128 : index
    %shared = arith.constant 65536 : i32
    %unranked = memref.cast %a : memref<1000x520xbf16> to memref<*xbf16>
    %map = nvgpu.tma.create.descriptor %unranked box[%c128, %c64] : memref<*xbf16> -> !map
    gpu.launch_func @kernels::@product blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1)
        dynamic_shared_memory_size %shared args(%map : !map, %y : memref<f32>)
    return
  }
}
