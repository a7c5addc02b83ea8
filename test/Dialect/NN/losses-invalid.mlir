// RUN: pst-opt %s -split-input-file -verify-diagnostics

// One case for each constraint of the losses (docs/generated/NNDialect.md).

func.func @linear_cross_entropy_c1_tokens(%x: tensor<10x3xf32>, %w: tensor<7x3xf32>, %l: tensor<2x4xi32>, %s: f32) {
  // expected-error@+1 {{'nn.linear_cross_entropy' op must have 10 labels, one for each row of the input, but got 8}}
  %y = nn.linear_cross_entropy %x, %w, %l, %s : tensor<10x3xf32>, tensor<7x3xf32>, tensor<2x4xi32>
  return
}

// -----

func.func @cross_entropy_c1_rows(%x: tensor<2x3xf32>, %l: tensor<3xi32>, %s: f32) {
  // expected-error@+1 {{'nn.cross_entropy' op must have labels of type 'tensor<2xi32>', but got 'tensor<3xi32>'}}
  %loss = nn.cross_entropy %x, %l, %s : tensor<2x3xf32>, tensor<3xi32>
  return
}

// -----

func.func @cross_entropy_c1_type(%x: tensor<2x3xf32>, %l: tensor<2xf32>, %s: f32) {
  // expected-error@+1 {{'nn.cross_entropy' op must have labels of type 'tensor<2xi32>', but got 'tensor<2xf32>'}}
  %loss = nn.cross_entropy %x, %l, %s : tensor<2x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @cross_entropy_c2(%x: tensor<2x3xf32>, %l: tensor<2xi32>, %s: f32, %w: tensor<2xf32>) {
  // expected-error@+1 {{'nn.cross_entropy' op must have 3 weights, one for each column of the logits, but got 'tensor<2xf32>'}}
  %loss = nn.cross_entropy %x, %l, %s weights(%w : tensor<2xf32>) smoothing %s : tensor<2x3xf32>, tensor<2xi32>
  return
}

// -----

func.func @cross_entropy_c3(%x: tensor<2x3xf32>, %l: tensor<2xi32>, %s: f32, %w: tensor<3xf32>) {
  // expected-error@+1 {{'nn.cross_entropy' op must have both weights and smoothing, or neither}}
  %loss = "nn.cross_entropy"(%x, %l, %s, %w) {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x3xf32>, tensor<2xi32>, f32, tensor<3xf32>) -> tensor<f32>
  return
}

// -----

func.func @cross_entropy_backward_c2(%x: tensor<2x3xf32>, %l: tensor<2xi32>, %s: f32, %d: tensor<f32>, %w: tensor<4xf32>) {
  // expected-error@+1 {{'nn.cross_entropy_backward' op must have 3 weights, one for each column of the logits, but got 'tensor<4xf32>'}}
  %g = nn.cross_entropy_backward %x, %l, %s, %d weights(%w : tensor<4xf32>) smoothing %s : tensor<2x3xf32>, tensor<2xi32>
  return
}

// -----

func.func @cross_entropy_backward_c3(%x: tensor<2x3xf32>, %l: tensor<2xi32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.cross_entropy_backward' op must have both weights and smoothing, or neither}}
  %g = "nn.cross_entropy_backward"(%x, %l, %s, %d, %s) {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 1>} : (tensor<2x3xf32>, tensor<2xi32>, f32, tensor<f32>, f32) -> tensor<2x3xf32>
  return
}

// -----

func.func @cross_entropy_backward_c1(%x: tensor<2x3xf32>, %l: tensor<1xi32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.cross_entropy_backward' op must have labels of type 'tensor<2xi32>', but got 'tensor<1xi32>'}}
  %g = nn.cross_entropy_backward %x, %l, %s, %d : tensor<2x3xf32>, tensor<1xi32>
  return
}

// -----

func.func @squared_error_c1(%x: tensor<2x1xf32>, %l: tensor<2xi32>, %s: f32) {
  // expected-error@+1 {{'nn.squared_error' op must have labels of type 'tensor<2xf32>', but got 'tensor<2xi32>'}}
  %loss = nn.squared_error %x, %l, %s : tensor<2x1xf32>, tensor<2xi32>
  return
}

// -----

func.func @squared_error_c2(%x: tensor<2x3xf32>, %l: tensor<2xf32>, %s: f32) {
  // expected-error@+1 {{'nn.squared_error' op must have predictions of one column, but got 'tensor<2x3xf32>'}}
  %loss = nn.squared_error %x, %l, %s : tensor<2x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @squared_error_backward_c1(%x: tensor<2x1xf32>, %l: tensor<3xf32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.squared_error_backward' op must have labels of type 'tensor<2xf32>', but got 'tensor<3xf32>'}}
  %g = nn.squared_error_backward %x, %l, %s, %d : tensor<2x1xf32>, tensor<3xf32>
  return
}

// -----

func.func @squared_error_backward_c2(%x: tensor<2x3xf32>, %l: tensor<2xf32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.squared_error_backward' op must have predictions of one column, but got 'tensor<2x3xf32>'}}
  %g = nn.squared_error_backward %x, %l, %s, %d : tensor<2x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @binary_cross_entropy_c1(%x: tensor<2x3xf32>, %l: tensor<2x4xf32>, %s: f32) {
  // expected-error@+1 {{'nn.binary_cross_entropy' op must have labels of the logits' shape, as in 'tensor<2x3xf32>', but got 'tensor<2x4xf32>'}}
  %loss = nn.binary_cross_entropy %x, %l, %s : tensor<2x3xf32>, tensor<2x4xf32>
  return
}

// -----

func.func @binary_cross_entropy_backward_c1(%x: tensor<2x3xf32>, %l: tensor<3x2xf32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.binary_cross_entropy_backward' op must have labels of the logits' shape, as in 'tensor<2x3xf32>', but got 'tensor<3x2xf32>'}}
  %g = nn.binary_cross_entropy_backward %x, %l, %s, %d : tensor<2x3xf32>, tensor<3x2xf32>
  return
}

// -----

func.func @binary_cross_entropy_c2(%x: tensor<2x3xf32>, %l: tensor<2x3xf32>, %s: f32, %w: tensor<2xf32>) {
  // expected-error@+1 {{'nn.binary_cross_entropy' op must have 3 weights, one for each column of the logits, but got 'tensor<2xf32>'}}
  %loss = nn.binary_cross_entropy %x, %l, %s weights(%w : tensor<2xf32>) : tensor<2x3xf32>, tensor<2x3xf32>
  return
}

// -----

func.func @binary_cross_entropy_backward_c2(%x: tensor<2x3xf32>, %l: tensor<2x3xf32>, %s: f32, %d: tensor<f32>, %w: tensor<4xf32>) {
  // expected-error@+1 {{'nn.binary_cross_entropy_backward' op must have 3 weights, one for each column of the logits, but got 'tensor<4xf32>'}}
  %g = nn.binary_cross_entropy_backward %x, %l, %s, %d weights(%w : tensor<4xf32>) : tensor<2x3xf32>, tensor<2x3xf32>
  return
}

// -----

func.func @binary_cross_entropy_of_classes(%x: tensor<2x3xf32>, %l: tensor<2x3xi32>, %s: f32) {
  // expected-error@+1 {{'nn.binary_cross_entropy' op operand #1 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float values, but got 'tensor<2x3xi32>'}}
  %loss = nn.binary_cross_entropy %x, %l, %s : tensor<2x3xf32>, tensor<2x3xi32>
  return
}

// -----

func.func @linear_cross_entropy_c1(%x: tensor<2x3xf32>, %w: tensor<7x3xf32>, %l: tensor<5xi32>, %s: f32) {
  // expected-error@+1 {{'nn.linear_cross_entropy' op must have 2 labels, one for each row of the input, but got 5}}
  %loss = nn.linear_cross_entropy %x, %w, %l, %s : tensor<2x3xf32>, tensor<7x3xf32>, tensor<5xi32>
  return
}

// -----

func.func @linear_cross_entropy_c1_type(%x: tensor<2x3xf32>, %w: tensor<7x3xf32>, %l: tensor<2xf32>, %s: f32) {
  // expected-error@+1 {{'nn.linear_cross_entropy' op operand #2 must be tensor of rank 1 or 2 and static shape of 32-bit signless integer values, but got 'tensor<2xf32>'}}
  %loss = nn.linear_cross_entropy %x, %w, %l, %s : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @linear_cross_entropy_c2(%x: tensor<2x3xf32>, %w: tensor<7x4xf32>, %l: tensor<2xi32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.linear_cross_entropy_backward' op must have a weight of 3 columns, as the input has, but got 'tensor<7x4xf32>'}}
  %dx = nn.linear_cross_entropy_backward %x, %w, %l, %s, %d : tensor<2x3xf32>, tensor<7x4xf32>, tensor<2xi32>
  return
}

// -----

func.func @linear_cross_entropy_c2_gradient(%x: tensor<2x3xf32>, %w: tensor<7x3xf32>, %l: tensor<2xi32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.linear_cross_entropy_backward' op must have a weight's gradient of type 'tensor<7x3xf32>', but got 'tensor<3x7xf32>'}}
  %dx, %dw = nn.linear_cross_entropy_backward %x, %w, %l, %s, %d : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32> weight tensor<3x7xf32>
  return
}

// -----

func.func @linear_cross_entropy_backward_c2_narrow(%x: tensor<4x3xf32>, %w: tensor<7x3xbf16>, %l: tensor<4xi32>, %s: f32, %g: tensor<f32>) {
  // expected-error@+1 {{'nn.linear_cross_entropy_backward' op has no gradient of a weight of bf16, which is only read, but is asked for one}}
  %dx, %dw = nn.linear_cross_entropy_backward %x, %w, %l, %s, %g : tensor<4x3xf32>, tensor<7x3xbf16>, tensor<4xi32> weight tensor<7x3xf32>
  return
}

// -----

func.func @cross_entropy_c1_tokens(%x: tensor<10x3xf32>, %l: tensor<2x4xi32>, %s: f32) {
  // expected-error@+1 {{'nn.cross_entropy' op must have 10 labels, one for each row of the logits, but got 'tensor<2x4xi32>'}}
  %loss = nn.cross_entropy %x, %l, %s : tensor<10x3xf32>, tensor<2x4xi32>
  return
}

// -----

func.func @distillation_loss_c1(%x: tensor<2x3xf32>, %t: tensor<2x4xf32>, %s: f32) {
  // expected-error@+1 {{'nn.distillation_loss' op must have a teacher's logits of the logits' shape, as in 'tensor<2x3xf32>', but got 'tensor<2x4xf32>'}}
  %loss = nn.distillation_loss %x, %t, %s temperature %s : tensor<2x3xf32>, tensor<2x4xf32>
  return
}

// -----

func.func @distillation_loss_backward_c1(%x: tensor<2x3xf32>, %t: tensor<3x2xf32>, %s: f32, %d: tensor<f32>) {
  // expected-error@+1 {{'nn.distillation_loss_backward' op must have a teacher's logits of the logits' shape, as in 'tensor<2x3xf32>', but got 'tensor<3x2xf32>'}}
  %g = nn.distillation_loss_backward %x, %t, %s, %d temperature %s : tensor<2x3xf32>, tensor<3x2xf32>
  return
}

// -----

func.func @linear_cross_entropy_c3(%x: tensor<8x3xf32>, %w: tensor<7x3xi8>, %l: tensor<2x4xi32>, %f: f32, %s: tensor<3xf32>) {
  // expected-error@+1 {{'nn.linear_cross_entropy' op must have 7 scales, one for each row of the weight, which is 'tensor<7x3xi8>', but got 'tensor<3xf32>'}}
  %loss = nn.linear_cross_entropy %x, %w, %l, %f scales(%s : tensor<3xf32>) : tensor<8x3xf32>, tensor<7x3xi8>, tensor<2x4xi32>
  return
}
