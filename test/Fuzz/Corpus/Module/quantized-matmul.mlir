// from=import vector_width=16 expand_bits=8


func.func @few(%x: tensor<2x200xf32>, %v: tensor<500x200xi8>, %s: tensor<500xf32>) -> tensor<2x500xf32> {
  %y = pst.stored_matmul %x, quantized(%v, %s) : tensor<2x200xf32>, (tensor<500x200xi8>, tensor<500xf32>) -> tensor<2x500xf32>
  return %y : tensor<2x500xf32>
}

func.func @many(%x: tensor<80x200xf32>, %v: tensor<500x200xi8>, %s: tensor<500xf32>) -> tensor<80x500xf32> {
  %y = pst.stored_matmul %x, quantized(%v, %s) : tensor<80x200xf32>, (tensor<500x200xi8>, tensor<500xf32>) -> tensor<80x500xf32>
  return %y : tensor<80x500xf32>
}
