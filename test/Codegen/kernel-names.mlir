// RUN: pst-opt %s --pst-emit-cpu-kernels | FileCheck %s

// Kernels that differ in anything have different names: in what is stored of a
// weight, and in how much room, in the type of any factor, in what no reader
// sees.

pst.criterion @sum(%w: dense, %v: dense) {
  %s = arith.addf %w, %v : f32
  pst.yield weight %s score %s
}
pst.criterion @three(%w: dense, %v: dense, %u: dense) {
  %s = arith.addf %w, %v : f32
  %t = arith.addf %s, %u : f32
  pst.yield weight %t
}
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @forms
// CHECK: pst.launch @[[PACKED:masked_matmul_256x64_96x64_f32_i64_256x96_map]] ins
// CHECK: pst.launch @[[STORED:masked_matmul_256x64_96x64_f32_i64_585_585xi8_2x65xi32_i32_256x96_map]] ins
// CHECK: pst.launch @[[ROOMIER:masked_matmul_256x64_96x64_f32_i64_700_700xi8_2x65xi32_i32_256x96_map]] ins
func.func @forms(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>,
                 %v: tensor<585xf32>, %k: tensor<585xi8>, %rv: tensor<700xf32>, %rk: tensor<700xi8>, %c: tensor<2x65xi32>, %n: tensor<i32>)
    -> (tensor<256x96xf32>, tensor<256x96xf32>, tensor<256x96xf32>) {
  %a = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  %b = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) stored(%v, %k, %c, %n)
      : tensor<256x64xf32>, (tensor<96x64xf32>) stored tensor<585xf32>, tensor<585xi8>, tensor<2x65xi32>, tensor<i32> -> tensor<256x96xf32>
  %d = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) stored(%rv, %rk, %c, %n)
      : tensor<256x64xf32>, (tensor<96x64xf32>) stored tensor<700xf32>, tensor<700xi8>, tensor<2x65xi32>, tensor<i32> -> tensor<256x96xf32>
  return %a, %b, %d : tensor<256x96xf32>, tensor<256x96xf32>, tensor<256x96xf32>
}

// CHECK-LABEL: func.func @types
// CHECK: pst.launch @[[FIRST:masked_weight_4x6_4x6xbf16_sum]] ins
// CHECK: pst.launch @[[SECOND:masked_weight_4x6xbf16_4x6_sum]] ins
// CHECK: pst.launch @[[BOTH:masked_weight_4x6_sum]] ins
func.func @types(%w: tensor<4x6xf32>, %n: tensor<4x6xbf16>)
    -> (tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>) {
  %a = pst.masked_weight @sum(%w, %n) : (tensor<4x6xf32>, tensor<4x6xbf16>) -> tensor<4x6xf32>
  %b = pst.masked_weight @sum(%n, %w) : (tensor<4x6xbf16>, tensor<4x6xf32>) -> tensor<4x6xf32>
  %c = pst.masked_weight @sum(%w, %w) : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
  return %a, %b, %c : tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>
}

// Each type is shown once; which factor has it, a hash tells.
// CHECK-LABEL: func.func @same_text
// CHECK: pst.launch @masked_weight_4x6_4x6xbf16_three ins
// CHECK: pst.launch @masked_weight_4x6_4x6xbf16_three_{{[0-9a-f]+}} ins
func.func @same_text(%w: tensor<4x6xf32>, %n: tensor<4x6xbf16>)
    -> (tensor<4x6xf32>, tensor<4x6xf32>) {
  %a = pst.masked_weight @three(%w, %n, %w) : (tensor<4x6xf32>, tensor<4x6xbf16>, tensor<4x6xf32>) -> tensor<4x6xf32>
  %b = pst.masked_weight @three(%w, %w, %n) : (tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xbf16>) -> tensor<4x6xf32>
  return %a, %b : tensor<4x6xf32>, tensor<4x6xf32>
}

// CHECK-DAG: func.func private @[[PACKED]](
// CHECK-DAG: func.func private @[[STORED]](
// CHECK-DAG: func.func private @[[STORED]]_sparse(
// CHECK-DAG: func.func private @[[ROOMIER]]_sparse(
