// from=optimizer
func.func @norms_and_gates(%x: tensor<10x6xf32>, %n: tensor<10x6xbf16>, %scale: tensor<6xf32>) {
  %y = nn.rms_norm %x, %scale epsilon 1.0e-6 : tensor<10x6xf32>, tensor<6xf32>
  %z = nn.rms_norm %n, %scale epsilon 1.0e-5 : tensor<10x6xbf16>, tensor<6xf32>
  %dx, %ds = nn.rms_norm_backward %x, %scale, %y epsilon 1.0e-5 : tensor<10x6xf32>, tensor<6xf32>
  %a = nn.activation silu %x : tensor<10x6xf32>
  %g = nn.gated_activation silu %n, %z : tensor<10x6xbf16>
  %dg = nn.gated_activation_backward gelu %x, %y, %a : tensor<10x6xf32>
  return
}
func.func @rotary(%f: tensor<3xf32>, %x: tensor<10x12xf32>) {
  %t = nn.rotary_table %f scale 1.0 : tensor<3xf32> -> tensor<5x6xf32>
  %y = nn.rotary %x, %t : tensor<10x12xf32>, tensor<5x6xf32>
  %d = nn.rotary %y, %t transposed : tensor<10x12xf32>, tensor<5x6xf32>
  return
}
func.func @grouped_queries(%q: tensor<10x12xf32>, %k: tensor<10x4xf32>, %mask: tensor<2x5xi32>, %seed: i64) {
  %a = nn.attention %q, %k, %k, %mask heads 6 causal : tensor<10x12xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  %b = nn.attention %q, %q, %q, %mask heads 3 causal window 2 dropout %seed probability 0.5 site 7 : tensor<10x12xf32>, tensor<2x5xi32>
  %d:3 = nn.attention_backward %q, %k, %k, %mask, %a heads 6 causal window 2 : tensor<10x12xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  return
}
