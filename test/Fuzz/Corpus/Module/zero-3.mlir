// from=import
func.func @layers(%x: tensor<50x24xf32>, %w: tensor<4294967296x24xf32>, %b: tensor<4294967296xf32>) -> (tensor<50x4294967296xf32>, tensor<50x4294967296xf32>, tensor<4294967296x24xf32>) {
  %y = nn.linear %x, %w bias(%b : tensor<4294967296xf32>) : tensor<50x24xf32>, tensor<4294967296x24xf32> -> tensor<50x4294967296xf32>
  %z = nn.linear %x, %w bias(%b : tensor<4294967296xf32>) : tensor<50x24xf32>, tensor<4294967296x24xf32> -> tensor<50x4294967296xf32>
  %p = nn.linear %x, %w : tensor<50x24xf32>, tensor<4294967296x24xf32> -> tensor<50x4294967296xf32>
  %g = nn.matmul %p, %x {transpose_lhs} : tensor<50x4294967296xf32>, tensor<50x24xf32> -> tensor<4294967296x24xf32>
  return %y, %z, %g : tensor<50x4294967296xf32>, tensor<50x4294967296xf32>, tensor<4294967296x24xf32>
}
