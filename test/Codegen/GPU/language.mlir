// A language model's own kernels: causal attention, and the loss over a
// vocabulary, whose logits exist for a chunk of tokens at a time. Assembled for
// both architectures without spills, with these registers and shared memory.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s
// RUN: pst-compile %s --precision=bf16 --frozen-type=bf16 --emit=ptx --gpu-arch=sm_90a -o %t.bf16.sm_90a.ptx
// RUN: %ptxas sm_90a %t.bf16.sm_90a.ptx | FileCheck %s --check-prefixes=BF16,BF16-SM90
// RUN: pst-compile %s --precision=bf16 --frozen-type=bf16 --emit=ptx --gpu-arch=sm_80 -o %t.bf16.sm_80.ptx
// RUN: %ptxas sm_80 %t.bf16.sm_80.ptx | FileCheck %s --check-prefixes=BF16,BF16-SM80

// CHECK-DAG: attention_64x64_2x32xi32_causal_heads2: {{[1-5][0-9]}} registers, 17024 bytes shared
// CHECK-DAG: attention_backward_64x64_2x32xi32_causal_heads2_keys: {{[1-7][0-9]}} registers, 25344 bytes shared
// CHECK-DAG: attention_backward_64x64_2x32xi32_causal_heads2_queries: {{[1-8][0-9]}} registers, 25344 bytes shared
// CHECK-DAG: linear_cross_entropy_64x64_1031x64_2x32xi32_f32_sum: {{[1-3]?[0-9]}} registers, 32 bytes shared
// CHECK-DAG: linear_cross_entropy_64x64_1031x64_2x32xi32_f32_load_rows64: {{[1-3]?[0-9]}} registers, 0 bytes shared
// CHECK-DAG: matmul_64x64_64x96_bias: {{[1-8][0-9]}} registers, 8704 bytes shared
// CHECK-DAG: linear_cross_entropy_backward_64x64_1031x64_2x32xi32_f32_store_rows64: {{[1-3]?[0-9]}} registers, 0 bytes shared
// CHECK-DAG: linear_cross_entropy_backward_64x64_1031x64_2x32xi32_f32_gradients_rows64: {{[1-3][0-9]}} registers, 32 bytes shared
// CHECK-DAG: matmul_64x1031_1031x64_64x64: {{[1-8][0-9]}} registers, 8704 bytes shared
// CHECK-DAG: matmul_64x64_1031x64_64x1031_right_transposed: {{[1-5][0-9]}} registers, 8704 bytes shared
// CHECK-DAG: linear_cross_entropy_64x64_1031x64_2x32xi32_f32_losses_rows64: {{[1-3][0-9]}} registers, 32 bytes shared
// CHECK-DAG: matmul_64x1031_64x64_1031x64_left_transposed_addend: {{[1-5][0-9]}} registers, 8704 bytes shared

// With bf16, the words, the logits and their gradient are rounded for the
// tensor cores; the gradient's rows of 1031 end with a zero.
// BF16-DAG: round_1031x64: {{[1-3][0-9]}} registers, 0 bytes shared
// BF16-DAG: linear_cross_entropy_backward_64x64xbf16_1031x64_2x32xi32_f32_gradients_rows64: {{[1-3][0-9]}} registers
// BF16-SM90-DAG: matmul_64x64xbf16_1031x64xbf16_64x1032xbf16_right_transposed: 168 registers, 0 bytes shared
// BF16-SM90-DAG: matmul_64x1032xbf16_1031x64xbf16_64x64xbf16: 168 registers, 0 bytes shared
// BF16-SM90-DAG: matmul_64x1032xbf16_64x64xbf16_1031x64_left_transposed_addend: 168 registers, 0 bytes shared
// BF16-SM80-DAG: matmul_64x1032xbf16_1031x64xbf16_64x64xbf16: {{[1-9][0-9]}} registers, 24576 bytes shared
// BF16-SM80-DAG: matmul_64x1032xbf16_1031x64xbf16_64x64xbf16_sum: {{[1-3][0-9]}} registers, 0 bytes shared
// BF16-SM80-DAG: matmul_64x1032xbf16_64x64xbf16_1031x64_left_transposed_addend: {{[1-8][0-9]}} registers, 24576 bytes shared

pst.parameter @words trainable init<normal 1.0> : tensor<1031x64xf32>
pst.parameter @down frozen init<file "down"> {pst.sparsify} : tensor<64x96xf32>
pst.parameter @down.bias trainable init<zeros> : tensor<96xf32>
pst.parameter @up frozen init<file "up"> : tensor<64x96xf32>

func.func @forward(%input_ids: tensor<2x32xi32> {pst.name = "input_ids"},
                   %attention_mask: tensor<2x32xi32> {pst.name = "attention_mask"},
                   %labels: tensor<2x32xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}) {
  %words = pst.load @words : tensor<1031x64xf32>
  %down = pst.load @down : tensor<64x96xf32>
  %bias = pst.load @down.bias : tensor<96xf32>
  %up = pst.load @up : tensor<64x96xf32>
  %e = nn.embedding %input_ids, %words : tensor<2x32xi32>, tensor<1031x64xf32> -> tensor<64x64xf32>
  %a = nn.attention %e, %e, %e, %attention_mask heads 2 causal : tensor<64x64xf32>, tensor<2x32xi32>
  %h = nn.linear %a, %down transposed bias(%bias : tensor<96xf32>) : tensor<64x64xf32>, tensor<64x96xf32> -> tensor<64x96xf32>
  %y = nn.linear %h, %up : tensor<64x96xf32>, tensor<64x96xf32> -> tensor<64x64xf32>
  %loss = nn.linear_cross_entropy %y, %words, %labels, %loss_scale : tensor<64x64xf32>, tensor<1031x64xf32>, tensor<2x32xi32>
  return %loss : tensor<f32>
}
