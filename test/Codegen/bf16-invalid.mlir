// RUN: pst-opt %s --split-input-file --verify-diagnostics --pst-emit-cpu-kernels

// CPUs read weights of bf16, and compute nothing in it.

func.func @activation(%x: tensor<4x3xbf16>) -> tensor<4x3xbf16> {
  // expected-error@+1 {{'nn.activation' op has a result of bf16, but kernels for CPUs compute in f32; bf16 (--precision) is for the targets 'cuda' and 'emulated'}}
  %y = nn.activation relu %x : tensor<4x3xbf16>
  return %y : tensor<4x3xbf16>
}
