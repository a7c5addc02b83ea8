// from=import target=cuda weight_rank=15 selection=block:15x15
pst.parameter @w frozen init<file "w"> {pst.sparsify} : tensor<15x5xf32>
pst.parameter @bias trainable init<zeros> : tensor<15xf32>
func.func @forward(%x: tensor<15x5xf32> {pst.name = "x"},
                   %labels: tensor<15xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<15x15xf32> {pst.name = "logits"}) {
  %w = pst.load @w : tensor<15x5xf32>
  %b = pst.load @bias : tensor<15xf32>
  %d = nn.dropout %x, %seed probability 0.5 site 0 : tensor<15x5xf32>
  %y = nn.linear %w, %w bias(%b : tensor<15xf32>) : tensor<15x5xf32>, tensor<15x5xf32> -> tensor<15x15xf32>
  %loss = nn.cross_entropy %y, %labels, %loss_scale : tensor<15x15xf32>, tensor<15xi32>
  return %loss, %y : tensor<f32>, tensor<15x15xf32>
}
