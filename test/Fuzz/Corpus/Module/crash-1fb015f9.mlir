// from=import target=cuda weight_rank=2147483647 selection=block:2147483647x2147483647
pst.parameter @bias trainable init<zeros> : tensor<7xf32>
func.func @forward(%x: tensor<3x7xf32> {pst.name = "x"},
                   %labels: tensor<3xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "f32"},
                   %f32: i64 {pst.name = "f32"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<3x7xf32> {pst.name = "logits"}) {
  %w = pst.load @w : tensor<7x7xf32>
  %d = nn.dropout %x, %f32 probability 0.5 site 0 : tensor<3x7xf32>
  %b = pst.load @bias : tensor<7xf32>
  %col = nn.linear %d, %w bias(%b : tensor<7xf32>) : tensor<3x7xf32>, tensor<7x7xf32> -> tensor<3x7xf32>
  %loss = nn.cross_entropy %col, %labels, %loss_scale : tensor<3x7xf32>, tensor<3xi32>
  return %loss, %col : tensor<f32>, tensor<3x7xf32>
}
pst.parameter @w frozen init<file "w"> {pst.sparsify} : tensor<7x7xf32>
