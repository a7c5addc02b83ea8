// The loss over GPT-2's vocabulary for more tokens than there is room for
// logits: chunks of 701 and 700, each with buffers of its size. Rows of the
// logits, of 50257 elements, are made whole: TMA can store them, and load their
// gradient, which takes their place. Its product with the words, of few tiles,
// takes parts of k.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.ptx
// RUN: %ptxas sm_90a %t.ptx | FileCheck %s --check-prefix=KERNELS

// CHECK: @matmul_701x768xbf16_50257x768xbf16_701x50264xbf16_right_transposed
// CHECK: @linear_cross_entropy_backward_1401x768xbf16_50257x768xbf16_1401xi32_f32_gradients_rows701 {{.*}} memref<701x50264xbf16>
// TMA stores whole tiles of the parts, so there are more rows than tokens.
// CHECK: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c32] : memref<*xf32>
// CHECK: @matmul_701x50264xbf16_50257x768xbf16_701x768xbf16 blocks in (%c126, %c1, %c1)
// CHECK: @matmul_701x50264xbf16_50257x768xbf16_701x768xbf16_sum {{.*}} memref<701x768xbf16>)
// CHECK: @matmul_700x768xbf16_50257x768xbf16_700x50264xbf16_right_transposed
// CHECK: @linear_cross_entropy_backward_1401x768xbf16_50257x768xbf16_1401xi32_f32_gradients_rows700 {{.*}} memref<700x50264xbf16>
// CHECK: @matmul_700x50264xbf16_50257x768xbf16_700x768xbf16_sum {{.*}} memref<700x768xbf16>)

// KERNELS-DAG: matmul_701x768xbf16_50257x768xbf16_701x50264xbf16_right_transposed: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_701x50264xbf16_50257x768xbf16_701x768xbf16: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_701x50264xbf16_50257x768xbf16_701x768xbf16_sum: {{[1-9][0-9]}} registers, 0 bytes shared

func.func @main(%x: tensor<1401x768xbf16>, %w: tensor<50257x768xbf16>, %labels: tensor<1401xi32>, %scale: f32, %g: tensor<f32>)
    -> tensor<1401x768xbf16> {
  %dx = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %g : tensor<1401x768xbf16>, tensor<50257x768xbf16>, tensor<1401xi32>
  return %dx : tensor<1401x768xbf16>
}
