// RUN: pst-opt %s --split-input-file --verify-diagnostics

// One function for each constraint of each op.

func.func @embedding_c1_rows(%i: tensor<2x3xi32>, %t: tensor<7x5xf32>) {
  // expected-error@+1 {{'nn.embedding' op must have a result of type 'tensor<6x5xf32>', but got 'tensor<5x5xf32>'}}
  %e = nn.embedding %i, %t : tensor<2x3xi32>, tensor<7x5xf32> -> tensor<5x5xf32>
  return
}

// -----

func.func @embedding_c1_columns(%i: tensor<2x3xi32>, %t: tensor<7x5xf32>) {
  // expected-error@+1 {{'nn.embedding' op must have a result of type 'tensor<6x5xf32>', but got 'tensor<6x7xf32>'}}
  %e = nn.embedding %i, %t : tensor<2x3xi32>, tensor<7x5xf32> -> tensor<6x7xf32>
  return
}

// -----

func.func @embedding_backward_c1(%i: tensor<2x3xi32>, %g: tensor<5x5xf32>) {
  // expected-error@+1 {{'nn.embedding_backward' op must have a gradient of type 'tensor<6x5xf32>', but got 'tensor<5x5xf32>'}}
  %d = nn.embedding_backward %i, %g : tensor<2x3xi32>, tensor<5x5xf32> -> tensor<7x5xf32>
  return
}

// -----

func.func @add_positions_c1_divides(%x: tensor<7x5xf32>, %t: tensor<9x5xf32>) {
  // expected-error@+1 {{'nn.add_positions' op length must be positive and divide the 7 tokens, but got 3}}
  %y = nn.add_positions %x, %t length 3 : tensor<7x5xf32>, tensor<9x5xf32>
  return
}

// -----

func.func @add_positions_c1_positive(%x: tensor<7x5xf32>, %t: tensor<9x5xf32>) {
  // expected-error@+1 {{'nn.add_positions' op length must be positive and divide the 7 tokens, but got 0}}
  %y = nn.add_positions %x, %t length 0 : tensor<7x5xf32>, tensor<9x5xf32>
  return
}

// -----

func.func @add_positions_c1_table(%x: tensor<14x5xf32>, %t: tensor<6x5xf32>) {
  // expected-error@+1 {{'nn.add_positions' op length must be at most the 6 rows of the table, but got 7}}
  %y = nn.add_positions %x, %t length 7 : tensor<14x5xf32>, tensor<6x5xf32>
  return
}

// -----

func.func @add_positions_c2(%x: tensor<6x5xf32>, %t: tensor<9x4xf32>) {
  // expected-error@+1 {{'nn.add_positions' op must have a table of 5 columns, as the tokens have, but got 'tensor<9x4xf32>'}}
  %y = nn.add_positions %x, %t length 3 : tensor<6x5xf32>, tensor<9x4xf32>
  return
}

// -----

func.func @position_sum_c1_divides(%x: tensor<7x5xf32>) {
  // expected-error@+1 {{'nn.position_sum' op length must be positive and divide the 7 tokens, but got 3}}
  %y = nn.position_sum %x length 3 : tensor<7x5xf32> -> tensor<9x5xf32>
  return
}

// -----

func.func @position_sum_c1_table(%x: tensor<14x5xf32>) {
  // expected-error@+1 {{'nn.position_sum' op length must be at most the 6 rows of the result, but got 7}}
  %y = nn.position_sum %x length 7 : tensor<14x5xf32> -> tensor<6x5xf32>
  return
}

// -----

func.func @position_sum_c2(%x: tensor<6x5xf32>) {
  // expected-error@+1 {{'nn.position_sum' op must have a result of 5 columns, as the tokens have, but got 'tensor<9x4xf32>'}}
  %y = nn.position_sum %x length 3 : tensor<6x5xf32> -> tensor<9x4xf32>
  return
}

// -----

func.func @linear_c1_input(%x: tensor<5x2xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'nn.linear' op must have an input of type 'tensor<5x3xf32>', but got 'tensor<5x2xf32>'}}
  %y = nn.linear %x, %w : tensor<5x2xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  return
}

// -----

func.func @linear_c1_result(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error@+1 {{'nn.linear' op must have a result of type 'tensor<5x4xf32>', but got 'tensor<4x5xf32>'}}
  %y = nn.linear %x, %w : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<4x5xf32>
  return
}

// -----

func.func @linear_c2(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %b: tensor<3xf32>) {
  // expected-error@+1 {{'nn.linear' op must have a bias of type 'tensor<4xf32>', but got 'tensor<3xf32>'}}
  %y = nn.linear %x, %w bias(%b : tensor<3xf32>) : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  return
}

// -----

func.func @matmul_c1_sum(%a: tensor<5x4xf32>, %b: tensor<4x3xf32>) {
  // expected-error@+1 {{'nn.matmul' op sums over 5 elements on the left, but over 4 on the right}}
  %c = nn.matmul %a, %b {transpose_lhs} : tensor<5x4xf32>, tensor<4x3xf32> -> tensor<4x3xf32>
  return
}

// -----

func.func @matmul_c1_result(%a: tensor<5x4xf32>, %b: tensor<3x4xf32>) {
  // expected-error@+1 {{'nn.matmul' op must have a result of type 'tensor<5x3xf32>', but got 'tensor<3x5xf32>'}}
  %c = nn.matmul %a, %b {transpose_rhs} : tensor<5x4xf32>, tensor<3x4xf32> -> tensor<3x5xf32>
  return
}

// -----

func.func @column_sum_c1(%x: tensor<5x4xf32>) {
  // expected-error@+1 {{'nn.column_sum' op must have a result of type 'tensor<4xf32>', but got 'tensor<5xf32>'}}
  %b = nn.column_sum %x : tensor<5x4xf32> -> tensor<5xf32>
  return
}

// -----

func.func @dropout_c1_one(%x: tensor<2x3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op probability must be in [0, 1), but got 1.000000e+00}}
  %y = nn.dropout %x, %seed probability 1.0 site 0 : tensor<2x3xf32>
  return
}

// -----

func.func @dropout_c2(%x: tensor<2x3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op must have a token that is not negative, and no length beside it, but has token -1}}
  %y = nn.dropout %x, %seed probability 0.5 site 0 token -1 : tensor<2x3xf32>
  return
}

// -----

func.func @dropout_c2_both(%x: tensor<2x3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op must have a token that is not negative, and no length beside it, but has token 1}}
  %y = nn.dropout %x, %seed probability 0.5 site 0 token 1 length 2 : tensor<2x3xf32>
  return
}

// -----

func.func @dropout_c2_length(%x: tensor<6x3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op must have a length of its dropout that is positive and divides the 6 rows, but got 4}}
  %y = nn.dropout %x, %seed probability 0.5 site 0 length 4 : tensor<6x3xf32>
  return
}

// -----

func.func @dropout_c4(%x: tensor<65536x65537xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op drops out sequences of 65536 rows of 65537, but 2^32 elements is the most}}
  %y = nn.dropout %x, %seed probability 0.5 site 0 : tensor<65536x65537xf32>
  return
}

// -----

func.func @attention_c3_long(%x: tensor<65537x4xf32>, %mask: tensor<1x65537xi32>, %seed: i64) {
  // expected-error@+1 {{'nn.attention' op drops out at most 65536 positions, but the mask 'tensor<1x65537xi32>' has more}}
  %y = nn.attention %x, %x, %x, %mask heads 2 dropout %seed probability 0.5 site 0 : tensor<65537x4xf32>, tensor<1x65537xi32>
  return
}

// -----

func.func @layer_norm_backward_c4_length(%x: tensor<6x3xf32>, %s: tensor<3xf32>, %g: tensor<6x3xf32>) {
  // expected-error@+1 {{'nn.layer_norm_backward' op must have a length with a dropout alone}}
  %dx, %ds, %dt = nn.layer_norm_backward %x, %s, %g epsilon 1.0e-5 length 3 : tensor<6x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @dropout_c3(%x: tensor<8x3xf32, #nn.packed<5>>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op has rows that are a token each, which are not packed}}
  %y = nn.dropout %x, %seed probability 0.5 site 0 token 0 : tensor<8x3xf32, #nn.packed<5>>
  return
}

// -----

func.func @dropout_c1_negative(%x: tensor<2x3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op probability must be in [0, 1), but got -5.000000e-01}}
  %y = nn.dropout %x, %seed probability -0.5 site 0 : tensor<2x3xf32>
  return
}

// -----

func.func @dropout_c1_nan(%x: tensor<2x3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.dropout' op probability must be in [0, 1), but got nan}}
  %y = nn.dropout %x, %seed probability 0x7FF8000000000000 site 0 : tensor<2x3xf32>
  return
}

// -----

func.func @layer_norm_c1(%x: tensor<2x3xf32>, %s: tensor<2xf32>) {
  // expected-error@+1 {{'nn.layer_norm' op must have a scale of type 'tensor<3xf32>', but got 'tensor<2xf32>'}}
  %y = nn.layer_norm %x, %s, %s epsilon 1.0e-5 : tensor<2x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @layer_norm_c2(%x: tensor<2x3xf32>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'nn.layer_norm' op epsilon must be positive, but got 0.000000e+00}}
  %y = nn.layer_norm %x, %s, %s epsilon 0.0 : tensor<2x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @layer_norm_backward_c1(%x: tensor<2x3xf32>, %s: tensor<2xf32>) {
  // expected-error@+1 {{'nn.layer_norm_backward' op must have a scale of type 'tensor<3xf32>', but got 'tensor<2xf32>'}}
  %d:3 = nn.layer_norm_backward %x, %s, %x epsilon 1.0e-5 : tensor<2x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @layer_norm_backward_c2(%x: tensor<2x3xf32>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'nn.layer_norm_backward' op epsilon must be positive, but got -1.000000e+00}}
  %d:3 = nn.layer_norm_backward %x, %s, %x epsilon -1.0 : tensor<2x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @layer_norm_backward_c3(%x: tensor<2x3xf32>, %s: tensor<3xf32>, %r: tensor<2x3xbf16>) {
  // expected-error@+1 {{'nn.layer_norm_backward' op must have an addend of the input's type 'tensor<2x3xf32>', but got 'tensor<2x3xbf16>'}}
  %d:3 = nn.layer_norm_backward %x, %s, %x epsilon 1.0e-5 addend(%r) : tensor<2x3xf32>, tensor<3xf32> addend tensor<2x3xbf16>
  return
}

// -----

func.func @layer_norm_backward_c3_dropped(%x: tensor<2x3xf32>, %s: tensor<3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.layer_norm_backward' op must have what is dropped out of the input's type 'tensor<2x3xf32>', but got 'tensor<3x3xf32>'}}
  %d:4 = nn.layer_norm_backward %x, %s, %x epsilon 1.0e-5 dropout(%seed) probability 0.1 site 3 : tensor<2x3xf32>, tensor<3xf32> dropped tensor<3x3xf32>
  return
}

// -----

func.func @layer_norm_backward_c4(%x: tensor<2x3xf32>, %s: tensor<3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.layer_norm_backward' op must have a seed, a probability, a site and a result of its dropout, or none of them}}
  %d:3 = nn.layer_norm_backward %x, %s, %x epsilon 1.0e-5 dropout(%seed) probability 0.1 site 3 : tensor<2x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @layer_norm_backward_c4_probability(%x: tensor<2x3xf32>, %s: tensor<3xf32>, %seed: i64) {
  // expected-error@+1 {{'nn.layer_norm_backward' op probability must be in [0, 1), but got 1.000000e+00}}
  %d:4 = nn.layer_norm_backward %x, %s, %x epsilon 1.0e-5 dropout(%seed) probability 1.0 site 3 : tensor<2x3xf32>, tensor<3xf32> dropped tensor<2x3xf32>
  return
}

// -----

func.func @attention_c1(%q: tensor<9x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op has 9 tokens, but the mask 'tensor<2x5xi32>' has 10}}
  %y = nn.attention %q, %q, %q, %m heads 3 : tensor<9x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c2_divides(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op heads must be positive and divide the 6 columns, but got 4}}
  %y = nn.attention %q, %q, %q, %m heads 4 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c2_positive(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op heads must be positive and divide the 6 columns, but got 0}}
  %y = nn.attention %q, %q, %q, %m heads 0 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c3_site(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>, %seed: i64) {
  // expected-error@+1 {{'nn.attention' op must have a seed, a probability and a site, or none of them}}
  %y = "nn.attention"(%q, %q, %q, %m, %seed) {heads = 3 : i64, probability = 0.5 : f64}
      : (tensor<10x6xf32>, tensor<10x6xf32>, tensor<10x6xf32>, tensor<2x5xi32>, i64) -> tensor<10x6xf32>
  return
}

// -----

func.func @attention_c3_seed(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op must have a seed, a probability and a site, or none of them}}
  %y = nn.attention %q, %q, %q, %m heads 3 {probability = 0.5 : f64, site = 1 : i64} : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c3_probability(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>, %seed: i64) {
  // expected-error@+1 {{'nn.attention' op probability must be in [0, 1), but got 1.500000e+00}}
  %y = nn.attention %q, %q, %q, %m heads 3 dropout %seed probability 1.5 site 1 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_backward_c1(%q: tensor<9x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention_backward' op has 9 tokens, but the mask 'tensor<2x5xi32>' has 10}}
  %d:3 = nn.attention_backward %q, %q, %q, %m, %q heads 3 : tensor<9x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_backward_c2(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention_backward' op heads must be positive and divide the 6 columns, but got 4}}
  %d:3 = nn.attention_backward %q, %q, %q, %m, %q heads 4 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_backward_c3(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>, %seed: i64) {
  // expected-error@+1 {{'nn.attention_backward' op probability must be in [0, 1), but got 1.000000e+00}}
  %d:3 = nn.attention_backward %q, %q, %q, %m, %q heads 3 dropout %seed probability 1.0 site 1 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @select_token_c1_rows(%x: tensor<10x3xf32>) {
  // expected-error@+1 {{'nn.select_token' op must take one row for each sequence of 'tensor<10x3xf32>', of 3 columns of 'f32' and a number that divides 10, but got 'tensor<3x3xf32>'}}
  %y = nn.select_token %x index 0 : tensor<10x3xf32> -> tensor<3x3xf32>
  return
}

// -----

func.func @select_token_c1_columns(%x: tensor<10x3xf32>) {
  // expected-error@+1 {{'nn.select_token' op must take one row for each sequence of 'tensor<10x3xf32>', of 3 columns of 'f32' and a number that divides 10, but got 'tensor<2x4xf32>'}}
  %y = nn.select_token %x index 0 : tensor<10x3xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @select_token_c2(%x: tensor<10x3xf32>) {
  // expected-error@+1 {{'nn.select_token' op index must be in [0, 5), the tokens of a sequence, but got 5}}
  %y = nn.select_token %x index 5 : tensor<10x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @select_token_c3_both(%x: tensor<10x3xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.select_token' op must have either an index or a mask}}
  %y = nn.select_token %x index 1 last(%m : tensor<2x5xi32>) : tensor<10x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @select_token_c3_mask(%x: tensor<10x3xf32>, %m: tensor<2x4xi32>) {
  // expected-error@+1 {{'nn.select_token' op must have a mask of type 'tensor<2x5xi32>', but got 'tensor<2x4xi32>'}}
  %y = nn.select_token %x last(%m : tensor<2x4xi32>) : tensor<10x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @add_positions_c1_first(%x: tensor<8x3xf32>, %t: tensor<6x3xf32>) {
  // expected-error@+1 {{'nn.add_positions' op first and length together must be at most the 6 rows of the table, but got 7}}
  %y = nn.add_positions %x, %t first 3 length 4 : tensor<8x3xf32>, tensor<6x3xf32>
  return
}

// -----

func.func @add_positions_c3_first(%x: tensor<8x3xf32>, %t: tensor<6x3xf32>, %i: tensor<2x4xi32>) {
  // expected-error@+1 {{'nn.add_positions' op with ids, first must be positive: the id before it is padding}}
  %y = nn.add_positions %x, %t ids(%i : tensor<2x4xi32>) length 4 : tensor<8x3xf32>, tensor<6x3xf32>
  return
}

// -----

func.func @add_positions_c3_ids(%x: tensor<8x3xf32>, %t: tensor<6x3xf32>, %i: tensor<4x2xi32>) {
  // expected-error@+1 {{'nn.add_positions' op must have ids of type 'tensor<2x4xi32>', but got 'tensor<4x2xi32>'}}
  %y = nn.add_positions %x, %t ids(%i : tensor<4x2xi32>) first 1 length 4 : tensor<8x3xf32>, tensor<6x3xf32>
  return
}

// -----

func.func @position_sum_c3(%g: tensor<8x3xf32>, %i: tensor<4x2xi32>) {
  // expected-error@+1 {{'nn.position_sum' op must have ids of type 'tensor<2x4xi32>', but got 'tensor<4x2xi32>'}}
  %y = nn.position_sum %g ids(%i : tensor<4x2xi32>) first 1 length 4 : tensor<8x3xf32> -> tensor<6x3xf32>
  return
}

// -----

func.func @linear_c1_transposed(%x: tensor<4x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error@+1 {{'nn.linear' op must have an input of type 'tensor<4x5xf32>', but got 'tensor<4x3xf32>'}}
  %y = nn.linear %x, %w transposed : tensor<4x3xf32>, tensor<5x3xf32> -> tensor<4x3xf32>
  return
}

// -----

func.func @select_token_backward_c1(%g: tensor<3x3xf32>) {
  // expected-error@+1 {{'nn.select_token_backward' op must take one row for each sequence of 'tensor<10x3xf32>', of 3 columns of 'f32' and a number that divides 10, but got 'tensor<3x3xf32>'}}
  %y = nn.select_token_backward %g index 0 : tensor<3x3xf32> -> tensor<10x3xf32>
  return
}

// -----

func.func @select_token_backward_c2(%g: tensor<2x3xf32>) {
  // expected-error@+1 {{'nn.select_token_backward' op index must be in [0, 5), the tokens of a sequence, but got -1}}
  %y = nn.select_token_backward %g index -1 : tensor<2x3xf32> -> tensor<10x3xf32>
  return
}

// -----

// What the types of the operands say needs no verifier of its own.

func.func @layer_norm_shift(%x: tensor<2x3xf32>, %s: tensor<3xf32>, %t: tensor<2xf32>) {
  // expected-error@+1 {{'nn.layer_norm' op failed to verify that all of {scale, shift} have same type}}
  %y = "nn.layer_norm"(%x, %s, %t) {epsilon = 1.0e-5 : f64} : (tensor<2x3xf32>, tensor<3xf32>, tensor<2xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @rank(%x: tensor<2x3x4xf32>) {
  // expected-error@+1 {{'nn.activation' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<2x3x4xf32>'}}
  %y = nn.activation relu %x : tensor<2x3x4xf32>
  return
}

// -----

func.func @dynamic_shape(%x: tensor<?x3xf32>) {
  // expected-error@+1 {{'nn.activation' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<?x3xf32>'}}
  %y = nn.activation relu %x : tensor<?x3xf32>
  return
}

// -----

func.func @select_token_c1_type(%x: tensor<10x3xbf16>) {
  // expected-error@+1 {{'nn.select_token' op must take one row for each sequence of 'tensor<10x3xbf16>', of 3 columns of 'bf16' and a number that divides 10, but got 'tensor<2x3xf32>'}}
  %y = nn.select_token %x index 0 : tensor<10x3xbf16> -> tensor<2x3xf32>
  return
}

// -----

func.func @embedding_backward_type(%i: tensor<2x3xi32>, %g: tensor<6x5xbf16>) {
  // expected-error@+1 {{'nn.embedding_backward' op result #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float values, but got 'tensor<7x5xbf16>'}}
  %d = nn.embedding_backward %i, %g : tensor<2x3xi32>, tensor<6x5xbf16> -> tensor<7x5xbf16>
  return
}

// -----

func.func @activation_type(%x: tensor<6x5xf16>) {
  // expected-error@+1 {{'nn.activation' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<6x5xf16>'}}
  %y = nn.activation relu %x : tensor<6x5xf16>
  return
}

// -----

// What every op asks of its tensors.

func.func @sizes_none(%x: tensor<0x5xf32>, %w: tensor<5x3xf32>) {
  // expected-error@+1 {{'nn.matmul' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<0x5xf32>'}}
  %y = nn.matmul %x, %w : tensor<0x5xf32>, tensor<5x3xf32> -> tensor<0x3xf32>
  return
}

// -----

func.func @sizes_inner_none(%x: tensor<4x0xf32>, %w: tensor<3x0xf32>) {
  // expected-error@+1 {{'nn.linear' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<4x0xf32>'}}
  %y = nn.linear %x, %w : tensor<4x0xf32>, tensor<3x0xf32> -> tensor<4x3xf32>
  return
}

// -----

func.func @sizes_wide(%x: tensor<5x2147483648xf32>) {
  // expected-error@+1 {{'nn.activation' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<5x2147483648xf32>'}}
  %y = nn.activation gelu %x : tensor<5x2147483648xf32>
  return
}

// -----

func.func @sizes_long(%x: tensor<4611686018427387904x3xf32>, %w: tensor<7x3xf32>) {
  // expected-error@+1 {{'nn.linear' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<4611686018427387904x3xf32>'}}
  %y = nn.linear %x, %w : tensor<4611686018427387904x3xf32>, tensor<7x3xf32> -> tensor<4611686018427387904x7xf32>
  return
}

// -----

func.func @sizes_together(%x: tensor<1048577x1048576xf32>) {
  // expected-error@+1 {{'nn.activation' op operand #0 must be tensor of rank 2 and static shape (sizes from 1 to 2^31 - 1, 2^40 elements at most) of 32-bit float or bfloat16 type values, but got 'tensor<1048577x1048576xf32>'}}
  %y = nn.activation gelu %x : tensor<1048577x1048576xf32>
  return
}

// -----

func.func @embedding_c2_none(%i: tensor<2x3xi32>, %t: tensor<7x5xi8>) {
  // expected-error@+1 {{'nn.embedding' op must have 7 scales, one for each row of the table, which is 'tensor<7x5xi8>', but got none}}
  %e = nn.embedding %i, %t : tensor<2x3xi32>, tensor<7x5xi8> -> tensor<6x5xf32>
  return
}

// -----

func.func @embedding_c2_wide(%i: tensor<2x3xi32>, %t: tensor<7x5xf32>, %s: tensor<7xf32>) {
  // expected-error@+1 {{'nn.embedding' op must have no scales of a table that is not i8, but has those of 'tensor<7x5xf32>'}}
  %e = nn.embedding %i, %t scales(%s : tensor<7xf32>) : tensor<2x3xi32>, tensor<7x5xf32> -> tensor<6x5xf32>
  return
}

// -----

func.func @add_positions_c4(%x: tensor<6x5xf32>, %t: tensor<9x5xi8>, %s: tensor<5xf32>) {
  // expected-error@+1 {{'nn.add_positions' op must have 9 scales, one for each row of the table, which is 'tensor<9x5xi8>', but got 'tensor<5xf32>'}}
  %y = nn.add_positions %x, %t scales(%s : tensor<5xf32>) length 3 : tensor<6x5xf32>, tensor<9x5xi8>
  return
}
