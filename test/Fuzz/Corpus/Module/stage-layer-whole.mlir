// from=import method=dense
module attributes {pst.final_sparsity = 0.5} {
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], final_sparsity = 0.5, kinds = ["dense"], pruned = "w.n", selection = #pst.selection<topk layer>, sparsity_input = "s", state = ["w.t", "w.c"]}} : tensor<4x3xf32>
pst.parameter @w.t state init<zeros> : tensor<f32>
pst.parameter @w.c state init<zeros> : tensor<i64>
pst.parameter @w.n state init<zeros> : tensor<i64>
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x4xf32> {
  %w = pst.load @w : tensor<4x3xf32>
  %y = nn.linear %x, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
}
