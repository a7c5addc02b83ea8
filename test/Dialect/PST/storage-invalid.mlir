// RUN: pst-opt %s --split-input-file --verify-diagnostics

// expected-note@+1 {{criterion declared here}}
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c1(%w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.materialize' op has 2 factor tensors, but @map reads 1}}
  %m = pst.materialize @map(%w, %w) as dense : (tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

func.func @materialize_c1_symbol(%w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.materialize' op names @map, which is no 'pst.criterion'}}
  %m = pst.materialize @map(%w) as dense : (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @materialize_c2(%w: tensor<4x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.materialize' op selects by a score, but @dense yields none}}
  %m = pst.materialize @dense(%w) threshold(%tau, %cut) as dense : (tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c2_pruned(%w: tensor<4x3xf32>, %pruned: tensor<i64>) {
  // expected-error@+1 {{'pst.materialize' op counts pruned elements, but has no selection, which would prune them}}
  %s:4 = pst.materialize @map(%w) pruned(%pruned) as compressed : (tensor<4x3xf32>) -> tensor<28xf32>, tensor<28xi8>, tensor<1x65xi32>, tensor<i32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c3_dense(%w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.materialize' op stores the weight dense, which takes one tensor of 4x3 elements, f32 or bf16, but got 'tensor<3x4xf32>'}}
  %m = pst.materialize @map(%w) as dense : (tensor<4x3xf32>) -> tensor<3x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// The slack of one cell has no place.

func.func @materialize_c3_room(%w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.materialize' op has a compressed weight of 4x3 elements, which takes 'tensor<16xf32>', 'tensor<16xi8>', 'tensor<1x65xi32>', 'tensor<i32>', with room for 16 to 28, but got 'tensor<15xf32>', 'tensor<15xi8>', 'tensor<1x65xi32>', 'tensor<i32>'}}
  %s:4 = pst.materialize @map(%w) as compressed : (tensor<4x3xf32>) -> tensor<15xf32>, tensor<15xi8>, tensor<1x65xi32>, tensor<i32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// Of the 65 x 3 weight there are two cells, of its transpose one.

func.func @materialize_c3_transposed(%w: tensor<65x3xf32>) {
  // expected-error@+1 {{'pst.materialize' op has a compressed weight of 3x65 elements, which takes 'tensor<99xf32>', 'tensor<99xi8>', 'tensor<1x65xi32>', 'tensor<i32>', with room for 16 to 211, but got 'tensor<99xf32>', 'tensor<99xi8>', 'tensor<2x65xi32>', 'tensor<i32>'}}
  %s:4 = pst.materialize @map(%w) transposed as compressed : (tensor<65x3xf32>) -> tensor<99xf32>, tensor<99xi8>, tensor<2x65xi32>, tensor<i32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c3_many(%w: tensor<65536x65536xf32>) {
  // expected-error@+1 {{'pst.materialize' op has a compressed weight of 65536x65536 elements, which are counted in 32 bits: store it dense}}
  %s:4 = pst.materialize @map(%w) as compressed : (tensor<65536x65536xf32>) -> tensor<9999999xf32>, tensor<9999999xi8>, tensor<524288x65xi32>, tensor<i32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c4(%w: tensor<4x4xf32>) {
  // expected-error@+1 {{'pst.materialize' op stores the weight dense, as its factors lie: that is never 'transposed', 'pruned' or 'unordered'}}
  %m = pst.materialize @map(%w) transposed as dense : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return
}

// -----

func.func @stored_matmul_c1_dense(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.stored_matmul' op multiplies by what is not dense: 'nn.linear' does}}
  %y = pst.stored_matmul %x, dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  return
}

// -----

func.func @stored_matmul_c1_tokens(%x: tensor<5x3xf32>, %v: tensor<20xf32>, %k: tensor<20xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>) {
  // expected-error@+1 {{'pst.stored_matmul' op must have the rows of the input in the result, but got 'tensor<6x4xf32>' from 'tensor<5x3xf32>'}}
  %y = pst.stored_matmul %x, compressed(%v, %k, %c, %n) : tensor<5x3xf32>, (tensor<20xf32>, tensor<20xi8>, tensor<1x65xi32>, tensor<i32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @stored_matmul_c1_cells(%x: tensor<5x3xf32>, %v: tensor<20xf32>, %k: tensor<20xi8>, %c: tensor<2x65xi32>, %n: tensor<i32>) {
  // expected-error@+1 {{'pst.stored_matmul' op has a compressed weight of 4x3 elements, which takes 'tensor<20xf32>', 'tensor<20xi8>', 'tensor<1x65xi32>', 'tensor<i32>', with room for 16 to 28, but got 'tensor<20xf32>', 'tensor<20xi8>', 'tensor<2x65xi32>', 'tensor<i32>'}}
  %y = pst.stored_matmul %x, compressed(%v, %k, %c, %n) : tensor<5x3xf32>, (tensor<20xf32>, tensor<20xi8>, tensor<2x65xi32>, tensor<i32>) -> tensor<5x4xf32>
  return
}

// -----

func.func @stored_matmul_c2_bias(%x: tensor<5x3xf32>, %v: tensor<20xf32>, %k: tensor<20xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>, %b: tensor<3xf32>) {
  // expected-error@+1 {{'pst.stored_matmul' op must have a bias of 4 elements, but got 'tensor<3xf32>'}}
  %y = pst.stored_matmul %x, compressed(%v, %k, %c, %n) bias(%b) : tensor<5x3xf32>, (tensor<20xf32>, tensor<20xi8>, tensor<1x65xi32>, tensor<i32>) bias tensor<3xf32> -> tensor<5x4xf32>
  return
}

// -----

func.func @stored_matmul_c2_addend(%x: tensor<5x3xf32>, %v: tensor<20xf32>, %k: tensor<20xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>) {
  // expected-error@+1 {{'pst.stored_matmul' op must have an addend of the result's type 'tensor<5x4xf32>', but got 'tensor<5x3xf32>'}}
  %y = pst.stored_matmul %x, compressed(%v, %k, %c, %n) addend(%x) : tensor<5x3xf32>, (tensor<20xf32>, tensor<20xi8>, tensor<1x65xi32>, tensor<i32>) addend tensor<5x3xf32> -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// Values and columns are as many.

func.func @masked_matmul_c6(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %v: tensor<20xf32>, %k: tensor<21xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>) {
  // expected-error@+1 {{'pst.masked_matmul' op has a compressed weight of 4x3 elements, which takes 'tensor<20xf32>', 'tensor<20xi8>', 'tensor<1x65xi32>', 'tensor<i32>', with room for 16 to 28, but got 'tensor<20xf32>', 'tensor<21xi8>', 'tensor<1x65xi32>', 'tensor<i32>'}}
  %y = pst.masked_matmul %x, @map(%w) stored(%v, %k, %c, %n) : tensor<5x3xf32>, (tensor<4x3xf32>) stored tensor<20xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32> -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// A stored weight of values of 8 bits needs its scales.

func.func @masked_matmul_c6_bytes(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %v: tensor<20xi8>, %k: tensor<20xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>, %s: tensor<4xf32>) {
  // expected-error@+1 {{'pst.masked_matmul' op takes the four tensors of a stored weight whose values are as they are, but got values of 'tensor<20xi8>'}}
  %y = pst.masked_matmul %x, @map(%w) stored(%v, %k, %c, %n, %s) : tensor<5x3xf32>, (tensor<4x3xf32>) stored tensor<20xi8>, tensor<20xi8>, tensor<1x65xi32>, tensor<i32>, tensor<4xf32> -> tensor<5x4xf32>
  return
}

// -----

func.func @stored_matmul_c1_scales(%x: tensor<5x3xf32>, %v: tensor<20xi8>, %k: tensor<20xi8>, %c: tensor<1x65xi32>, %n: tensor<i32>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'pst.stored_matmul' op has a compressed weight of 4x3 elements, which takes 'tensor<20xi8>', 'tensor<20xi8>', 'tensor<1x65xi32>', 'tensor<i32>', 'tensor<4xf32>', with room for 16 to 28, but got 'tensor<20xi8>', 'tensor<20xi8>', 'tensor<1x65xi32>', 'tensor<i32>', 'tensor<3xf32>'}}
  %y = pst.stored_matmul %x, compressed(%v, %k, %c, %n, %s) : tensor<5x3xf32>, (tensor<20xi8>, tensor<20xi8>, tensor<1x65xi32>, tensor<i32>, tensor<3xf32>) -> tensor<5x4xf32>
  return
}

// -----

func.func @stored_matmul_c1_quantized(%x: tensor<5x3xf32>, %v: tensor<4x3xi8>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'pst.stored_matmul' op has a quantized weight of 4x3 elements, which takes 'tensor<4x3xi8>', 'tensor<4xf32>', but got 'tensor<4x3xi8>', 'tensor<3xf32>'}}
  %y = pst.stored_matmul %x, quantized(%v, %s) : tensor<5x3xf32>, (tensor<4x3xi8>, tensor<3xf32>) -> tensor<5x4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c4_quantized(%w: tensor<4x3xf32>) {
  // expected-error@+1 {{'pst.materialize' op stores the weight as quantized: only a compressed one is 'pruned' or 'unordered'}}
  %s:2 = pst.materialize @map(%w) as quantized unordered : (tensor<4x3xf32>) -> tensor<4x3xi8>, tensor<4xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @materialize_c3_bitmask(%w: tensor<3x65xf32>) {
  // expected-error@+1 {{'pst.materialize' op has a bitmask of 3x65 elements, which takes 'tensor<99xbf16>', 'tensor<56xi8>', 'tensor<3x1xi32>', 'tensor<i32>', with room for 64 to 259, but got 'tensor<99xbf16>', 'tensor<48xi8>', 'tensor<3x1xi32>', 'tensor<i32>'}}
  %s:4 = pst.materialize @map(%w) as bitmask : (tensor<3x65xf32>) -> tensor<99xbf16>, tensor<48xi8>, tensor<3x1xi32>, tensor<i32>
  return
}

// -----

func.func @stored_matmul_c1_bitmask(%x: tensor<5x65xf32>, %v: tensor<99xi8>, %k: tensor<56xi8>, %c: tensor<3x1xi32>, %n: tensor<i32>) {
  // expected-error@+1 {{'pst.stored_matmul' op has a bitmask of 3x65 elements, which takes 'tensor<99xi8>', 'tensor<56xi8>', 'tensor<3x1xi32>', 'tensor<i32>', 'tensor<3xf32>', with room for 64 to 259, but got}}
  %y = pst.stored_matmul %x, bitmask(%v, %k, %c, %n) : tensor<5x65xf32>, (tensor<99xi8>, tensor<56xi8>, tensor<3x1xi32>, tensor<i32>) -> tensor<5x3xf32>
  return
}
