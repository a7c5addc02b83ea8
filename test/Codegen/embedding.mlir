// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// Kernels that move rows. The gradient of a table is cleared, then each
// column chunk takes all tokens in order, so no two threads add to one element.

func.func @tokens(%ids: tensor<4x5xi32>, %table: tensor<11x200xf32>, %positions: tensor<6x200xf32>) -> (tensor<11x200xf32>, tensor<4x200xf32>) {
  %x = nn.embedding %ids, %table : tensor<4x5xi32>, tensor<11x200xf32> -> tensor<20x200xf32>
  %y = nn.add_positions %x, %positions length 5 : tensor<20x200xf32>, tensor<6x200xf32>
  %s = nn.select_token %y index 4 : tensor<20x200xf32> -> tensor<4x200xf32>
  %d = nn.embedding_backward %ids, %y : tensor<4x5xi32>, tensor<20x200xf32> -> tensor<11x200xf32>
  return %d, %s : tensor<11x200xf32>, tensor<4x200xf32>
}

// An index is brought into the table before it is used.

// CHECK-LABEL: func.func private @embedding_4x5xi32_11x200_20x200(
// CHECK: scf.parallel
// CHECK: %[[LOW:.*]] = arith.maxsi %{{.*}}, %c0_i32
// CHECK: %[[INDEX:.*]] = arith.minsi %[[LOW]], %c10_i32
// CHECK: %[[ROW:.*]] = arith.index_cast %[[INDEX]]
// CHECK: vector.load %{{.*}}[%[[ROW]], %{{.*}}]

// CHECK-LABEL: func.func private @add_positions_20x200_6x200_first0_length5(
// CHECK-LABEL: func.func private @select_token_20x200_4x200_index4(
// CHECK-LABEL: func.func private @embedding_backward_4x5xi32_20x200_11x200(
// CHECK: scf.parallel (%{{.*}}) = (%c0) to (%c3) step (%c1)
// CHECK: scf.for %{{.*}} = %c0 to %c20 step %c1
