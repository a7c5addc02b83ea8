// RUN: pst-opt %s --split-input-file --verify-diagnostics

// One case for each constraint of the other ops of pst.

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

// expected-error@+1 {{custom op 'pst.parameter' expected string or keyword containing one of the following enum values for attribute 'role' [frozen, trainable, state, cache]}}
pst.parameter @w pinned init<zeros> : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op attribute 'type' failed to satisfy constraint: type attribute of tensor of static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of floating-point or signless integer values}}
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
pst.parameter @w frozen init<zeros> : tensor<4x3xf32>

func.func @load_c3() {
  // expected-error@+1 {{'pst.load' op needs a parameter of role 'state' or 'cache', but @w is 'frozen'}}
  %w = pst.load @w update : tensor<4x3xf32>
  return
}

// -----

pst.parameter @w trainable init<zeros> : tensor<4x3xf32>

func.func @load_c3_gradient() {
  // expected-error@+1 {{'pst.load' op is for update, which a gradient is without saying}}
  %w = pst.load @w gradient update : tensor<4x3xf32>
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
  // expected-error@+1 {{'pst.store' op needs a parameter of role 'state' or 'cache', but @t is 'trainable'}}
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

pst.parameter @b trainable init<zeros> : tensor<3xf32>
func.func @accumulate_c3(%v: tensor<3xf32>) {
  // expected-error@+1 {{'pst.accumulate' op is fused, but its value is not the result of an op that adds to gradients, or is used elsewhere}}
  pst.accumulate %v, @b fused : tensor<3xf32>
  return
}

// -----

func.func @adamw_c1_size(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must update between 0 and 2^40 elements, but got 9223372036854775807}}
  %norm = pst.adamw size 9223372036854775807 decayed 1 (%f, %f, %f, %f, %f, %f, %f, %f)
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

func.func @adamw_c2_count(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must have a begin and an end for each of its 2 other rates, but got 2 numbers}}
  %norm = pst.adamw size 16 decayed 16 (%f, %f, %f, %f, %f, %f, %f, %f) except [0, 4] (%f, %f)
  return
}

// -----

func.func @adamw_c2_overlap(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must have ascending ranges of its 16 elements, but got [3, 8)}}
  %norm = pst.adamw size 16 decayed 16 (%f, %f, %f, %f, %f, %f, %f, %f) except [0, 4, 3, 8] (%f, %f)
  return
}

// -----

func.func @adamw_c2_empty(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must have ascending ranges of its 16 elements, but got [4, 4)}}
  %norm = pst.adamw size 16 decayed 16 (%f, %f, %f, %f, %f, %f, %f, %f) except [4, 4] (%f)
  return
}

// -----

func.func @adamw_c2_outside(%f: f32) {
  // expected-error@+1 {{'pst.adamw' op must have ascending ranges of its 16 elements, but got [4, 17)}}
  %norm = pst.adamw size 16 decayed 16 (%f, %f, %f, %f, %f, %f, %f, %f) except [4, 17] (%f)
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

// What every op asks of its tensors.

// expected-error@+1 {{'pst.parameter' op attribute 'type' failed to satisfy constraint: type attribute of tensor of static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of floating-point or signless integer values}}
pst.parameter @head trainable init<zeros> : tensor<0x3xf32>

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @sizes_of_a_selection(%w: tensor<0x100xf32>, %sparsity: f64, %previous: tensor<f32>) {
  // expected-error@+1 {{'pst.topk_threshold' op operand #0 must be variadic of tensor of static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of floating-point or signless integer values, but got 'tensor<0x100xf32>'}}
  %tau, %cut, %pruned = pst.topk_threshold @map(%w), %sparsity previous(%previous) : (tensor<0x100xf32>)
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @sizes_of_a_product(%x: tensor<0x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.masked_matmul' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<0x64xf32>'}}
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) : tensor<0x64xf32>, (tensor<96x64xf32>) -> tensor<0x96xf32>
  return
}

// -----

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

func.func @sizes_of_gradients(%dy: tensor<40x4294967296xf32>, %x: tensor<40x50xf32>, %w: tensor<4294967296x50xf32>, %u: tensor<4294967296x3xf32>, %v: tensor<3x50xf32>) {
  // expected-error@+1 {{'pst.lowrank_accumulate' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<40x4294967296xf32>'}}
  %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [2] : tensor<40x4294967296xf32>, tensor<40x50xf32>, (tensor<4294967296x50xf32>, tensor<4294967296x3xf32>, tensor<3x50xf32>) -> tensor<3x50xf32>
  return
}
