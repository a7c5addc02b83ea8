// RUN: pst-opt %s --pst-split-parts="part-size=1" --split-input-file --verify-diagnostics
// RUN: not pst-opt %s --pst-split-parts="part-size=0" 2>&1 | FileCheck %s
// CHECK: error: part-size and max-parts of pst-split-parts must be positive, but are 0 and 16

// Kernels keep no state: a variable belongs to the entry points.

memref.global "private" @calls : memref<1xi64> = dense<0>
func.func private @kernel() {
  // expected-error@+1 {{'memref.get_global' op uses the variable '@calls', which entry points alone may use}}
  %calls = memref.get_global @calls : memref<1xi64>
  return
}

// -----

module {
  // expected-error@+1 {{'builtin.module' op lies in a module that is to be split: is this what --emit=llvm printed?}}
  module @part0 {
    func.func private @kernel()
  }
}
