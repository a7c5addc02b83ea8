// from=import vector_width=16 expand_bits=8



func.func @few(%x: tensor<2x200xf32>, %v: tensor<5000xi8>, %b: tensor<2248xi8>, %s: tensor<70x2xi32>, %u: tensor<i32>, %c: tensor<70xf32>) -> tensor<2x70xf32> {
  %y = pst.stored_matmul %x, bitmask(%v, %b, %s, %u, %c) : tensor<2x200xf32>, (tensor<5000xi8>, tensor<2248xi8>, tensor<70x2xi32>, tensor<i32>, tensor<70xf32>) -> tensor<2x70xf32>
  return %y : tensor<2x70xf32>
}


func.func @many(%x: tensor<80x200xf32>, %v: tensor<5000xbf16>, %b: tensor<2248xi8>, %s: tensor<70x2xi32>, %u: tensor<i32>) -> tensor<80x70xf32> {
  %y = pst.stored_matmul %x, bitmask(%v, %b, %s, %u) : tensor<80x200xf32>, (tensor<5000xbf16>, tensor<2248xi8>, tensor<70x2xi32>, tensor<i32>) -> tensor<80x70xf32>
  return %y : tensor<80x70xf32>
}


