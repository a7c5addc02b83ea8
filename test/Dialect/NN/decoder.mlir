// RUN: pst-opt %s | pst-opt | FileCheck %s
// RUN: pst-opt --mlir-print-op-generic %s | pst-opt | FileCheck %s

// The ops of decoders survive printing and parsing.

// CHECK-LABEL: func.func @norms_and_gates(
func.func @norms_and_gates(%x: tensor<10x6xf32>, %n: tensor<10x6xbf16>, %scale: tensor<6xf32>) {
  // CHECK: nn.rms_norm %{{.*}}, %{{.*}} epsilon 9.9{{.*}}E-7 : tensor<10x6xf32>, tensor<6xf32>
  %y = nn.rms_norm %x, %scale epsilon 1.0e-6 : tensor<10x6xf32>, tensor<6xf32>
  // CHECK: nn.rms_norm %{{.*}}, %{{.*}} epsilon 1.000000e-05 : tensor<10x6xbf16>, tensor<6xf32>
  %z = nn.rms_norm %n, %scale epsilon 1.0e-5 : tensor<10x6xbf16>, tensor<6xf32>
  // CHECK: nn.rms_norm_backward %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 : tensor<10x6xf32>, tensor<6xf32>
  %dx, %ds = nn.rms_norm_backward %x, %scale, %y epsilon 1.0e-5 : tensor<10x6xf32>, tensor<6xf32>
  // CHECK: nn.rms_norm_backward %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 addend(%{{.*}}) : tensor<10x6xf32>, tensor<6xf32> addend tensor<10x6xf32>
  %sum, %dscale = nn.rms_norm_backward %x, %scale, %y epsilon 1.0e-5 addend(%dx) : tensor<10x6xf32>, tensor<6xf32> addend tensor<10x6xf32>
  // CHECK: nn.layer_norm_backward %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 dropout(%{{.*}}) probability 1.000000e-01 site 3 : tensor<10x6xbf16>, tensor<6xf32> dropped tensor<10x6xbf16>
  %seed = arith.constant 7 : i64
  %d:4 = nn.layer_norm_backward %n, %scale, %z epsilon 1.0e-5 dropout(%seed) probability 0.1 site 3 : tensor<10x6xbf16>, tensor<6xf32> dropped tensor<10x6xbf16>
  // CHECK: nn.activation silu %{{.*}} : tensor<10x6xf32>
  %a = nn.activation silu %x : tensor<10x6xf32>
  // CHECK: nn.gated_activation silu %{{.*}}, %{{.*}} : tensor<10x6xbf16>
  %g = nn.gated_activation silu %n, %z : tensor<10x6xbf16>
  // CHECK: nn.gated_activation_backward gelu %{{.*}}, %{{.*}}, %{{.*}} : tensor<10x6xf32>
  %dg = nn.gated_activation_backward gelu %x, %y, %a : tensor<10x6xf32>
  return
}

// CHECK-LABEL: func.func @rotary(
func.func @rotary(%f: tensor<3xf32>, %x: tensor<10x12xf32>) {
  // CHECK: nn.rotary_table %{{.*}} scale 1.000000e+00 : tensor<3xf32> -> tensor<5x6xf32>
  %t = nn.rotary_table %f scale 1.0 : tensor<3xf32> -> tensor<5x6xf32>
  // CHECK: nn.rotary %{{.*}}, %{{[^ ]*}} : tensor<10x12xf32>, tensor<5x6xf32>
  %y = nn.rotary %x, %t : tensor<10x12xf32>, tensor<5x6xf32>
  // CHECK: nn.rotary %{{.*}}, %{{.*}} transposed : tensor<10x12xf32>, tensor<5x6xf32>
  %d = nn.rotary %y, %t transposed : tensor<10x12xf32>, tensor<5x6xf32>
  return
}

// CHECK-LABEL: func.func @grouped_queries(
func.func @grouped_queries(%q: tensor<10x12xf32>, %k: tensor<10x4xf32>, %mask: tensor<2x5xi32>, %seed: i64) {
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 6 causal : tensor<10x12xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  %a = nn.attention %q, %k, %k, %mask heads 6 causal : tensor<10x12xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 3 causal window 2 dropout %{{.*}} probability 5.000000e-01 site 7 : tensor<10x12xf32>, tensor<2x5xi32>
  %b = nn.attention %q, %q, %q, %mask heads 3 causal window 2 dropout %seed probability 0.5 site 7 : tensor<10x12xf32>, tensor<2x5xi32>
  // CHECK: nn.attention_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 6 causal window 2 : tensor<10x12xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  %d:3 = nn.attention_backward %q, %k, %k, %mask, %a heads 6 causal window 2 : tensor<10x12xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  return
}

// CHECK-LABEL: func.func @cached(
func.func @cached(%f: tensor<3xf32>, %x: tensor<2x12xf32>, %q: tensor<2x24xf32>, %cache: tensor<9x12xf32>,
                  %sequences: tensor<2x1xi32>, %positions: tensor<2x1xi32>, %slots: tensor<3x4xi32>) {
  // CHECK: nn.rotary_table %{{.*}} at %{{.*}} scale 1.000000e+00 : tensor<3xf32>, tensor<2x1xi32> -> tensor<2x6xf32>
  %t = nn.rotary_table %f at %positions scale 1.0 : tensor<3xf32>, tensor<2x1xi32> -> tensor<2x6xf32>
  // CHECK: %[[C:.*]] = nn.cache_rows %{{.*}}, %{{.*}} at %{{.*}}, %{{.*}} of %{{.*}} : tensor<2x12xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  %c = nn.cache_rows %x, %cache at %sequences, %positions of %slots
      : tensor<2x12xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  // CHECK: nn.cached_attention %{{.*}}, %[[C]], %[[C]] at %{{.*}}, %{{.*}} of %{{.*}} heads 4 : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  %y = nn.cached_attention %q, %c, %c at %sequences, %positions of %slots heads 4
      : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  // CHECK: heads 2 window 3 :
  %w = nn.cached_attention %q, %c, %c at %sequences, %positions of %slots heads 2 window 3
      : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  return
}
