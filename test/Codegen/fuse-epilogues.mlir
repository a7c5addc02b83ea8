// RUN: pst-opt %s --pst-fuse-epilogues | FileCheck %s
// RUN: pst-opt %s --pst-fuse-epilogues=training | FileCheck %s --check-prefix=TRAINING

// Sums and activations go into the product before them, where nothing else
// wants what lies between.

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

// CHECK-LABEL: func.func @both
// CHECK-SAME: %[[X:.*]]: tensor<5x3xf32>, %[[W:.*]]: tensor<4x3xf32>, %[[R:.*]]: tensor<5x4xf32>
// CHECK-NEXT: %[[Y:.*]] = pst.masked_matmul %[[X]], @dense(%[[W]]) addend(%[[R]]) activation gelu
// CHECK-NEXT: return %[[Y]]
func.func @both(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %r: tensor<5x4xf32>) -> tensor<5x4xf32> {
  %y = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %s = nn.add %y, %r : tensor<5x4xf32>
  %a = nn.activation gelu %s : tensor<5x4xf32>
  return %a : tensor<5x4xf32>
}

// Of two products the later one takes the earlier one in; a third goes on.
// CHECK-LABEL: func.func @sum_of_three
// CHECK: %[[A:.*]] = pst.masked_matmul %{{.*}} : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
// CHECK: %[[B:.*]] = pst.masked_matmul %{{.*}} addend(%[[A]])
// CHECK: %[[C:.*]] = pst.masked_matmul %{{.*}} addend(%[[B]])
// CHECK-NEXT: return %[[C]]
func.func @sum_of_three(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %v: tensor<4x3xf32>) -> tensor<5x4xf32> {
  %a = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %b = pst.masked_matmul %x, @dense(%v) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %ab = nn.add %b, %a : tensor<5x4xf32>
  %c = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %abc = nn.add %ab, %c : tensor<5x4xf32>
  return %abc : tensor<5x4xf32>
}

// What the backward wants stays, or is kept in training; so does a second sum.
// CHECK-LABEL: func.func @wanted
// CHECK: %[[Y:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) :
// CHECK: nn.activation relu %[[Y]]
// CHECK: %[[S:.*]] = pst.masked_matmul %{{.*}} addend(
// CHECK: nn.add %[[S]]
// TRAINING-LABEL: func.func @wanted
// TRAINING: %[[A:.*]], %[[Y:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) activation relu : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32> kept tensor<5x4xf32>
// TRAINING-NOT: nn.activation
// TRAINING: return %[[Y]], %[[A]], %{{.*}}
func.func @wanted(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %r: tensor<5x4xf32>) -> (tensor<5x4xf32>, tensor<5x4xf32>, tensor<5x4xf32>) {
  %y = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %a = nn.activation relu %y : tensor<5x4xf32>
  %z = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %s = nn.add %z, %r : tensor<5x4xf32>
  %t = nn.add %s, %a : tensor<5x4xf32>
  return %y, %a, %t : tensor<5x4xf32>, tensor<5x4xf32>, tensor<5x4xf32>
}

// Into a product with a stored weight, too.
// CHECK-LABEL: func.func @stored
// CHECK: pst.stored_matmul %{{.*}}, compressed(%{{.*}}) addend(%{{.*}}) activation gelu
// CHECK-NEXT: return
func.func @stored(%x: tensor<5x3xf32>, %v: tensor<22xf32>, %c: tensor<22xi8>, %p: tensor<1x65xi32>, %u: tensor<i32>, %r: tensor<5x4xf32>) -> tensor<5x4xf32> {
  %y = pst.stored_matmul %x, compressed(%v, %c, %p, %u) : tensor<5x3xf32>, (tensor<22xf32>, tensor<22xi8>, tensor<1x65xi32>, tensor<i32>) -> tensor<5x4xf32>
  %s = nn.add %r, %y : tensor<5x4xf32>
  %a = nn.activation gelu %s : tensor<5x4xf32>
  return %a : tensor<5x4xf32>
}

// A dropout too, in training; one of the token of each sequence, or
// behind a sum, stays.
// CHECK-LABEL: func.func @dropout
// CHECK-COUNT-3: nn.dropout
// TRAINING-LABEL: func.func @dropout
// TRAINING: %[[Y:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) bias(%{{.*}}) dropout(%[[SEED:.*]]) probability 2.500000e-01 site 3 addend(%{{.*}}) :
// TRAINING-NEXT: %[[T:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) :
// TRAINING-NEXT: %{{.*}} = nn.dropout %[[T]], %[[SEED]] {{.*}} token 0
// TRAINING-NEXT: %[[S:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) addend(%{{.*}}) :
// TRAINING-NEXT: %{{.*}} = nn.dropout %[[S]], %[[SEED]]
func.func @dropout(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %b: tensor<4xf32>, %r: tensor<5x4xf32>, %seed: i64) -> (tensor<5x4xf32>, tensor<5x4xf32>, tensor<5x4xf32>) {
  %y = pst.masked_matmul %x, @dense(%w) bias(%b) : tensor<5x3xf32>, (tensor<4x3xf32>) bias tensor<4xf32> -> tensor<5x4xf32>
  %d = nn.dropout %y, %seed probability 0.25 site 3 : tensor<5x4xf32>
  %z = nn.add %d, %r : tensor<5x4xf32>
  %t = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %e = nn.dropout %t, %seed probability 0.25 site 4 token 0 : tensor<5x4xf32>
  %u = pst.masked_matmul %x, @dense(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
  %s = nn.add %u, %r : tensor<5x4xf32>
  %f = nn.dropout %s, %seed probability 0.25 site 5 : tensor<5x4xf32>
  return %z, %e, %f : tensor<5x4xf32>, tensor<5x4xf32>, tensor<5x4xf32>
}

// The derivative of an activation goes into the product that is multiplied by
// it. An activation that is computed again behind that is its second result;
// one before it, or of another kind, stays.
// CHECK-LABEL: func.func @derivative
// CHECK: nn.activation_backward
// TRAINING-LABEL: func.func @derivative
// TRAINING-NEXT: %[[BEFORE:.*]] = nn.activation gelu %[[Z:.*]] :
// TRAINING-NEXT: %[[DZ:.*]], %[[A:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) transposed activation gelu derivative_at(%[[Z]]) : tensor<5x4xf32>, (tensor<4x3xf32>) derivative_at tensor<5x3xf32> -> tensor<5x3xf32> kept tensor<5x3xf32>
// TRAINING-NEXT: %[[R:.*]] = nn.activation relu %[[Z]] :
// TRAINING-NEXT: %[[DB:.*]] = pst.masked_matmul %{{.*}}, @dense(%{{.*}}) transposed :
// TRAINING-NEXT: nn.activation_backward relu %[[Z]], %[[DB]]
// TRAINING-NEXT: return %[[DZ]], %{{.*}}, %[[DB]], %[[BEFORE]], %[[A]], %[[R]]
func.func @derivative(%dy: tensor<5x4xf32>, %w: tensor<4x3xf32>, %z: tensor<5x3xf32>) -> (tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>) {
  %before = nn.activation gelu %z : tensor<5x3xf32>
  %da = pst.masked_matmul %dy, @dense(%w) transposed : tensor<5x4xf32>, (tensor<4x3xf32>) -> tensor<5x3xf32>
  %a = nn.activation gelu %z : tensor<5x3xf32>
  %r = nn.activation relu %z : tensor<5x3xf32>
  %dz = nn.activation_backward gelu %z, %da : tensor<5x3xf32>
  %db = pst.masked_matmul %dy, @dense(%w) transposed : tensor<5x4xf32>, (tensor<4x3xf32>) -> tensor<5x3xf32>
  %other = nn.activation_backward relu %z, %db : tensor<5x3xf32>
  return %dz, %other, %db, %before, %a, %r : tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>, tensor<5x3xf32>
}

// The gradient that meets that of a norm's input, if it is there before, and a
// dropout's gradient, which is what the sum drops out. An addend that comes
// later stays, and so does a dropout of something else.
// CHECK-LABEL: func.func @norms
// CHECK: nn.add
// CHECK: nn.dropout
// TRAINING-LABEL: func.func @norms
// TRAINING: %[[D:.*]], %{{.*}}, %{{.*}}, %[[DROPPED:.*]] = nn.layer_norm_backward %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 addend(%[[R:.*]]) dropout(%{{.*}}) probability 2.500000e-01 site 3 : tensor<5x4xf32>, tensor<4xf32> addend tensor<5x4xf32> dropped tensor<5x4xf32>
// TRAINING-NEXT: nn.dropout %[[R]], %{{.*}} site 4
// TRAINING-NEXT: %[[E:.*]], %{{.*}} = nn.rms_norm_backward %{{.*}}, %{{.*}}, %[[DROPPED]] epsilon 1.000000e-05 :
// TRAINING-NEXT: %[[LATER:.*]] = nn.activation relu %[[D]]
// TRAINING-NEXT: nn.add %[[LATER]], %[[E]]
func.func @norms(%x: tensor<5x4xf32>, %scale: tensor<4xf32>, %dy: tensor<5x4xf32>, %r: tensor<5x4xf32>, %seed: i64) -> (tensor<5x4xf32>, tensor<4xf32>, tensor<5x4xf32>) {
  %d, %ds, %dt = nn.layer_norm_backward %x, %scale, %dy epsilon 1.0e-5 : tensor<5x4xf32>, tensor<4xf32>
  %s = nn.add %r, %d : tensor<5x4xf32>
  %dropped = nn.dropout %s, %seed probability 0.25 site 3 : tensor<5x4xf32>
  %other = nn.dropout %r, %seed probability 0.25 site 4 : tensor<5x4xf32>
  %e, %es = nn.rms_norm_backward %x, %scale, %dropped epsilon 1.0e-5 : tensor<5x4xf32>, tensor<4xf32>
  %later = nn.activation relu %s : tensor<5x4xf32>
  %t = nn.add %later, %e : tensor<5x4xf32>
  return %t, %ds, %other : tensor<5x4xf32>, tensor<4xf32>, tensor<5x4xf32>
}
