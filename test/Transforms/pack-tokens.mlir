// RUN: pst-opt %s -pst-pack-tokens=capacity=5 | FileCheck %s
// RUN: pst-opt %s -pst-pack-tokens=capacity=7 | FileCheck %s --check-prefix=WHOLE
// RUN: pst-opt %s -pst-pack-tokens | FileCheck %s --check-prefix=WHOLE
// RUN: pst-opt %s -pst-pack-tokens=capacity=5 -pst-autodiff | FileCheck %s --check-prefix=BACKWARD
// RUN: pst-opt %s -pst-pack-tokens=capacity=5 -pst-autodiff -pst-emit-cpu-kernels | FileCheck %s --check-prefix=KERNELS

// Every matrix of tokens is packed, from the embedding on; what has a row for
// each sequence is not, and what leaves the function is unpacked.

// WHOLE-NOT: packed
// WHOLE-NOT: token_places

// CHECK: module attributes {pst.token_capacity = 5 : i64}
// CHECK-LABEL: func.func @forward(
// CHECK-SAME: %[[IDS:.*]]: tensor<2x3xi32> {{.*}}, %[[MASK:.*]]: tensor<2x3xi32>
// CHECK: nn.token_places %[[MASK]] : tensor<2x3xi32> -> tensor<5xi32>, tensor<3xi32>
// CHECK: nn.embedding %[[IDS]], %{{.*}} -> tensor<6x4xf32, #nn.packed<5>>
// CHECK: nn.linear {{.*}} -> tensor<6x4xf32, #nn.packed<5>>
// CHECK: %[[Z:.*]] = nn.attention {{.*}} : tensor<6x4xf32, #nn.packed<5>>, tensor<2x3xi32>
// CHECK: %[[S:.*]] = nn.select_token %[[Z]] index 0 : tensor<6x4xf32, #nn.packed<5>> -> tensor<2x4xf32>
// CHECK: %[[LOSS:.*]] = nn.cross_entropy %[[S]]
// CHECK: %[[HIDDEN:.*]] = nn.unpack_tokens %[[Z]] : tensor<6x4xf32, #nn.packed<5>> -> tensor<6x4xf32>
// CHECK: return %[[LOSS]], %[[S]], %[[HIDDEN]]

// Gradients have the types of what they are gradients of.
// BACKWARD-LABEL: func.func @forward_backward(
// BACKWARD: nn.select_token_backward {{.*}} -> tensor<6x4xf32, #nn.packed<5>>
// BACKWARD: nn.attention_backward
// BACKWARD: nn.matmul {{.*}} {transpose_lhs} : tensor<6x4xf32, #nn.packed<5>>, tensor<6x4xf32, #nn.packed<5>> -> tensor<4x4xf32>

// Buffers are of the capacity, each kernel is told which tokens there are, and
// its loops end at their number.
// KERNELS-LABEL: func.func @forward(
// KERNELS: %[[T:.*]]:2 = pst.launch @token_places_{{.*}} -> tensor<5xi32>, tensor<3xi32>
// KERNELS: %[[X:.*]] = pst.launch @embedding_{{.*}} ins(%[[T]]#0, %[[T]]#1, {{.*}} -> tensor<5x4xf32>
// KERNELS: pst.launch @linear_5x4_4x4 ins(%[[T]]#0, %[[T]]#1, %[[X]],
// KERNELS: pst.launch @cross_entropy_2x4_2xi32_f32 ins(%{{[0-9]+}}, %arg2, %arg3 :
// KERNELS-LABEL: func.func private @embedding_
// KERNELS-SAME: %[[PLACES:.*]]: memref<5xi32>, %[[STARTS:.*]]: memref<3xi32>, %{{.*}}: memref<2x3xi32>
// KERNELS: %[[LAST:.*]] = memref.load %[[STARTS]]
// KERNELS: %[[COUNT:.*]] = arith.index_cast %[[LAST]] : i32 to index
// KERNELS: %[[END:.*]] = arith.minsi %{{.*}}, %[[COUNT]]
// KERNELS: scf.for %[[ROW:.*]] = %{{.*}} to %[[END]]
// KERNELS: memref.load %[[PLACES]][%[[ROW]]]
func.func @forward(%ids: tensor<2x3xi32> {pst.name = "input_ids"},
                   %mask: tensor<2x3xi32> {pst.name = "attention_mask"},
                   %labels: tensor<2xi32> {pst.name = "labels"},
                   %scale: f32 {pst.name = "loss_scale"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<2x4xf32> {pst.name = "logits"}, tensor<6x4xf32> {pst.name = "hidden"}) {
  %table = pst.load @t : tensor<9x4xf32>
  %w = pst.load @w : tensor<4x4xf32>
  %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32>
  %y = nn.linear %x, %w : tensor<6x4xf32>, tensor<4x4xf32> -> tensor<6x4xf32>
  %z = nn.attention %y, %y, %y, %mask heads 2 : tensor<6x4xf32>, tensor<2x3xi32>
  %s = nn.select_token %z index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
  %loss = nn.cross_entropy %s, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss, %s, %z : tensor<f32>, tensor<2x4xf32>, tensor<6x4xf32>
}
pst.parameter @t frozen init<normal 1.0> : tensor<9x4xf32>
pst.parameter @w trainable init<normal 1.0> : tensor<4x4xf32>
