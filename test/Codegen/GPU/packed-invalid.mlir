// RUN: pst-opt %s -verify-diagnostics -pst-emit-gpu-kernels

func.func @rows(%ids: tensor<2x3xi32>, %table: tensor<9x4xf32>, %mask: tensor<2x3xi32>) -> tensor<6x4xf32> {
  // expected-error@+1 {{has no kernel for GPUs}}
  %places, %starts = nn.token_places %mask : tensor<2x3xi32> -> tensor<5xi32>, tensor<3xi32>
  %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32, #nn.packed<5>>
  %y = nn.unpack_tokens %x : tensor<6x4xf32, #nn.packed<5>> -> tensor<6x4xf32>
  return %y : tensor<6x4xf32>
}
