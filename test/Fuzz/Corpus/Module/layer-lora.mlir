// from=import method=lora weight_rank=2 recompute=all
pst.parameter @w frozen init<file "w"> {pst.sparsify} : tensor<7x5xf32>
pst.parameter @bias trainable init<zeros> : tensor<7xf32>
func.func @forward(%x: tensor<3x5xf32> {pst.name = "x"},
                   %labels: tensor<3xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<3x7xf32> {pst.name = "logits"}) {
  %w = pst.load @w : tensor<7x5xf32>
  %b = pst.load @bias : tensor<7xf32>
  %d = nn.dropout %x, %seed probability 0.5 site 0 : tensor<3x5xf32>
  %y = nn.linear %d, %w bias(%b : tensor<7xf32>) : tensor<3x5xf32>, tensor<7x5xf32> -> tensor<3x7xf32>
  %loss = nn.cross_entropy %y, %labels, %loss_scale : tensor<3x7xf32>, tensor<3xi32>
  return %loss, %y : tensor<f32>, tensor<3x7xf32>
}
