// from=import method=dense
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = [3], kinds = ["dense"]}} : tensor<4x3xf32>
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x4xf32> {
  %w = pst.load @w : tensor<4x3xf32>
  %y = nn.linear %x, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
