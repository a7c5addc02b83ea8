// RUN: pst-opt %s --pst-plan-memory=red-zones=true | FileCheck %s

// Each buffer has its own place, though %a and %b are never needed at one
// time, and 1024 bytes behind it. What may be touched during a call is said to
// the sanitizer; before and after it, all of the arena.

// CHECK: module attributes {
// CHECK-SAME: pst.memory = {arena = 4288 : i64,
// CHECK-SAME: pst.red_zones
// CHECK-LABEL: func.func @f(
// CHECK-SAME: %[[ARENA:[^:]*]]: memref<4288xi8> {pst.kind = "space", pst.name = "arena"}
// CHECK: %[[ALL:.*]] = memref.extract_aligned_pointer_as_index %[[ARENA]]
// CHECK: %[[SIZE:.*]] = arith.constant 4288 : index
// CHECK: call @__asan_poison_memory_region(%[[ALL]], %[[SIZE]])
// CHECK: %[[PLACE:.*]] = arith.constant 1024 : index
// CHECK: %[[A:.*]] = memref.view %[[ARENA]][%[[PLACE]]][] : memref<4288xi8> to memref<2x3xf32>
// CHECK: %[[POINTER:.*]] = memref.extract_aligned_pointer_as_index %[[A]]
// CHECK: %[[BYTES:.*]] = arith.constant 24 : index
// CHECK: call @__asan_unpoison_memory_region(%[[POINTER]], %[[BYTES]])
// CHECK: arith.constant 2112 : index
// CHECK: memref.view
// CHECK: call @__asan_unpoison_memory_region(
// CHECK: arith.constant 3200 : index
// CHECK: memref.view
// CHECK: call @__asan_unpoison_memory_region(
// CHECK: pst.launch
// CHECK: pst.launch
// CHECK: pst.launch
// CHECK: %[[ALL:.*]] = memref.extract_aligned_pointer_as_index %[[ARENA]]
// CHECK: %[[SIZE:.*]] = arith.constant 4288 : index
// CHECK: call @__asan_unpoison_memory_region(%[[ALL]], %[[SIZE]])
// CHECK-NEXT: return
// CHECK: func.func private @__asan_poison_memory_region(index, index)
// CHECK: func.func private @__asan_unpoison_memory_region(index, index)

func.func @f(%x: memref<2x3xf32>, %y: memref<2x3xf32>) {
  %a = memref.alloc() : memref<2x3xf32>
  %b = memref.alloc() : memref<16xf32>
  %c = memref.alloc() : memref<5xf64>
  pst.launch @k ins(%x : memref<2x3xf32>) outs(%a : memref<2x3xf32>)
  pst.launch @l ins(%a : memref<2x3xf32>) outs(%c : memref<5xf64>)
  pst.launch @m ins(%c : memref<5xf64>) outs(%b, %y : memref<16xf32>, memref<2x3xf32>)
  return
}
func.func private @k(memref<2x3xf32>, memref<2x3xf32>)
func.func private @l(memref<2x3xf32>, memref<5xf64>)
func.func private @m(memref<5xf64>, memref<16xf32>, memref<2x3xf32>)
