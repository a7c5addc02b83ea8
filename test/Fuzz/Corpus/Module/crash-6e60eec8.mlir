// from=import
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}
func.func @forward(%x: tensor<256x64xf32>, %w: tensor<0x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %sparsity: tensor<f32>) -> tensor<256x0xf32> {
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) : tensor<256x64xf32>, (tensor<0x64xf32>) -> tensor<256x0xf32>
  return %y : tensor<256x0xf32>
}
