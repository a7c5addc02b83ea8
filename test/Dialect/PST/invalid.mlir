// RUN: pst-opt %s --split-input-file --verify-diagnostics

// One case for each constraint of each op.

// parameter (C1)
// expected-error@+1 {{'pst.parameter' op is trainable, so its elements must be f32, but got 'tensor<4x3xbf16>'}}
pst.parameter @w trainable init<zeros> : tensor<4x3xbf16>

// -----

// parameter (C2)
// expected-error@+1 {{'pst.parameter' op is initialised from a file, but names no tensor}}
pst.parameter @w frozen init<file ""> : tensor<4x3xf32>

// -----

// parameter (C3)
// expected-error@+1 {{'pst.parameter' op must have a standard deviation from 0, but got -1.000000e+00}}
pst.parameter @w trainable init<normal -1.0> : tensor<4x3xf32>

// -----

// expected-error@+1 {{custom op 'pst.parameter' expected an initializer: 'file', 'zeros', 'normal' or 'constant', but got 'ones'}}
pst.parameter @w frozen init<ones> : tensor<4x3xf32>

// -----

// expected-error@+1 {{custom op 'pst.parameter' expected string or keyword containing one of the following enum values for attribute 'role' [frozen, trainable, state]}}
pst.parameter @w pinned init<zeros> : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op attribute 'type' failed to satisfy constraint: type attribute of statically shaped tensor of floating-point or signless integer values}}
pst.parameter @w frozen init<zeros> : tensor<?x3xf32>

// -----

// expected-note@+1 {{declared here}}
pst.parameter @w frozen init<zeros> : tensor<4x3xf32>

func.func @load_c1_type() {
  // expected-error@+1 {{'pst.load' op has type 'tensor<3x4xf32>', but the parameter @w is 'tensor<4x3xf32>'}}
  %w = pst.load @w : tensor<3x4xf32>
  return
}

// -----

func.func private @w()

func.func @load_c1_symbol() {
  // expected-error@+1 {{'pst.load' op names @w, which is no 'pst.parameter'}}
  %w = pst.load @w : tensor<3x4xf32>
  return
}

// -----

// expected-note@+1 {{declared here}}
pst.parameter @w frozen init<zeros> : tensor<4x3xf32>

func.func @load_c2() {
  // expected-error@+1 {{'pst.load' op needs a parameter of role 'trainable', but @w is 'frozen'}}
  %w = pst.load @w gradient : tensor<4x3xf32>
  return
}

// -----

// expected-note@+1 {{declared here}}
pst.parameter @t state init<zeros> : tensor<f32>

func.func @store_c1(%v: tensor<1xf32>) {
  // expected-error@+1 {{'pst.store' op has type 'tensor<1xf32>', but the parameter @t is 'tensor<f32>'}}
  pst.store %v, @t : tensor<1xf32>
  return
}

// -----

// expected-note@+1 {{declared here}}
pst.parameter @t trainable init<zeros> : tensor<f32>

func.func @store_c2(%v: tensor<f32>) {
  // expected-error@+1 {{'pst.store' op needs a parameter of role 'state', but @t is 'trainable'}}
  pst.store %v, @t : tensor<f32>
  return
}

// -----

func.func @accumulate_c1(%v: tensor<3xf32>) {
  // expected-error@+1 {{'pst.accumulate' op names @b, which is no 'pst.parameter'}}
  pst.accumulate %v, @b : tensor<3xf32>
  return
}

// -----

// expected-note@+1 {{declared here}}
pst.parameter @b frozen init<zeros> : tensor<3xf32>

func.func @accumulate_c2(%v: tensor<3xf32>) {
  // expected-error@+1 {{'pst.accumulate' op needs a parameter of role 'trainable', but @b is 'frozen'}}
  pst.accumulate %v, @b : tensor<3xf32>
  return
}

// -----

pst.criterion @c1(%w: dense) {
  // expected-error@+1 {{'arith.divf' op has no place in a criterion: its arithmetic is arith.{constant,addf,subf,mulf,negf}, math.absf and pst.detach}}
  %v = arith.divf %w, %w : f32
  pst.yield weight %v
}

// -----

// expected-error@+1 {{'pst.criterion' op needs a 'dense' factor, which gives the weight its shape}}
pst.criterion @c2(%uv: lowrank, %r: row, %c: col) {
  %v = arith.addf %uv, %r : f32
  pst.yield weight %v
}

// -----

// expected-error@+1 {{custom op 'pst.criterion' expected a kind of factor: 'dense', 'lowrank', 'row' or 'col', but got 'sparse'}}
pst.criterion @kind(%w: sparse) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op must have one f32 argument for each kind of factor}}
"pst.criterion"() <{kinds = array<i32: 0, 1>, sym_name = "arguments"}> ({
^bb0(%w: f32):
  pst.yield weight %w
}) : () -> ()

// -----

// expected-error@+1 {{'pst.criterion' op has a factor of the unknown kind 4}}
"pst.criterion"() <{kinds = array<i32: 0, 4>, sym_name = "unknown_kind"}> ({
^bb0(%w: f32, %s: f32):
  pst.yield weight %w
}) : () -> ()

// -----

// expected-error@+1 {{'pst.criterion' op must end with 'pst.yield'}}
pst.criterion @no_yield(%w: dense) {
  %v = arith.addf %w, %w : f32
}

// -----

pst.criterion @c1_f64(%w: dense) {
  // expected-error@+1 {{'arith.constant' op must compute with f32 in a criterion, but got 'f64'}}
  %c = arith.constant 1.0 : f64
  %v = arith.addf %c, %c : f64
  pst.yield weight %w
}

// -----

pst.criterion @c3(%w: dense) {
  // expected-error@+1 {{'arith.addf' op must have no fast-math flags: all kernels must see the same score, to the bit}}
  %v = arith.addf %w, %w fastmath<fast> : f32
  pst.yield weight %v
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @topk_threshold_c1(%w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>, %s: f64) {
  // expected-error@+1 {{'pst.topk_threshold' op selects by a score, but @lora yields none}}
  %tau, %cut = pst.topk_threshold @lora(%w, %u, %v), %s : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>)
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
  %tau, %cut = pst.topk_threshold @map(%w, %w), %s : (tensor<4x3xf32>, tensor<4x3xf32>)
  return
}

// -----

func.func @criterion_symbol(%w: tensor<4x3xf32>, %s: f64) {
  // expected-error@+1 {{'pst.topk_threshold' op names @map, which is no 'pst.criterion'}}
  %tau, %cut = pst.topk_threshold @map(%w), %s : (tensor<4x3xf32>)
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
  // expected-error@+1 {{'pst.masked_matmul' op factor #0 (dense) must have elements of type f32, but got 'tensor<4x3xi32>'}}
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
  // expected-error@+1 {{'pst.masked_matmul' op has a threshold, but @dense yields no score}}
  %y = pst.masked_matmul %x, @dense(%w) threshold(%tau, %cut) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @masked_matmul_c3_cut(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>) {
  // expected-error@+1 {{'pst.masked_matmul' op must have a threshold and a cut, or neither}}
  %y = "pst.masked_matmul"(%x, %w, %tau) <{criterion = @map, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}>
      : (tensor<5x3xf32>, tensor<4x3xf32>, tensor<f32>) -> tensor<5x4xf32>
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
  // expected-error@+1 {{'pst.masked_matmul' op has a bias, but is transposed}}
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
  // expected-error@+1 {{'pst.lowrank_accumulate' op needs a threshold, since @map yields a score}}
  %dw = pst.lowrank_accumulate %dy, %x, @map(%w) wrt [0] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @lowrank_accumulate_c3_given(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op has a threshold, but @dense yields no score}}
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

func.func @lowrank_accumulate_cut(%dy: tensor<5x4xf32>, %x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op must have a threshold and a cut, or neither}}
  %d = "pst.lowrank_accumulate"(%dy, %x, %w, %cut) <{criterion = @dense, wrt = array<i64: 0>, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>}>
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
  // expected-error@+1 {{'pst.masked_weight' op has a threshold, but @dense yields no score}}
  %v = pst.masked_weight @dense(%w) threshold(%tau, %cut) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

func.func @adamw_c1(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must decay between 0 and 16 elements, but got 17}}
  %norm = pst.adamw size 16 decayed 17 (%f, %f, %f, %f, %f, %f, %f, %f)
  return
}

// -----

func.func @adamw_c1_negative(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must decay between 0 and 16 elements, but got -1}}
  %norm = pst.adamw size 16 decayed -1 (%f, %f, %f, %f, %f, %f, %f, %f)
  return
}

// -----

func.func @space_c1(%f: f32) {
  // expected-error@+1 {{'pst.space' op must name the space "trainable", "gradient", "moment1" or "moment2", but got "moment3"}}
  %p = pst.space "moment3" : tensor<1024xf32>
  return
}

// -----

// expected-note@+1 {{declared here}}
pst.parameter @w frozen init<zeros> : tensor<4x3xf32>

func.func @buffer_c1() {
  // expected-error@+1 {{'pst.buffer' op has type 'memref<3x4xf32>', but the parameter @w is 'tensor<4x3xf32>'}}
  %w = pst.buffer @w : memref<3x4xf32>
  return
}

// -----

// expected-note@+1 {{declared here}}
pst.parameter @w frozen init<zeros> : tensor<4x3xf32>

func.func @buffer_c2() {
  // expected-error@+1 {{'pst.buffer' op needs a parameter of role 'trainable', but @w is 'frozen'}}
  %w = pst.buffer @w gradient : memref<4x3xf32>
  return
}

// -----

pst.parameter @k frozen init<zeros> : tensor<f32>

func.func @launch_c1_symbol(%x: memref<2x3xf32>) {
  // expected-error@+1 {{'pst.launch' op names @k, which is no function}}
  pst.launch @k ins(%x : memref<2x3xf32>) outs(%x : memref<2x3xf32>)
  return
}

// -----

// expected-note@+1 {{kernel defined here}}
func.func private @k(memref<2x3xf32>) -> f32

func.func @launch_c1_results(%x: memref<2x3xf32>) {
  // expected-error@+1 {{'pst.launch' op calls @k, which returns a value instead of writing to buffers}}
  pst.launch @k outs(%x : memref<2x3xf32>)
  return
}

// -----

// expected-note@+1 {{kernel defined here}}
func.func private @k(memref<2x3xf32>)

func.func @launch_c1_count(%x: memref<2x3xf32>) {
  // expected-error@+1 {{'pst.launch' op calls @k with 2 operands, but it takes 1}}
  pst.launch @k ins(%x : memref<2x3xf32>) outs(%x : memref<2x3xf32>)
  return
}

// -----

// expected-note@+1 {{kernel defined here}}
func.func private @k(memref<2x3xf32>, memref<3x2xf32>)

func.func @launch_c1_shape(%x: memref<2x3xf32>) {
  // expected-error@+1 {{'pst.launch' op operand #1 is 'memref<2x3xf32>', but @k takes 'memref<3x2xf32>'}}
  pst.launch @k ins(%x : memref<2x3xf32>) outs(%x : memref<2x3xf32>)
  return
}

// -----

// expected-note@+1 {{kernel defined here}}
func.func private @k(f32, memref<3x2xf32>)

func.func @launch_c1_scalar(%x: memref<3x2xf32>, %s: i64) {
  // expected-error@+1 {{'pst.launch' op operand #0 is 'i64', but @k takes 'f32'}}
  pst.launch @k ins(%s : i64) outs(%x : memref<3x2xf32>)
  return
}

// -----

func.func private @k(memref<3x2xf32>)

func.func @launch_c2(%x: memref<3x2xf32>) {
  // expected-error@+1 {{'pst.launch' op must have between 0 and 1 outputs for workspace, but got 2}}
  pst.launch @k outs(%x : memref<3x2xf32>) {workspace = 2}
  return
}

// -----

func.func private @k(memref<3x2xf32>)

func.func @launch_c2_negative(%x: memref<3x2xf32>) {
  // expected-error@+1 {{'pst.launch' op must have between 0 and 1 outputs for workspace, but got -1}}
  pst.launch @k outs(%x : memref<3x2xf32>) {workspace = -1}
  return
}

// -----

func.func private @k(memref<3x2xf32>)

func.func @launch_results(%x: tensor<3x2xf32>) {
  // expected-error@+1 {{'pst.launch' op expected the number of tensor results (0) to be equal to the number of output tensors (1)}}
  pst.launch @k outs(%x : tensor<3x2xf32>)
  return
}

// -----

func.func @yield(%w: f32) {
  // expected-error@+1 {{'pst.yield' op expects parent op 'pst.criterion'}}
  pst.yield weight %w
}
