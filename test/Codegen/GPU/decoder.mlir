// A decoder's own kernels: norms without means, rotations, gates, attention of
// shared keys in a window, by fused multiply-adds and on the tensor cores.
// Assembled for both architectures without spills.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s
// RUN: pst-compile %s --target=cuda --gpu-arch=sm_80 -o %t.bundle
// RUN: FileCheck %s --check-prefix=BUNDLE --input-file=%t.bundle/manifest.json

// Rotations see their matrices as one row for each half of a head: no launch.
// BUNDLE: "rotary_128x384_64x64 grid {{[0-9x]+}} block 256x1x1 for nn.rotary

// CHECK-DAG: attention{{.*}}bf16{{.*}}: {{[0-9]+}} registers, 27648 bytes shared
// CHECK-DAG: attention_backward{{.*}}bf16{{.*}}_keys: {{[0-9]+}} registers, 36864 bytes shared
// CHECK-DAG: attention_backward{{.*}}bf16{{.*}}_queries: {{[0-9]+}} registers, 36864 bytes shared
// CHECK-DAG: gated_activation{{.*}}silu{{.*}}: {{[1-5]?[0-9]}} registers, 0 bytes shared
// CHECK-DAG: rms_norm{{.*}}: {{[1-4][0-9]}} registers
// CHECK-DAG: rms_norm_backward{{.*}}: {{[1-6][0-9]}} registers
// CHECK-DAG: rotary_table{{.*}}: {{[1-3][0-9]}} registers, 0 bytes shared
// CHECK-DAG: rotary{{.*}}transposed{{.*}}: {{[1-5][0-9]}} registers, 0 bytes shared

func.func @wide(%x: tensor<128x384xf32>, %k: tensor<128x128xf32>, %f: tensor<32xf32>, %s: tensor<384xf32>, %m: tensor<2x64xi32>)
    -> (tensor<128x384xf32>, tensor<384xf32>, tensor<128x384xf32>, tensor<128x128xf32>) {
  %t = nn.rotary_table %f scale 1.0 : tensor<32xf32> -> tensor<64x64xf32>
  %n = nn.rms_norm %x, %s epsilon 1.0e-5 : tensor<128x384xf32>, tensor<384xf32>
  %q = nn.rotary %n, %t : tensor<128x384xf32>, tensor<64x64xf32>
  %a = nn.attention %q, %k, %k, %m heads 6 causal window 20 : tensor<128x384xf32>, tensor<128x128xf32>, tensor<2x64xi32>
  %g = nn.gated_activation silu %a, %n : tensor<128x384xf32>
  %dv = nn.gated_activation silu %a, %g : tensor<128x384xf32>
  %dg = nn.gated_activation_backward silu %a, %n, %g : tensor<128x384xf32>
  %dq, %dk, %dw = nn.attention_backward %q, %k, %k, %m, %dv heads 6 causal window 20 : tensor<128x384xf32>, tensor<128x128xf32>, tensor<2x64xi32>
  %dn = nn.rotary %dq, %t transposed : tensor<128x384xf32>, tensor<64x64xf32>
  %dx, %ds = nn.rms_norm_backward %x, %s, %dn epsilon 1.0e-5 : tensor<128x384xf32>, tensor<384xf32>
  return %dx, %ds, %dg, %dk : tensor<128x384xf32>, tensor<384xf32>, tensor<128x384xf32>, tensor<128x128xf32>
}

func.func @narrow(%x: tensor<128x384xbf16>, %k: tensor<128x128xbf16>, %f: tensor<32xf32>, %s: tensor<384xf32>, %m: tensor<2x64xi32>)
    -> (tensor<128x384xbf16>, tensor<384xf32>, tensor<128x384xbf16>, tensor<128x128xbf16>) {
  %t = nn.rotary_table %f scale 1.0 : tensor<32xf32> -> tensor<64x64xf32>
  %n = nn.rms_norm %x, %s epsilon 1.0e-5 : tensor<128x384xbf16>, tensor<384xf32>
  %q = nn.rotary %n, %t : tensor<128x384xbf16>, tensor<64x64xf32>
  %a = nn.attention %q, %k, %k, %m heads 6 causal window 20 : tensor<128x384xbf16>, tensor<128x128xbf16>, tensor<2x64xi32>
  %g = nn.gated_activation silu %a, %n : tensor<128x384xbf16>
  %dv = nn.gated_activation silu %a, %g : tensor<128x384xbf16>
  %dg = nn.gated_activation_backward silu %a, %n, %g : tensor<128x384xbf16>
  %dq, %dk, %dw = nn.attention_backward %q, %k, %k, %m, %dv heads 6 causal window 20 : tensor<128x384xbf16>, tensor<128x128xbf16>, tensor<2x64xi32>
  %dn = nn.rotary %dq, %t transposed : tensor<128x384xbf16>, tensor<64x64xf32>
  %dx, %ds = nn.rms_norm_backward %x, %s, %dn epsilon 1.0e-5 : tensor<128x384xbf16>, tensor<384xf32>
  return %dx, %ds, %dg, %dk : tensor<128x384xbf16>, tensor<384xf32>, tensor<128x384xbf16>, tensor<128x128xbf16>
}
