// Batches without padding: kernels with packed matrices are told which rows
// there are, and blocks beyond them leave. Assembled for both architectures
// without spills.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --selection=topk --token-capacity=300 --target=cuda --emit=kernels -o %t.mlir
// RUN: FileCheck %s --check-prefix=LAUNCHES --input-file=%t.mlir
// RUN: FileCheck %s --input-file=%t.mlir
// RUN: pst-compile %s --selection=topk --token-capacity=300 --precision=tf32 --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --selection=topk --token-capacity=300 --precision=bf16 --frozen-type=bf16 --emit=ptx --gpu-arch=sm_90a -o %t.bf16.sm_90a.ptx
// RUN: %ptxas sm_90a %t.bf16.sm_90a.ptx | FileCheck %s --check-prefixes=KERNELS,SM90

// Grids are for the capacity.
// LAUNCHES: @kernels::@token_places_4x128xi32_300xi32_5xi32 blocks in (%c4, %c1, %c1)
// LAUNCHES: @kernels::@layer_norm_300x128_{{.*}} blocks in (%c300, %c1, %c1)
// LAUNCHES: @kernels::@attention_300x128_{{.*}} blocks in (%c32, %c1, %c1)
// LAUNCHES: @kernels::@matmul_300x128_192x128_300x192_{{.*}} blocks in (%c15,

// Of rows: a block for each.
// CHECK-LABEL: gpu.func @layer_norm_300x128_
// CHECK-SAME: %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[BLOCK:.*]] = gpu.block_id x
// CHECK-NEXT: %[[LAST:.*]] = arith.constant 4 : index
// CHECK-NEXT: %[[LOADED:.*]] = memref.load %[[STARTS]][%[[LAST]]]
// CHECK-NEXT: %[[COUNT:.*]] = arith.index_cast %[[LOADED]]
// CHECK-NEXT: %[[IS_THERE:.*]] = arith.cmpi slt, %[[BLOCK]], %[[COUNT]]
// CHECK-NEXT: scf.if %[[IS_THERE]] {

// A sequence begins, and ends, where its tokens do.
// CHECK-LABEL: gpu.func @attention_300x128_4x128xi32_causal_heads2_packed
// CHECK: %[[FIRST:.*]] = arith.muli {{.*}}, %c32
// CHECK: %[[TOKENS:.*]] = arith.subi
// CHECK: %[[HAS_QUERIES:.*]] = arith.cmpi slt, %[[FIRST]], %[[TOKENS]]
// CHECK-NEXT: scf.if %[[HAS_QUERIES]] {

// A tile without a row.
// CHECK-LABEL: gpu.func @matmul_300x128_192x128_300x192_right_transposed_bias_gelu_packed
// CHECK: %[[ROWS:.*]] = arith.index_cast
// CHECK: %[[ROW:.*]] = arith.muli {{.*}}, %c64
// CHECK-NEXT: %[[HAS_ROWS:.*]] = arith.cmpi slt, %[[ROW]], %[[ROWS]]
// CHECK-NEXT: scf.if %[[HAS_ROWS]] {

// Elements, and k, end where the rows do.
// CHECK-LABEL: gpu.func @matmul_300x1031_300x128_1031x128_left_transposed_addend_packed
// CHECK: %[[K:.*]] = arith.index_cast
// CHECK: scf.for %{{.*}} to %[[K]]

// CHECK-LABEL: gpu.func @activation_backward_300x192_gelu_packed
// CHECK: %[[COUNT:.*]] = arith.index_cast
// CHECK: %[[GROUPS:.*]] = arith.muli %[[COUNT]], %c48
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[GROUPS]]
// CHECK: scf.for %{{.*}} to %[[END]]

// KERNELS-DAG: token_places_4x128xi32_300xi32_5xi32: {{[1-3][0-9]}} registers
// KERNELS-DAG: attention_300x128{{.*}}: {{[1-9][0-9]}} registers
// SM90-DAG: matmul_300x1032xbf16_300x128xbf16_1031x128_left_transposed_addend_packed0: 168 registers, 0 bytes shared
// SM90-DAG: lowrank_accumulate_300x192xbf16_{{.*}}_tiles_packed0: 168 registers, 32768 bytes shared

pst.parameter @words trainable init<normal 1.0> : tensor<1031x128xf32>
pst.parameter @positions trainable init<normal 1.0> : tensor<128x128xf32>
pst.parameter @gain trainable init<constant 1.0> : tensor<128xf32>
pst.parameter @shift trainable init<zeros> : tensor<128xf32>
pst.parameter @down frozen init<file "down"> {pst.sparsify} : tensor<192x128xf32>
pst.parameter @down.bias trainable init<zeros> : tensor<192xf32>
pst.parameter @up frozen init<file "up"> : tensor<128x192xf32>

func.func @forward(%input_ids: tensor<4x128xi32> {pst.name = "input_ids"},
                   %attention_mask: tensor<4x128xi32> {pst.name = "attention_mask"},
                   %labels: tensor<4x128xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}) {
  %words = pst.load @words : tensor<1031x128xf32>
  %positions = pst.load @positions : tensor<128x128xf32>
  %gain = pst.load @gain : tensor<128xf32>
  %shift = pst.load @shift : tensor<128xf32>
  %down = pst.load @down : tensor<192x128xf32>
  %bias = pst.load @down.bias : tensor<192xf32>
  %up = pst.load @up : tensor<128x192xf32>
  %w = nn.embedding %input_ids, %words : tensor<4x128xi32>, tensor<1031x128xf32> -> tensor<512x128xf32>
  %p = nn.add_positions %w, %positions length 128 : tensor<512x128xf32>, tensor<128x128xf32>
  %n = nn.layer_norm %p, %gain, %shift epsilon 1.0e-5 : tensor<512x128xf32>, tensor<128xf32>
  %d = nn.dropout %n, %seed probability 0.1 site 0 : tensor<512x128xf32>
  %a = nn.attention %d, %d, %d, %attention_mask heads 2 causal dropout %seed probability 0.1 site 1 : tensor<512x128xf32>, tensor<4x128xi32>
  %h = nn.linear %a, %down bias(%bias : tensor<192xf32>) : tensor<512x128xf32>, tensor<192x128xf32> -> tensor<512x192xf32>
  %g = nn.activation gelu %h : tensor<512x192xf32>
  %y = nn.linear %g, %up : tensor<512x192xf32>, tensor<128x192xf32> -> tensor<512x128xf32>
  %loss = nn.linear_cross_entropy %y, %words, %labels, %loss_scale : tensor<512x128xf32>, tensor<1031x128xf32>, tensor<4x128xi32>
  return %loss : tensor<f32>
}
