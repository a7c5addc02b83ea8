// from=import target=cuda
pst.parameter @frozen frozen init<file "frozen"> : tensor<3x3xf32>
pst.parameter @head trainable init<zeros> : tensor<7x3xf32>
pst.parameter @bias trainable init<zeros> : tensor<3xf32>
func.func @forward(%x: tensor<4611686018427387904x3xf32> {pst.name = "x"}, %labels: tensor<4611686018427387904xi32> {pst.name = "labels"}, %loss_scale: f32 {pst.name = "loss_scale"}) -> (tensor<f32> {pst.name = "loss"}) {
  %frozen = pst.load @frozen : tensor<3x3xf32>
  %bias = pst.load @bias : tensor<3xf32>
  %head = pst.load @head : tensor<7x3xf32>
  %y = nn.linear %x, %frozen bias(%bias : tensor<3xf32>) : tensor<4611686018427387904x3xf32>, tensor<3x3xf32> -> tensor<4611686018427387904x3xf32>
  %loss = nn.linear_cross_entropy %y, %head, %labels, %loss_scale : tensor<4611686018427387904x3xf32>, tensor<7x3xf32>, tensor<4611686018427387904xi32>
  return %loss : tensor<f32>
}
