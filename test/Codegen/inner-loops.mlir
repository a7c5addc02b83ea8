// The inner loops of the products, as code. Dense: each vector of the register
// tile is in a register of its own from the first step of the depth to the last,
// four steps unrolled, and nothing is on the stack. Compressed: what is
// multiplied comes straight from memory, into as many sums as instructions.

// REQUIRES: pst-compile
// RUN: pst-compile %s --emit=asm --mtriple=x86_64-linux-gnu --mcpu=x86-64-v3 --products=packed | %python %S/Inputs/inner_loops.py | FileCheck %s --check-prefix=AVX2
// RUN: pst-compile %s --emit=asm --mtriple=x86_64-linux-gnu --mcpu=znver4 --products=packed | %python %S/Inputs/inner_loops.py | FileCheck %s --check-prefix=AVX512
// RUN: pst-compile %s --emit=asm --mtriple=aarch64-linux-gnu --mcpu=neoverse-n1 --products=packed | %python %S/Inputs/inner_loops.py | FileCheck %s --check-prefix=NEON
// RUN: pst-compile %s --emit=asm --mtriple=x86_64-linux-gnu --mcpu=x86-64-v3 --products=compressed | %python %S/Inputs/inner_loops.py | FileCheck %s --check-prefix=SPARSE
// RUN: pst-compile %s --emit=asm --mtriple=x86_64-linux-gnu --mcpu=znver4 --products=compressed | %python %S/Inputs/inner_loops.py | FileCheck %s --check-prefix=SPARSE

// AVX2-DAG: {{^}}matmul_200x512_512x512..{{.*}}: 48 fma, 12 accumulators, {{[0-9]+}} from memory, 0 spilled
// AVX2-DAG: {{^}}masked_matmul_200x512_512x512_512x8_8x512_f32_i64_lora..{{.*}}: 48 fma, 12 accumulators, {{[0-9]+}} from memory, 0 spilled
// AVX2-DAG: {{^}}masked_matmul_200x512_512x512_512x8_8x512_f32_i64_lora_transposed..{{.*}}: 48 fma, 12 accumulators, {{[0-9]+}} from memory, 0 spilled
// AVX2-DAG: {{^}}lowrank_accumulate_200x512_512x512_512x8_8x512_f32_i64_lora_wrt2..{{.*}}: 48 fma, 12 accumulators, {{[0-9]+}} from memory, 0 spilled

// AVX512-DAG: {{^}}matmul_200x512_512x512..{{.*}}: 96 fma, 24 accumulators, {{[0-9]+}} from memory, 0 spilled
// AVX512-DAG: {{^}}masked_matmul_200x512_512x512_512x8_8x512_f32_i64_lora..{{.*}}: 96 fma, 24 accumulators, {{[0-9]+}} from memory, 0 spilled
// AVX512-DAG: {{^}}masked_matmul_200x512_512x512_512x8_8x512_f32_i64_lora_transposed..{{.*}}: 96 fma, 24 accumulators, {{[0-9]+}} from memory, 0 spilled
// AVX512-DAG: {{^}}lowrank_accumulate_200x512_512x512_512x8_8x512_f32_i64_lora_wrt2..{{.*}}: 96 fma, 24 accumulators, {{[0-9]+}} from memory, 0 spilled

// NEON-DAG: {{^}}matmul_200x512_512x512..{{.*}}: 64 fma, 16 accumulators, {{[0-9]+}} from memory, 0 spilled
// NEON-DAG: {{^}}masked_matmul_200x512_512x512_512x8_8x512_f32_i64_lora..{{.*}}: 64 fma, 16 accumulators, {{[0-9]+}} from memory, 0 spilled
// NEON-DAG: {{^}}masked_matmul_200x512_512x512_512x8_8x512_f32_i64_lora_transposed..{{.*}}: 64 fma, 16 accumulators, {{[0-9]+}} from memory, 0 spilled
// NEON-DAG: {{^}}lowrank_accumulate_200x512_512x512_512x8_8x512_f32_i64_lora_wrt2..{{.*}}: 64 fma, 16 accumulators, {{[0-9]+}} from memory, 0 spilled

// SPARSE: stored_matmul_200x512_{{.*}}: [[N:[0-9]+]] fma, [[N]] accumulators, [[N]] from memory, 0 spilled

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  %m = math.absf %v : f32
  pst.yield weight %v score %m
}

func.func @dense(%x: tensor<200x512xf32>, %w: tensor<512x512xf32>) -> tensor<200x512xf32> {
  %y = nn.matmul %x, %w : tensor<200x512xf32>, tensor<512x512xf32> -> tensor<200x512xf32>
  return %y : tensor<200x512xf32>
}

func.func @masked(%x: tensor<200x512xf32>, %w: tensor<512x512xf32>, %u: tensor<512x8xf32>, %v: tensor<8x512xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<200x512xf32> {
  %y = pst.masked_matmul %x, @lora(%w, %u, %v) threshold(%tau, %cut) : tensor<200x512xf32>, (tensor<512x512xf32>, tensor<512x8xf32>, tensor<8x512xf32>) -> tensor<200x512xf32>
  return %y : tensor<200x512xf32>
}

func.func @transposed(%dy: tensor<200x512xf32>, %w: tensor<512x512xf32>, %u: tensor<512x8xf32>, %v: tensor<8x512xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<200x512xf32> {
  %dx = pst.masked_matmul %dy, @lora(%w, %u, %v) transposed threshold(%tau, %cut) : tensor<200x512xf32>, (tensor<512x512xf32>, tensor<512x8xf32>, tensor<8x512xf32>) -> tensor<200x512xf32>
  return %dx : tensor<200x512xf32>
}

func.func @accumulate(%dy: tensor<200x512xf32>, %x: tensor<200x512xf32>, %w: tensor<512x512xf32>, %u: tensor<512x8xf32>, %v: tensor<8x512xf32>, %tau: tensor<f32>, %cut: tensor<i64>) -> tensor<8x512xf32> {
  %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) threshold(%tau, %cut) wrt [2] : tensor<200x512xf32>, tensor<200x512xf32>, (tensor<512x512xf32>, tensor<512x8xf32>, tensor<8x512xf32>) -> tensor<8x512xf32>
  return %dv : tensor<8x512xf32>
}
