// RUN: pst-opt %s -pst-bound-ids | FileCheck %s
// RUN: pst-opt %s -pst-bound-ids -pst-autodiff | FileCheck %s --check-prefix=BACKWARD

// The smallest table counts, whatever shape the ids come in and in whichever
// function they are looked up; labels may be anything, and so may what is no
// row of a table.

// CHECK: func.func @forward(%{{.*}}: tensor<6xi32> {pst.ids = 5 : i64}, %{{.*}}: tensor<6xi32>, %{{.*}}: f32)
// BACKWARD: func.func @forward_backward(%{{.*}}: tensor<6xi32> {pst.ids = 5 : i64}, %{{.*}}: tensor<6xi32>, %{{.*}}: f32)
pst.parameter @words trainable init<zeros> : tensor<9x4xf32>
pst.parameter @types trainable init<zeros> : tensor<5x4xf32>
func.func @forward(%ids: tensor<6xi32>, %labels: tensor<6xi32>, %scale: f32) -> tensor<f32> {
  %words = pst.load @words : tensor<9x4xf32>
  %types = pst.load @types : tensor<5x4xf32>
  %rows = tensor.expand_shape %ids [[0, 1]] output_shape [2, 3] : tensor<6xi32> into tensor<2x3xi32>
  %x = nn.embedding %rows, %words : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32>
  %y = nn.embedding %rows, %types : tensor<2x3xi32>, tensor<5x4xf32> -> tensor<6x4xf32>
  %z = nn.add %x, %y : tensor<6x4xf32>
  %loss = nn.cross_entropy %z, %labels, %scale : tensor<6x4xf32>, tensor<6xi32>
  return %loss : tensor<f32>
}

// CHECK: func.func @caller(%{{.*}}: tensor<1x2xi32> {pst.ids = 7 : i64}, %{{.*}}: tensor<7x3xf32>)
func.func @caller(%ids: tensor<1x2xi32>, %table: tensor<7x3xf32>) -> tensor<2x3xf32> {
  %x = func.call @look(%ids, %table) : (tensor<1x2xi32>, tensor<7x3xf32>) -> tensor<2x3xf32>
  return %x : tensor<2x3xf32>
}

// CHECK: func.func private @look(%{{.*}}: tensor<1x2xi32> {pst.ids = 7 : i64}, %{{.*}}: tensor<7x3xf32>)
func.func private @look(%ids: tensor<1x2xi32>, %table: tensor<7x3xf32>) -> tensor<2x3xf32> {
  %x = nn.embedding %ids, %table : tensor<1x2xi32>, tensor<7x3xf32> -> tensor<2x3xf32>
  return %x : tensor<2x3xf32>
}

// CHECK: func.func @gradient(%{{.*}}: tensor<1x2xi32> {pst.ids = 3 : i64}, %{{.*}}: tensor<2x4xf32>)
func.func @gradient(%ids: tensor<1x2xi32>, %g: tensor<2x4xf32>) -> tensor<3x4xf32> {
  %d = nn.embedding_backward %ids, %g : tensor<1x2xi32>, tensor<2x4xf32> -> tensor<3x4xf32>
  return %d : tensor<3x4xf32>
}

// Of a cache, what names sequences, positions and slots.
// CHECK: func.func @cached(
// CHECK-SAME: %{{.*}}: tensor<2x1xi32> {pst.ids = 3 : i64}, %{{.*}}: tensor<2x1xi32> {pst.ids = 4 : i64}, %{{.*}}: tensor<3x4xi32> {pst.ids = 9 : i64})
func.func @cached(%q: tensor<2x24xf32>, %c: tensor<9x12xf32>, %sequences: tensor<2x1xi32>, %positions: tensor<2x1xi32>, %slots: tensor<3x4xi32>) -> tensor<2x24xf32> {
  %y = nn.cached_attention %q, %c, %c at %sequences, %positions of %slots heads 4
      : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  return %y : tensor<2x24xf32>
}
