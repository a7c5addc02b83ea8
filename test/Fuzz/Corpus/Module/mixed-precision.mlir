// from=import
pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}
pst.parameter @words frozen init<file "words"> : tensor<9x3xf32>
pst.parameter @scale trainable init<constant 1.0> : tensor<3xf32>
pst.parameter @w frozen init<file "w"> : tensor<4x3xf32>
pst.parameter @u trainable init<zeros> : tensor<4x2xf32>
pst.parameter @v trainable init<normal 1.0> : tensor<2x3xf32>
pst.parameter @head trainable init<normal 1.0> : tensor<2x4xf32>
func.func @forward(%ids: tensor<2x5xi32>, %extra: tensor<2x4xf32>, %labels: tensor<2xi32>, %s: f32)
    -> (tensor<f32>, tensor<2x2xf32>, tensor<2x4xf32>) {
  %words = pst.load @words : tensor<9x3xf32>
  %scale = pst.load @scale : tensor<3xf32>
  %w = pst.load @w : tensor<4x3xf32>
  %u = pst.load @u : tensor<4x2xf32>
  %v = pst.load @v : tensor<2x3xf32>
  %head = pst.load @head : tensor<2x4xf32>
  %x = nn.embedding %ids, %words : tensor<2x5xi32>, tensor<9x3xf32> -> tensor<10x3xf32>
  %n = nn.layer_norm %x, %scale, %scale epsilon 1.0e-12 : tensor<10x3xf32>, tensor<3xf32>
  %y = pst.masked_matmul %n, @lora(%w, %u, %v) : tensor<10x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<10x4xf32>
  %g = nn.activation gelu %y : tensor<10x4xf32>
  %c = nn.select_token %g index 0 : tensor<10x4xf32> -> tensor<2x4xf32>
  %sum = nn.add %c, %extra : tensor<2x4xf32>
  %logits = nn.linear %sum, %head : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x2xf32>
  %loss = nn.cross_entropy %logits, %labels, %s : tensor<2x2xf32>, tensor<2xi32>
  return %loss, %logits, %sum : tensor<f32>, tensor<2x2xf32>, tensor<2x4xf32>
}
