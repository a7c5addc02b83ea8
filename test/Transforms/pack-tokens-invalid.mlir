// RUN: pst-opt %s -split-input-file -verify-diagnostics -pst-pack-tokens=capacity=2

// expected-error@+1 {{a batch must have room for the 3 tokens of one sequence, but has room for 2 (--token_capacity)}}
func.func @forward(%ids: tensor<2x3xi32>, %mask: tensor<2x3xi32> {pst.name = "attention_mask"}) {
  return
}

// -----

func.func @forward(%ids: tensor<3x2xi32>, %table: tensor<9x4xf32>, %mask: tensor<3x2xi32> {pst.name = "attention_mask"}) -> tensor<6x4xf32> {
  %x = nn.embedding %ids, %table : tensor<3x2xi32>, tensor<9x4xf32> -> tensor<6x4xf32>
  // expected-error@+1 {{'arith.negf' op reads tokens, but only ops of nn and pst do so without padding (leave --token_capacity out)}}
  %y = arith.negf %x : tensor<6x4xf32>
  return %y : tensor<6x4xf32>
}
