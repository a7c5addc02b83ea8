// RUN: pst-opt %s --pst-calibrate | FileCheck %s
// RUN: pst-opt %s --pst-calibrate="exclude_modules=a" | FileCheck %s --check-prefix=CHOSEN

// CHOSEN: func.func @calibrate(%{{.*}}: tensor<5x3xf32> {pst.name = "x"}) -> (tensor<3xf32> {pst.name = "b"})

// What marked layers read is measured, of the same input once for each; what
// else there was, the loss and its arguments, is gone.

pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @b frozen init<file "b"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @head trainable init<zeros> : tensor<2x4xf32>

// CHECK-LABEL: func.func @calibrate(
// CHECK-SAME:  %[[X:[a-z0-9]*]]: tensor<5x3xf32> {pst.name = "x"})
// CHECK-SAME:  -> (tensor<3xf32> {pst.name = "a"}, tensor<3xf32> {pst.name = "b"}) {
// CHECK-NEXT:  %[[A:.*]] = nn.column_sum %[[X]] squared : tensor<5x3xf32> -> tensor<3xf32>
// CHECK-NEXT:  %[[B:.*]] = nn.column_sum %[[X]] squared : tensor<5x3xf32> -> tensor<3xf32>
// CHECK-NEXT:  return %[[A]], %[[B]]
// CHECK-NOT:   @forward
func.func @forward(%x: tensor<5x3xf32> {pst.name = "x"}, %labels: tensor<5xi32> {pst.name = "labels"}, %s: f32 {pst.name = "loss_scale"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<5x2xf32> {pst.name = "logits"}) {
  %a = pst.load @a : tensor<4x3xf32>
  %b = pst.load @b : tensor<4x3xf32>
  %head = pst.load @head : tensor<2x4xf32>
  %y = nn.linear %x, %a : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %z = nn.linear %x, %b : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %sum = nn.add %y, %z : tensor<5x4xf32>
  %logits = nn.linear %sum, %head : tensor<5x4xf32>, tensor<2x4xf32> -> tensor<5x2xf32>
  %loss = nn.cross_entropy %logits, %labels, %s : tensor<5x2xf32>, tensor<5xi32>
  return %loss, %logits : tensor<f32>, tensor<5x2xf32>
}
