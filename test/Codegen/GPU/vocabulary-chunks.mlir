// The loss over GPT-2's vocabulary for more tokens than there is room for
// logits: chunks of 351 and 350, each with buffers of its size. Backward, the
// gradient's rows of 50257 are made whole by zeros, so that TMA can load them,
// and its product with the words, of few tiles, takes parts of k.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.ptx
// RUN: %ptxas sm_90a %t.ptx | FileCheck %s --check-prefix=KERNELS

// CHECK: @matmul_351x768xbf16_50257x768xbf16_351x50257_right_transposed {{.*}} memref<351x50257xf32>
// CHECK: @linear_cross_entropy_backward_701x768xbf16_50257x768xbf16_701xi32_f32_gradients_rows351 {{.*}} memref<351x50264xbf16>
// TMA stores whole tiles of the parts, so there are more rows than tokens.
// CHECK: nvgpu.tma.create.descriptor %{{.*}} box[%c64, %c32] : memref<*xf32>
// CHECK: @matmul_351x50264xbf16_50257x768xbf16_351x768xbf16 blocks in (%c132, %c1, %c1)
// CHECK: @matmul_351x50264xbf16_50257x768xbf16_351x768xbf16_sum {{.*}} memref<351x768xbf16>)
// CHECK: @matmul_350x768xbf16_50257x768xbf16_350x50257_right_transposed {{.*}} memref<350x50257xf32>
// CHECK: @linear_cross_entropy_backward_701x768xbf16_50257x768xbf16_701xi32_f32_gradients_rows350 {{.*}} memref<350x50264xbf16>
// CHECK: @matmul_350x50264xbf16_50257x768xbf16_350x768xbf16_sum {{.*}} memref<350x768xbf16>)

// KERNELS-DAG: matmul_351x768xbf16_50257x768xbf16_351x50257_right_transposed: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_351x50264xbf16_50257x768xbf16_351x768xbf16: 168 registers, 0 bytes shared
// KERNELS-DAG: matmul_351x50264xbf16_50257x768xbf16_351x768xbf16_sum: {{[1-9][0-9]}} registers, 0 bytes shared

func.func @main(%x: tensor<701x768xbf16>, %w: tensor<50257x768xbf16>, %labels: tensor<701xi32>, %scale: f32, %g: tensor<f32>)
    -> tensor<701x768xbf16> {
  %dx = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %g : tensor<701x768xbf16>, tensor<50257x768xbf16>, tensor<701xi32>
  return %dx : tensor<701x768xbf16>
}
