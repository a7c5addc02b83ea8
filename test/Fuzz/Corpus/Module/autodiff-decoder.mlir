// from=import
pst.parameter @scale trainable init<file "s"> : tensor<3xf32>
pst.parameter @wq frozen init<file "q"> : tensor<8x3xf32>
pst.parameter @wk frozen init<file "k"> : tensor<4x3xf32>
func.func @forward(%x: tensor<10x3xf32>, %mask: tensor<2x5xi32>, %labels: tensor<10xi32>, %s: f32)
    -> (tensor<f32> {pst.name = "loss"}) {
  %f = arith.constant dense<[1.0]> : tensor<1xf32>
  %t = nn.rotary_table %f scale 1.0 : tensor<1xf32> -> tensor<5x2xf32>
  %scale = pst.load @scale : tensor<3xf32>
  %wq = pst.load @wq : tensor<8x3xf32>
  %wk = pst.load @wk : tensor<4x3xf32>
  %n = nn.rms_norm %x, %scale epsilon 1.0e-6 : tensor<10x3xf32>, tensor<3xf32>
  %q = nn.linear %n, %wq : tensor<10x3xf32>, tensor<8x3xf32> -> tensor<10x8xf32>
  %k = nn.linear %n, %wk : tensor<10x3xf32>, tensor<4x3xf32> -> tensor<10x4xf32>
  %r = nn.rotary %q, %t : tensor<10x8xf32>, tensor<5x2xf32>
  %a = nn.attention %r, %k, %k, %mask heads 4 causal window 3 : tensor<10x8xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  %g = nn.gated_activation silu %q, %a : tensor<10x8xf32>
  %loss = nn.cross_entropy %g, %labels, %s : tensor<10x8xf32>, tensor<10xi32>
  return %loss : tensor<f32>
}
