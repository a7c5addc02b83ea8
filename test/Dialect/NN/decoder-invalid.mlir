// RUN: pst-opt %s --split-input-file --verify-diagnostics

func.func @rms_norm_c1(%x: tensor<2x3xf32>, %s: tensor<4xf32>) {
  // expected-error@+1 {{'nn.rms_norm' op must have a scale of type 'tensor<3xf32>', but got 'tensor<4xf32>'}}
  %y = nn.rms_norm %x, %s epsilon 1.0e-6 : tensor<2x3xf32>, tensor<4xf32>
  return
}

// -----

func.func @rms_norm_c2(%x: tensor<2x3xf32>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'nn.rms_norm' op epsilon must be positive, but got 0.000000e+00}}
  %y = nn.rms_norm %x, %s epsilon 0.0 : tensor<2x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @rms_norm_backward_c1(%x: tensor<2x3xf32>, %s: tensor<2xf32>) {
  // expected-error@+1 {{'nn.rms_norm_backward' op must have a scale of type 'tensor<3xf32>', but got 'tensor<2xf32>'}}
  %d:2 = nn.rms_norm_backward %x, %s, %x epsilon 1.0e-5 : tensor<2x3xf32>, tensor<2xf32>
  return
}

// -----

func.func @rms_norm_backward_c3(%x: tensor<2x3xf32>, %s: tensor<3xf32>, %r: tensor<2x4xf32>) {
  // expected-error@+1 {{'nn.rms_norm_backward' op must have an addend of the input's type 'tensor<2x3xf32>', but got 'tensor<2x4xf32>'}}
  %d:2 = nn.rms_norm_backward %x, %s, %x epsilon 1.0e-5 addend(%r) : tensor<2x3xf32>, tensor<3xf32> addend tensor<2x4xf32>
  return
}

// -----

func.func @rms_norm_backward_c4(%x: tensor<2x3xf32>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'nn.rms_norm_backward' op must have a seed, a probability, a site and a result of its dropout, or none of them}}
  %d:2 = nn.rms_norm_backward %x, %s, %x epsilon 1.0e-5 {site = 3 : i64} : tensor<2x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @rms_norm_backward_c2(%x: tensor<2x3xf32>, %s: tensor<3xf32>) {
  // expected-error@+1 {{'nn.rms_norm_backward' op epsilon must be positive, but got -1.000000e+00}}
  %d:2 = nn.rms_norm_backward %x, %s, %x epsilon -1.0 : tensor<2x3xf32>, tensor<3xf32>
  return
}

// -----

func.func @rotary_table_c1(%f: tensor<3xf32>) {
  // expected-error@+1 {{'nn.rotary_table' op must have a result of type 'tensor<5x6xf32>', but got 'tensor<5x3xf32>'}}
  %t = nn.rotary_table %f scale 1.0 : tensor<3xf32> -> tensor<5x3xf32>
  return
}

// -----

func.func @rotary_c1(%x: tensor<10x12xf32>, %t: tensor<4x6xf32>) {
  // expected-error@+1 {{'nn.rotary' op must have a table whose rows divide the 10 tokens, but got 'tensor<4x6xf32>'}}
  %y = nn.rotary %x, %t : tensor<10x12xf32>, tensor<4x6xf32>
  return
}

// -----

func.func @rotary_c2_even(%x: tensor<10x12xf32>, %t: tensor<5x3xf32>) {
  // expected-error@+1 {{'nn.rotary' op must have a table whose columns are even and divide the input's 12, but got 'tensor<5x3xf32>'}}
  %y = nn.rotary %x, %t : tensor<10x12xf32>, tensor<5x3xf32>
  return
}

// -----

func.func @rotary_c2_divides(%x: tensor<10x12xf32>, %t: tensor<5x8xf32>) {
  // expected-error@+1 {{'nn.rotary' op must have a table whose columns are even and divide the input's 12, but got 'tensor<5x8xf32>'}}
  %y = nn.rotary %x, %t : tensor<10x12xf32>, tensor<5x8xf32>
  return
}

// -----

func.func @attention_c1_keys(%q: tensor<10x6xf32>, %k: tensor<9x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op has 9 tokens, but the mask 'tensor<2x5xi32>' has 10}}
  %y = nn.attention %q, %k, %k, %m heads 3 : tensor<10x6xf32>, tensor<9x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c4_whole(%q: tensor<10x12xf32>, %k: tensor<10x3xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op must have keys of heads of 2 columns of 'f32', as the query has, whose number divides 6, but got 'tensor<10x3xf32>'}}
  %y = nn.attention %q, %k, %k, %m heads 6 : tensor<10x12xf32>, tensor<10x3xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c4_divides(%q: tensor<10x12xf32>, %k: tensor<10x8xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op must have keys of heads of 2 columns of 'f32', as the query has, whose number divides 6, but got 'tensor<10x8xf32>'}}
  %y = nn.attention %q, %k, %k, %m heads 6 : tensor<10x12xf32>, tensor<10x8xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c4_element(%q: tensor<10x12xf32>, %k: tensor<10x4xbf16>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op must have keys of heads of 2 columns of 'f32', as the query has, whose number divides 6, but got 'tensor<10x4xbf16>'}}
  %y = nn.attention %q, %k, %k, %m heads 6 : tensor<10x12xf32>, tensor<10x4xbf16>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c5_positive(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op window must be positive, and of causal attention, but got 0}}
  %y = nn.attention %q, %q, %q, %m heads 3 causal window 0 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_c5_causal(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention' op window must be positive, and of causal attention, but got 2 without 'causal'}}
  %y = nn.attention %q, %q, %q, %m heads 3 window 2 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_backward_c4(%q: tensor<10x12xf32>, %k: tensor<10x8xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention_backward' op must have keys of heads of 2 columns of 'f32', as the query has, whose number divides 6, but got 'tensor<10x8xf32>'}}
  %d:3 = nn.attention_backward %q, %k, %k, %m, %q heads 6 : tensor<10x12xf32>, tensor<10x8xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @attention_backward_c5(%q: tensor<10x6xf32>, %m: tensor<2x5xi32>) {
  // expected-error@+1 {{'nn.attention_backward' op window must be positive, and of causal attention, but got -1}}
  %d:3 = nn.attention_backward %q, %q, %q, %m, %q heads 3 causal window -1 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// -----

func.func @rotary_table_c2(%f: tensor<3xf32>, %p: tensor<4x1xi32>) {
  // expected-error@+1 {{'nn.rotary_table' op must have positions of type 'tensor<5x1xi32>', but got 'tensor<4x1xi32>'}}
  %t = nn.rotary_table %f at %p scale 1.0 : tensor<3xf32>, tensor<4x1xi32> -> tensor<5x6xf32>
  return
}

// -----

func.func @cache_rows_c1(%x: tensor<2x12xf32>, %c: tensor<9x12xf32>, %s: tensor<3x1xi32>, %t: tensor<3x4xi32>) {
  // expected-error@+1 {{'nn.cache_rows' op must have sequences of type 'tensor<2x1xi32>', but got 'tensor<3x1xi32>'}}
  %d = nn.cache_rows %x, %c at %s, %s of %t : tensor<2x12xf32>, tensor<9x12xf32>, tensor<3x1xi32>, tensor<3x4xi32>
  return
}

// -----

func.func @cache_rows_c2(%x: tensor<2x11xf32>, %c: tensor<9x12xf32>, %s: tensor<2x1xi32>, %t: tensor<3x4xi32>) {
  // expected-error@+1 {{'nn.cache_rows' op must have a cache of 11 columns, as the input has, but got 'tensor<9x12xf32>'}}
  %d = nn.cache_rows %x, %c at %s, %s of %t : tensor<2x11xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  return
}

// -----

func.func @cached_attention_c1(%q: tensor<2x24xf32>, %c: tensor<9x12xf32>, %s: tensor<2x2xi32>, %t: tensor<3x4xi32>) {
  // expected-error@+1 {{'nn.cached_attention' op must have sequences of type 'tensor<2x1xi32>', but got 'tensor<2x2xi32>'}}
  %y = nn.cached_attention %q, %c, %c at %s, %s of %t heads 4 : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x2xi32>, tensor<3x4xi32>
  return
}

// -----

func.func @cached_attention_c2(%q: tensor<2x24xf32>, %c: tensor<9x12xf32>, %s: tensor<2x1xi32>, %t: tensor<3x4xi32>) {
  // expected-error@+1 {{'nn.cached_attention' op heads must be positive and divide the 24 columns, but got 5}}
  %y = nn.cached_attention %q, %c, %c at %s, %s of %t heads 5 : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  return
}

// -----

func.func @cached_attention_c3(%q: tensor<2x24xf32>, %c: tensor<9x12xf32>, %s: tensor<2x1xi32>, %t: tensor<3x4xi32>) {
  // expected-error@+1 {{'nn.cached_attention' op must have keys of heads of 8 columns of 'f32', as the query has, whose number divides 3, but got 'tensor<9x12xf32>'}}
  %y = nn.cached_attention %q, %c, %c at %s, %s of %t heads 3 : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  return
}

// -----

func.func @cached_attention_c4(%q: tensor<2x24xf32>, %c: tensor<9x12xf32>, %s: tensor<2x1xi32>, %t: tensor<3x4xi32>) {
  // expected-error@+1 {{'nn.cached_attention' op window must be positive, but got 0}}
  %y = nn.cached_attention %q, %c, %c at %s, %s of %t heads 4 window 0 : tensor<2x24xf32>, tensor<9x12xf32>, tensor<2x1xi32>, tensor<3x4xi32>
  return
}
