// from=optimizer
func.func @loss(%x: tensor<3x2xf32>, %labels: tensor<3xi32>, %scale: f32) -> tensor<f32> {
  %loss = nn.cross_entropy %x, %labels, %scale : tensor<3x2xf32>, tensor<3xi32>
  return %loss : tensor<f32>
}
