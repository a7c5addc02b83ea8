// Few tiles and a long k: parts of k for each tile, whose products another
// launch adds in ascending order. Otherwise tiles as large, or parts as few, as
// take the least time.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefixes=KERNELS,SM90
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s --check-prefix=LAUNCHES
// RUN: pst-compile %s --target=cuda --gpu-arch=sm_80 --emit=llvm | FileCheck %s --check-prefix=PORTABLE

// KERNELS-DAG: matmul_8192x512xbf16_512x512_left_transposed_sum: {{[1-9]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: matmul_4096x64_4096x192_64x192_left_transposed: {{[1-9]?[0-9]}} registers, {{[0-9]+}} bytes shared
// SM90-DAG: matmul_8192x512xbf16_512x512_left_transposed: 168 registers, 0 bytes shared

// The gradient of a square matrix; TMA stores the parts.
// LAUNCHES: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c32] : memref<*xf32>
// LAUNCHES: @kernels::@matmul_8192x512xbf16_512x512_left_transposed blocks in (%c128, %c1, %c1)
// LAUNCHES: @kernels::@matmul_8192x512xbf16_512x512_left_transposed_sum {{.*}} args(%{{.*}} : memref<2048x512xf32>,
// A layer of that size has no k for parts.
// LAUNCHES: @kernels::@matmul_4096x768xbf16_768x768xbf16_right_transposed blocks
// LAUNCHES-NOT: matmul_4096x768xbf16_768x768xbf16_right_transposed_sum
// LAUNCHES: @kernels::@matmul_4096x64_4096x192_64x192_left_transposed blocks in (%c24, %c1, %c1)
// LAUNCHES: @kernels::@matmul_4096x64_4096x192_64x192_left_transposed_sum {{.*}} args(%{{.*}} : memref<512x192xf32>,

// PORTABLE: @kernels::@matmul_8192x512xbf16_512x512_left_transposed blocks in (%c128, %c1, %c1)
// PORTABLE: @kernels::@matmul_8192x512xbf16_512x512_left_transposed_sum {{.*}} args(%{{.*}} : memref<1024x512xf32>,

func.func @main(%x: tensor<4096x768xbf16>, %dy: tensor<8192x512xbf16>, %w: tensor<768x768xbf16>,
                %a: tensor<4096x64xf32>, %b: tensor<4096x192xf32>)
    -> (tensor<512x512xf32>, tensor<4096x768xbf16>, tensor<64x192xf32>) {
  %dw = nn.matmul %dy, %dy {transpose_lhs} : tensor<8192x512xbf16>, tensor<8192x512xbf16> -> tensor<512x512xf32>
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<4096x768xbf16>, tensor<768x768xbf16> -> tensor<4096x768xbf16>
  %small = nn.matmul %a, %b {transpose_lhs} : tensor<4096x64xf32>, tensor<4096x192xf32> -> tensor<64x192xf32>
  return %dw, %y, %small : tensor<512x512xf32>, tensor<4096x768xbf16>, tensor<64x192xf32>
}
