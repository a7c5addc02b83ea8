
// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @form(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<5x4xf32> {
  // expected-error @below {{'pst.masked_matmul' op is to be compressed, but products on GPUs read the masked weight from a buffer: leave the form out}}
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) as compressed : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}
