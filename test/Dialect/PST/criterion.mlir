// RUN: pst-opt %s | pst-opt | FileCheck %s
// RUN: pst-opt %s --canonicalize --cse --symbol-dce --verify-each | FileCheck %s --check-prefix=SIMPLE

// Each method of the field is a region; what simplifies it leaves a criterion.

// Dense fine-tuning: no score.
// CHECK-LABEL: pst.criterion @dense(%{{.*}}: dense) {
// CHECK-NEXT:    pst.yield weight %{{[a-z0-9]+}}{{$}}
pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

// CHECK-LABEL: pst.criterion @lora(%{{.*}}: dense, %{{.*}}: lowrank) {
// CHECK-NEXT:    %[[V:.*]] = arith.addf
// CHECK-NEXT:    pst.yield weight %[[V]]{{$}}
pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

// CHECK-LABEL: pst.criterion @magnitude(%{{.*}}: dense) {
// CHECK-NEXT:    %[[S:.*]] = math.absf
// CHECK-NEXT:    pst.yield weight %{{.*}} score %[[S]]
pst.criterion @magnitude(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// CHECK-LABEL: pst.criterion @movement(
// CHECK-SAME:      %[[W:.*]]: dense, %[[S:.*]]: dense) {
// CHECK-NEXT:    pst.yield weight %[[W]] score %[[S]]
pst.criterion @movement(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

// PST, with the magnitude detached: W' = W + UV, S = |W'| + AB + (R + C) / 2.
// CHECK-LABEL: pst.criterion @detached(
// CHECK-SAME:      %[[W:.*]]: dense, %[[UV:.*]]: lowrank, %[[AB:.*]]: lowrank, %[[R:.*]]: row, %[[C:.*]]: col)
// CHECK-NEXT:    %[[V:.*]] = arith.addf %[[W]], %[[UV]]
// CHECK-NEXT:    %[[N:.*]] = pst.detach %[[V]] : f32
// CHECK-NEXT:    %[[M:.*]] = math.absf %[[N]]
// CHECK-NEXT:    %[[MA:.*]] = arith.addf %[[M]], %[[AB]]
// CHECK-NEXT:    %[[RC:.*]] = arith.addf %[[R]], %[[C]]
// CHECK-NEXT:    %[[HALF:.*]] = arith.constant 5.000000e-01 : f32
// CHECK-NEXT:    %[[A:.*]] = arith.mulf %[[RC]], %[[HALF]]
// CHECK-NEXT:    %[[S:.*]] = arith.addf %[[MA]], %[[A]]
// CHECK-NEXT:    pst.yield weight %[[V]] score %[[S]]
pst.criterion @detached(%w: dense, %uv: lowrank, %ab: lowrank, %r: row, %c: col) {
  %v = arith.addf %w, %uv : f32
  %n = pst.detach %v : f32
  %m = math.absf %n : f32
  %ma = arith.addf %m, %ab : f32
  %rc = arith.addf %r, %c : f32
  %half = arith.constant 0.5 : f32
  %a = arith.mulf %rc, %half : f32
  %s = arith.addf %ma, %a : f32
  pst.yield weight %v score %s
}

// A recipe says how its factors begin, and which numbers a run may set; what
// simplifies it puts their values in.
// CHECK-LABEL: pst.criterion @recipe(%{{.*}}: dense, %{{.*}}: lowrank<rank = 8>(U init<normal 1.000000e+00>, V init<zeros>),
// CHECK-SAME:      %{{.*}}: lowrank<3>(A init<zeros>, B init<constant 5.000000e-01>),
// CHECK-SAME:      %{{.*}}: row(R init<zeros>), %{{.*}}: col(norm frozen init<file "*" from "norms">)) trains_model {
// CHECK-NEXT:    %[[BETA:.*]] = pst.hyperparameter "beta" = 1.000000e+00 : f32
// CHECK:         %[[CHOICE:.*]] = pst.hyperparameter "choice" = true
// SIMPLE-LABEL: pst.criterion @recipe(
// SIMPLE-SAME:     %[[W:.*]]: dense, %[[UV:.*]]: lowrank<rank = 8>(U init<normal 1.000000e+00>, V init<zeros>)
// SIMPLE-NEXT:    %[[V:.*]] = arith.addf %[[W]], %[[UV]]
// SIMPLE-NEXT:    pst.yield weight %[[V]] score %[[V]]
pst.criterion @recipe(%w: dense, %uv: lowrank<rank = 8>(U init<normal 1.0>, V init<zeros>),
                      %ab: lowrank<3>(A trainable init<zeros>, B init<constant 0.5>),
                      %r: row(R init<zeros>), %c: col(norm frozen init<file "*" from "norms">)) trains_model {
  %beta = pst.hyperparameter "beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %v = arith.addf %w, %change : f32
  %choice = pst.hyperparameter "choice" = true
  %s = arith.select %choice, %v, %ab : f32
  pst.yield weight %v score %s
}

// A factor 1 goes away, equal terms become one, the dead one is dropped; the
// gradient still stops at the detach.
// SIMPLE-LABEL: pst.criterion @simplified(
// SIMPLE-SAME:      %[[W:.*]]: dense, %[[UV:.*]]: lowrank, %{{.*}}: row)
// SIMPLE-NEXT:    %[[V:.*]] = arith.addf %[[W]], %[[UV]]
// SIMPLE-NEXT:    %[[N:.*]] = pst.detach %[[V]] : f32
// SIMPLE-NEXT:    %[[S:.*]] = math.absf %[[N]]
// SIMPLE-NEXT:    pst.yield weight %[[V]] score %[[S]]
pst.criterion @simplified(%w: dense, %uv: lowrank, %r: row) {
  %one = arith.constant 1.0 : f32
  %scaled = arith.mulf %uv, %one : f32
  %v = arith.addf %w, %scaled : f32
  %again = arith.addf %w, %uv : f32
  %dead = arith.mulf %r, %again : f32
  %n = pst.detach %again : f32
  %s = math.absf %n : f32
  pst.yield weight %v score %s
}

// Symbols are the model's, used or not.
// SIMPLE: pst.parameter @unused
pst.parameter @unused frozen init<zeros> : tensor<3xf32>
