// RUN: pst-opt %s --pst-emit-gpu-kernels --verify-diagnostics

func.func @wide_heads(%q: tensor<2x4096xf32>, %mask: tensor<1x2xi32>) -> tensor<2x4096xf32> {
  // expected-error @below {{'nn.attention' op has heads of 4096 columns, which do not fit the 49152 bytes of a block's shared memory; use more heads}}
  // expected-error @below {{'nn.attention' op has no kernel for GPUs}}
  %y = nn.attention %q, %q, %q, %mask heads 1 : tensor<2x4096xf32>, tensor<1x2xi32>
  return %y : tensor<2x4096xf32>
}
