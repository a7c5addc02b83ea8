// RUN: pst-opt %s -split-input-file -verify-diagnostics -pst-emit-cpu-kernels

// expected-error@+1 {{'func.func' op has packed matrices, but no nn.token_places that says which rows there are}}
func.func @rows(%ids: tensor<2x3xi32>, %table: tensor<9x4xf32>, %out: tensor<6x4xf32>) -> tensor<6x4xf32> {
  %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32, #nn.packed<5>>
  %y = nn.unpack_tokens %x : tensor<6x4xf32, #nn.packed<5>> -> tensor<6x4xf32>
  return %y : tensor<6x4xf32>
}

// -----

// expected-error@+1 {{'func.func' op takes or returns a packed matrix, which is known within a function only}}
func.func @argument(%x: tensor<6x4xf32, #nn.packed<5>>, %mask: tensor<2x3xi32>) {
  %places, %starts = nn.token_places %mask : tensor<2x3xi32> -> tensor<5xi32>, tensor<3xi32>
  return
}
