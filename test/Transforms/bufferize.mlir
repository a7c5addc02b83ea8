// RUN: pst-opt %s --one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" | FileCheck %s

// Gradients and spaces are written in place, a parameter's value never is, and
// a store is a copy to the parameter's buffer.

pst.parameter @w trainable init<zeros> : tensor<3xf32>
pst.parameter @s state init<zeros> : tensor<3xf32>

// CHECK-LABEL: func.func @f(
// CHECK-SAME: %[[X:.*]]: memref<3xf32>)
func.func @f(%x: tensor<3xf32>) -> tensor<3xf32> {
  // CHECK: %[[G:.*]] = pst.buffer @w gradient : memref<3xf32>
  // CHECK: pst.launch @k ins(%[[X]] : memref<3xf32>) outs(%[[G]] : memref<3xf32>)
  %g = pst.load @w gradient : tensor<3xf32>
  %0 = pst.launch @k ins(%x : tensor<3xf32>) outs(%g : tensor<3xf32>) -> tensor<3xf32>
  // CHECK: %[[W:.*]] = pst.buffer @w : memref<3xf32>
  // CHECK: %[[COPY:.*]] = memref.alloc()
  // CHECK: memref.copy %[[W]], %[[COPY]]
  // CHECK: pst.launch @k ins(%[[X]] : memref<3xf32>) outs(%[[COPY]] : memref<3xf32>)
  %w = pst.load @w : tensor<3xf32>
  %1 = pst.launch @k ins(%x : tensor<3xf32>) outs(%w : tensor<3xf32>) -> tensor<3xf32>
  // CHECK: %[[S:.*]] = pst.buffer @s : memref<3xf32>
  // CHECK: memref.copy %[[COPY]], %[[S]]
  pst.store %1, @s : tensor<3xf32>
  // CHECK: %[[P:.*]] = pst.space "moment1" : memref<3xf32>
  // CHECK: pst.launch @k ins(%[[X]] : memref<3xf32>) outs(%[[P]] : memref<3xf32>)
  %p = pst.space "moment1" : tensor<3xf32>
  %2 = pst.launch @k ins(%x : tensor<3xf32>) outs(%p : tensor<3xf32>) -> tensor<3xf32>
  return %1 : tensor<3xf32>
}
func.func private @k(memref<3xf32>, memref<3xf32>)
