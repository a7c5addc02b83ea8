// RUN: pst-opt %s --pst-emit-cpu-kernels --verify-diagnostics --split-input-file

// Scratch on the stack is bounded: an error at compile time, not a crash.

func.func @forward(%q: tensor<4096x64xf32>, %mask: tensor<1x4096xi32>) -> tensor<4096x64xf32> {
  // expected-error @+2 {{'nn.attention' op needs 2894848 bytes of scratch for a head of 4096 tokens x 64 columns, but at most 2097152 are there; shorten the sequence}}
  // expected-error @+1 {{'nn.attention' op has no kernel for CPUs}}
  %y = nn.attention %q, %q, %q, %mask heads 1 : tensor<4096x64xf32>, tensor<1x4096xi32>
  return %y : tensor<4096x64xf32>
}

// -----

func.func @backward(%q: tensor<2048x64xf32>, %mask: tensor<1x2048xi32>) -> tensor<2048x64xf32> {
  // expected-error @+2 {{'nn.attention_backward' op needs 2245632 bytes of scratch for a head of 2048 tokens x 64 columns}}
  // expected-error @+1 {{'nn.attention_backward' op has no kernel for CPUs}}
  %dq, %dk, %dv = nn.attention_backward %q, %q, %q, %mask, %q heads 1 : tensor<2048x64xf32>, tensor<1x2048xi32>
  return %dq : tensor<2048x64xf32>
}
