// from=optimizer
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}
func.func @forward(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>) -> tensor<256x96xf32> {
  %s:4 = pst.materialize @map(%w) threshold(%tau, %cut) pruned(%pruned) as compressed unordered
      : (tensor<96x64xf32>) -> tensor<585xf32>, tensor<585xi8>, tensor<2x65xi32>, tensor<i32>
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) stored(%s#0, %s#1, %s#2, %s#3)
      : tensor<256x64xf32>, (tensor<96x64xf32>) stored tensor<585xf32>, tensor<585xi8>, tensor<2x65xi32>, tensor<i32> -> tensor<256x96xf32>
  return %y : tensor<256x96xf32>
}
func.func @stored(%x: tensor<5x64xf32>, %w: tensor<96x64xf32>) -> tensor<5x96xf32> {
  %s:4 = pst.materialize @map(%w) as compressed : (tensor<96x64xf32>) -> tensor<6176xf32>, tensor<6176xi8>, tensor<2x65xi32>, tensor<i32>
  %y = pst.stored_matmul %x, compressed(%s#0, %s#1, %s#2, %s#3) : tensor<5x64xf32>, (tensor<6176xf32>, tensor<6176xi8>, tensor<2x65xi32>, tensor<i32>) -> tensor<5x96xf32>
  return %y : tensor<5x96xf32>
}
