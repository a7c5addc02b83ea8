// RUN: pst-opt %s -split-input-file -verify-diagnostics

func.func @starts(%mask: tensor<2x3xi32>) {
  // expected-error@+1 {{'nn.token_places' op must have 3 starts, one more than the mask has rows, but got 2}}
  %p, %s = nn.token_places %mask : tensor<2x3xi32> -> tensor<5xi32>, tensor<2xi32>
  return
}

// -----

func.func @places(%mask: tensor<2x3xi32>) {
  // expected-error@+1 {{'nn.token_places' op must have at most 6 places, as many as the mask has elements, but got 7}}
  %p, %s = nn.token_places %mask : tensor<2x3xi32> -> tensor<7xi32>, tensor<3xi32>
  return
}

// -----

// expected-error@+1 {{#nn.packed<7> is of matrices with at least as many rows, and has room for one at least}}
func.func @capacity(%x: tensor<6x4xf32, #nn.packed<7>>) {
  return
}

// -----

// expected-error@+1 {{#nn.packed<0> is of matrices with at least as many rows, and has room for one at least}}
func.func @room(%x: tensor<6x4xf32, #nn.packed<0>>) {
  return
}

// -----

func.func @unpack(%x: tensor<6x4xf32, #nn.packed<5>>) -> tensor<6x5xf32> {
  // expected-error@+1 {{'nn.unpack_tokens' op must make of a packed matrix the same one that is not packed, but makes 'tensor<6x5xf32>' of 'tensor<6x4xf32, #nn.packed<5>>'}}
  %y = nn.unpack_tokens %x : tensor<6x4xf32, #nn.packed<5>> -> tensor<6x5xf32>
  return %y : tensor<6x5xf32>
}

// -----

func.func @mixed(%x: tensor<6x4xf32, #nn.packed<5>>, %w: tensor<3x4xf32>) -> tensor<6x3xf32> {
  // expected-error@+1 {{'nn.linear' op must have both input and result packed alike, but makes 'tensor<6x3xf32>' of 'tensor<6x4xf32, #nn.packed<5>>'}}
  %y = nn.linear %x, %w : tensor<6x4xf32, #nn.packed<5>>, tensor<3x4xf32> -> tensor<6x3xf32>
  return %y : tensor<6x3xf32>
}
