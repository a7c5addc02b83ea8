// RUN: pst-opt %s --split-input-file --verify-diagnostics

// Each attribute that a stage leaves another has its type; the places are tested below.

// expected-error@+1 {{'builtin.module' op must have a string as "pst.architecture", but got 1 : i64}}
module attributes {pst.architecture = 1 : i64} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a string as "pst.config", but got unit}}
module attributes {pst.config = unit} {}

// -----

// expected-error@+1 {{'builtin.module' op must have "classification", "multi_label_classification", "token_classification", "regression" or "lm" as "pst.task", but got "chess"}}
module attributes {pst.task = "chess"} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a string as "pst.method", but got 1 : i64}}
module attributes {pst.method = 1 : i64} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a dictionary of f64 as "pst.hyperparameters", but got {weight_rank = 8 : i64}}}
module attributes {pst.hyperparameters = {weight_rank = 8 : i64}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a dictionary of "weights", "mask", "head" and "language", f64 from 0, as "pst.rates", but got {tail = 1.000000e+00 : f64}}}
module attributes {pst.rates = {tail = 1.0}} {}

// -----

// expected-error@+1 {{'pst.criterion' op must have a unit attribute as "pst.one_shot", but got true}}
pst.criterion @c(%w: dense) attributes {pst.one_shot = true} {
  pst.yield weight %w score %w
}

// -----

// expected-error@+1 {{'pst.criterion' op must have a dictionary of "weights", "mask", "head" and "language", f64 from 0, as "pst.rates", but got {weights = -1.000000e+00 : f64}}}
pst.criterion @c(%w: dense) attributes {pst.rates = {weights = -1.0}} {
  pst.yield weight %w score %w
}

// -----

// expected-error@+1 {{'pst.criterion' op must have a #pst.selection that selects as "pst.selection", but got #pst.selection<held>}}
pst.criterion @c(%w: dense) attributes {pst.selection = #pst.selection<held>} {
  pst.yield weight %w score %w
}

// -----

// expected-error@+1 {{'pst.criterion' op must have a #pst.selection that selects as "pst.selection", but got "global"}}
pst.criterion @c(%w: dense) attributes {pst.selection = "global"} {
  pst.yield weight %w score %w
}

// -----

// expected-error@+1 {{'pst.parameter' op has the attribute "pst.rates", which belongs to a module or a 'pst.criterion'}}
pst.parameter @w frozen init<zeros> {pst.rates = {}} : tensor<2x2xf32>

// -----

// expected-error@+1 {{'builtin.module' op must have a dictionary of f64 as "pst.recompute", but got {flops = 8 : i64}}}
module attributes {pst.recompute = {flops = 8 : i64}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a dictionary of i64 as "pst.memory", but got {arena = 8.000000e+00 : f64}}}
module attributes {pst.memory = {arena = 8.0 : f64}} {}

// -----

// expected-error@+1 {{'pst.parameter' op must have a unit attribute as "pst.sparsify", but got true}}
pst.parameter @w frozen init<zeros> {pst.sparsify = true} : tensor<2xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a dictionary as "pst.layer", but got "w"}}
pst.parameter @w frozen init<zeros> {pst.layer = "w"} : tensor<2xf32>

// -----

// expected-error@+1 {{'func.func' op must have a string as "pst.name", but got 3 : i64}}
func.func private @f(tensor<2xf32> {pst.name = 3 : i64})

// -----

// expected-error@+1 {{'func.func' op must have a string as "pst.name", but got unit}}
func.func private @f() -> (tensor<2xf32> {pst.name})

// -----

// expected-error@+1 {{'func.func' op must have "input", "output", "parameter" or "space" as "pst.kind", but got "label"}}
func.func private @f(tensor<2xf32> {pst.kind = "label"})

// -----

// expected-error@+1 {{'func.func' op must have a dictionary of i64 as "pst.blocks", but got {m = 8 : i32}}}
func.func private @f() attributes {pst.blocks = {m = 8 : i32}}

// -----

// expected-error@+1 {{'func.func' op must have an array of i32 as "pst.tensor_maps", but got array<i64: 1>}}
func.func private @f() attributes {pst.tensor_maps = array<i64: 1>}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op must have a string as "pst.op", but got 1 : i64}}
  call @f() {pst.op = 1} : () -> ()
  return
}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op must have an i64 as "pst.flops", but got 1.000000e+00 : f64}}
  call @f() {pst.flops = 1.0} : () -> ()
  return
}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op must have an i64 as "pst.bytes", but got 1 : i32}}
  call @f() {pst.bytes = 1 : i32} : () -> ()
  return
}

// -----

// expected-error@+1 {{'func.func' op has the attribute "pst.nmae", which the pst dialect does not know}}
func.func private @f(tensor<2xf32> {pst.nmae = "x"})

// -----

// expected-error@+1 {{'func.func' op has the attribute "pst.memory", which belongs to a module}}
func.func private @f() attributes {pst.memory = {}}

// -----

// expected-error@+1 {{'pst.parameter' op has the attribute "pst.name", which belongs to an argument of a function or a result of a function}}
pst.parameter @w frozen init<zeros> {pst.name = "w"} : tensor<2xf32>

// -----

// expected-error@+1 {{'func.func' op has the attribute "pst.kind", which belongs to an argument of a function}}
func.func private @f() -> (tensor<2xf32> {pst.kind = "output"})

// -----

// expected-error@+1 {{'builtin.module' op has the attribute "pst.flops", which belongs to a launch}}
module attributes {pst.flops = 1 : i64} {}

// -----

// expected-error@+1 {{'builtin.module' op has the attribute "pst.blocks", which belongs to a function}}
module attributes {pst.blocks = {}} {}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op has the attribute "pst.sparsify", which belongs to a 'pst.parameter'}}
  call @f() {pst.sparsify} : () -> ()
  return
}
