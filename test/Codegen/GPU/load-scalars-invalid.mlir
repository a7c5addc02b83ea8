// RUN: pst-opt %s --pst-load-scalars --verify-diagnostics

func.func @main(%x: memref<f32>, %s: f64) {
  // expected-error @below {{'arith.truncf' op computes with an argument of an entry point, which for a GPU is in the GPU's memory: only kernels can read it}}
  %t = arith.truncf %s : f64 to f32
  memref.store %t, %x[] : memref<f32>
  return
}
