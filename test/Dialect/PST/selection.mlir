// Every selection with the state that it asks for: round trips.
// RUN: pst-opt %s | pst-opt | FileCheck %s

pst.criterion @movement(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @selections(
func.func @selections(%x: tensor<5x8xf32>, %dy: tensor<5x6xf32>, %w: tensor<6x8xf32>,
    %tau: tensor<f32>, %cut: tensor<i64>, %taus: tensor<6xf32>, %cuts: tensor<6xi64>,
    %kept: tensor<i64>, %blocks: tensor<2x3xf32>, %rows: tensor<6x1xf32>) {
  // CHECK: pst.masked_weight @movement(%{{.*}}) threshold(%{{.*}}, %{{.*}}) : (
  %0 = pst.masked_weight @movement(%w, %w) selection<topk layer>(%tau, %cut : tensor<f32>, tensor<i64>)
      : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6x8xf32>
  // CHECK: pst.masked_weight @movement(%{{.*}}) selection<topk row>(%{{.*}}, %{{.*}} : tensor<6xf32>, tensor<6xi64>) : (
  %1 = pst.masked_weight @movement(%w, %w) selection<topk row>(%taus, %cuts : tensor<6xf32>, tensor<6xi64>)
      : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6x8xf32>
  // CHECK: pst.masked_weight @movement(%{{.*}}) selection<topk global>(%{{.*}}, %{{.*}} : tensor<f32>, tensor<i64>) : (
  %2 = pst.masked_weight @movement(%w, %w) selection<topk global>(%tau, %cut : tensor<f32>, tensor<i64>)
      : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6x8xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @movement(%{{.*}}) selection<nm 2:4>(%{{.*}} : tensor<i64>) : tensor<5x8xf32>
  %3 = pst.masked_matmul %x, @movement(%w, %w) selection<nm 2:4>(%kept : tensor<i64>)
      : tensor<5x8xf32>, (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<5x6xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @movement(%{{.*}}) transposed selection<block 3x3 max>(%{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<f32>, tensor<i64>) : tensor<5x6xf32>
  %4 = pst.masked_matmul %dy, @movement(%w, %w) transposed selection<block 3x3 max>(%blocks, %tau, %cut : tensor<2x3xf32>, tensor<f32>, tensor<i64>)
      : tensor<5x6xf32>, (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<5x8xf32>
  // CHECK: pst.lowrank_accumulate %{{.*}}, %{{.*}}, @movement(%{{.*}}) selection<rows mean>(%{{.*}}, %{{.*}}, %{{.*}} : tensor<6x1xf32>, tensor<f32>, tensor<i64>) wrt [1] :
  %5 = pst.lowrank_accumulate %dy, %x, @movement(%w, %w) selection<rows mean>(%rows, %tau, %cut : tensor<6x1xf32>, tensor<f32>, tensor<i64>) wrt [1]
      : tensor<5x6xf32>, tensor<5x8xf32>, (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6x8xf32>
  return
}

// What finds the state of a selection.
// CHECK-LABEL: func.func @find(
func.func @find(%w: tensor<6x8xf32>, %v: tensor<5x8xf32>, %sparsity: f64) {
  // CHECK: pst.row_thresholds @movement(%{{.*}}, %{{.*}}), %{{.*}} : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6xf32>, tensor<6xi64>
  %taus, %cuts, %pruned = pst.row_thresholds @movement(%w, %w), %sparsity : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6xf32>, tensor<6xi64>
  // CHECK: pst.block_scores @movement(%{{.*}}, %{{.*}}), <block 3x3 max> : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<2x3xf32>
  %scores = pst.block_scores @movement(%w, %w), <block 3x3 max> : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<2x3xf32>
  // CHECK: pst.common_threshold @movement(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}), %{{.*}} : (tensor<6x8xf32>, tensor<6x8xf32>, tensor<5x8xf32>, tensor<5x8xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
  %tau, %common:2, %counts:2 = pst.common_threshold @movement(%w, %w, %v, %v), %sparsity
      : (tensor<6x8xf32>, tensor<6x8xf32>, tensor<5x8xf32>, tensor<5x8xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
  // CHECK: pst.common_threshold @movement(%{{.*}}, %{{.*}}), %{{.*}} previous(%{{.*}}) : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>
  %next, %cut, %count = pst.common_threshold @movement(%w, %w), %sparsity previous(%tau)
      : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>
  return
}

// CHECK-LABEL: func.func @held(
func.func @held(%w: tensor<6x37xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %factor: tensor<f32>) -> tensor<6x37xf32> {
  // CHECK: %[[BITS:.*]] = pst.mask_bits @movement(%{{.*}}) threshold(%{{.*}}, %{{.*}}) : (tensor<6x37xf32>, tensor<6x37xf32>) -> tensor<6x2xi32>
  %bits = pst.mask_bits @movement(%w, %w) threshold(%tau, %cut) : (tensor<6x37xf32>, tensor<6x37xf32>) -> tensor<6x2xi32>
  // CHECK: pst.masked_weight @movement(%{{.*}}) selection<held>(%[[BITS]], %{{.*}} : tensor<6x2xi32>, tensor<f32>) :
  %0 = pst.masked_weight @movement(%w, %w) selection<held>(%bits, %factor : tensor<6x2xi32>, tensor<f32>)
      : (tensor<6x37xf32>, tensor<6x37xf32>) -> tensor<6x37xf32>
  return %0 : tensor<6x37xf32>
}
