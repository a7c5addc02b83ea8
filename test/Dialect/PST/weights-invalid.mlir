// RUN: pst-opt %s --split-input-file --verify-diagnostics

// One case for each constraint of the operations on virtual weights.

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @topk_threshold_c1(%w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>, %s: f64) {
  // expected-error@+1 {{'pst.topk_threshold' op selects by a score, but @lora yields none}}
  %tau, %cut, %pruned = pst.topk_threshold @lora(%w, %u, %v), %s : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>)
  return
}

// -----

// expected-note@+1 {{criterion declared here}}
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @topk_threshold_c2(%w: tensor<4x3xf32>, %s: f64) {
  // expected-error@+1 {{'pst.topk_threshold' op has 2 factor tensors, but @map reads 1}}
  %tau, %cut, %pruned = pst.topk_threshold @map(%w, %w), %s : (tensor<4x3xf32>, tensor<4x3xf32>)
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @topk_threshold_c3_factors(%w: tensor<4x3xf32>, %s: f64) {
  // expected-error@+1 {{'pst.topk_threshold' op must have 1 factor tensors for each of its 2 sparsities, but got 3}}
  %tau:2, %cut:2, %pruned:2 = pst.topk_threshold @map(%w, %w, %w), %s, %s : (tensor<4x3xf32>, tensor<4x3xf32>, tensor<4x3xf32>)
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @topk_threshold_c3_previous(%w: tensor<4x3xf32>, %s: f64, %t: tensor<f32>) {
  // expected-error@+1 {{'pst.topk_threshold' op must have a previous threshold for each of its 2 layers, but got 1}}
  %tau:2, %cut:2, %pruned:2 = pst.topk_threshold @map(%w, %w), %s, %s previous(%t) : (tensor<4x3xf32>, tensor<4x3xf32>)
  return
}

// -----

func.func @criterion_symbol(%w: tensor<4x3xf32>, %s: f64) {
  // expected-error@+1 {{'pst.topk_threshold' op names @map, which is no 'pst.criterion'}}
  %tau, %cut, %pruned = pst.topk_threshold @map(%w), %s : (tensor<4x3xf32>)
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @masked_matmul_c1_left(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<3x2xf32>, %v: tensor<2x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #1 (lowrank) must have 4 rows on the left, as the 4x3 weight has, but got 'tensor<3x2xf32>'}}
  %y = pst.masked_matmul %x, @lora(%w, %u, %v) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<3x2xf32>, tensor<2x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @masked_matmul_c1_right(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x4xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #1 (lowrank) must have 3 columns on the right, as the 4x3 weight has, but got 'tensor<2x4xf32>'}}
  %y = pst.masked_matmul %x, @lora(%w, %u, %v) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x4xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @masked_matmul_c1_rank(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<1x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #1 (lowrank) must have one rank on both sides, but got 'tensor<4x2xf32>' and 'tensor<1x3xf32>'}}
  %y = pst.masked_matmul %x, @lora(%w, %u, %v) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<1x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @two(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

func.func @masked_matmul_c1_dense(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %s: tensor<3x4xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #1 (dense) must have 4x3 elements, as the 4x3 weight has, but got 'tensor<3x4xf32>'}}
  %y = pst.masked_matmul %x, @two(%w, %s) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<3x4xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c1_matrix(%x: tensor<5x3xf32>, %w: tensor<12xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #0 (dense) must be a matrix, but got 'tensor<12xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<12xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c1_element(%x: tensor<5x3xf32>, %w: tensor<4x3xi32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #0 (dense) must have elements of type f32 or bf16, but got 'tensor<4x3xi32>'}}
  %y = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xi32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @vectors(%w: dense, %r: row, %c: col) {
  %v = arith.addf %r, %c : f32
  pst.yield weight %w score %v
}

func.func @masked_matmul_c1_row(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %r: tensor<3xf32>, %c: tensor<3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #1 (row) must have 4 elements, as the 4x3 weight has, but got 'tensor<3xf32>'}}
  %y = pst.masked_matmul %x, @vectors(%w, %r, %c) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @vectors(%w: dense, %r: row, %c: col) {
  %v = arith.addf %r, %c : f32
  pst.yield weight %w score %v
}

func.func @masked_matmul_c1_col(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %r: tensor<4xf32>, %c: tensor<1x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op factor #2 (col) must have 3 elements, as the 4x3 weight has, but got 'tensor<1x3xf32>'}}
  %y = pst.masked_matmul %x, @vectors(%w, %r, %c) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4xf32>, tensor<1x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c2_input(%x: tensor<5x4xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have an input of type 'tensor<5x3xf32>', but got 'tensor<5x4xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) : tensor<5x4xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c2_transposed_input(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have an input of type 'tensor<5x4xf32>', but got 'tensor<5x3xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) transposed : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c2_result(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have a result of type 'tensor<5x4xf32>', but got 'tensor<5x3xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c3(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.masked_matmul' op selects by a score, but @dense yields none}}
  %y = pst.masked_matmul %x, @dense(%w) threshold(%tau, %cut) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @masked_matmul_c3_state(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have, for #pst.selection<topk row> of a 4 x 3 weight, the state ('tensor<4xf32>', 'tensor<4xi64>'), but got ('tensor<f32>')}}
  %y = pst.masked_matmul %x, @map(%w) selection<topk row>(%tau : tensor<f32>) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @masked_matmul_c5(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %pruned: tensor<i64>) {
  // expected-error@+1 {{'pst.masked_matmul' op counts pruned elements, but has no selection, which would prune them}}
  %y = pst.masked_matmul %x, @map(%w) pruned(%pruned) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_addend(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %a: tensor<5x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have an addend of the result's type 'tensor<5x4xf32>', but got 'tensor<5x3xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) addend(%a) : tensor<5x3xf32>, (tensor<4x3xf32>) addend tensor<5x3xf32> -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_activation(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{custom op 'pst.masked_matmul' expected string or keyword containing one of the following enum values for attribute 'activation' [gelu, gelu_tanh, tanh, relu, silu]}}
  %y = pst.masked_matmul %x, @dense(%w) activation swish : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c4_elements(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %b: tensor<3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have a bias of type 'tensor<4xf32>', but got 'tensor<3xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) bias(%b) : tensor<5x3xf32>, (tensor<4x3xf32>) bias tensor<3xf32> -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c4_transposed(%x: tensor<5x4xf32>, %w: tensor<4x3xf32>, %b: tensor<4xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have a bias of type 'tensor<3xf32>', but got 'tensor<4xf32>'}}
  %y = pst.masked_matmul %x, @dense(%w) transposed bias(%b) : tensor<5x4xf32>, (tensor<4x3xf32>) bias tensor<4xf32> -> tensor<5x3xf32>
  return
}

// -----

// expected-note@+1 {{criterion declared here}}
pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @lowrank_accumulate_c1(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op has 2 factor tensors, but @lora reads 3}}
  %du = pst.lowrank_accumulate %dy, %x, @lora(%w, %u) wrt [1]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>) -> tensor<4x2xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @lowrank_accumulate_c2_gradient(%dy: tensor<5x3xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op must have an output gradient of type 'tensor<5x4xf32>', but got 'tensor<5x3xf32>'}}
  %dw = pst.lowrank_accumulate %dy, %x, @dense(%w) wrt [0] : tensor<5x3xf32>, tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @lowrank_accumulate_c2_tokens(%dy: tensor<7x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op must have an output gradient of type 'tensor<5x4xf32>', but got 'tensor<7x4xf32>'}}
  %dw = pst.lowrank_accumulate %dy, %x, @dense(%w) wrt [0] : tensor<7x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @lowrank_accumulate_c2_input(%dy: tensor<5x4xf32>, %x: tensor<5x2xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op must have an input of type 'tensor<5x3xf32>', but got 'tensor<5x2xf32>'}}
  %dw = pst.lowrank_accumulate %dy, %x, @dense(%w) wrt [0] : tensor<5x4xf32>, tensor<5x2xf32>, (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @lowrank_accumulate_c3_missing(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op needs a selection, since @map yields a score}}
  %dw = pst.lowrank_accumulate %dy, %x, @map(%w) wrt [0] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @lowrank_accumulate_c3_given(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op selects by a score, but @dense yields none}}
  %dw = pst.lowrank_accumulate %dy, %x, @dense(%w) threshold(%tau, %cut) wrt [0] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @lowrank_accumulate_c4_order(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op 'wrt' must ascend within the 3 factor tensors}}
  %d:2 = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [2, 1]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>, tensor<4x2xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @lowrank_accumulate_c4_range(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op 'wrt' must ascend within the 3 factor tensors}}
  %d = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [3]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @lowrank_accumulate_c4_results(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op asks for 2 gradients, but has 1 results}}
  %d = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [1, 2]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x2xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @lowrank_accumulate_c4_types(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op result #0 must have type 'tensor<4x2xf32>', as factor tensor #1 has, but got 'tensor<2x3xf32>'}}
  %d = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [1]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @lowrank_accumulate_c3_alone(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op has the state of a selection, but none itself}}
  %d = "pst.lowrank_accumulate"(%dy, %x, %w, %cut) <{criterion = @dense, wrt = array<i64: 0>, operandSegmentSizes = array<i32: 1, 1, 1, 1>}>
      : (tensor<5x4xf32>, tensor<5x3xf32>, tensor<4x3xf32>, tensor<i64>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @two(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

func.func @masked_weight_c1(%w: tensor<4x3xf32>, %s: tensor<4x2xf32>) {
  // expected-error@+1 {{'pst.masked_weight' op factor #1 (dense) must have 4x3 elements, as the 4x3 weight has, but got 'tensor<4x2xf32>'}}
  %v = pst.masked_weight @two(%w, %s) : (tensor<4x3xf32>, tensor<4x2xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_weight_c1_result(%w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.masked_weight' op must have a result of type 'tensor<4x3xf32>', but got 'tensor<3x4xf32>'}}
  %v = pst.masked_weight @dense(%w) : (tensor<4x3xf32>) -> tensor<3x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_weight_c3(%w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.masked_weight' op selects by a score, but @dense yields none}}
  %v = pst.masked_weight @dense(%w) threshold(%tau, %cut) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}
// (C5)
func.func @f(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xbf16>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>) -> tensor<4x3xbf16> {
  // expected-error@+1 {{'pst.lowrank_accumulate' op has no gradient of factor tensor #0, which is only read, as 'tensor<4x3xbf16>'}}
  %dw = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [0] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xbf16>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xbf16>
  return %dw : tensor<4x3xbf16>
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c7_together(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have a seed, a probability and a site of its dropout, or none of them}}
  %y = pst.masked_matmul %x, @dense(%w) {probability = 0.5 : f64} : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c7_probability(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %seed: i64) {
  // expected-error@+1 {{'pst.masked_matmul' op must drop with a probability from 0 to below 1, but got 1.000000e+00}}
  %y = pst.masked_matmul %x, @dense(%w) dropout(%seed) probability 1.0 site 3 : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c8_keeps_nothing(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %z: tensor<5x4xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op keeps something for an activation, or has what one was applied to, but no activation}}
  %y, %k = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32> kept tensor<5x4xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @masked_matmul_c8_type(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %z: tensor<5x4xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have what is kept of the result's type 'tensor<5x4xf32>', but got 'tensor<5x4xbf16>'}}
  %y, %k = pst.masked_matmul %x, @dense(%w) activation gelu : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32> kept tensor<5x4xbf16>
  return
}
