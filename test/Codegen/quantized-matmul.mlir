// RUN: pst-opt %s --pst-emit-cpu-kernels="vector-width=16 expand-bits=8" --canonicalize --cse | FileCheck %s --check-prefix=BYTES
// RUN: pst-opt %s --pst-emit-cpu-kernels="vector-width=16 expand-bits=32" --canonicalize --cse | FileCheck %s --check-prefix=FLOATS

// A weight in 8 bits and few rows of X: where the machine sums products of
// bytes, X becomes three digits of a byte, and each lane begins with what its
// sum takes too much, since one factor has no sign. Elsewhere, and for many
// rows, weights become f32.

// BYTES-LABEL: func.func private @stored_matmul_2x200_{{.*}}_quantized(
// BYTES: scf.parallel
// BYTES: vector.maskedload %{{.*}} : memref<2x200xf32>, vector<16xi1>, vector<16xf32>
// BYTES: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// BYTES: arith.subi %{{.*}}, %{{.*}} : vector<16xi32>
// BYTES: scf.parallel
// BYTES: memref.prefetch
// BYTES: %[[W:.*]] = vector.load %{{.*}} : memref<500x200xi8>, vector<64xi8>
// BYTES: %[[MORE:.*]] = arith.xori %[[W]], %{{.*}} : vector<64xi8>
// BYTES: %[[X:.*]] = vector.load %{{.*}} : memref<2x4x3x64xi8>, vector<64xi8>
// BYTES: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%{{.*}}, %[[MORE]], %[[X]])
// Of the last eight columns nothing is read behind the weight.
// BYTES: vector.maskedload %{{.*}} : memref<500x200xi8>, vector<64xi1>, vector<64xi8>
// FLOATS-LABEL: func.func private @stored_matmul_2x200_{{.*}}_quantized(
// FLOATS-NOT: vpdpbusd
// FLOATS: arith.sitofp %{{.*}} : vector<16xi8> to vector<16xf32>
func.func @few(%x: tensor<2x200xf32>, %v: tensor<500x200xi8>, %s: tensor<500xf32>) -> tensor<2x500xf32> {
  %y = pst.stored_matmul %x, quantized(%v, %s) : tensor<2x200xf32>, (tensor<500x200xi8>, tensor<500xf32>) -> tensor<2x500xf32>
  return %y : tensor<2x500xf32>
}

// BYTES-LABEL: func.func private @stored_matmul_80x200_{{.*}}_quantized(
// BYTES-NOT: vpdpbusd
func.func @many(%x: tensor<80x200xf32>, %v: tensor<500x200xi8>, %s: tensor<500xf32>) -> tensor<80x500xf32> {
  %y = pst.stored_matmul %x, quantized(%v, %s) : tensor<80x200xf32>, (tensor<500x200xi8>, tensor<500xf32>) -> tensor<80x500xf32>
  return %y : tensor<80x500xf32>
}
