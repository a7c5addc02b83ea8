// from=import
pst.parameter @pst_sparsity state init<zeros> {pst.sparsity} : tensor<f32>
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}
func.func @layer(%x: tensor<0x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %bias: tensor<96xf32>)
    -> (tensor<0x96xf32>, tensor<0x64xf32>, tensor<0x96xf32>) {
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) bias(%bias) : tensor<0x64xf32>, (tensor<96x64xf32>) bias tensor<96xf32> -> tensor<0x96xf32>
  %dx = pst.masked_matmul %y, @map(%w) transposed threshold(%tau, %cut) : tensor<0x96xf32>, (tensor<96x64xf32>) -> tensor<0x64xf32>
  %all = pst.masked_matmul %x, @map(%w) : tensor<0x64xf32>, (tensor<96x64xf32>) -> tensor<0x96xf32>
  return %y, %dx, %all : tensor<0x96xf32>, tensor<0x64xf32>, tensor<0x96xf32>
}
func.func @few(%x: tensor<3x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<3x96xf32> {
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) : tensor<3x64xf32>, (tensor<96x64xf32>) -> tensor<3x96xf32>
  return %y : tensor<3x96xf32>
}
