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

func.func @stored(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %v: tensor<20xf32>, %k: tensor<20xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>) -> tensor<5x4xf32> {
  // expected-error @below {{'pst.masked_matmul' op is offered a stored weight, but products on GPUs with virtual weights write them to a buffer: leave it out, or multiply by 'pst.stored_matmul'}}
  %y = pst.masked_matmul %x, @map(%w) stored(%v, %k, %c, %n) : tensor<5x3xf32>, (tensor<4x3xf32>) stored tensor<20xf32>, tensor<20xi8>, tensor<1x65xi32>, tensor<i32> -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %s = arith.addf %w, %uv : f32
  pst.yield weight %s
}

func.func @many_ranks(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x257xf32>, %v: tensor<257x3xf32>) -> tensor<4x257xf32> {
  // expected-error @below {{'pst.lowrank_accumulate' op has factors of rank 257, but a thread of a GPU sums at most 256 ranks; use a smaller one, or a CPU}}
  // expected-error @below {{'pst.lowrank_accumulate' op has no kernel for GPUs}}
  %g = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [1] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x257xf32>, tensor<257x3xf32>) -> tensor<4x257xf32>
  return %g : tensor<4x257xf32>
}
