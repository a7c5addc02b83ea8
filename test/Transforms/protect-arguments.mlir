// RUN: pst-opt %s --pst-protect-arguments | FileCheck %s

// What callers give is read only; what the program passes around is its own.

// CHECK: func.func @entry(%{{.*}}: tensor<3xf32> {bufferization.writable = false, pst.name = "x"}, %{{.*}}: f32 {bufferization.writable = false})
func.func @entry(%x: tensor<3xf32> {pst.name = "x"}, %s: f32) -> tensor<3xf32> {
  %y = func.call @inner(%x) : (tensor<3xf32>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}
// CHECK: func.func private @inner(%{{.*}}: tensor<3xf32>) -> tensor<3xf32>
func.func private @inner(%x: tensor<3xf32>) -> tensor<3xf32> {
  return %x : tensor<3xf32>
}
// CHECK: func.func private @elsewhere(tensor<3xf32>)
func.func private @elsewhere(tensor<3xf32>)
