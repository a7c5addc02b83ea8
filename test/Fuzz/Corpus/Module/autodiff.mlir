// from=import
pst.parameter @frozen frozen init<file "f"> : tensor<3x3xf32>
pst.parameter @trained trainable init<file "t"> : tensor<4x3xf32>
func.func @forward(%x: tensor<2x3xf32>, %labels: tensor<2xi32>, %scale: f32, %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<2x4xf32>) {
  %f = pst.load @frozen : tensor<3x3xf32>
  %g = nn.linear %x, %f : tensor<2x3xf32>, tensor<3x3xf32> -> tensor<2x3xf32>
  %w = pst.load @trained : tensor<4x3xf32>
  %h = nn.linear %g, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  %a = nn.activation tanh %h : tensor<2x4xf32>
  %d = nn.dropout %h, %seed probability 0.1 site 5 : tensor<2x4xf32>
  %y = nn.add %a, %d : tensor<2x4xf32>
  %loss = nn.cross_entropy %y, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss, %y : tensor<f32>, tensor<2x4xf32>
}
