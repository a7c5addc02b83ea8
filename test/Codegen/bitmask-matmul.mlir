// RUN: pst-opt %s --pst-emit-cpu-kernels="vector-width=16 expand-bits=8" --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,BYTES
// RUN: pst-opt %s --pst-emit-cpu-kernels="vector-width=16 expand-bits=32" --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,WORDS
// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,NONE
// RUN: not pst-opt %s --pst-emit-cpu-kernels="expand-bits=16" 2>&1 | FileCheck %s --check-prefix=WRONG

// WRONG: error: expand-bits must be 0, 8 or 32, but is 16

// A weight with a bit for each element: kept elements, side by side, are moved
// to the lanes whose bits are set, as many as a register holds where bytes can
// be, 16 as f32 where only words can. X is read as it lies, or for products of
// bytes by bytes as digits.

// CHECK-LABEL: func.func @few
func.func @few(%x: tensor<2x200xf32>, %v: tensor<5000xi8>, %b: tensor<2248xi8>, %s: tensor<70x2xi32>, %u: tensor<i32>, %c: tensor<70xf32>) -> tensor<2x70xf32> {
  %y = pst.stored_matmul %x, bitmask(%v, %b, %s, %u, %c) : tensor<2x200xf32>, (tensor<5000xi8>, tensor<2248xi8>, tensor<70x2xi32>, tensor<i32>, tensor<70xf32>) -> tensor<2x70xf32>
  return %y : tensor<2x70xf32>
}

// Many rows of X are multiplied as by a compressed weight, whose columns are
// found bit by bit, those of a block's second word after the first's.

// CHECK-LABEL: func.func @many
func.func @many(%x: tensor<80x200xf32>, %v: tensor<5000xbf16>, %b: tensor<2248xi8>, %s: tensor<70x2xi32>, %u: tensor<i32>) -> tensor<80x70xf32> {
  %y = pst.stored_matmul %x, bitmask(%v, %b, %s, %u) : tensor<80x200xf32>, (tensor<5000xbf16>, tensor<2248xi8>, tensor<70x2xi32>, tensor<i32>) -> tensor<80x70xf32>
  return %y : tensor<80x70xf32>
}

// CHECK-LABEL: func.func private @stored_matmul_2x200_{{.*}}_bitmask(
// CHECK: %[[WHOLE:.*]] = arith.cmpi sle
// CHECK: scf.if %[[WHOLE]] {
// Of the last eight columns nothing is read behind X, whose digits are written
// once for all rows of the weight.
// BYTES: scf.parallel
// BYTES: vector.maskedload %{{.*}} : memref<2x200xf32>, vector<16xi1>, vector<16xf32>
// BYTES: arith.trunci %{{.*}} : vector<16xi32> to vector<16xi8>
// CHECK: scf.parallel
// CHECK: %[[WORD:.*]] = vector.load %{{.*}} : memref<2248xi8>, vector<8xi8>
// BYTES: %[[MASK:.*]] = vector.bitcast %{{.*}} to vector<64xi1>
// BYTES: %[[KEPT:.*]] = vector.load %{{.*}} : memref<5000xi8>, vector<64xi8>
// BYTES: %[[ALL:.*]] = llvm.call_intrinsic "llvm.x86.avx512.mask.expand"(%[[KEPT]], %{{.*}}, %[[MASK]])
// BYTES: math.ctpop
// BYTES: %[[MORE:.*]] = arith.xori %[[ALL]], %{{.*}} : vector<64xi8>
// BYTES: %[[X:.*]] = vector.load %{{.*}} : memref<2x4x3x64xi8>, vector<64xi8>
// BYTES: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%{{.*}}, %[[MORE]], %[[X]])
// WORDS: %[[MASK:.*]] = vector.bitcast %{{.*}} to vector<16xi1>
// WORDS: %[[KEPT:.*]] = vector.load %{{.*}} : memref<5000xi8>, vector<16xi8>
// WORDS: %[[WIDE:.*]] = arith.sitofp %[[KEPT]] : vector<16xi8> to vector<16xf32>
// WORDS: llvm.call_intrinsic "llvm.x86.avx512.mask.expand"(%[[WIDE]], %{{.*}}, %[[MASK]])
// WORDS: math.ctpop
// WORDS: vector.load %{{.*}} : memref<2x200xf32>, vector<16xf32>
// WORDS: vector.maskedload %{{.*}} : memref<2x200xf32>, vector<16xi1>, vector<16xf32>
// NONE: vector.expandload %{{.*}} : memref<16xf32>, vector<16xi1>, vector<16xf32> into vector<16xf32>
// NONE: vector.maskedload %{{.*}} : memref<2x200xf32>, vector<16xi1>, vector<16xf32>

// CHECK-LABEL: func.func private @stored_matmul_80x200_{{.*}}_bitmask(
// CHECK-COUNT-2: math.ctpop
// CHECK: %[[IS_LOW:.*]] = arith.cmpi ne
// CHECK: %[[BITS:.*]] = arith.select %[[IS_LOW]]
// CHECK: math.cttz %[[BITS]] : i64
