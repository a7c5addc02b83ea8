// from=import vector_width=16
pst.criterion @c(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}
func.func @select(%f0: tensor<214x384xf32>, %f1: tensor<214x384xf32>, %sparsity: f64) -> (tensor<f32>, tensor<i64>, tensor<214x384xf32>) {
  %tau, %cut, %pruned = pst.topk_threshold @c(%f0, %f1), %sparsity : (tensor<214x384xf32>, tensor<214x384xf32>)
  %w = pst.masked_weight @c(%f0, %f1) threshold(%tau, %cut) : (tensor<214x384xf32>, tensor<214x384xf32>) -> tensor<214x384xf32>
  return %tau, %cut, %w : tensor<f32>, tensor<i64>, tensor<214x384xf32>
}
