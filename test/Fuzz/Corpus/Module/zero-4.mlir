// from=import
pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}
func.func @backward(%dy: tensor<40x4294967296xf32>, %x: tensor<40x50xf32>, %w: tensor<4294967296x50xf32>, %u: tensor<4294967296x3xf32>, %v: tensor<3x50xf32>) -> tensor<3x50xf32> {
  %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [2] : tensor<40x4294967296xf32>, tensor<40x50xf32>, (tensor<4294967296x50xf32>, tensor<4294967296x3xf32>, tensor<3x50xf32>) -> tensor<3x50xf32>
  return %dv : tensor<3x50xf32>
}
func.func @many_tokens(%dy: tensor<600x4294967296xf32>, %x: tensor<600x50xf32>, %w: tensor<4294967296x50xf32>, %u: tensor<4294967296x3xf32>, %v: tensor<3x50xf32>) -> tensor<3x50xf32> {
  %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [2] : tensor<600x4294967296xf32>, tensor<600x50xf32>, (tensor<4294967296x50xf32>, tensor<4294967296x3xf32>, tensor<3x50xf32>) -> tensor<3x50xf32>
  return %dv : tensor<3x50xf32>
}
