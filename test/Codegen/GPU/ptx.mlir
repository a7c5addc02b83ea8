// The step of a small transformer, with every kernel that a BERT needs: from
// text to PTX that ptxas accepts for both architectures, without spills, and
// within the registers and shared memory that are written down here.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --selection=topk --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --selection=topk --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --selection=topk --precision=bf16 --frozen-type=bf16 --emit=ptx --gpu-arch=sm_90a -o %t.bf16.sm_90a.ptx
// RUN: %ptxas sm_90a %t.bf16.sm_90a.ptx | FileCheck %s --check-prefix=BF16
// RUN: FileCheck %s --check-prefix=MOVES --input-file=%t.bf16.sm_90a.ptx
// RUN: pst-compile %s --selection=topk --precision=bf16 --frozen-type=bf16 --emit=ptx --gpu-arch=sm_80 -o %t.bf16.sm_80.ptx
// RUN: %ptxas sm_80 %t.bf16.sm_80.ptx | FileCheck %s --check-prefix=BF16
// RUN: pst-compile %s --selection=topk --precision=bf16 --target=cuda --plan-only | FileCheck %s --check-prefix=PLAN

// PTX: .target sm_90a

// KERNELS-DAG: adamw_f32_decayed{{[0-9]+}}_ranges{{[0-9_]+}}_size{{[0-9]+}}: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: attention_64x64_2x32xi32_heads2_probability{{[0-9a-f]+}}: {{[1-9]?[0-9]}} registers, 17024 bytes shared
// KERNELS-DAG: attention_backward_64x64_2x32xi32_heads2_probability{{[0-9a-f]+}}_keys: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 25344 bytes shared
// KERNELS-DAG: attention_backward_64x64_2x32xi32_heads2_probability{{[0-9a-f]+}}_queries: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 25344 bytes shared
// KERNELS-DAG: cross_entropy_2x3_2xi32_f32: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: embedding_backward_2x32xi32_64x64_128x64: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: activation_2x64_tanh: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: layer_norm_backward_64x64_64_epsilon{{[0-9a-f]+}}_probability{{[0-9a-f]+}}_added1_2{{.*}}: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: lowrank_accumulate_64x96_64x64_96x64_96x8_8x64_96_64_f32_i64_pst_wrt1_2_3_4_5_6_added0_1_2_3_4_5_tiles: {{([1-9]?[0-9]|1[0-7][0-9])}} registers, 31744 bytes shared
// KERNELS-DAG: masked_weight_96x64_96x8_8x64_96_64_f32_i64_pst: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 0 bytes shared
// KERNELS-DAG: matmul_64x64_96x64_64x96_right_transposed_bias_gelu: {{[1-9]?[0-9]}} registers, 8704 bytes shared
// KERNELS-DAG: matmul_64x64_96x64_64x96_right_transposed_bias_kept_gelu: {{[1-9]?[0-9]}} registers, 8704 bytes shared
// KERNELS-DAG: matmul_64x64_64x96_derivative_kept_gelu: {{[1-9]?[0-9]}} registers, 8704 bytes shared
// KERNELS-DAG: sum_added_{{[0-9]+}}x96x8_added_{{[0-9]+}}x8x64_{{.*}}: {{[1-4]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: topk_thresholds_1x_96x64_96x8_8x64_96_64_1x_64x96_64x8_8x96_64_96_pst_all: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, {{[0-9]+}} bytes shared

// PLAN: precision: bf16 saves {{[0-9.]+}} MiB of the {{[0-9.]+}} MiB that the arena takes in f32

// A masked weight in bf16: of each row, 4 columns by one access of 8 bytes.

// MOVES-LABEL: .entry masked_weight_96x64xbf16_96x8_8x64_96_64_f32_i64_pst(
// MOVES-COUNT-4: ld.global.v{{4.b16|2.b32}}
// MOVES-NOT: cvt.rn.bf16.f32
// MOVES: cvt.rn.bf16x2.f32
// MOVES-NOT: st.global.b16
// MOVES: st.global.v2.b32
// MOVES-NOT: st.global.b16
// MOVES: ret;

// With activations and frozen weights of bf16.

// BF16-DAG: add_64x64xbf16: {{[1-3]?[0-9]}} registers, 0 bytes shared
// BF16-DAG: dropout_64x64xbf16_probability{{[0-9a-f]+}}: {{[1-3]?[0-9]}} registers, 0 bytes shared
// BF16-DAG: layer_norm_backward_64x64xbf16_64_epsilon{{[0-9a-f]+}}_probability{{[0-9a-f]+}}_added1_2{{.*}}: {{[1-4]?[0-9]}} registers, 0 bytes shared
// BF16-DAG: masked_weight_64x96xbf16_64x8_8x96_64_96_f32_i64_pst: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 0 bytes shared
// BF16-DAG: masked_weight_96x64xbf16_96x8_8x64_96_64_f32_i64_pst: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 0 bytes shared
// BF16-DAG: lowrank_accumulate_64x96xbf16_64x64xbf16_96x64xbf16_96x8_8x64_96_64_f32_i64_pst_wrt1_2_3_4_5_6_added0_1_2_3_4_5_tiles: {{([1-9]?[0-9]|1[0-6][0-9])}} registers
// BF16-DAG: matmul_64x64xbf16_96x64xbf16_64x96xbf16_right_transposed_bias_gelu: {{([1-9]?[0-9]|1[0-6][0-9])}} registers
// BF16-DAG: matmul_64x64xbf16_96x64xbf16_64x96xbf16_right_transposed_bias_kept_gelu: {{([1-9]?[0-9]|1[0-6][0-9])}} registers
// BF16-DAG: matmul_64x64xbf16_64x96xbf16_derivative_kept_gelu: {{([1-9]?[0-9]|1[0-6][0-9])}} registers

pst.parameter @words trainable init<normal 1.0> : tensor<128x64xf32>
pst.parameter @positions trainable init<normal 1.0> : tensor<40x64xf32>
pst.parameter @scale trainable init<constant 1.0> : tensor<64xf32>
pst.parameter @shift trainable init<zeros> : tensor<64xf32>
pst.parameter @up frozen init<file "up"> {pst.sparsify} : tensor<96x64xf32>
pst.parameter @up.bias trainable init<zeros> : tensor<96xf32>
pst.parameter @down frozen init<file "down"> {pst.sparsify} : tensor<64x96xf32>
pst.parameter @pooler trainable init<normal 1.0> : tensor<64x64xf32>
pst.parameter @head trainable init<normal 1.0> : tensor<3x64xf32>
pst.parameter @head.bias trainable init<zeros> : tensor<3xf32>

func.func @forward(%input_ids: tensor<2x32xi32> {pst.name = "input_ids"},
                   %attention_mask: tensor<2x32xi32> {pst.name = "attention_mask"},
                   %labels: tensor<2xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<2x3xf32> {pst.name = "logits"}) {
  %words = pst.load @words : tensor<128x64xf32>
  %positions = pst.load @positions : tensor<40x64xf32>
  %scale = pst.load @scale : tensor<64xf32>
  %shift = pst.load @shift : tensor<64xf32>
  %up = pst.load @up : tensor<96x64xf32>
  %up_bias = pst.load @up.bias : tensor<96xf32>
  %down = pst.load @down : tensor<64x96xf32>
  %pooler = pst.load @pooler : tensor<64x64xf32>
  %head = pst.load @head : tensor<3x64xf32>
  %head_bias = pst.load @head.bias : tensor<3xf32>
  %e = nn.embedding %input_ids, %words : tensor<2x32xi32>, tensor<128x64xf32> -> tensor<64x64xf32>
  %p = nn.add_positions %e, %positions length 32 : tensor<64x64xf32>, tensor<40x64xf32>
  %d = nn.dropout %p, %seed probability 0.1 site 0 : tensor<64x64xf32>
  %n = nn.layer_norm %d, %scale, %shift epsilon 1.0e-12 : tensor<64x64xf32>, tensor<64xf32>
  %u = nn.linear %n, %up bias(%up_bias : tensor<96xf32>) : tensor<64x64xf32>, tensor<96x64xf32> -> tensor<64x96xf32>
  %g = nn.activation gelu %u : tensor<64x96xf32>
  %f = nn.linear %g, %down : tensor<64x96xf32>, tensor<64x96xf32> -> tensor<64x64xf32>
  %r = nn.add %f, %n : tensor<64x64xf32>
  // Last, for of what follows one row of each sequence is computed.
  %a = nn.attention %r, %p, %e, %attention_mask heads 2 dropout %seed probability 0.1 site 1 : tensor<64x64xf32>, tensor<2x32xi32>
  %c = nn.select_token %a index 0 : tensor<64x64xf32> -> tensor<2x64xf32>
  %q = nn.linear %c, %pooler : tensor<2x64xf32>, tensor<64x64xf32> -> tensor<2x64xf32>
  %t = nn.activation tanh %q : tensor<2x64xf32>
  %y = nn.linear %t, %head bias(%head_bias : tensor<3xf32>) : tensor<2x64xf32>, tensor<3x64xf32> -> tensor<2x3xf32>
  %loss = nn.cross_entropy %y, %labels, %loss_scale : tensor<2x3xf32>, tensor<2xi32>
  return %loss, %y : tensor<f32>, tensor<2x3xf32>
}
