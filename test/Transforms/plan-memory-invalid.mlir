// RUN: pst-opt %s --pst-plan-memory --split-input-file --verify-diagnostics

// expected-error@+1 {{'func.func' op argument #0 must have a static shape, but got 'memref<?xf32>'}}
func.func @f(%x: memref<?xf32>) {
  return
}

// -----

func.func @f(%n: index) {
  // expected-error@+1 {{'memref.alloc' op has a shape that is not known before the run: 'memref<?xf32>'}}
  %a = memref.alloc(%n) : memref<?xf32>
  return
}

// -----

func.func @f(%x: f32) -> f32 {
  // expected-error@+1 {{'func.return' op result #0 of an entry point must be a tensor of static shape, but got 'f32'}}
  return %x : f32
}
