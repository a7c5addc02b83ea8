// RUN: pst-opt %s --split-input-file --verify-diagnostics

// Each attribute that a stage leaves another has its type; places and keys are tested below.

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

// expected-error@+1 {{'builtin.module' op must have an f64 as "weight_rank" of "pst.hyperparameters", but got 8 : i64}}
module attributes {pst.hyperparameters = {weight_rank = 8 : i64}} {}

// -----

// expected-error@+1 {{'builtin.module' op has the key "tail" in "pst.rates", which knows "weights", "mask", "head", "language"}}
module attributes {pst.rates = {tail = 1.0}} {}

// -----

// expected-error@+1 {{'pst.criterion' op must have a unit attribute as "pst.one_shot", but got true}}
pst.criterion @c(%w: dense) attributes {pst.one_shot = true} {
  pst.yield weight %w score %w
}

// -----

// expected-error@+1 {{'pst.criterion' op must have an f64 from 0, below 1e30, as "weights" of "pst.rates", but got -1.000000e+00 : f64}}
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

// expected-error@+1 {{'builtin.module' op must have a finite f64 from 0 as "flops" of "pst.recompute", but got 8 : i64}}
module attributes {pst.recompute = {flops = 8 : i64}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an i64 from 0 as "arena" of "pst.memory", but got 8.000000e+00 : f64}}
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

// expected-error@+1 {{'func.func' op must have an i64 from 1 as "m" of "pst.blocks", but got 8 : i32}}
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
  // expected-error@+1 {{'func.call' op must have an i64 from 0 as "pst.flops", but got 1.000000e+00 : f64}}
  call @f() {pst.flops = 1.0} : () -> ()
  return
}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op must have an i64 from 0 as "pst.bytes", but got 1 : i32}}
  call @f() {pst.bytes = 1 : i32} : () -> ()
  return
}

// -----

// expected-error@+1 {{'builtin.module' op must have a dictionary as "pst.memory", but got [8]}}
module attributes {pst.memory = [8]} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an f64 as "pst.final_sparsity", but got 1 : i64}}
module attributes {pst.final_sparsity = 1 : i64} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an i64 from 1 as "pst.token_capacity", but got 0 : i64}}
module attributes {pst.token_capacity = 0} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a string as "pst.criterion", but got unit}}
module attributes {pst.criterion} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a unit attribute as "pst.red_zones", but got true}}
module attributes {pst.red_zones = true} {}

// -----

// expected-error@+1 {{'func.func' op must have an i64 from 1 as "pst.ids", but got -1 : i64}}
func.func private @f(tensor<2xi32> {pst.ids = -1})

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

// -----

// Each dictionary has its keys, and what these say goes together.

// expected-error@+1 {{'builtin.module' op must have a finite f64 from 0 as "flops" of "pst.recompute", but got {}}}
module attributes {pst.recompute = {}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a finite f64 from 0 as "step" of "pst.recompute", but got {flops = 1.000000e+00 : f64}}}
module attributes {pst.recompute = {flops = 1.0}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a finite f64 from 0 as "step" of "pst.recompute", but got 0x7FF0000000000000 : f64}}
module attributes {pst.recompute = {flops = 1.0, step = 0x7FF0000000000000 : f64}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have a finite f64 from 0 as "flops" of "pst.recompute", but got 0x7FF8000000000000 : f64}}
module attributes {pst.recompute = {flops = 0x7FF8000000000000 : f64, step = 1.0}} {}

// -----

// expected-error@+1 {{'builtin.module' op has the key "steps" in "pst.recompute", which knows "flops", "step"}}
module attributes {pst.recompute = {flops = 1.0, step = 1.0, steps = 1.0}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an i64 from 0 as "kept" of "pst.kept_weights", but got {}}}
module attributes {pst.kept_weights = {}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an i64 from 0 as "bytes" of "pst.kept_weights", but got -1 : i64}}
module attributes {pst.kept_weights = {bytes = -1, kept = 1, weights = 1}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an i64 up to its "weights", 1, as "kept" of "pst.kept_weights", but got 2}}
module attributes {pst.kept_weights = {bytes = 8, kept = 2, weights = 1}} {}

// -----

// expected-error@+1 {{'builtin.module' op must have an i64 from 0 as "workspace" of "pst.memory", but got {arena = 8 : i64, cache = 0 : i64, frozen = 0 : i64, state = 0 : i64, trainable = 0 : i64}}}
module attributes {pst.memory = {arena = 8, cache = 0, frozen = 0, state = 0, trainable = 0}} {}

// -----

// expected-error@+1 {{'builtin.module' op has the key "heap" in "pst.memory", which knows "frozen", "trainable", "state", "cache", "arena", "workspace"}}
module attributes {pst.memory = {heap = 8}} {}

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of "dense", "lowrank", "row" and "col" as "kinds" of "pst.layer", but got {}}}
pst.parameter @w frozen init<file "w"> {pst.layer = {}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of strings as "state" of "pst.layer", but got {factors = ["w"], kinds = ["dense"]}}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"]}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of "dense", "lowrank", "row" and "col" as "kinds" of "pst.layer", but got 3 : i64}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = 3, state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of "dense", "lowrank", "row" and "col" as "kinds" of "pst.layer", but got [3]}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = [3], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of "dense", "lowrank", "row" and "col" as "kinds" of "pst.layer", but got ["sparse"]}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["sparse"], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of strings as "factors" of "pst.layer", but got [3]}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = [3], kinds = ["dense"], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an array of strings as "state" of "pst.layer", but got [7]}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], selection = #pst.selection<topk layer>, state = [7]}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a #pst.selection that selects as "selection" of "pst.layer", but got 5 : i64}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], selection = 5, state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a #pst.selection that selects as "selection" of "pst.layer", but got #pst.selection<held>}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], selection = #pst.selection<held>, state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a string as "pruned" of "pst.layer", but got unit}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], pruned, state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an f64 as "final_sparsity" of "pst.layer", but got 1 : i64}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], final_sparsity = 1, kinds = ["dense"], sparsity_input = "s", state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a string as "sparsity_input" of "pst.layer" beside "final_sparsity", but got {factors = ["w"], final_sparsity = 5.000000e-01 : f64, kinds = ["dense"], state = []}}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], final_sparsity = 0.5, kinds = ["dense"], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an f64 as "final_sparsity" of "pst.layer" beside "sparsity_input", but got {factors = ["w"], kinds = ["dense"], sparsity_input = "s", state = []}}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], sparsity_input = "s", state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op has the key "rank" in "pst.layer", which knows "kinds", "factors", "state", "selection", "pruned", "final_sparsity", "sparsity_input"}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], rank = 8, state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have 3 tensors as "factors" of "pst.layer", as its "kinds" are ["dense", "lowrank"], but got ["w", "w.u"]}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w", "w.u"], kinds = ["dense", "lowrank"], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have 1 tensors as "factors" of "pst.layer", as its "kinds" are ["dense"], but got []}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = [], kinds = ["dense"], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op has the attribute "pst.layer", so it must be a matrix, but is 'tensor<4xf32>'}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], state = []}} : tensor<4xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have names of parameters as "factors" of "pst.layer", but got "nonsense"}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["nonsense"], kinds = ["dense"], state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have names of parameters as "state" of "pst.layer", but got "w.tau"}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], state = ["w.tau"]}} : tensor<4x3xf32>

// -----

func.func private @f()
// expected-error@+1 {{'pst.parameter' op must have names of parameters as "pruned" of "pst.layer", but got "f"}}
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], pruned = "f", state = []}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an i64 from 0 as "pst.kept", but got -1 : i64}}
pst.parameter @w frozen init<file "w"> {pst.kept = -1} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have an i64 up to the 12 elements of 'tensor<4x3xf32>' as "pst.kept", but got 13 : i64}}
pst.parameter @w frozen init<file "w"> {pst.kept = 13} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a finite f64 from 0 as "dense" of "pst.cost", but got {}}}
pst.parameter @w frozen init<file "w"> {pst.cost = {}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op must have a finite f64 from 0 as "compressed" of "pst.cost", but got -1.000000e+00 : f64}}
pst.parameter @w frozen init<file "w"> {pst.cost = {compressed = -1.0, dense = 1.0}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'pst.parameter' op has the key "quantized" in "pst.cost", which knows "dense", "compressed", "bitmask"}}
pst.parameter @w frozen init<file "w"> {pst.cost = {compressed = 1.0, dense = 1.0, quantized = 1.0}} : tensor<4x3xf32>

// -----

// expected-error@+1 {{'func.func' op must have an i64 from 1 as "tile_rows" of "pst.blocks", but got {k = 8 : i64, m = 8 : i64, n = 8 : i64, tile_columns = 4 : i64}}}
func.func private @f() attributes {pst.blocks = {k = 8, m = 8, n = 8, tile_columns = 4}}

// -----

// expected-error@+1 {{'func.func' op must have positions among its 0 arguments as "pst.tensor_maps", but got 0}}
func.func private @f() attributes {pst.tensor_maps = array<i32: 0>}

// -----

// expected-error@+1 {{'func.func' op must have positions among its 1 arguments as "pst.tensor_maps", but got -1}}
func.func @f(%x: tensor<2xf32>) attributes {pst.tensor_maps = array<i32: 0, -1>} {
  return
}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op must have an i64 from 1 as "splits" of "pst.gemm_plan", but got {columns = 8 : i64, rows = 8 : i64}}}
  call @f() {pst.gemm_plan = {columns = 8, rows = 8}} : () -> ()
  return
}

// -----

func.func private @f()
func.func @g() {
  // expected-error@+1 {{'func.call' op must have an i64 from 0 as "band" of "pst.gemm_plan" beside "release", but got {columns = 8 : i64, release = 0 : i64, rows = 8 : i64, splits = 1 : i64, stages = 4 : i64}}}
  call @f() {pst.gemm_plan = {columns = 8, release = 0, rows = 8, splits = 1, stages = 4}} : () -> ()
  return
}
