// from=optimizer
func.func @packed(%mask: tensor<2x3xi32>, %ids: tensor<2x3xi32>, %table: tensor<9x4xf32>) -> tensor<6x4xf32> {
  %places, %starts = nn.token_places %mask : tensor<2x3xi32> -> tensor<5xi32>, tensor<3xi32>
  %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32, #nn.packed<5>>
  %y = nn.activation gelu %x : tensor<6x4xf32, #nn.packed<5>>
  %z = nn.unpack_tokens %y : tensor<6x4xf32, #nn.packed<5>> -> tensor<6x4xf32>
  return %z : tensor<6x4xf32>
}
