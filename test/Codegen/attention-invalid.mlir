// RUN: pst-opt %s --pst-emit-cpu-kernels --verify-diagnostics --split-input-file

// Scratch on the stack is bounded, whatever the length: keys come in tiles. What
// even a tile does not fit is an error at compile time, not a crash.

func.func @forward(%q: tensor<128x8192xf32>, %mask: tensor<1x128xi32>) -> tensor<128x8192xf32> {
  // expected-error @+2 {{'nn.attention' op needs 5263360 bytes of scratch for 64 keys of a head of 8192 columns, but at most 2097152 are there; use more, narrower heads}}
  // expected-error @+1 {{'nn.attention' op has no kernel for CPUs}}
  %y = nn.attention %q, %q, %q, %mask heads 1 : tensor<128x8192xf32>, tensor<1x128xi32>
  return %y : tensor<128x8192xf32>
}

// -----

func.func @backward(%q: tensor<128x8192xf32>, %mask: tensor<1x128xi32>) -> tensor<128x8192xf32> {
  // expected-error @+2 {{'nn.attention_backward' op needs 7900160 bytes of scratch for 64 keys of a head of 8192 columns}}
  // expected-error @+1 {{'nn.attention_backward' op has no kernel for CPUs}}
  %dq, %dk, %dv = nn.attention_backward %q, %q, %q, %mask, %q heads 1 : tensor<128x8192xf32>, tensor<1x128xi32>
  return %dq : tensor<128x8192xf32>
}
