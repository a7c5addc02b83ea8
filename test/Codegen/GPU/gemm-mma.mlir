// Products of bf16 by mma.sync: for any GPU, and on sm_90a for rows that TMA
// cannot load. Assembled without spills, within these registers.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefixes=KERNELS,SM80
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS

// SM80-DAG: matmul_2048x1024xbf16_2048x2048_right_transposed: {{(1?[0-9]?[0-9]|2[0-4][0-9])}} registers, 49152 bytes shared
// SM80-DAG: matmul_2048x1024xbf16_1024x2048xbf16_2048x2048xbf16: {{(1?[0-9]?[0-9]|2[0-4][0-9])}} registers, 49152 bytes shared
// SM80-DAG: matmul_1024x2048xbf16_2048x2048xbf16_left_transposed: {{(1?[0-9]?[0-9]|2[0-4][0-9])}} registers, 49152 bytes shared
// KERNELS-DAG: matmul_2047x1022xbf16_1022x2047xbf16_2047x2047xbf16: {{(1?[0-9]?[0-9]|2[0-4][0-9])}} registers, 49152 bytes shared
// KERNELS-DAG: matmul_100x766xbf16_766x766xbf16_right_transposed: {{[1-9]?[0-9]}} registers, 24576 bytes shared

// Copies of 16 bytes that go round the first-level cache, two groups ahead;
// fragments by ldmatrix, transposed where k is not inside; pairs are stored.

// PTX-LABEL: .entry matmul_2048x1024xbf16_2048x2048_right_transposed(
// PTX-DAG: cp.async.cg.shared.global [{{.*}}], [{{.*}}], 16;
// PTX-DAG: cp.async.wait_group 1;
// PTX-DAG: bar.sync
// PTX-DAG: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX-DAG: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// PTX-DAG: st.global.v2.b32

// PTX-LABEL: .entry matmul_2048x1024xbf16_1024x2048xbf16_2048x2048xbf16(
// PTX-DAG: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX-DAG: ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// PTX-DAG: cvt.rn.bf16x2.f32

// Rows of 2047 elements cannot be copied by cp.async, rows of 1022 can by 4
// bytes, of which none are read outside.

// PTX-LABEL: .entry matmul_2047x1022xbf16_1022x2047xbf16_2047x2047xbf16(
// PTX-DAG: cp.async.ca.shared.global [{{.*}}], [{{.*}}], 4, %r
// PTX-DAG: st.shared.b16

func.func @nt(%x: tensor<2048x1024xbf16>, %w: tensor<2048x1024xbf16>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<2048x1024xbf16>, tensor<2048x1024xbf16> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}

func.func @nn(%x: tensor<2048x1024xbf16>, %w: tensor<1024x2048xbf16>) -> tensor<2048x2048xbf16> {
  %y = nn.matmul %x, %w : tensor<2048x1024xbf16>, tensor<1024x2048xbf16> -> tensor<2048x2048xbf16>
  return %y : tensor<2048x2048xbf16>
}

func.func @tn(%x: tensor<1024x2048xbf16>, %w: tensor<1024x2048xbf16>) -> tensor<2048x2048xbf16> {
  %y = nn.matmul %x, %w {transpose_lhs} : tensor<1024x2048xbf16>, tensor<1024x2048xbf16> -> tensor<2048x2048xbf16>
  return %y : tensor<2048x2048xbf16>
}

func.func @odd(%x: tensor<2047x1022xbf16>, %w: tensor<1022x2047xbf16>) -> tensor<2047x2047xbf16> {
  %y = nn.matmul %x, %w : tensor<2047x1022xbf16>, tensor<1022x2047xbf16> -> tensor<2047x2047xbf16>
  return %y : tensor<2047x2047xbf16>
}

func.func @small(%x: tensor<100x766xbf16>, %w: tensor<766x766xbf16>) -> tensor<100x766xbf16> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<100x766xbf16>, tensor<766x766xbf16> -> tensor<100x766xbf16>
  return %y : tensor<100x766xbf16>
}
