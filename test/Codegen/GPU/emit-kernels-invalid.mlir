// RUN: pst-opt %s --split-input-file --pst-emit-gpu-kernels --verify-diagnostics

func.func @wide_heads(%q: tensor<2x4096xf32>, %mask: tensor<1x2xi32>) -> tensor<2x4096xf32> {
  // expected-error @below {{'nn.attention' op has heads of 4096 columns, which do not fit the 49152 bytes of a block's shared memory; use more heads}}
  // expected-error @below {{'nn.attention' op has no kernel for GPUs}}
  %y = nn.attention %q, %q, %q, %mask heads 1 : tensor<2x4096xf32>, tensor<1x2xi32>
  return %y : tensor<2x4096xf32>
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @form(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<5x4xf32> {
  // expected-error @below {{'pst.masked_matmul' op is to be compressed, but products on GPUs read the masked weight from a buffer: leave the form out}}
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) as compressed : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}
