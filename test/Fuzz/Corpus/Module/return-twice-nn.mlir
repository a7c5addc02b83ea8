// from=import
func.func @f(%x: tensor<3x4xf32>) -> (tensor<3x4xf32>, tensor<3x4xf32>) {
  %0 = nn.activation relu %x : tensor<3x4xf32>
  return %0, %0 : tensor<3x4xf32>, tensor<3x4xf32>
}
