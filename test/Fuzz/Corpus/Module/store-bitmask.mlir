pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}
func.func @f(%x: tensor<5x70xf32>, %w: tensor<70x9xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<5x9xf32> {
  %s:5 = pst.materialize @map(%w) transposed threshold(%tau, %cut) as bitmask : (tensor<70x9xf32>) -> tensor<200xi8>, tensor<152xi8>, tensor<9x1xi32>, tensor<i32>, tensor<9xf32>
  %y = pst.stored_matmul %x, bitmask(%s#0, %s#1, %s#2, %s#3, %s#4) activation gelu : tensor<5x70xf32>, (tensor<200xi8>, tensor<152xi8>, tensor<9x1xi32>, tensor<i32>, tensor<9xf32>) -> tensor<5x9xf32>
  return %y : tensor<5x9xf32>
}
