// from=import
func.func @nt(%x: tensor<2048x1024xf32>, %w: tensor<2048x1024xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<2048x1024xf32>, tensor<2048x1024xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}
func.func @nn(%x: tensor<2048x1024xf32>, %w: tensor<1024x2048xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w : tensor<2048x1024xf32>, tensor<1024x2048xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}
func.func @tn(%x: tensor<1024x2048xf32>, %w: tensor<1024x2048xf32>) -> tensor<2048x2048xf32> {
  %y = nn.matmul %x, %w {transpose_lhs} : tensor<1024x2048xf32>, tensor<1024x2048xf32> -> tensor<2048x2048xf32>
  return %y : tensor<2048x2048xf32>
}
func.func @odd(%x: tensor<0x1021xf32>, %w: tensor<1021x0xf32>) -> tensor<0x0xf32> {
  %y = nn.matmul %x, %w : tensor<0x1021xf32>, tensor<1021x0xf32> -> tensor<0x0xf32>
  return %y : tensor<0x0xf32>
}
func.func @small(%x: tensor<100x766xf32>, %w: tensor<766x766xf32>) -> tensor<100x766xf32> {
  %y = nn.matmul %x, %w {transpose_rhs} : tensor<100x766xf32>, tensor<766x766xf32> -> tensor<100x766xf32>
  return %y : tensor<100x766xf32>
}
