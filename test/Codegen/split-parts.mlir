// RUN: pst-opt %s --pst-split-parts="part-size=4" | FileCheck %s
// RUN: pst-opt %s --pst-split-parts | FileCheck %s --check-prefix=WHOLE

// Entry points go to the first part, the kernels to the others, the largest
// first; a part declares what it calls of the others, and has copies of the
// constants that it uses.

// CHECK-LABEL: module @part0
// CHECK-DAG: func.func private @large(memref<2xf32>)
// CHECK-DAG: func.func private @small(memref<2xf32>)
// CHECK-DAG: func.func private @clock()
// CHECK: memref.global "private" @calls : memref<1xi64>
// CHECK: func.func @entry
// CHECK-NOT: func.func
// CHECK-LABEL: module @part1
// CHECK: memref.global "private" constant @table
// CHECK: func.func private @large(%{{.*}}: memref<2xf32>) {
// CHECK-LABEL: module @part2
// CHECK: memref.global "private" constant @table
// CHECK: func.func private @small(%{{.*}}: memref<2xf32>) {
// CHECK-NOT: module

// A small program has one part.

// WHOLE: module @part0
// WHOLE-NOT: module
memref.global "private" constant @table : memref<2xf32> = dense<[1.0, 2.0]>
memref.global "private" @calls : memref<1xi64> = dense<0>
func.func private @clock() -> f64
func.func @entry(%x: memref<2xf32>) {
  %calls = memref.get_global @calls : memref<1xi64>
  %now = call @clock() : () -> f64
  call @small(%x) : (memref<2xf32>) -> ()
  call @large(%x) : (memref<2xf32>) -> ()
  return
}
func.func private @small(%x: memref<2xf32>) {
  %table = memref.get_global @table : memref<2xf32>
  memref.copy %table, %x : memref<2xf32> to memref<2xf32>
  return
}
func.func private @large(%x: memref<2xf32>) {
  %table = memref.get_global @table : memref<2xf32>
  memref.copy %table, %x : memref<2xf32> to memref<2xf32>
  memref.copy %x, %x : memref<2xf32> to memref<2xf32>
  memref.copy %x, %x : memref<2xf32> to memref<2xf32>
  return
}
