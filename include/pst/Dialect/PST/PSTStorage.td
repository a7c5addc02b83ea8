//===- PSTStorage.td - Weights that are stored -------------*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A stored weight is a group of tensors, and the word that says how they hold
// it. PSTOps.td includes this.

#ifndef PST_DIALECT_PST_PSTSTORAGE_TD
#define PST_DIALECT_PST_PSTSTORAGE_TD

def PST_MaterializeOp : PST_WeightOp<"materialize", [Pure]> {
  let summary = "Stores a virtual weight under its mask";
  let description = [{
    Evaluates `M * W'`, or with `transposed` its transpose, and stores it, so
    that it can be saved, handed to another function, or multiplied any number
    of times. How it is stored is said by `as`, and the results are the group
    of tensors that this takes:

    | storage | tensors |
    |---|---|
    | `dense` | f32 or bf16 (rounded to nearest even), n x m, with exact zeros where the mask is zero |
    | `compressed` | values, columns, cells, used: the elements that are not zero, and where they are (CompressedLayout.h); of values of i8 scales too |
    | `bitmask` | values, bits, starts, used: the elements that are not zero, and a bit for each element (BitmaskLayout.h); of values of i8 scales too |
    | `quantized` | values, scales: i8, n x m, and f32, one for each row; a value times its row's scale is the element |

    The room for the elements of a compressed weight or a bitmask is the length
    of `values`. If more stay than there is room for, nothing is written beyond
    it, and `used` is larger than the room, which products see. `pruned`, the
    number of elements that the mask prunes, lets a kernel know before it
    begins.

    Compressed cells lie in the order of their numbers, with zeros in the slots
    that are not used. With `unordered` they lie as threads finish them, which
    takes one pass over the weight instead of two, and which no product shows.

    In 8 bits, the scale of a row is its largest magnitude / 127 (not below the
    smallest normal number; 0 of a row of zeros), and a value is its element
    divided by that, rounded to nearest even: from -127 to 127. An element that
    rounds to 0 is a zero, which is not stored where zeros are not. A row with
    what is no finite number has a scale that is none either, so that products
    show it.

    Constraints:
    - (C1) The factors have the number, ranks and shapes that the criterion's
      kinds ask for, for an n x m weight.
    - (C2) A selection is given only to a criterion that yields a score, and has
      the state that it asks for; the number of the pruned is given only with a
      selection.
    - (C3) The results are what the storage asks for, for an n x m weight (if
      transposed, m x n).
    - (C4) A dense weight is never `transposed`; only a compressed one is
      `unordered`, or has use for `pruned`.

    Example:
    ```mlir
    // m = [[0.0, 3.0], [0.0, 0.0], [5.0, 7.0]]    (the masked weight)
    %s:4 = pst.materialize @map(%w) threshold(%tau, %cut) as compressed
        : (tensor<3x2xf32>) -> tensor<22xf32>, tensor<22xi8>, tensor<1x65xi32>, tensor<i32>
    // values [5.0, 7.0, 3.0, 0.0, ...]   columns [0, 1, 1, 0, ...]
    // cells [[0, 514, 1, 256, 768, ...]]: row 2 has two elements, row 0 one
    // used 19: three elements, 16 of slack
    %b:4 = pst.materialize @map(%w) threshold(%tau, %cut) as bitmask
        : (tensor<3x2xf32>) -> tensor<67xf32>, tensor<32xi8>, tensor<3x1xi32>, tensor<i32>
    // values [3.0, 5.0, 7.0, 0.0, ...]   bits [2, 0, ..., 0, 0, ..., 3, 0, ...]: 8 bytes a row, and 8 more
    // starts [[0], [1], [1]]   used 67: three elements, 64 of slack
    %q:2 = pst.materialize @map(%w) threshold(%tau, %cut) as quantized
        : (tensor<3x2xf32>) -> tensor<3x2xi8>, tensor<3xf32>
    // values [[0, 127], [0, 0], [91, 127]]   scales [0.0236, 0.0, 0.0551]
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$criterion,
                       Variadic<PST_Tensor>:$factors,
                       OptionalAttr<PST_SelectionAttr>:$selection,
                       Variadic<PST_Tensor>:$state,
                       Optional<PST_ScalarI64>:$pruned, UnitAttr:$transposed,
                       PST_Storage:$storage, UnitAttr:$unordered);
  let results = (outs Variadic<PST_Tensor>:$stored);
  let assemblyFormat = [{
    $criterion `(` $factors `)` (`transposed` $transposed^)?
    custom<Mask>($selection, $state, type($state))
    (`pruned` `(` $pruned^ `)`)? `as` $storage (`unordered` $unordered^)? attr-dict `:`
    `(` type($factors) `)` `->` type($stored)
  }];
}

def PST_StoredMatmulOp : PST_Op<"stored_matmul",
    [Pure, AttrSizedOperandSegments, WorkOpInterface]> {
  let summary = "Multiplies by a stored weight";
  let description = [{
    `Y = X S^T + bias`, for an S of n x k that is not stored dense, as
    `pst.materialize` stores it: for a virtual weight of n x m itself, and for
    its transpose if the product is to be `X (M * W')`. Where there was no room
    for S, Y is NaN. An addend and an activation as those of `pst.masked_matmul`.

    Values of i8 become f32 as they are read, and a sum is multiplied by its
    row's scale once, before anything is added to it.

    The tensors may come from anywhere, but must be a weight that is stored so:
    what points beyond the room or the cell is read.

    Constraints:
    - (C1) The storage is not `dense`, whose product is `nn.linear`, and the
      tensors are what it asks for, for an S of n x k.
    - (C2) The bias has n elements, and the addend the result's type.

    Example:
    ```mlir
    // S = [[0.0, 3.0], [0.0, 0.0], [5.0, 7.0]]
    // x = [[1.0, 10.0]]      y = [[30.0, 0.0, 75.0]]
    %y = pst.stored_matmul %x, compressed(%s#0, %s#1, %s#2, %s#3)
        : tensor<1x2xf32>, (tensor<22xf32>, tensor<22xi8>, tensor<1x65xi32>, tensor<i32>) -> tensor<1x3xf32>
    ```
  }];
  let arguments = (ins PST_Matrix:$input, PST_Storage:$storage,
                       Variadic<PST_Tensor>:$stored,
                       Optional<PST_Vector>:$bias, Optional<PST_Matrix>:$addend,
                       OptionalAttr<NN_ActivationKind>:$activation);
  let results = (outs PST_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $storage `(` $stored `)` (`bias` `(` $bias^ `)`)?
    (`addend` `(` $addend^ `)`)? (`activation` $activation^)? attr-dict `:`
    type($input) `,` `(` type($stored) `)` (`bias` type($bias)^)?
    (`addend` type($addend)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // PST_DIALECT_PST_PSTSTORAGE_TD
