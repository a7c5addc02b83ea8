// RUN: pst-opt %s --pst-lower-launches --split-input-file --verify-diagnostics | FileCheck %s

// A launch on buffers is a call; declarations that have served are dropped.

// CHECK-NOT: pst.parameter
// CHECK-LABEL: func.func @f(
// CHECK-SAME: %[[X:.*]]: memref<3xf32>, %[[Y:.*]]: memref<3xf32>)
// CHECK-NEXT: call @k(%[[X]], %[[Y]]) : (memref<3xf32>, memref<3xf32>) -> ()
pst.parameter @w trainable init<zeros> : tensor<3xf32>
func.func @f(%x: memref<3xf32>, %y: memref<3xf32>) {
  pst.launch @k ins(%x : memref<3xf32>) outs(%y : memref<3xf32>)
  return
}
func.func private @k(memref<3xf32>, memref<3xf32>)

// -----

func.func @f(%x: tensor<3xf32>) -> tensor<3xf32> {
  %e = tensor.empty() : tensor<3xf32>
  // expected-error@+1 {{'pst.launch' op still works on tensors: bufferize before -pst-lower-launches}}
  %0 = pst.launch @k ins(%x : tensor<3xf32>) outs(%e : tensor<3xf32>) -> tensor<3xf32>
  return %0 : tensor<3xf32>
}
func.func private @k(memref<3xf32>, memref<3xf32>)
