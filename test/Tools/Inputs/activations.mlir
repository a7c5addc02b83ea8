func.func @relu(%x: tensor<3x40xf32> {pst.name = "x"}) -> tensor<3x40xf32> {
  %y = nn.activation relu %x : tensor<3x40xf32>
  return %y : tensor<3x40xf32>
}
func.func @gelu(%x: tensor<3x40xf32> {pst.name = "x"}) -> tensor<3x40xf32> {
  %y = nn.activation gelu %x : tensor<3x40xf32>
  return %y : tensor<3x40xf32>
}
