// from=import
func.func @forward(%ids: tensor<2x3xi32> {pst.name = "input_ids"},
                   %mask: tensor<2x3xi32> {pst.name = "attention_mask"},
                   %labels: tensor<2xi32> {pst.name = "labels"},
                   %scale: f32 {pst.name = "loss_scale"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<2x4xf32> {pst.name = "logits"}, tensor<6x4xf32> {pst.name = "hidden"}) {
  %table = pst.load @t : tensor<9x4xf32>
  %w = pst.load @w : tensor<4x4xf32>
  %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32>
  %y = nn.linear %x, %w : tensor<6x4xf32>, tensor<4x4xf32> -> tensor<6x4xf32>
  %z = nn.attention %y, %y, %y, %mask heads 2 : tensor<6x4xf32>, tensor<2x3xi32>
  %s = nn.select_token %z index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
  %loss = nn.cross_entropy %s, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss, %s, %z : tensor<f32>, tensor<2x4xf32>, tensor<6x4xf32>
}
pst.parameter @t frozen init<normal 1.0> : tensor<9x4xf32>
pst.parameter @w trainable init<normal 1.0> : tensor<4x4xf32>
