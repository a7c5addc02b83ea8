// Products of f32 where tf32 is asked for: by mma.sync on any GPU, of operands
// that are rounded. Assembled without spills, within these registers.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --precision=tf32 --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --precision=tf32 --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.f32.ptx
// RUN: FileCheck %s --check-prefix=F32 --input-file=%t.f32.ptx

// KERNELS-DAG: matmul_2048x1024_2048x2048_right_transposed: {{(1[0-9][0-9]|20[0-9])}} registers, 49152 bytes shared
// KERNELS-DAG: matmul_2048x1024_1024x2048_2048x2048: {{(1[0-9][0-9]|2[0-4][0-9])}} registers, 49152 bytes shared
// KERNELS-DAG: matmul_1024x2048_2048x2048_left_transposed: {{(1[0-9][0-9]|2[0-4][0-9])}} registers, 49152 bytes shared
// KERNELS-DAG: matmul_2047x1021_1021x2047_2047x2047: {{(1[0-9][0-9]|2[0-5][0-9])}} registers, 49152 bytes shared
// KERNELS-DAG: matmul_100x766_766x766_right_transposed: {{[1-9]?[0-9]}} registers, 24576 bytes shared

// PTX-LABEL: .entry matmul_2048x1024_2048x2048_right_transposed(
// PTX-DAG: cp.async.cg.shared.global [{{.*}}], [{{.*}}], 16;
// PTX-DAG: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX-DAG: cvt.rna.tf32.f32
// PTX-DAG: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32

// Where k is not inside, words are read one by one: ldmatrix moves pairs of 16 bits.

// PTX-LABEL: .entry matmul_1024x2048_2048x2048_left_transposed(
// PTX-NOT: ldmatrix
// PTX: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32

// F32-NOT: tf32
// F32-NOT: mma.sync
// F32: fma.rn.f32

func.func @nt(%x: tensor<2048x1024xf32>, %w: tensor<2048x1024xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<2048x1024xf32>, tensor<2048x1024xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}

func.func @nn(%x: tensor<2048x1024xf32>, %w: tensor<1024x2048xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w : tensor<2048x1024xf32>, tensor<1024x2048xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}

func.func @tn(%x: tensor<1024x2048xf32>, %w: tensor<1024x2048xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_lhs} : tensor<1024x2048xf32>, tensor<1024x2048xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}

func.func @odd(%x: tensor<2047x1021xf32>, %w: tensor<1021x2047xf32>) -> tensor<2047x2047xf32> {
  %y = nn.matmul %x, %w : tensor<2047x1021xf32>, tensor<1021x2047xf32> -> tensor<2047x2047xf32>
  return %y : tensor<2047x2047xf32>
}

func.func @small(%x: tensor<100x766xf32>, %w: tensor<766x766xf32>) -> tensor<100x766xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<100x766xf32>, tensor<766x766xf32> -> tensor<100x766xf32>
  return %y : tensor<100x766xf32>
}
