//===- Passes.td - Passes that choose and lower kernels ----*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_CODEGEN_PASSES_TD
#define PST_CODEGEN_PASSES_TD

include "mlir/Pass/PassBase.td"

def EmitCPUKernels : Pass<"pst-emit-cpu-kernels", "::mlir::ModuleOp"> {
  let summary = "Replaces nn and pst ops by launches of generated CPU kernels";
  let description = [{
    Each op on tensors becomes a `pst.launch` of a function on buffers, built
    once for each distinct kernel and shape and shared by all ops that need it.
    The kernels are written in `scf`, `vector`, `memref`, `arith` and `math`;
    `scf.parallel` marks what may run on several threads, in chunks that do not
    depend on their number. A dense product's kernel says its block sizes in
    `pst.blocks`; they follow from the caches, or are given.

    Before:
    ```mlir
    %y = nn.activation relu %x : tensor<2x3xf32>
    ```
    After:
    ```mlir
    %e = tensor.empty() : tensor<2x3xf32>
    %y = pst.launch @activation_2x3_relu ins(%x : tensor<2x3xf32>) outs(%e : tensor<2x3xf32>) -> tensor<2x3xf32>
    ```
  }];
  let options = [
    Option<"vectorWidth", "vector-width", "int64_t", /*default=*/"8",
           "f32 lanes of the target's vectors (4: NEON, 8: AVX2, 16: AVX-512)">,
    Option<"expandBits", "expand-bits", "int64_t", /*default=*/"0",
           "bits of the narrowest elements that an instruction moves to the "
           "lanes of a mask (32: AVX-512, 8: AVX-512 VBMI2 and VNNI, 0: none)">,
    Option<"l2Cache", "l2-cache", "int64_t", /*default=*/"1024",
           "KiB of L2 that a thread has">,
    Option<"l3Cache", "l3-cache", "int64_t", /*default=*/"12288",
           "KiB of L3 that a thread has">,
    Option<"mBlock", "m-block", "int64_t", /*default=*/"0",
           "rows of the blocks of dense products; 0: by L2">,
    Option<"nBlock", "n-block", "int64_t", /*default=*/"0",
           "columns of the blocks of dense products; 0: by L3">,
    Option<"kBlock", "k-block", "int64_t", /*default=*/"0",
           "depth of the blocks of dense products; 0: by the cost model">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
    "::mlir::LLVM::LLVMDialect",
    "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
    "::mlir::vector::VectorDialect", "::pst::PSTDialect"
  ];
}

def ProfileLaunches : Pass<"pst-profile-launches", "::mlir::ModuleOp"> {
  let summary = "Measures the time of each kernel";
  let description = [{
    Reads the clock (`omp_get_wtime`) before and after each launch and each
    entry point as a whole, and sums seconds and calls by kernel. The new entry
    point `profile` has one output `f64[2]` for each, named after it, into which
    it writes both sums, and sets them back to zero. Launches must be on
    buffers; two entry points must not run at the same time.

    Before:
    ```mlir
    func.func @f(%x: memref<3xf32>, %y: memref<3xf32>) {
      pst.launch @k ins(%x : memref<3xf32>) outs(%y : memref<3xf32>)
    ```
    After:
    ```mlir
    func.func @profile(%f: memref<2xf64> {pst.kind = "output", pst.name = "entry point f"},
                       %k: memref<2xf64> {pst.kind = "output", pst.name = "k"}) { ... }
    func.func @f(%x: memref<3xf32>, %y: memref<3xf32>) {
      %since = call @omp_get_wtime() : () -> f64
      pst.launch @k ins(%x : memref<3xf32>) outs(%y : memref<3xf32>)
      %now = call @omp_get_wtime() : () -> f64
      ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect"];
}

def ChooseProducts : Pass<"pst-choose-products", "::mlir::ModuleOp"> {
  let summary = "Chooses how masked weights enter their products";
  let description = [{
    A masked weight can be evaluated in the packing of a dense product
    (`packed`), be written to a buffer that all layers share, one after the
    other (`buffer`), or be stored by its kept elements for a product of sparse
    by dense (`compressed`). `auto` offers the stored weight to each product
    with enough tokens to pay for the compressing. There is room in it for as
    many elements as the product gains by; where more stay, by what the
    selection pruned last, nothing is stored, and the product packs.

    Products with one weight that follow each other share what is stored.

    Before:
    ```mlir
    %y = pst.masked_matmul %x, @pst(%w, ...) threshold(%tau, %cut) pruned(%count) : ...
    ```
    After:
    ```mlir
    %s:4 = pst.materialize @pst(%w, ...) threshold(%tau, %cut) pruned(%count) as compressed unordered : ...
    %y = pst.masked_matmul %x, @pst(%w, ...) threshold(%tau, %cut) pruned(%count) stored(%s#0, %s#1, %s#2, %s#3) : ...
    ```
  }];
  let options = [
    Option<"products", "products", "::pst::ProductChoice",
           /*default=*/"::pst::ProductChoice::Auto",
           "auto, packed, buffer or compressed",
           "::pst::WordsOf<::pst::ProductChoice>()">
  ];
  let dependentDialects = ["::pst::PSTDialect", "::pst::nn::NNDialect"];
}

def StoreWeights : Pass<"pst-store-weights", "::mlir::ModuleOp"> {
  let summary = "Stores weights of fixed zeros by their other elements, and in 8 bits";
  let description = [{
    For a program that only evaluates. A frozen weight of which the import has
    noted how many elements are not zero (`pst.kept`), and of which nothing but
    products makes use, gets room for these, and its products take what is
    stored there. New entry points `pack.0`, `pack.1`, ... store such a weight
    each; they are called once, before any other. One that leaves zeros out
    returns how many slots it lacks: 0, unless its values changed after the
    compilation. One that stores a matrix row by row takes some of its rows, and
    returns these as they are stored: so no more of it need be in memory at once.

    They lie with a column each (`compressed`), or with a bit for each element
    (`bitmask`), which machines with AVX-512 expand faster than they gather what
    columns name. With `auto` a weight is stored as makes its products fastest,
    by the cost model of `-pst-choose-products`; the model's answer, in
    microseconds of one thread, stays as `pst.cost`. Weights of one shape that keep nearly as
    many elements have the same room, and so the same kernels. With
    `storage-tokens=N` it is chosen as if products of tokens, which are those of
    most rows, had N: programs for other batches then store alike.

    With `type=int8` values are stored in 8 bits, with a scale for each row of
    the matrix S of the products `X S^T`: those of the weights above, and whole,
    zeros too, those of all other frozen matrices of which nothing makes use but
    products and what can read rows with scales (`ScalingOpInterface`). Of other
    matrices nothing changes.

    Before:
    ```mlir
    pst.parameter @w frozen init<file "w"> {pst.kept = 5 : i64} : tensor<8x6xf32>
    func.func @forward(%x: tensor<64x6xf32>) -> tensor<64x8xf32> {
      %w = pst.load @w : tensor<8x6xf32>
      %y = nn.linear %x, %w : tensor<64x6xf32>, tensor<8x6xf32> -> tensor<64x8xf32>
    ```
    After, with `storage=compressed`:
    ```mlir
    pst.parameter @w frozen init<file "w"> {pst.cost = {compressed = 0.4576 : f64, dense = 0.0885 : f64}, pst.kept = 5 : i64} : tensor<8x6xf32>
    pst.parameter @w.pst_values state init<zeros> : tensor<21xf32>
    ...
    func.func @forward(%x: tensor<64x6xf32>) -> tensor<64x8xf32> {
      %values = pst.load @w.pst_values : tensor<21xf32>
      ...
      %y = pst.stored_matmul %x, compressed(%values, %columns, %cells, %used) : ...
    func.func @pack.0() -> (tensor<i32> {pst.name = "w"}) {
      %w = pst.load @w : tensor<8x6xf32>
      %s:4 = pst.materialize @pst_as_it_is(%w) as compressed : ...
      pst.store %s#0, @w.pst_values : tensor<21xf32>
      ...
    ```
    After, with `storage=dense type=int8`:
    ```mlir
    pst.parameter @w.pst_values state init<zeros> : tensor<8x6xi8>
    pst.parameter @w.pst_scales state init<zeros> : tensor<8xf32>
    ...
      %y = pst.stored_matmul %x, quantized(%values, %scales) : ...
    func.func @pack.0(%rows: tensor<8x6xf32> {pst.name = "w"})
        -> (tensor<8x6xi8> {pst.name = "w.pst_values"}, tensor<8xf32> {pst.name = "w.pst_scales"}) {
      %s:2 = pst.materialize @pst_as_it_is(%rows) as quantized : ...
      return %s#0, %s#1 : tensor<8x6xi8>, tensor<8xf32>
    ```
  }];
  let options = [
    Option<"storage", "storage", "::pst::WeightStorage",
           /*default=*/"::pst::WeightStorage::Auto",
           "auto, dense, compressed or bitmask",
           "::pst::WordsOf<::pst::WeightStorage>()">,
    Option<"type", "type", "::pst::FrozenType",
           /*default=*/"::pst::FrozenType::F32", "int8: in 8 bits",
           "::pst::WordsOf<::pst::FrozenType>()">,
    Option<"expandBits", "expand-bits", "int64_t", /*default=*/"0",
           "of -pst-emit-cpu-kernels: with 0, auto chooses no bitmask">,
    Option<"hasFastGather", "fast-gather", "bool", /*default=*/"false",
           "whether the machine gathers fast, as columns are read">,
    Option<"storageTokens", "storage-tokens", "int64_t", /*default=*/"0",
           "the rows by which auto chooses (0: those that products have)">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect",
                           "::mlir::tensor::TensorDialect",
                           "::pst::PSTDialect"];
}

def FuseAccumulations : Pass<"pst-fuse-accumulations", "::mlir::ModuleOp"> {
  let summary = "Lets kernels that end with a sum add it to a gradient themselves";
  let description = [{
    A `pst.accumulate` of a result that nothing else uses becomes `fused` where
    the op that makes the result can add (`pst.lowrank_accumulate`,
    `nn.column_sum`, `nn.layer_norm_backward`) and nothing between the two
    touches that gradient. Its kernel then adds to the gradient what it has
    summed: the same addition, without writing and reading the result.

    Before:
    ```mlir
    %d = nn.column_sum %x : tensor<5x3xf32> -> tensor<3xf32>
    pst.accumulate %d, @bias : tensor<3xf32>
    ```
    After:
    ```mlir
    %d = nn.column_sum %x : tensor<5x3xf32> -> tensor<3xf32>
    pst.accumulate %d, @bias fused : tensor<3xf32>
    ```
  }];
  let dependentDialects = ["::pst::PSTDialect"];
}

def FuseEpilogues : Pass<"pst-fuse-epilogues", "::mlir::ModuleOp"> {
  let summary = "Brings sums and activations into the product they follow";
  let description = [{
    An `nn.add` of a product with a masked or a stored weight that nothing else uses becomes the product's
    addend, and an `nn.activation` of one its activation: the kernel does them
    while the block is in the cache. In a training step that is the sum of the
    gradients that meet (at a residual connection; at the input of query, key
    and value); an activation there needs what it is applied to later, and
    stays. In `forward` both go in, where no dropout lies between.

    With `training`, what else a training step does to a product goes in as
    well: an `nn.dropout` of all rows, before the addend; an activation whose
    input is wanted, which the product then keeps as a second result; and an
    `nn.activation_backward` of the product, which then keeps the activation
    itself, if that is computed again. Into the backward of a norm go the
    gradient that meets its own, and the `nn.dropout` of that, as a result more.

    Before:
    ```mlir
    %y = pst.masked_matmul %x, @c(%w) : tensor<5x3xf32>, (tensor<4x3xf32>) -> tensor<5x4xf32>
    %z = nn.add %y, %residual : tensor<5x4xf32>
    ```
    After:
    ```mlir
    %z = pst.masked_matmul %x, @c(%w) addend(%residual) : tensor<5x3xf32>, (tensor<4x3xf32>) addend tensor<5x4xf32> -> tensor<5x4xf32>
    ```
  }];
  let options = [
    Option<"training", "training", "bool", "false",
           "what else a training step does: for GPUs">
  ];
  let dependentDialects = ["::pst::PSTDialect"];
}

def LowerLaunches : Pass<"pst-lower-launches", "::mlir::ModuleOp"> {
  let summary = "Turns kernel launches on buffers into calls";
  let description = [{
    Before:
    ```mlir
    pst.launch @activation_2x3_relu ins(%x : memref<2x3xf32>) outs(%y : memref<2x3xf32>)
    ```
    After:
    ```mlir
    func.call @activation_2x3_relu(%x, %y) : (memref<2x3xf32>, memref<2x3xf32>) -> ()
    ```
    Declarations of parameters and criteria have served and are dropped.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

def HoistScratch : Pass<"pst-hoist-scratch", "::mlir::ModuleOp"> {
  let summary = "Gives each thread its scratch once";
  let description = [{
    Moves stack buffers to the beginning of the parallel region they are in, or
    else of the function, so that they are allocated once a thread instead of
    once an iteration (in a loop they would pile up), and dissolves the
    `memref.alloca_scope` around a parallel body, which upstream leaves inside `omp.loop_nest` where no later pass lowers it.

    Before:
    ```mlir
    omp.parallel { omp.wsloop { omp.loop_nest (%i) : index = ... {
      memref.alloca_scope { %scratch = memref.alloca() : memref<8xf32> ... }
    ```
    After:
    ```mlir
    omp.parallel { %scratch = memref.alloca() : memref<8xf32>
      omp.wsloop { omp.loop_nest (%i) : index = ... { ...
    ```
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def ExpandMath : Pass<"pst-expand-math", "::mlir::ModuleOp"> {
  let summary = "Replaces transcendental functions by polynomials";
  let description = [{
    `math.exp`, `math.erf`, `math.tanh` and their like on f32 and vectors of it
    become upstream's polynomial approximations: no calls into a library, and
    the same bits whatever the machine's libm. Rounding to bf16 becomes integer
    arithmetic.

    Before:
    ```mlir
    %y = math.exp %x : vector<8xf32>
    ```
    After: arithmetic only.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect",
                           "::mlir::vector::VectorDialect"];
}

def SplitParts : Pass<"pst-split-parts", "::mlir::ModuleOp"> {
  let summary = "Splits a program into parts that are compiled side by side";
  let description = [{
    Moves the functions into nested modules: the entry points into the first,
    the kernels to where there is least. A part declares the functions of others
    that it calls, and has copies of the constants that it uses. What parts there
    are depends on the program alone, never on the number of threads.

    Before:
    ```mlir
    func.func @forward(%x: memref<3xf32>) { call @k(%x) : (memref<3xf32>) -> () ... }
    func.func private @k(%x: memref<3xf32>) { ... }
    ```
    After:
    ```mlir
    module @part0 {
      func.func private @k(memref<3xf32>)
      func.func @forward(%x: memref<3xf32>) { call @k(%x) : (memref<3xf32>) -> () ... }
    }
    module @part1 {
      func.func private @k(%x: memref<3xf32>) { ... }
    }
    ```
  }];
  let options = [
    Option<"partSize", "part-size", "int64_t", /*default=*/"2500",
           "ops of a part, about: smaller programs are not split">,
    Option<"maxParts", "max-parts", "int64_t", /*default=*/"16",
           "number of parts at most">
  ];
}

def WrapEntryPoints : Pass<"pst-wrap-entry-points", "::mlir::ModuleOp"> {
  let summary = "Gives each entry point the bundle's calling convention";
  let description = [{
    Adds, for each public function of the llvm dialect, `pst_<name>`, which
    takes one array of pointers; pointers are passed on, scalars loaded. What
    was public becomes internal; private functions, the kernels, are hidden:
    other parts of the program call them, nothing outside it does.

    Before:
    ```mlir
    llvm.func @select(%state: !llvm.ptr, %sparsity: f64)
    ```
    After:
    ```mlir
    llvm.func @pst_select(%arguments: !llvm.ptr)
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // PST_CODEGEN_PASSES_TD
