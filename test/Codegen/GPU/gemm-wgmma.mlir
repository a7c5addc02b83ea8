// Products of bf16 matrices on sm_90a: TMA and wgmma, in every combination of
// transposes, from text to PTX that ptxas accepts without a spill, a product
// made synchronous or an ignored setmaxnreg.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.ptx
// RUN: %ptxas sm_90a %t.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s --check-prefix=LAUNCHES
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: FileCheck %s --check-prefix=PORTABLE --input-file=%t.sm_80.ptx

// Three warpgroups of 168 registers each; setmaxnreg moves them.
// KERNELS-DAG: matmul_1032x520xbf16_1544x520xbf16_1032x1544_right_transposed: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_1032x520xbf16_520x1544xbf16_1032x1544xbf16: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_520x1032xbf16_520x1544xbf16_1032x1544_left_transposed: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_2048x512xbf16_4096x512xbf16_2048x4096xbf16_right_transposed: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_1032x520xbf16_1543x520xbf16_1032x1543xbf16_right_transposed_bias: 168 registers, 0 bytes shared

// Tensor maps come by value and stay where they are.
// PTX-NOT: .local
// PTX-LABEL: .entry matmul_1032x520xbf16_1544x520xbf16_1032x1544_right_transposed(
// PTX: .param .align 64 .b8 matmul_1032x520xbf16_1544x520xbf16_1032x1544_right_transposed_param_0[128]
// PTX: .maxntid 384
// PTX: .minnctapersm 1
// PTX: setmaxnreg.dec.sync.aligned.u32 40
// PTX: cp.async.bulk.tensor.2d.shared::cluster.global{{.*}}mbarrier::complete_tx::bytes
// PTX: setmaxnreg.inc.sync.aligned.u32 232
// PTX: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX: wgmma.wait_group.sync.aligned 1
// PTX: wgmma.wait_group.sync.aligned 0
// The result goes out by way of shared memory: the words of a row in an order
// that its number tells, of which TMA stores 128 bytes of 64 rows.
// PTX: cp.async.bulk.wait_group.read 1
// PTX: st.shared.b32
// PTX: fence.proxy.async.shared::cta
// PTX: cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group
// PTX: cp.async.bulk.commit_group
// PTX: cp.async.bulk.wait_group.read 0

// PTX-LABEL: .entry matmul_2048x512xbf16_4096x512xbf16_2048x4096xbf16_right_transposed(
// PTX: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16

// Tiles of 128 x 128 where they are few, of 128 x 256 where they are many. Never
// more blocks than multiprocessors.
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c32] : memref<*xf32>
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c128, %c64]
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c128, %c64]
// LAUNCHES: gpu.launch_func @kernels::@matmul_1032x520xbf16_1544x520xbf16_1032x1544_right_transposed blocks in (%c117, %c1, %c1) threads in (%c384, %c1, %c1) dynamic_shared_memory_size %c229472_i32
// A matrix whose rows run along the result comes in boxes of 64 x 64; so does
// bf16 go out.
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c64]
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c128, %c64]
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c64]
// LAUNCHES: gpu.launch_func @kernels::@matmul_1032x520xbf16_520x1544xbf16_1032x1544xbf16
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c64]
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c64]
// LAUNCHES: gpu.launch_func @kernels::@matmul_520x1032xbf16_520x1544xbf16_1032x1544_left_transposed
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c128, %c64]
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c256, %c64]
// LAUNCHES: gpu.launch_func @kernels::@matmul_2048x512xbf16_4096x512xbf16_2048x4096xbf16_right_transposed blocks in (%c132, %c1, %c1) threads in (%c384, %c1, %c1) dynamic_shared_memory_size %c229440_i32
// Rows of 1543 bf16 are stored by their threads.
// LAUNCHES: gpu.launch_func @kernels::@matmul_1032x520xbf16_1543x520xbf16_1032x1543xbf16_right_transposed_bias {{.*}} dynamic_shared_memory_size %c196704_i32 args({{.*}} : memref<1032x1543xbf16>

// PORTABLE-NOT: wgmma
// PORTABLE-NOT: cp.async.bulk

func.func @main(%a: tensor<1032x520xbf16>, %bt: tensor<1544x520xbf16>, %b: tensor<520x1544xbf16>,
                %at: tensor<520x1032xbf16>, %c: tensor<2048x512xbf16>, %d: tensor<4096x512xbf16>,
                %w: tensor<1543x520xbf16>, %bias: tensor<1543xf32>)
    -> (tensor<1032x1544xf32>, tensor<1032x1544xbf16>, tensor<1032x1544xf32>, tensor<2048x4096xbf16>, tensor<1032x1543xbf16>) {
  %nt = nn.matmul %a, %bt {transpose_rhs} : tensor<1032x520xbf16>, tensor<1544x520xbf16> -> tensor<1032x1544xf32>
  %nn = nn.matmul %a, %b : tensor<1032x520xbf16>, tensor<520x1544xbf16> -> tensor<1032x1544xbf16>
  %tn = nn.matmul %at, %b {transpose_lhs} : tensor<520x1032xbf16>, tensor<520x1544xbf16> -> tensor<1032x1544xf32>
  %large = nn.matmul %c, %d {transpose_rhs} : tensor<2048x512xbf16>, tensor<4096x512xbf16> -> tensor<2048x4096xbf16>
  %odd = nn.linear %a, %w bias(%bias : tensor<1543xf32>) : tensor<1032x520xbf16>, tensor<1543x520xbf16> -> tensor<1032x1543xbf16>
  return %nt, %nn, %tn, %large, %odd : tensor<1032x1544xf32>, tensor<1032x1544xbf16>, tensor<1032x1544xf32>, tensor<2048x4096xbf16>, tensor<1032x1543xbf16>
}
