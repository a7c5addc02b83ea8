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

// -----

// expected-error@+1 {{'func.func' op must be one block to be an entry point: write branches as scf.if}}
func.func @f() {
  cf.br ^bb1
^bb1:
  return
}

// -----

func.func @f() {
  return
}
func.func @g() {
  // expected-error@+1 {{'func.call' op calls @f, which is an entry point: what is called must be private}}
  func.call @f() : () -> ()
  return
}

// -----

func.func private @elsewhere()
func.func @f() {
  // expected-error@+1 {{'func.call' op calls @elsewhere, which has no body}}
  func.call @elsewhere() : () -> ()
  return
}

// -----

// expected-error@+1 {{'pst.parameter' op has the offset 9223372036854775807, which no memory has}}
pst.parameter @w trainable init<zeros> {offset = 9223372036854775807 : i64} : tensor<7x5xf32>
