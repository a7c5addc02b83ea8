// RUN: pst-opt %s --split-input-file --verify-diagnostics

// One case for each constraint of `pst.criterion`.

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

func.func @yield(%w: f32) {
  // expected-error@+1 {{'pst.yield' op expects parent op 'pst.criterion'}}
  pst.yield weight %w
}
