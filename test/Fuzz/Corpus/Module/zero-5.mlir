// from=import
pst.criterion @magnitude(%w: dense) {
  %m = math.absf %w : f32
  pst.yield weight %w score %m
}
func.func @large(%w: tensor<300x1000xf32>, %sparsity: f64, %previous: tensor<f32>) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut, %pruned = pst.topk_threshold @magnitude(%w), %sparsity previous(%previous) : (tensor<300x1000xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}
func.func @small(%w: tensor<0x100xf32>, %sparsity: f64, %previous: tensor<f32>) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut, %pruned = pst.topk_threshold @magnitude(%w), %sparsity previous(%previous) : (tensor<0x100xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}
