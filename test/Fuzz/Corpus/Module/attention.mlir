// from=optimizer
func.func @heads(%q: tensor<128x96xf32>, %mask: tensor<2x64xi32>, %seed: i64) -> (tensor<128x96xf32>, tensor<128x96xf32>, tensor<128x96xf32>) {
  %y = nn.attention %q, %q, %q, %mask heads 3 : tensor<128x96xf32>, tensor<2x64xi32>
  %dq, %dk, %dv = nn.attention_backward %q, %q, %q, %mask, %y heads 3 dropout %seed probability 1.000000e-01 site 2 : tensor<128x96xf32>, tensor<2x64xi32>
  return %dq, %dk, %dv : tensor<128x96xf32>, tensor<128x96xf32>, tensor<128x96xf32>
}
