// from=optimizer
func.func @tokens(%ids: tensor<4x5xi32>, %table: tensor<11x200xf32>, %positions: tensor<6x200xf32>) -> (tensor<11x200xf32>, tensor<4x200xf32>) {
  %x = nn.embedding %ids, %table : tensor<4x5xi32>, tensor<11x200xf32> -> tensor<20x200xf32>
  %y = nn.add_positions %x, %positions length 5 : tensor<20x200xf32>, tensor<6x200xf32>
  %s = nn.select_token %y index 4 : tensor<20x200xf32> -> tensor<4x200xf32>
  %d = nn.embedding_backward %ids, %y : tensor<4x5xi32>, tensor<20x200xf32> -> tensor<11x200xf32>
  return %d, %s : tensor<11x200xf32>, tensor<4x200xf32>
}
