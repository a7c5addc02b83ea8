// from=import
pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x8xf32>
pst.parameter @b frozen init<file "b"> {pst.sparsify} : tensor<6x4xf32>
func.func @forward(%x: tensor<2x8xf32>) -> tensor<2x6xf32> {
  %a = pst.load @a : tensor<4x8xf32>
  %h = nn.linear %x, %a : tensor<2x8xf32>, tensor<4x8xf32> -> tensor<2x4xf32>
  %b = pst.load @b : tensor<6x4xf32>
  %y = nn.linear %h, %b : tensor<2x4xf32>, tensor<6x4xf32> -> tensor<2x6xf32>
  return %y : tensor<2x6xf32>
}
