// RUN: pst-opt %s | pst-opt | FileCheck %s
// RUN: pst-opt --mlir-print-op-generic %s | pst-opt | FileCheck %s

// Every op survives printing and parsing.

// CHECK: pst.parameter @w frozen init<file "encoder.query.weight"> : tensor<4x3xf32>
pst.parameter @w frozen init<file "encoder.query.weight"> : tensor<4x3xf32>
// CHECK: pst.parameter @u trainable init<normal 2.000000e-02> {decay} : tensor<4x2xf32>
pst.parameter @u trainable init<normal 0.02> {decay} : tensor<4x2xf32>
// CHECK: pst.parameter @b trainable init<zeros> {offset = 64 : i64} : tensor<3xf32>
pst.parameter @b trainable init<zeros> {offset = 64} : tensor<3xf32>
// CHECK: pst.parameter @w.threshold state init<constant -1.500000e+00> : tensor<f32>
pst.parameter @w.threshold state init<constant -1.5> : tensor<f32>
// CHECK: pst.parameter @"a name, with \22quotes\22" frozen init<file "a name, with \22quotes\22"> : tensor<1xbf16>
pst.parameter @"a name, with \22quotes\22" frozen init<file "a name, with \22quotes\22"> : tensor<1xbf16>

// CHECK-LABEL: func.func @parameters(
func.func @parameters(%tau: tensor<f32>, %d: tensor<3xf32>) {
  // CHECK: pst.load @w : tensor<4x3xf32>
  %w = pst.load @w : tensor<4x3xf32>
  // CHECK: pst.load @u gradient : tensor<4x2xf32>
  %g = pst.load @u gradient : tensor<4x2xf32>
  // CHECK: pst.store %{{.*}}, @w.threshold : tensor<f32>
  pst.store %tau, @w.threshold : tensor<f32>
  // CHECK: pst.accumulate %{{.*}}, @b : tensor<3xf32>
  pst.accumulate %d, @b : tensor<3xf32>
  return
}

// CHECK-LABEL: pst.criterion @pst(%{{.*}}: dense, %{{.*}}: lowrank, %{{.*}}: lowrank, %{{.*}}: row, %{{.*}}: col) {
pst.criterion @pst(%w: dense, %uv: lowrank, %ab: lowrank, %r: row, %c: col) {
  %beta = arith.constant 0.5 : f32
  %d = arith.mulf %uv, %beta : f32
  %v = arith.addf %w, %d : f32
  // CHECK: pst.detach %{{.*}} : f32
  %n = pst.detach %v : f32
  %m = math.absf %n : f32
  %a = arith.addf %m, %ab : f32
  %rc = arith.addf %r, %c : f32
  %s = arith.addf %a, %rc : f32
  // CHECK: pst.yield weight %{{.*}} score %{{.*}}
  pst.yield weight %v score %s
}

// CHECK-LABEL: pst.criterion @lora(%{{.*}}: dense, %{{.*}}: lowrank)
// CHECK-SAME: attributes {note = "no score"}
pst.criterion @lora(%w: dense, %uv: lowrank) attributes {note = "no score"} {
  %v = arith.addf %w, %uv : f32
  // CHECK: pst.yield weight %{{[a-z0-9]+$}}
  pst.yield weight %v
}

// CHECK-LABEL: func.func @virtual_weight(
func.func @virtual_weight(%x: tensor<5x3xf32>, %dy: tensor<5x4xf32>,
    %w: tensor<4x3xf32>, %u: tensor<4x2xf32>, %v: tensor<2x3xf32>,
    %a: tensor<4x1xf32>, %b: tensor<1x3xf32>, %r: tensor<4xf32>,
    %c: tensor<3xf32>, %bias: tensor<4xf32>, %sparsity: f64) {
  // CHECK: pst.topk_threshold @pst(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}), %{{.*}} : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>)
  %tau, %cut, %pruned = pst.topk_threshold @pst(%w, %u, %v, %a, %b, %r, %c), %sparsity
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>)
  // CHECK: pst.topk_threshold @pst(%{{.*}}), %{{.*}} previous(%{{.*}}) : (tensor<4x3xf32>, {{.*}})
  %again, %cut_again, %pruned_again = pst.topk_threshold @pst(%w, %u, %v, %a, %b, %r, %c), %sparsity previous(%tau)
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>)
  // CHECK: %{{.*}}:2, %{{.*}}:2, %{{.*}}:2 = pst.topk_threshold @pst(%{{.*}}), %{{.*}}, %{{.*}} previous(%{{.*}}, %{{.*}}) : (tensor<4x3xf32>, {{.*}})
  %taus:2, %cuts:2, %counts:2 = pst.topk_threshold @pst(%w, %u, %v, %a, %b, %r, %c, %w, %u, %v, %a, %b, %r, %c), %sparsity, %sparsity
      previous(%tau, %again)
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>, tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>)
  // CHECK: pst.masked_matmul %{{.*}}, @lora(%{{.*}}) bias(%{{.*}}) dropout(%{{.*}}) probability 1.000000e-01 site 3 activation gelu : tensor<5x3xf32>, ({{.*}}) bias tensor<4xf32> -> tensor<5x4xf32>
  %seed = arith.constant 7 : i64
  %dropped = pst.masked_matmul %x, @lora(%w, %u, %v) bias(%bias) dropout(%seed) probability 0.1 site 3 activation gelu
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) bias tensor<4xf32> -> tensor<5x4xf32>
  // CHECK: %[[A:.*]], %[[Z:.*]] = pst.masked_matmul %{{.*}}, @lora(%{{.*}}) activation gelu : tensor<5x3xf32>, ({{.*}}) -> tensor<5x4xf32> kept tensor<5x4xf32>
  %activated, %kept = pst.masked_matmul %x, @lora(%w, %u, %v) activation gelu
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x4xf32> kept tensor<5x4xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @lora(%{{.*}}) addend(%[[A]]) activation gelu derivative_at(%[[Z]]) : tensor<5x3xf32>, ({{.*}}) addend tensor<5x4xf32> derivative_at tensor<5x4xf32> -> tensor<5x4xf32> kept tensor<5x4xf32>
  %dz, %second = pst.masked_matmul %x, @lora(%w, %u, %v) addend(%activated) activation gelu derivative_at(%kept)
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) addend tensor<5x4xf32> derivative_at tensor<5x4xf32> -> tensor<5x4xf32> kept tensor<5x4xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @pst(%{{.*}}) threshold(%{{.*}}, %{{.*}}) bias(%{{.*}}) : tensor<5x3xf32>, (tensor<4x3xf32>, {{.*}}) bias tensor<4xf32> -> tensor<5x4xf32>
  %y = pst.masked_matmul %x, @pst(%w, %u, %v, %a, %b, %r, %c) threshold(%tau, %cut) bias(%bias)
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>) bias tensor<4xf32> -> tensor<5x4xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @lora(%{{.*}}) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x4xf32>
  %z = pst.masked_matmul %x, @lora(%w, %u, %v)
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x4xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @lora(%{{.*}}) transposed : tensor<5x4xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x3xf32>
  %dx = pst.masked_matmul %dy, @lora(%w, %u, %v) transposed
      : tensor<5x4xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x3xf32>
  // CHECK: %[[S:.*]]:4 = pst.materialize @pst(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) as compressed unordered : (tensor<4x3xf32>, {{.*}}) -> tensor<21xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32>
  %s:4 = pst.materialize @pst(%w, %u, %v, %a, %b, %r, %c) threshold(%tau, %cut) pruned(%pruned) as compressed unordered
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>) -> tensor<21xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32>
  // CHECK: pst.stored_matmul %{{.*}}, compressed(%[[S]]#0, %[[S]]#1, %[[S]]#2, %[[S]]#3) bias(%{{.*}}) activation relu : tensor<5x3xf32>, (tensor<21xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32>) bias tensor<4xf32> -> tensor<5x4xf32>
  %sy = pst.stored_matmul %x, compressed(%s#0, %s#1, %s#2, %s#3) bias(%bias) activation relu
      : tensor<5x3xf32>, (tensor<21xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32>) bias tensor<4xf32> -> tensor<5x4xf32>
  // CHECK: pst.materialize @lora(%{{.*}}) transposed as compressed : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<28xf32>, tensor<28xi8>, tensor<1x65xi32>, tensor<i32>
  %t:4 = pst.materialize @lora(%w, %u, %v) transposed as compressed
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<28xf32>, tensor<28xi8>, tensor<1x65xi32>, tensor<i32>
  // CHECK: %[[Q:.*]]:2 = pst.materialize @lora(%{{.*}}) as quantized : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xi8>, tensor<4xf32>
  %q:2 = pst.materialize @lora(%w, %u, %v) as quantized
    : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xi8>, tensor<4xf32>
  // CHECK: pst.stored_matmul %{{.*}}, quantized(%[[Q]]#0, %[[Q]]#1) bias(%{{.*}}) activation relu : tensor<5x3xf32>, (tensor<4x3xi8>, tensor<4xf32>) bias tensor<4xf32> -> tensor<5x4xf32>
  %qy = pst.stored_matmul %x, quantized(%q#0, %q#1) bias(%bias) activation relu
    : tensor<5x3xf32>, (tensor<4x3xi8>, tensor<4xf32>) bias tensor<4xf32> -> tensor<5x4xf32>
  // CHECK: pst.materialize @lora(%{{.*}}) as compressed : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<28xi8>, tensor<28xi8>, tensor<1x65xi32>, tensor<i32>, tensor<4xf32>
  %qt:5 = pst.materialize @lora(%w, %u, %v) as compressed
    : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<28xi8>, tensor<28xi8>, tensor<1x65xi32>, tensor<i32>, tensor<4xf32>
  // CHECK: pst.materialize @lora(%{{.*}}) as dense : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xbf16>
  %d = pst.materialize @lora(%w, %u, %v) as dense : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xbf16>
  // CHECK: pst.masked_matmul %{{.*}}, @pst(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) stored(%[[S]]#0, %[[S]]#1, %[[S]]#2, %[[S]]#3) bias(%{{.*}}) : tensor<5x3xf32>, ({{.*}}) stored tensor<21xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32> bias tensor<4xf32>
  %h = pst.masked_matmul %x, @pst(%w, %u, %v, %a, %b, %r, %c) threshold(%tau, %cut) pruned(%pruned) stored(%s#0, %s#1, %s#2, %s#3) bias(%bias)
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>) stored tensor<21xf32>, tensor<21xi8>, tensor<1x65xi32>, tensor<i32> bias tensor<4xf32> -> tensor<5x4xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @lora(%{{.*}}) addend(%{{.*}}) activation gelu : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) addend tensor<5x4xf32> -> tensor<5x4xf32>
  %e = pst.masked_matmul %x, @lora(%w, %u, %v) addend(%z) activation gelu
      : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) addend tensor<5x4xf32> -> tensor<5x4xf32>
  // CHECK: pst.lowrank_accumulate %{{.*}}, %{{.*}}, @lora(%{{.*}}) wrt [1, 2] : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x2xf32>, tensor<2x3xf32>
  %du, %dv = pst.lowrank_accumulate %dy, %x, @lora(%w, %u, %v) wrt [1, 2]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x2xf32>, tensor<2x3xf32>
  // CHECK: pst.accumulate %{{.*}}, @u fused : tensor<4x2xf32>
  pst.accumulate %du, @u fused : tensor<4x2xf32>
  // CHECK: pst.lowrank_accumulate %{{.*}}, %{{.*}}, @pst(%{{.*}}) threshold(%{{.*}}, %{{.*}}) wrt [5, 6] : {{.*}} -> tensor<4xf32>, tensor<3xf32>
  %dr, %dc = pst.lowrank_accumulate %dy, %x, @pst(%w, %u, %v, %a, %b, %r, %c) threshold(%tau, %cut) wrt [5, 6]
      : tensor<5x4xf32>, tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>) -> tensor<4xf32>, tensor<3xf32>
  // CHECK: pst.masked_weight @pst(%{{.*}}) threshold(%{{.*}}, %{{.*}}) : (tensor<4x3xf32>, {{.*}}) -> tensor<4x3xf32>
  %merged = pst.masked_weight @pst(%w, %u, %v, %a, %b, %r, %c) threshold(%tau, %cut)
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>, tensor<4x1xf32>, tensor<1x3xf32>, tensor<4xf32>, tensor<3xf32>) -> tensor<4x3xf32>
  // CHECK: pst.masked_weight @lora(%{{.*}}) : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  %dense = pst.masked_weight @lora(%w, %u, %v)
      : (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  return
}

// CHECK-LABEL: func.func @optimizer(
func.func @optimizer(%lr: f32, %beta1: f32, %beta2: f32, %eps: f32,
    %decay: f32, %c1: f32, %c2: f32, %max: f32) -> tensor<f32> {
  // CHECK: pst.adamw size 1024 decayed 512(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}})
  %norm = pst.adamw size 1024 decayed 512 (%lr, %beta1, %beta2, %eps, %decay, %c1, %c2, %max)
  // CHECK: pst.adamw size 1024 decayed 512(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) except [128, 256, 1000, 1024](%{{.*}}, %{{.*}})
  %other = pst.adamw size 1024 decayed 512 (%lr, %beta1, %beta2, %eps, %decay, %c1, %c2, %max) except [128, 256, 1000, 1024] (%beta1, %beta2)
  return %norm : tensor<f32>
}

// CHECK-LABEL: func.func private @relu_2x3(
func.func private @relu_2x3(memref<2x3xf32>, f32, memref<2x3xf32>, memref<8xi8>)

// CHECK-LABEL: func.func @kernels(
func.func @kernels(%x: tensor<2x3xf32>, %e: tensor<2x3xf32>, %f: f32,
    %t: tensor<8xi8>, %xb: memref<2x3xf32>, %tb: memref<8xi8>) {
  // CHECK: pst.space "trainable" : tensor<1024xf32>
  %p = pst.space "trainable" : tensor<1024xf32>
  // CHECK: pst.space "gradient" : memref<1024xf32>
  %q = pst.space "gradient" : memref<1024xf32>
  // CHECK: pst.buffer @w : memref<4x3xf32>
  %w = pst.buffer @w : memref<4x3xf32>
  // CHECK: pst.buffer @b gradient : memref<3xf32>
  %g = pst.buffer @b gradient : memref<3xf32>
  // CHECK: pst.launch @relu_2x3 ins(%{{.*}}, %{{.*}} : tensor<2x3xf32>, f32) outs(%{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<8xi8>) {workspace = 1 : i64} -> tensor<2x3xf32>, tensor<8xi8>
  %y:2 = pst.launch @relu_2x3 ins(%x, %f : tensor<2x3xf32>, f32) outs(%e, %t : tensor<2x3xf32>, tensor<8xi8>) {workspace = 1} -> tensor<2x3xf32>, tensor<8xi8>
  // CHECK: pst.launch @relu_2x3 ins(%{{.*}}, %{{.*}} : memref<2x3xf32>, f32) outs(%{{.*}}, %{{.*}} : memref<2x3xf32>, memref<8xi8>){{$}}
  pst.launch @relu_2x3 ins(%xb, %f : memref<2x3xf32>, f32) outs(%xb, %tb : memref<2x3xf32>, memref<8xi8>)
  return
}
