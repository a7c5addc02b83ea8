// RUN: pst-opt %s --verify-diagnostics --pst-calibrate

// expected-error@+1 {{'func.func' op has no linear layer whose inputs could be measured}}
func.func @forward(%x: tensor<5x3xf32>) -> tensor<5x3xf32> {
  return %x : tensor<5x3xf32>
}
