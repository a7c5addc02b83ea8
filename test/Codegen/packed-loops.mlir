// RUN: pst-opt %s -pst-pack-tokens=capacity=20 -pst-autodiff -pst-emit-cpu-kernels --canonicalize | FileCheck %s

// The work of each kernel follows the tokens that there are: its loops over
// rows end at the last start, or at a number of blocks that is made of it, and
// attention's at the tokens of its sequence. None ends at the capacity, 20.

// CHECK-LABEL: func.func private @linear_20x16_16x16(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[REST:.*]] = arith.subi %[[COUNT]], %{{.*}}
// CHECK: %[[LESS:.*]] = arith.minsi %[[REST]],
// CHECK: %[[MORE:.*]] = arith.addi %[[LESS]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.for %{{.*}} to %[[BLOCKS]]

// CHECK-LABEL: func.func private @layer_norm_20x16_16_epsilon3ee4f8b588e368f1(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[MORE:.*]] = arith.addi %[[COUNT]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.parallel {{.*}} to (%[[BLOCKS]])
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[COUNT]]
// CHECK: scf.for %{{.*}} to %[[END]]

// CHECK-LABEL: func.func private @attention_20x16_4x8xi32_heads2_head(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[FIRST:.*]] = memref.load %[[STARTS]]
// CHECK: %[[FROM:.*]] = arith.index_cast %[[FIRST]] : i32 to index
// CHECK: %[[NEXT:.*]] = memref.load %[[STARTS]]
// CHECK: %[[TO:.*]] = arith.index_cast %[[NEXT]] : i32 to index
// CHECK: %[[LENGTH:.*]] = arith.subi %[[TO]], %[[FROM]]
// CHECK: scf.for %{{.*}} = %c0 to %[[LENGTH]]
// CHECK: %[[MORE:.*]] = arith.addi %[[LENGTH]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.for %{{.*}} to %[[BLOCKS]]

// CHECK-LABEL: func.func private @activation_20x16_gelu(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[ALL:.*]] = arith.muli %[[COUNT]], %c16
// CHECK: %[[MORE:.*]] = arith.addi %[[ALL]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.parallel {{.*}} to (%[[BLOCKS]])
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[ALL]]
// CHECK: scf.for %{{.*}} to %[[END]]

// CHECK-LABEL: func.func private @linear_cross_entropy_20x16_9x16_4x8xi32_f32(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]]

// CHECK-LABEL: func.func private @dropout_20x16_length8_probability{{[0-9a-f]+}}(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[MORE:.*]] = arith.addi %[[COUNT]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.parallel {{.*}} to (%[[BLOCKS]])
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[COUNT]]
// CHECK: scf.for %{{.*}} to %[[END]]

// CHECK-LABEL: func.func private @linear_cross_entropy_backward_20x16_9x16_4x8xi32_f32(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]]

// CHECK-LABEL: func.func private @activation_backward_20x16_gelu(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[ALL:.*]] = arith.muli %[[COUNT]], %c16
// CHECK: %[[MORE:.*]] = arith.addi %[[ALL]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.parallel {{.*}} to (%[[BLOCKS]])
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[ALL]]
// CHECK: scf.for %{{.*}} to %[[END]]

// CHECK-LABEL: func.func private @attention_backward_20x16_4x8xi32_heads2_head(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[FIRST:.*]] = memref.load %[[STARTS]]
// CHECK: %[[FROM:.*]] = arith.index_cast %[[FIRST]] : i32 to index
// CHECK: %[[NEXT:.*]] = memref.load %[[STARTS]]
// CHECK: %[[TO:.*]] = arith.index_cast %[[NEXT]] : i32 to index
// CHECK: %[[LENGTH:.*]] = arith.subi %[[TO]], %[[FROM]]
// CHECK: scf.for %{{.*}} = %c0 to %[[LENGTH]]
// CHECK: %[[MORE:.*]] = arith.addi %[[LENGTH]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.for %{{.*}} to %[[BLOCKS]]

// CHECK-LABEL: func.func private @add_20x16(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[ALL:.*]] = arith.muli %[[COUNT]], %c16
// CHECK: %[[MORE:.*]] = arith.addi %[[ALL]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.parallel {{.*}} to (%[[BLOCKS]])
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[ALL]]
// CHECK: scf.for %{{.*}} to %[[END]]

// CHECK-LABEL: func.func private @layer_norm_backward_20x16_16_epsilon3ee4f8b588e368f1(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[MORE:.*]] = arith.addi %[[COUNT]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.parallel {{.*}} to (%[[BLOCKS]])
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[COUNT]]
// CHECK: scf.for %{{.*}} to %[[END]]

// CHECK-LABEL: func.func private @matmul_20x16_16x16(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: %[[REST:.*]] = arith.subi %[[COUNT]], %{{.*}}
// CHECK: %[[LESS:.*]] = arith.minsi %[[REST]],
// CHECK: %[[MORE:.*]] = arith.addi %[[LESS]],
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[MORE]],
// CHECK: scf.for %{{.*}} to %[[BLOCKS]]

// CHECK-LABEL: func.func private @matmul_20x16_16x16_transpose_lhs(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]]

// CHECK-LABEL: func.func private @embedding_backward_4x8xi32_20x16_9x16(
// CHECK-SAME: %{{[^:]*}}: memref<20xi32>, %[[STARTS:[^:]*]]: memref<5xi32>
// CHECK: %[[LAST:.*]] = memref.load %[[STARTS]][%c4]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]]

func.func @forward(%ids: tensor<4x8xi32> {pst.name = "input_ids"},
                   %mask: tensor<4x8xi32> {pst.name = "attention_mask"},
                   %labels: tensor<4x8xi32> {pst.name = "labels"},
                   %scale: f32 {pst.name = "loss_scale"}, %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}) {
  %table = pst.load @t : tensor<9x16xf32>
  %w = pst.load @w : tensor<16x16xf32>
  %v = pst.load @v : tensor<16xf32>
  %x = nn.embedding %ids, %table : tensor<4x8xi32>, tensor<9x16xf32> -> tensor<32x16xf32>
  %y = nn.linear %x, %w : tensor<32x16xf32>, tensor<16x16xf32> -> tensor<32x16xf32>
  %n = nn.layer_norm %y, %v, %v epsilon 1.0e-5 : tensor<32x16xf32>, tensor<16xf32>
  %d = nn.dropout %n, %seed probability 0.1 site 0 length 8 : tensor<32x16xf32>
  %z = nn.attention %d, %d, %d, %mask heads 2 : tensor<32x16xf32>, tensor<4x8xi32>
  %a = nn.activation gelu %z : tensor<32x16xf32>
  %loss = nn.linear_cross_entropy %a, %table, %labels, %scale : tensor<32x16xf32>, tensor<9x16xf32>, tensor<4x8xi32>
  return %loss : tensor<f32>
}
pst.parameter @t trainable init<normal 1.0> : tensor<9x16xf32>
pst.parameter @w trainable init<normal 1.0> : tensor<16x16xf32>
pst.parameter @v trainable init<normal 1.0> : tensor<16xf32>
