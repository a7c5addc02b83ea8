//===- Passes.td - Passes from a model to a training step --*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TRANSFORMS_PASSES_TD
#define PST_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def Sparsify : Pass<"pst-sparsify", "::mlir::ModuleOp"> {
  let summary = "Turns linear layers into virtual weights by a recipe";
  let description = [{
    Every `nn.linear` whose weight is a parameter marked `sparsify` (and, if
    modules are named, chosen) becomes a `pst.masked_matmul` over the factors of
    the method's criterion; the factors are declared as parameters with their
    initialisers. If the method has a score, what the selection leaves
    (threshold and cut) is declared as state, `@select` finds it for all layers,
    and `@materialize` writes the masked weights out. The options are those of a
    recipe in [Options.md](Options.md).

    Before:
    ```mlir
    %y = nn.linear %x, %w : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
    ```
    After, with `method=lora weight_rank=2`:
    ```mlir
    %u = pst.load @w.pst_U : tensor<4x2xf32>
    %v = pst.load @w.pst_V : tensor<2x3xf32>
    %y = pst.masked_matmul %x, @lora(%w, %u, %v) : tensor<5x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<5x4xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect",
                           "::mlir::math::MathDialect",
                           "::mlir::tensor::TensorDialect",
                           "::pst::PSTDialect"];
}

def Calibrate : Pass<"pst-calibrate", "::mlir::ModuleOp"> {
  let summary = "Measures what layers read, in place of what the model says";
  let description = [{
    `@forward` becomes `@calibrate`, which returns for each linear layer whose
    weight is marked `sparsify` (and, if modules are named, chosen) the sums of the squares of the columns of its
    input, by the weight's name; what else it computed, and the arguments that
    only that read, are gone.

    Before:
    ```mlir
    func.func @forward(%x: tensor<5x3xf32>, %labels: tensor<5xi32>, %s: f32) -> tensor<f32> {
      %w = pst.load @w : tensor<4x3xf32>
      %y = nn.linear %x, %w : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
      %loss = nn.cross_entropy %y, %labels, %s : tensor<5x4xf32>, tensor<5xi32>
      return %loss : tensor<f32>
    }
    ```
    After:
    ```mlir
    func.func @calibrate(%x: tensor<5x3xf32>) -> (tensor<3xf32> {pst.name = "w"}) {
      %squares = nn.column_sum %x squared : tensor<5x3xf32> -> tensor<3xf32>
      return %squares : tensor<3xf32>
    }
    ```
  }];
  let options = [Option<"targetModules", "target_modules", "std::string",
                        /*default=*/"", "as of -pst-sparsify">,
                 Option<"excludeModules", "exclude_modules", "std::string",
                        /*default=*/"", "as of -pst-sparsify">];
}

def SelectEarly : Pass<"pst-select-early", "::mlir::ModuleOp"> {
  let summary = "Computes of the last layer what is read of it";
  let description = [{
    A classifier reads one token of each sequence. Ops that make each row of
    their result of the same row of their operands, from the last attention on,
    need not compute the others: `nn.select_token` moves before them. Dropout
    goes on to drop what it would have dropped; behind one, a token that a mask
    chooses stays where it is.

    Before:
    ```mlir
    %y = nn.linear %x, %w : tensor<6x3xf32>, tensor<4x3xf32> -> tensor<6x4xf32>
    %cls = nn.select_token %y index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
    ```
    After:
    ```mlir
    %first = nn.select_token %x index 0 : tensor<6x3xf32> -> tensor<2x3xf32>
    %cls = nn.linear %first, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
    ```
  }];
  let dependentDialects = ["::pst::nn::NNDialect"];
}

def PackTokens : Pass<"pst-pack-tokens", "::mlir::ModuleOp"> {
  let summary = "Stores activations without the rows of padding";
  let description = [{
    Every matrix of the B*L tokens of a batch, from the embeddings on, becomes
    one of at most `capacity` tokens (`#nn.packed`): memory is for that many,
    and kernels work on those that are there. What each op means stays the same.
    The functions are those with an argument `attention_mask`, of which the one
    `nn.token_places` of each is made. A result that leaves a function is
    unpacked. Nothing changes without a capacity, or where it is more than B*L. The module's `pst.token_capacity` says it to the runtime.

    Before:
    ```mlir
    %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32>
    %y = nn.activation gelu %x : tensor<6x4xf32>
    ```
    After, with `capacity=5`:
    ```mlir
    %places, %starts = nn.token_places %mask : tensor<2x3xi32> -> tensor<5xi32>, tensor<3xi32>
    %x = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32, #nn.packed<5>>
    %y = nn.activation gelu %x : tensor<6x4xf32, #nn.packed<5>>
    ```
  }];
  let options = [Option<"capacity", "capacity", "int64_t", "0",
                        "tokens that a batch has room for, or 0">];
  let dependentDialects = ["::mlir::func::FuncDialect", "::pst::nn::NNDialect"];
}

def BoundIds : Pass<"pst-bound-ids", "::mlir::ModuleOp"> {
  let summary = "Notes how many ids there are of those that an argument holds";
  let description = [{
    An argument of a function whose elements are rows of a table gets `pst.ids`,
    the rows of the smallest table that they are looked up in, here or in a
    function that is called. The runtime refuses inputs with another id.

    Before:
    ```mlir
    func.func @look(%ids: tensor<1x2xi32>, %table: tensor<3x4xf32>) -> tensor<2x4xf32> {
      %x = nn.embedding %ids, %table : tensor<1x2xi32>, tensor<3x4xf32> -> tensor<2x4xf32>
    ```
    After:
    ```mlir
    func.func @look(%ids: tensor<1x2xi32> {pst.ids = 3 : i64}, %table: tensor<3x4xf32>) -> tensor<2x4xf32> {
    ```
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::pst::nn::NNDialect",
                           "::pst::PSTDialect"];
}

def MixedPrecision : Pass<"pst-mixed-precision", "::mlir::ModuleOp"> {
  let summary = "Makes the activations bf16";
  let description = [{
    Changes the activations of `@forward` to bf16, which takes half the memory
    and lets products run on tensor cores; their gradients follow, as autodiff
    gives a gradient the type of its value. What else there is stays f32: the
    parameters and their gradients, thresholds, losses, and the logits, which
    come of a product of bf16. Arithmetic is f32 in any case. An argument of f32
    is rounded where it enters, a result widened where it leaves. Each op says
    which of its operands and results are activations
    (`ActivationOpInterface`); one of floats that does not is refused. Nothing
    changes with `type=f32`.

    Before:
    ```mlir
    %u = nn.linear %x, %w : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
    %g = nn.activation gelu %u : tensor<5x4xf32>
    %y = nn.linear %g, %head : tensor<5x4xf32>, tensor<2x4xf32> -> tensor<5x2xf32>
    %loss = nn.cross_entropy %y, %labels, %scale : tensor<5x2xf32>, tensor<5xi32>
    ```
    After, with `type=bf16`:
    ```mlir
    %n = arith.truncf %x : tensor<5x3xf32> to tensor<5x3xbf16>
    %u = nn.linear %n, %w : tensor<5x3xbf16>, tensor<4x3xf32> -> tensor<5x4xbf16>
    %g = nn.activation gelu %u : tensor<5x4xbf16>
    %y = nn.linear %g, %head : tensor<5x4xbf16>, tensor<2x4xf32> -> tensor<5x2xf32>
    %loss = nn.cross_entropy %y, %labels, %scale : tensor<5x2xf32>, tensor<5xi32>
    ```
  }];
  let options = [Option<"type", "type", "::pst::FrozenType",
                        /*default=*/"::pst::FrozenType::F32", "f32 or bf16",
                        "::pst::WordsOf<::pst::FrozenType>()">];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect"];
}

def Autodiff : Pass<"pst-autodiff", "::mlir::ModuleOp"> {
  let summary = "Builds the training step from the forward function";
  let description = [{
    Makes `@forward_backward` out of `@forward`: the forward ops, then in
    reverse the backward of each op between a trainable parameter and the first
    result (the loss), and a `pst.accumulate` for each trainable parameter. Of
    an op's results some may have no gradient: the op deals with that.
    Then takes dropout out of `@forward`, which is left for evaluation and also
    returns the logits.

    Before:
    ```mlir
    func.func @forward(...) -> (tensor<f32>, tensor<2x3xf32>)
    ```
    After:
    ```mlir
    func.func @forward(...) -> (tensor<f32>, tensor<2x3xf32>)
    func.func @forward_backward(...) -> tensor<f32>
    ```
  }];
  let options = [
    Option<"inference", "inference", "bool", "false",
           "only take dropout out of @forward">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect", "::pst::PSTDialect",
                           "::pst::nn::NNDialect"];
}

def Recompute : Pass<"pst-recompute", "::mlir::ModuleOp"> {
  let summary = "Computes results of the forward again in the backward instead of keeping them";
  let description = [{
    In `@forward_backward`, a result that the backward reads is computed again
    right before it is read, so that its buffer does not live from the forward
    to the backward. An op says what computing it again costs
    (`RecomputableOpInterface`); what does not is kept. Level `cheap` does so
    for activations, layer normalisations and attentions, whose inputs are kept;
    for BERT this saves over a third of the activations. Level `all` keeps the
    sums only, the residual stream, and computes the products between them
    again. The module's `pst.recompute` says what that costs: floating-point
    operations of products (`WorkOpInterface`), those done again and those of a
    step (with dense weights) without them.

    Before:
    ```mlir
    %a = nn.activation gelu %h : tensor<8x16xf32>
    %loss = ...
    %dw = nn.matmul %dy, %a {transpose_lhs} : ...
    ```
    After:
    ```mlir
    %a = nn.activation gelu %h : tensor<8x16xf32>
    %loss = ...
    %again = nn.activation gelu %h : tensor<8x16xf32>
    %dw = nn.matmul %dy, %again {transpose_lhs} : ...
    ```
  }];
  let options = [
    Option<"level", "level", "::pst::RecomputeLevel",
           /*default=*/"::pst::RecomputeLevel::Cheap", "none, cheap or all",
           "::pst::WordsOf<::pst::RecomputeLevel>()">
  ];
}

def AddOptimizer : Pass<"pst-add-optimizer", "::mlir::ModuleOp"> {
  let summary = "Lays the parameters out and adds the optimizer's step";
  let description = [{
    Gives every trainable and state parameter its offset in its space (64-byte
    aligned; parameters that weight decay applies to come first) and adds
    `@apply`, one `pst.adamw` over all of them.

    Before:
    ```mlir
    pst.parameter @b trainable init<zeros> : tensor<3xf32>
    ```
    After:
    ```mlir
    pst.parameter @b trainable init<zeros> {offset = 0 : i64} : tensor<3xf32>
    func.func @apply(...) -> tensor<f32>
    ```
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::pst::PSTDialect"];
}

def NarrowFrozen : Pass<"pst-narrow-frozen", "::mlir::ModuleOp"> {
  let summary = "Keeps frozen matrices in bf16";
  let description = [{
    Changes frozen matrices of f32 to bf16, which takes half the memory, where
    all that reads them widens them as it reads (`WideningOpInterface`): tables
    of embeddings, weights of linear layers, dense factors of virtual weights.
    The runtime uses them where a file of BF16 maps them, and rounds those of
    other files to nearest. All arithmetic stays f32. Nothing changes with
    `type=f32`, or with `int8`, which is for `-pst-store-weights`.

    Before:
    ```mlir
    pst.parameter @w frozen init<file "w"> : tensor<4x3xf32>
    %w = pst.load @w : tensor<4x3xf32>
    ```
    After, with `type=bf16`:
    ```mlir
    pst.parameter @w frozen init<file "w"> : tensor<4x3xbf16>
    %w = pst.load @w : tensor<4x3xbf16>
    ```
  }];
  let options = [Option<"type", "type", "::pst::FrozenType",
                        /*default=*/"::pst::FrozenType::F32", "f32, bf16 or int8",
                        "::pst::WordsOf<::pst::FrozenType>()">];
}

def ProtectArguments : Pass<"pst-protect-arguments", "::mlir::ModuleOp"> {
  let summary = "Keeps callers' arrays as they are";
  let description = [{
    Marks the arguments of entry points as read only, so that bufferization gives
    results memory of their own. Runs before bufferization.

    Before:
    ```mlir
    func.func @f(%x: tensor<3xf32>) -> tensor<3xf32>
    ```
    After:
    ```mlir
    func.func @f(%x: tensor<3xf32> {bufferization.writable = false}) -> tensor<3xf32>
    ```
  }];
  let dependentDialects = ["::mlir::bufferization::BufferizationDialect"];
}

def StoreInPlace : Pass<"pst-store-in-place", "::mlir::ModuleOp"> {
  let summary = "Lets launches write results to where they are stored";
  let description = [{
    Runs on bufferized entry points. A buffer that a launch writes, and that is
    only copied to a parameter's, is that parameter's: on a GPU a copy of a
    threshold takes as long as a small kernel. The copy stays where the launch,
    or what lies between, touches the parameter.

    Before:
    ```mlir
    %t = memref.alloc() : memref<f32>
    pst.launch @k ins(%x : memref<3xf32>) outs(%t : memref<f32>)
    %s = pst.buffer @threshold : memref<f32>
    memref.copy %t, %s : memref<f32> to memref<f32>
    ```
    After:
    ```mlir
    %s = pst.buffer @threshold : memref<f32>
    pst.launch @k ins(%x : memref<3xf32>) outs(%s : memref<f32>)
    ```
  }];
  let dependentDialects = ["::pst::PSTDialect"];
}

def PlanMemory : Pass<"pst-plan-memory", "::mlir::ModuleOp"> {
  let summary = "Gives every buffer its place in one arena";
  let description = [{
    Runs on bufferized entry points. Every `memref.alloc` gets an offset in the
    arena, so that buffers that live at the same time do not overlap; the
    entry points get the arena, the spaces and the frozen parameters that they
    use as arguments. The plan by kind stands in the module's attribute
    `pst.memory` (bytes), and is known before anything runs.

    Before:
    ```mlir
    func.func @forward(%x: memref<2x3xf32>, %out: memref<2x3xf32>) {
      %t = memref.alloc() : memref<2x3xf32>
      pst.launch @relu ins(%x : memref<2x3xf32>) outs(%t : memref<2x3xf32>)
      pst.launch @tanh ins(%t : memref<2x3xf32>) outs(%out : memref<2x3xf32>)
    ```
    After:
    ```mlir
    func.func @forward(%x: memref<2x3xf32>, %out: memref<2x3xf32>, %arena: memref<64xi8>) {
      %t = memref.view %arena[%c0][] : memref<64xi8> to memref<2x3xf32>
    ```

    With `red-zones` no two buffers share a place, and there are bytes between
    them. An entry point tells the address sanitizer that the arena is not to be
    touched but for its buffers (`pst.red_zones` says that code is to be
    instrumented).
  }];
  let options = [Option<"redZones", "red-zones", "bool", "false",
                        "keep buffers apart, for the address sanitizer">];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect"];
}

#endif // PST_TRANSFORMS_PASSES_TD
