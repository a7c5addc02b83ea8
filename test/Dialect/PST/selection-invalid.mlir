// What is no selection, and where a selection does not fit.
// RUN: pst-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{expected a selection: 'topk', 'nm', 'block', 'rows' or 'held', but got 'best'}}
func.func private @f() attributes {s = #pst.selection<best 3>}

// -----

// expected-error@+1 {{expected who competes: 'layer', 'row' or 'global', but got 'nm'}}
func.func private @f() attributes {s = #pst.selection<topk nm>}

// -----

// expected-error@+1 {{expected rows and columns of a block: 16x16}}
func.func private @f() attributes {s = #pst.selection<block 16 mean>}

// -----

// expected-error@+1 {{expected the score of a block: 'mean' or 'max', but got 'least'}}
func.func private @f() attributes {s = #pst.selection<rows least>}

// -----

// expected-error@+1 {{some of a group of 2, 4, 8, 16 or 32 neighbours must stay and some go, but got 4:4}}
func.func private @f() attributes {s = #pst.selection<nm 4:4>}

// -----

// expected-error@+1 {{some of a group of 2, 4, 8, 16 or 32 neighbours must stay and some go, but got 2:6}}
func.func private @f() attributes {s = #pst.selection<nm 2:6>}

// -----

// expected-error@+1 {{a block must have rows and columns, but got 0x4}}
func.func private @f() attributes {s = #pst.selection<block 0x4 mean>}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @groups(%w: tensor<4x6xf32>, %kept: tensor<i64>) {
  // expected-error@+1 {{'pst.masked_weight' op selects among each 4 neighbours in a row, which must divide the weight's columns, but it has 6}}
  %v = pst.masked_weight @map(%w) selection<nm 2:4>(%kept : tensor<i64>) : (tensor<4x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @blocks(%w: tensor<4x6xf32>, %scores: tensor<2x3xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.masked_weight' op must have, for #pst.selection<block 3x2 mean> of a 4 x 6 weight, the state ('tensor<2x3xf32>', 'tensor<f32>', 'tensor<i64>'), but got ('tensor<2x3xf32>', 'tensor<i64>', 'tensor<f32>')}}
  %v = pst.masked_weight @map(%w) selection<block 3x2 mean>(%scores, %cut, %tau : tensor<2x3xf32>, tensor<i64>, tensor<f32>) : (tensor<4x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @row_thresholds_c1(%w: tensor<4x6xf32>, %s: f64) {
  // expected-error@+1 {{'pst.row_thresholds' op selects by a score, but @dense yields none}}
  %t, %c, %p = pst.row_thresholds @dense(%w), %s : (tensor<4x6xf32>) -> tensor<4xf32>, tensor<4xi64>
  return
}

// -----

// expected-note@+1 {{criterion declared here}}
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @row_thresholds_c2(%w: tensor<4x6xf32>, %s: f64) {
  // expected-error@+1 {{'pst.row_thresholds' op has 2 factor tensors, but @map reads 1}}
  %t, %c, %p = pst.row_thresholds @map(%w, %w), %s : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4xf32>, tensor<4xi64>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @row_thresholds_c3(%w: tensor<4x6xf32>, %s: f64) {
  // expected-error@+1 {{'pst.row_thresholds' op must have a threshold and a cut for each of 4 rows, but got 'tensor<4xf32>' and 'tensor<6xi64>'}}
  %t, %c, %p = pst.row_thresholds @map(%w), %s : (tensor<4x6xf32>) -> tensor<4xf32>, tensor<6xi64>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @block_scores_c1(%w: tensor<4x6xf32>) {
  // expected-error@+1 {{'pst.block_scores' op selects by a score, but @dense yields none}}
  %b = pst.block_scores @dense(%w), <block 2x2 mean> : (tensor<4x6xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @block_scores_c2(%w: tensor<4x6xf32>) {
  // expected-error@+1 {{'pst.block_scores' op names @map, which is no 'pst.criterion'}}
  %b = pst.block_scores @map(%w), <block 2x2 mean> : (tensor<4x6xf32>) -> tensor<2x3xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @block_scores_c3(%w: tensor<4x6xf32>) {
  // expected-error@+1 {{'pst.block_scores' op scores blocks, but #pst.selection<nm 2:4> has none}}
  %b = pst.block_scores @map(%w), <nm 2:4> : (tensor<4x6xf32>) -> tensor<2x3xf32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @block_scores_c3_type(%w: tensor<5x6xf32>) {
  // expected-error@+1 {{'pst.block_scores' op must have scores of type 'tensor<3x2xf32>', but got 'tensor<2x2xf32>'}}
  %b = pst.block_scores @map(%w), <block 2x4 mean> : (tensor<5x6xf32>) -> tensor<2x2xf32>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @common_threshold_c1(%w: tensor<4x6xf32>, %s: f64) {
  // expected-error@+1 {{'pst.common_threshold' op selects by a score, but @dense yields none}}
  %t, %c, %p = pst.common_threshold @dense(%w), %s : (tensor<4x6xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>
  return
}

// -----

pst.criterion @movement(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

func.func @common_threshold_c2(%w: tensor<4x6xf32>, %v: tensor<4x5xf32>, %s: f64) {
  // expected-error@+1 {{'pst.common_threshold' op factor #1 (dense) must have 4x6 elements, as the 4x6 weight has, but got 'tensor<4x5xf32>'}}
  %t, %c:2, %p:2 = pst.common_threshold @movement(%v, %v, %w, %v), %s : (tensor<4x5xf32>, tensor<4x5xf32>, tensor<4x6xf32>, tensor<4x5xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
  return
}

// -----

pst.criterion @movement(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

func.func @common_threshold_c3(%w: tensor<4x6xf32>, %s: f64) {
  // expected-error@+1 {{'pst.common_threshold' op must have 2 factor tensors for each of its 2 cuts, but got 2}}
  %t, %c:2, %p:2 = pst.common_threshold @movement(%w, %w), %s : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<f32>, tensor<i64>, tensor<i64>, tensor<i64>, tensor<i64>
  return
}

// -----

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @mask_bits_c2(%w: tensor<4x37xf32>) {
  // expected-error@+1 {{'pst.mask_bits' op selects by a score, but @dense yields none}}
  %b = pst.mask_bits @dense(%w) : (tensor<4x37xf32>) -> tensor<4x2xi32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @mask_bits_c1(%w: tensor<4x37xf32>, %tau: tensor<f32>, %cut: tensor<i64>) {
  // expected-error@+1 {{'pst.mask_bits' op must have a mask of type 'tensor<4x2xi32>', but got 'tensor<4x3xi32>'}}
  %b = pst.mask_bits @map(%w) threshold(%tau, %cut) : (tensor<4x37xf32>) -> tensor<4x3xi32>
  return
}

// -----

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

func.func @held_state(%w: tensor<4x37xf32>, %mask: tensor<4x1xi32>, %f: tensor<f32>) {
  // expected-error@+1 {{must have, for #pst.selection<held> of a 4 x 37 weight, the state ('tensor<4x2xi32>', 'tensor<f32>'), but got ('tensor<4x1xi32>', 'tensor<f32>')}}
  %v = pst.masked_weight @map(%w) selection<held>(%mask, %f : tensor<4x1xi32>, tensor<f32>) : (tensor<4x37xf32>) -> tensor<4x37xf32>
  return
}
