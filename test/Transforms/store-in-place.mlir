// RUN: pst-opt %s -pst-store-in-place | FileCheck %s

// A launch writes to the parameter what would be copied there, and only then.

pst.parameter @s state init<zeros> : tensor<3xf32>
pst.parameter @t state init<zeros> : tensor<3xf32>
pst.parameter @u trainable init<zeros> : tensor<3xf32>

// CHECK-LABEL: func.func @written(
// CHECK-SAME: %[[X:.*]]: memref<3xf32>)
func.func @written(%x: memref<3xf32>) {
  // CHECK-NOT: memref.alloc
  // CHECK: %[[S:.*]] = pst.buffer @s : memref<3xf32>
  // CHECK: %[[T:.*]] = pst.buffer @t : memref<3xf32>
  // CHECK: pst.launch @two ins(%[[X]] : memref<3xf32>) outs(%[[S]], %[[T]] : memref<3xf32>, memref<3xf32>)
  // CHECK-NOT: memref.copy
  // CHECK: return
  %a = memref.alloc() : memref<3xf32>
  %b = memref.alloc() : memref<3xf32>
  pst.launch @two ins(%x : memref<3xf32>) outs(%a, %b : memref<3xf32>, memref<3xf32>)
  %s = pst.buffer @s : memref<3xf32>
  memref.copy %a, %s : memref<3xf32> to memref<3xf32>
  %t = pst.buffer @t : memref<3xf32>
  memref.copy %b, %t : memref<3xf32> to memref<3xf32>
  return
}

// The launch reads what the parameter was.
// CHECK-LABEL: func.func @read
func.func @read() {
  // CHECK: memref.alloc
  // CHECK: memref.copy
  %s = pst.buffer @s : memref<3xf32>
  %a = memref.alloc() : memref<3xf32>
  pst.launch @one ins(%s : memref<3xf32>) outs(%a : memref<3xf32>)
  memref.copy %a, %s : memref<3xf32> to memref<3xf32>
  return
}

// So does a launch in between.
// CHECK-LABEL: func.func @between
func.func @between(%x: memref<3xf32>, %y: memref<3xf32>) {
  // CHECK: memref.alloc
  // CHECK: memref.copy
  %s = pst.buffer @s : memref<3xf32>
  %a = memref.alloc() : memref<3xf32>
  pst.launch @one ins(%x : memref<3xf32>) outs(%a : memref<3xf32>)
  pst.launch @one ins(%s : memref<3xf32>) outs(%y : memref<3xf32>)
  memref.copy %a, %s : memref<3xf32> to memref<3xf32>
  return
}

// The space may hold the parameter.
// CHECK-LABEL: func.func @space
func.func @space(%x: memref<3xf32>) {
  // CHECK: memref.alloc
  // CHECK: memref.copy
  %s = pst.buffer @u : memref<3xf32>
  %all = pst.space "trainable" : memref<6xf32>
  %a = memref.alloc() : memref<3xf32>
  pst.launch @one ins(%x : memref<3xf32>) outs(%a : memref<3xf32>)
  pst.launch @six ins(%all : memref<6xf32>) outs(%x : memref<3xf32>)
  memref.copy %a, %s : memref<3xf32> to memref<3xf32>
  return
}

// Somebody else reads the result, or it goes to two places.
// CHECK-LABEL: func.func @shared
func.func @shared(%x: memref<3xf32>, %y: memref<3xf32>) {
  // CHECK: memref.alloc
  // CHECK: memref.copy
  // CHECK: memref.alloc
  // CHECK-COUNT-2: memref.copy
  %s = pst.buffer @s : memref<3xf32>
  %t = pst.buffer @t : memref<3xf32>
  %a = memref.alloc() : memref<3xf32>
  pst.launch @one ins(%x : memref<3xf32>) outs(%a : memref<3xf32>)
  pst.launch @one ins(%a : memref<3xf32>) outs(%y : memref<3xf32>)
  memref.copy %a, %s : memref<3xf32> to memref<3xf32>
  %b = memref.alloc() : memref<3xf32>
  pst.launch @one ins(%x : memref<3xf32>) outs(%b : memref<3xf32>)
  memref.copy %b, %s : memref<3xf32> to memref<3xf32>
  memref.copy %b, %t : memref<3xf32> to memref<3xf32>
  return
}

func.func private @one(memref<3xf32>, memref<3xf32>)
func.func private @two(memref<3xf32>, memref<3xf32>, memref<3xf32>)
func.func private @six(memref<6xf32>, memref<3xf32>)
