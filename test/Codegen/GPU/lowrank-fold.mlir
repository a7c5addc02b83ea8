// G's tiles folded in the registers of wgmma, of as many columns as there are
// registers for, in matrices that are not made of whole tiles, and where a dense
// factor has a gradient. Shared memory is what the operands leave.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.ptx
// RUN: %ptxas sm_90a %t.ptx | FileCheck %s
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.ptx
// RUN: sed -e 's/1000x/4096x/g; s/<1000/<4096/g; s/x1000x/x4096x/g; s/3000/4096/g; s/<512x/<4096x/g' %s > %t.large.mlir
// RUN: pst-compile %t.large.mlir --emit=ptx --gpu-arch=sm_90a -o %t.large.ptx
// RUN: %ptxas sm_90a %t.large.ptx | FileCheck %s --check-prefix=LARGE

// CHECK-DAG: lowrank_accumulate_512x1000xbf16_512x3000xbf16_1000x3000xbf16_1000x8_8x3000_{{.*}}_pst_wrt1_2_3_4_5_6_tiles: 168 registers, 32768 bytes shared
// CHECK-DAG: lowrank_accumulate_512x1000xbf16_512x3000xbf16_1000x3000_1000x5_5x3000_{{.*}}_pst_wrt0_1_2_3_4_5_6_tiles: 168 registers, 32768 bytes shared

// LARGE: lowrank_accumulate_4096x4096xbf16{{.*}}_tiles: 168 registers, 32768 bytes shared

// A step of 16 columns: scores in f32, sums by mma.sync, no shared G.
// PTX-LABEL: .entry lowrank_accumulate_512x1000xbf16_512x3000xbf16_1000x3000xbf16_1000x8_8x3000_
// PTX: wgmma.mma_async.sync.aligned.m64n64k16
// PTX: fma.rn.f32
// PTX: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// PTX: ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// PTX: ret;

pst.criterion @pst(%w: dense, %uv: lowrank, %ab: lowrank, %r: row, %c: col) {
  %beta = arith.constant 0.75 : f32
  %u = arith.mulf %uv, %beta : f32
  %v = arith.addf %w, %u : f32
  %m = math.absf %v : f32
  %s0 = arith.addf %m, %ab : f32
  %s1 = arith.addf %s0, %r : f32
  %s = arith.addf %s1, %c : f32
  pst.yield weight %v score %s
}

func.func @frozen(%dy: tensor<512x1000xbf16>, %x: tensor<512x3000xbf16>, %tau: tensor<f32>, %cut: tensor<i64>,
                  %w: tensor<1000x3000xbf16>, %b: tensor<1000x8xf32>, %a: tensor<8x3000xf32>,
                  %u: tensor<1000x8xf32>, %v: tensor<8x3000xf32>, %r: tensor<1000xf32>, %c: tensor<3000xf32>)
    -> (tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000xf32>, tensor<3000xf32>) {
  %g:6 = pst.lowrank_accumulate %dy, %x, @pst(%w, %b, %a, %u, %v, %r, %c) threshold(%tau, %cut) wrt [1, 2, 3, 4, 5, 6]
      : tensor<512x1000xbf16>, tensor<512x3000xbf16>,
        (tensor<1000x3000xbf16>, tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000xf32>, tensor<3000xf32>)
     -> tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000xf32>, tensor<3000xf32>
  return %g#0, %g#1, %g#2, %g#3, %g#4, %g#5 : tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000x8xf32>, tensor<8x3000xf32>, tensor<1000xf32>, tensor<3000xf32>
}

func.func @trained(%dy: tensor<512x1000xbf16>, %x: tensor<512x3000xbf16>, %tau: tensor<f32>, %cut: tensor<i64>,
                   %w: tensor<1000x3000xf32>, %b: tensor<1000x5xf32>, %a: tensor<5x3000xf32>,
                   %u: tensor<1000x5xf32>, %v: tensor<5x3000xf32>, %r: tensor<1000xf32>, %c: tensor<3000xf32>)
    -> (tensor<1000x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000xf32>, tensor<3000xf32>) {
  %g:7 = pst.lowrank_accumulate %dy, %x, @pst(%w, %b, %a, %u, %v, %r, %c) threshold(%tau, %cut) wrt [0, 1, 2, 3, 4, 5, 6]
      : tensor<512x1000xbf16>, tensor<512x3000xbf16>,
        (tensor<1000x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000xf32>, tensor<3000xf32>)
     -> tensor<1000x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000xf32>, tensor<3000xf32>
  return %g#0, %g#1, %g#2, %g#3, %g#4, %g#5, %g#6 : tensor<1000x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000x5xf32>, tensor<5x3000xf32>, tensor<1000xf32>, tensor<3000xf32>
}
