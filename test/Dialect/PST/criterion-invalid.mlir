// RUN: pst-opt %s --split-input-file --verify-diagnostics

// One case for each constraint of `pst.criterion`.

pst.criterion @c1(%w: dense) {
  // expected-error@+1 {{'math.tanh' op has no place in a criterion: its arithmetic is arith.{constant,addf,subf,mulf,divf,negf,maximumf,minimumf,cmpf,select,andi,ori,xori}, math.{absf,sqrt,exp,log}, pst.hyperparameter and pst.detach}}
  %v = math.tanh %w : f32
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
  // expected-error@+1 {{'arith.constant' op must compute with f32 and i1 in a criterion, but got 'f64'}}
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

// expected-error@+1 {{'pst.criterion' op declares its factors, so the first one must be 'dense' and without tensors: it is the layer's weight}}
pst.criterion @c4_first(%w: dense(W init<zeros>), %r: row(R init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #2 (lowrank) must declare 2 tensors, as in '(NAME init<zeros>, NAME init<zeros>)', but declares 0}}
pst.criterion @c4_all(%w: dense, %r: row(R init<zeros>), %uv: lowrank<2>) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #1 (row) must declare 1 tensor, as in '(NAME init<zeros>)', but declares 2}}
pst.criterion @c5_number(%w: dense, %r: row(R init<zeros>, Q init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #2 (col) has a tensor 'R', as another one is called}}
pst.criterion @c5_names(%w: dense, %r: row(R init<zeros>), %c: col(R init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{custom op 'pst.criterion' a rank is for a 'lowrank' factor, not for a 'row'}}
pst.criterion @c5_rank(%w: dense, %r: row<2>(R init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #1 (lowrank) must have a rank from 0 to 65536, but has -1}}
pst.criterion @c5_negative(%w: dense, %uv: lowrank<-1>(U init<zeros>, V init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #1 (lowrank) must have a rank from 0 to 65536, but has 65537}}
pst.criterion @c5_high(%w: dense, %uv: lowrank<65537>(U init<zeros>, V init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #1 (row) tensor 'R' must be trained, or frozen and from a file}}
pst.criterion @c6(%w: dense, %r: row(R frozen init<zeros>)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op factor #1 (row) tensor 'R' must name its file, as in 'init<file "*" from "FILE">'}}
pst.criterion @c6_file(%w: dense, %r: row(R init<file "r">)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{custom op 'pst.criterion' expected 'trainable', 'frozen' or 'init' of tensor 'R', but got 'zeros'}}
pst.criterion @tensor(%w: dense, %r: row(R zeros)) {
  pst.yield weight %w
}

// -----

// expected-error@+1 {{'pst.criterion' op declares 1 factors, but has 2}}
"pst.criterion"() <{kinds = array<i32: 0, 2>, factors = [#pst.factor<0>], sym_name = "declared"}> ({
^bb0(%w: f32, %r: f32):
  pst.yield weight %w
}) : () -> ()

// -----

pst.criterion @hyperparameter(%w: dense) {
  // expected-error@+1 {{'pst.hyperparameter' op must compute with f32 and i1 in a criterion, but got 'f64'}}
  %h = pst.hyperparameter "h" = 1.0 : f64
  pst.yield weight %w
}

// -----

func.func @yield(%w: f32) {
  // expected-error@+1 {{'pst.yield' op expects parent op 'pst.criterion'}}
  pst.yield weight %w
}
