// RUN: pst-opt %s --split-input-file --verify-diagnostics --pst-mixed-precision=type=bf16
// RUN: not pst-opt %s --pst-mixed-precision=type=f16 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not pst-compile %s --precision=bf16 --emit=optimizer 2>&1 | FileCheck %s --check-prefix=TARGET

// REQUIRES: pst-compile

// TYPE: for the --type option: Cannot find option named 'f16'!
// TARGET: error: --precision bf16 is not for --target cpu, whose kernels compute in f32

// expected-error@+1 {{has a backward already, whose gradients would keep their type: run -pst-mixed-precision before -pst-autodiff}}
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  return %x : tensor<2x3xf32>
}
func.func @forward_backward(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  return %x : tensor<2x3xf32>
}
