// Smoothed labels of a language model: how much is an argument of the two
// kernels that look at a row of logits, and of no other. Assembled for both
// architectures, with and without padding, without spills.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=kernels | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --token-capacity=40 --emit=ptx --gpu-arch=sm_80 -o %t.packed.ptx
// RUN: %ptxas sm_80 %t.packed.ptx | FileCheck %s --check-prefix=PACKED
// RUN: pst-compile %s --precision=bf16 --frozen-type=bf16 --emit=ptx --gpu-arch=sm_90a -o %t.bf16.ptx
// RUN: %ptxas sm_90a %t.bf16.ptx | FileCheck %s --check-prefix=BF16

// CHECK-DAG: @linear_cross_entropy_64x64_1031x64_2x32xi32_f32_losses_rows64 blocks {{.*}} memref<64xf32>, %c0_i64 : i64, %{{.*}} : f32)
// CHECK-DAG: @linear_cross_entropy_backward_64x64_1031x64_2x32xi32_f32_gradients_rows64 blocks {{.*}}, %c0_i64 : i64, %{{.*}} : f32)

// KERNELS-DAG: linear_cross_entropy_64x64_1031x64_2x32xi32_f32_losses_rows64: {{[1-3][0-9]}} registers, 32 bytes shared
// KERNELS-DAG: linear_cross_entropy_backward_64x64_1031x64_2x32xi32_f32_gradients_rows64: {{[1-3][0-9]}} registers, 32 bytes shared
// PACKED-DAG: linear_cross_entropy_40x64{{.*}}_losses_rows40{{.*}}: {{[1-3][0-9]}} registers, 32 bytes shared
// PACKED-DAG: linear_cross_entropy_backward_40x64{{.*}}_gradients_rows40{{.*}}: {{[1-3][0-9]}} registers, 32 bytes shared
// BF16-DAG: linear_cross_entropy_backward_64x64xbf16_1031x64_2x32xi32_f32_gradients_rows64: {{[1-3][0-9]}} registers

pst.parameter @words trainable init<normal 1.0> : tensor<1031x64xf32>

func.func @forward(%input_ids: tensor<2x32xi32> {pst.name = "input_ids"},
                   %attention_mask: tensor<2x32xi32> {pst.name = "attention_mask"},
                   %labels: tensor<2x32xi32> {pst.name = "labels"},
                   %label_smoothing: f32 {pst.name = "label_smoothing"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}) {
  %words = pst.load @words : tensor<1031x64xf32>
  %e = nn.embedding %input_ids, %words : tensor<2x32xi32>, tensor<1031x64xf32> -> tensor<64x64xf32>
  %loss = nn.linear_cross_entropy %e, %words, %labels, %loss_scale smoothing %label_smoothing : tensor<64x64xf32>, tensor<1031x64xf32>, tensor<2x32xi32>
  return %loss : tensor<f32>
}
