// Gradients of factors from tiles of G = dY^T X that never leave their block,
// of f32 by fused multiply-adds and of bf16 by mma.sync or wgmma: assembled
// without spills; but for wgmma, with room for two blocks on a multiprocessor.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefixes=CHECK,MMA
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefixes=CHECK,WGMMA
// RUN: sed -e 's/<8x/<16x/g' -e 's/x8xf32/x16xf32/g' %s > %t.16.mlir
// RUN: pst-compile %t.16.mlir --emit=ptx --gpu-arch=sm_80 -o %t.16.ptx
// RUN: %ptxas sm_80 %t.16.ptx | FileCheck %s --check-prefix=RANK16

// CHECK-DAG: lowrank_accumulate_512x2048_512x1024_2048x1024_2048x8_8x1024_2048_1024_f32_i64_pst_wrt1_2_3_4_5_6_tiles: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 31744 bytes shared
// MMA-DAG: lowrank_accumulate_512x2048xbf16_512x1024xbf16_2048x1024xbf16_2048x8_8x1024_2048_1024_f32_i64_pst_wrt1_2_3_4_5_6_tiles: {{([1-9]?[0-9]|1[0-6][0-9])}} registers, 41472 bytes shared
// The tile stays in registers; the operands are in dynamic shared memory.
// WGMMA-DAG: lowrank_accumulate_512x2048xbf16_512x1024xbf16_2048x1024xbf16_2048x8_8x1024_2048_1024_f32_i64_pst_wrt1_2_3_4_5_6_tiles: 168 registers, 32768 bytes shared

// RANK16-DAG: lowrank_accumulate_512x2048_512x1024_2048x1024_2048x16_16x1024_{{.*}} registers, 31744 bytes shared
// RANK16-DAG: lowrank_accumulate_512x2048xbf16_512x1024xbf16_2048x1024xbf16_2048x16_16x1024_{{.*}} registers, 41472 bytes shared

pst.criterion @pst(%w: dense, %ba: lowrank, %uv: lowrank, %r: row, %c: col) {
  %v = arith.addf %w, %ba : f32
  %m = math.absf %v : f32
  %s0 = arith.addf %m, %uv : f32
  %s1 = arith.addf %s0, %r : f32
  %s = arith.addf %s1, %c : f32
  pst.yield weight %v score %s
}

func.func @narrow(%dy: tensor<512x2048xbf16>, %x: tensor<512x1024xbf16>, %tau: tensor<f32>, %cut: tensor<i64>,
                  %w: tensor<2048x1024xbf16>, %b: tensor<2048x8xf32>, %a: tensor<8x1024xf32>,
                  %u: tensor<2048x8xf32>, %v: tensor<8x1024xf32>, %r: tensor<2048xf32>, %c: tensor<1024xf32>)
    -> (tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>) {
  %g:6 = pst.lowrank_accumulate %dy, %x, @pst(%w, %b, %a, %u, %v, %r, %c) threshold(%tau, %cut) wrt [1, 2, 3, 4, 5, 6]
      : tensor<512x2048xbf16>, tensor<512x1024xbf16>,
        (tensor<2048x1024xbf16>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>)
     -> tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>
  return %g#0, %g#1, %g#2, %g#3, %g#4, %g#5 : tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>
}

func.func @wide(%dy: tensor<512x2048xf32>, %x: tensor<512x1024xf32>, %tau: tensor<f32>, %cut: tensor<i64>,
                %w: tensor<2048x1024xf32>, %b: tensor<2048x8xf32>, %a: tensor<8x1024xf32>,
                %u: tensor<2048x8xf32>, %v: tensor<8x1024xf32>, %r: tensor<2048xf32>, %c: tensor<1024xf32>)
    -> (tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>) {
  %g:6 = pst.lowrank_accumulate %dy, %x, @pst(%w, %b, %a, %u, %v, %r, %c) threshold(%tau, %cut) wrt [1, 2, 3, 4, 5, 6]
      : tensor<512x2048xf32>, tensor<512x1024xf32>,
        (tensor<2048x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>)
     -> tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>
  return %g#0, %g#1, %g#2, %g#3, %g#4, %g#5 : tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048x8xf32>, tensor<8x1024xf32>, tensor<2048xf32>, tensor<1024xf32>
}
