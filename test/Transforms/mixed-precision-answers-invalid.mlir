// RUN: pst-opt %s --verify-diagnostics --pst-mixed-precision=type=bf16

// An op that says nothing is not passed over in silence.
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // expected-error@+1 {{'math.exp' op does not say which of its operands and results are activations (ActivationOpInterface), so these cannot be made bf16}}
  %y = math.exp %x : tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}
