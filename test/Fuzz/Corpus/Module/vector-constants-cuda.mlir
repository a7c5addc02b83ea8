// from=import target=cuda
func.func @f(%x: memref<16xf32>, %y: memref<2xf32>) {
  %c0 = arith.constant 0 : index
  %u = arith.constant dense<1.0> : vector<16xf32>
  %v = arith.constant dense<[1.0, 0.5]> : vector<2xf32>
  vector.store %u, %x[%c0] : memref<16xf32>, vector<16xf32>
  vector.store %v, %y[%c0] : memref<2xf32>, vector<2xf32>
  return
}
