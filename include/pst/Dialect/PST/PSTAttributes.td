//===- PSTAttributes.td - Attributes of the pst dialect ----*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTATTRIBUTES_TD
#define PST_DIALECT_PST_PSTATTRIBUTES_TD

include "pst/Dialect/Interfaces/TensorTypes.td"
include "pst/Dialect/PST/PSTDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def PST_Vector : PST_TensorOfRank<[F32], 1>;
def PST_ScalarF32 : PST_ScalarTensor<F32, "getF32Type()">;
def PST_ScalarI64 : PST_ScalarTensor<I64, "getI64Type()">;
def PST_Tensor : PST_StaticTensor<[AnyFloat, AnySignlessInteger]>;

def PST_Role : I32EnumAttr<"ParameterRole", "where a parameter lives", [
    I32EnumAttrCase<"Frozen", 0, "frozen">,
    I32EnumAttrCase<"Trainable", 1, "trainable">,
    I32EnumAttrCase<"State", 2, "state">,
    I32EnumAttrCase<"Cache", 3, "cache">]> {
  let cppNamespace = "::pst";
}

def PST_RateGroup : I32EnumAttr<"RateGroup", "whose learning rate a parameter has", [
    I32EnumAttrCase<"Mask", 0, "mask">,
    I32EnumAttrCase<"Head", 1, "head">]> {
  let cppNamespace = "::pst";
  let genSpecializedAttr = 0;
}
def PST_RateGroupAttr : EnumAttr<PST_Dialect, PST_RateGroup, "rate_group">;

def PST_Part : I32EnumAttr<"Part", "which of a parameter's values", [
    I32EnumAttrCase<"Value", 0, "value">,
    I32EnumAttrCase<"Gradient", 1, "gradient">]> {
  let cppNamespace = "::pst";
}

def PST_FactorKind : I32EnumAttr<"FactorKind", "how a factor is stored", [
    I32EnumAttrCase<"Dense", 0, "dense">,
    I32EnumAttrCase<"LowRank", 1, "lowrank">,
    I32EnumAttrCase<"Row", 2, "row">,
    I32EnumAttrCase<"Col", 3, "col">]> {
  let cppNamespace = "::pst";
}

def PST_InitializerKind : I32EnumAttr<"InitializerKind", "first value", [
    I32EnumAttrCase<"File", 0, "file">,
    I32EnumAttrCase<"Zeros", 1, "zeros">,
    I32EnumAttrCase<"Normal", 2, "normal">,
    I32EnumAttrCase<"Constant", 3, "constant">]> {
  let cppNamespace = "::pst";
}

def PST_Storage : I32EnumAttr<"Storage", "how a weight lies in memory", [
    I32EnumAttrCase<"Dense", 0, "dense">,
    I32EnumAttrCase<"Compressed", 1, "compressed">,
    I32EnumAttrCase<"Quantized", 2, "quantized">,
    I32EnumAttrCase<"Bitmask", 3, "bitmask">]> {
  let cppNamespace = "::pst";
}

def PST_SelectionKind : I32EnumAttr<"SelectionKind", "who competes for staying", [
    I32EnumAttrCase<"Layer", 0, "layer">,
    I32EnumAttrCase<"Row", 1, "row">,
    I32EnumAttrCase<"Global", 2, "global">,
    I32EnumAttrCase<"NM", 3, "nm">,
    I32EnumAttrCase<"Block", 4, "block">,
    I32EnumAttrCase<"Held", 5, "held">]> {
  let cppNamespace = "::pst";
}

def PST_BlockScore : I32EnumAttr<"BlockScore", "what a block's scores come to", [
    I32EnumAttrCase<"Mean", 0, "mean">,
    I32EnumAttrCase<"Max", 1, "max">]> {
  let cppNamespace = "::pst";
}

def PST_SelectionAttr : AttrDef<PST_Dialect, "Selection"> {
  let mnemonic = "selection";
  let summary = "Which elements of a scored weight stay";
  let description = [{
    The rule by which scores become a mask, and with it the state that a
    selection leaves for the ops that use the mask. Of `size` competitors,
    `int(size * sparsity)` are pruned: those of the lowest scores, and of equal
    ones those of the largest indices.

    | selection | who competes | state, of an n x m weight |
    |---|---|---|
    | `<topk layer>` | the elements of the layer | threshold `tensor<f32>`, cut `tensor<i64>` |
    | `<topk row>` | the elements of each row | a threshold and a cut for each: `tensor<nxf32>`, `tensor<nxi64>` |
    | `<topk global>` | the elements of all layers; of equal ones, those of later layers go first | the common threshold `tensor<f32>`, the layer's own cut `tensor<i64>` |
    | `<nm 2:4>` | each 4 neighbours in a row, from the first column on; 2 of them stay at last | how many of each group stay now: `tensor<i64>` |
    | `<block 16x16 mean>` | blocks of 16 rows and 16 columns, by the mean (or `max`) of their scores | the blocks' scores, `tensor<RxCxf32>`, and their threshold `tensor<f32>` and cut `tensor<i64>` |
    | `<rows mean>` | rows, as blocks of 1 x m | the same |
    | `<held>` | nobody: the mask is what an earlier selection has left | a bit for each element, `tensor<nxWxi32>` of W words a row, column j in bit j mod 32 of word j / 32; and what gradients of scores are multiplied by, `tensor<f32>` |

    An element (or block) stays if its score is above the threshold, or equal
    to it at an index (linear, row-major; within its row for `row`) below the
    cut. Blocks at the edge have what there is of them.
  }];
  let parameters = (ins "SelectionKind":$kind, "int64_t":$first,
                        "int64_t":$second, "BlockScore":$score);
  let builders = [AttrBuilder<(ins "SelectionKind":$kind), [{
      return $_get($_ctxt, kind, 0, 0, BlockScore::Mean);
    }]>];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// `nm`: how many of each group stay at last, and the size of a group.
    int64_t getKept() const { return getFirst(); }
    int64_t getGroup() const { return getSecond(); }
    /// `block`: rows of a block, and columns for a weight of so many.
    int64_t getBlockRows() const { return getFirst(); }
    int64_t getBlockColumns(int64_t columns) const {
      return getSecond() ? getSecond() : columns;
    }
    /// Whether all layers are of the run's sparsity, or of none of their own.
    bool knowsOneSparsity() const {
      return getKind() == SelectionKind::Global ||
             getKind() == SelectionKind::NM;
    }
    /// How many blocks there are, in rows and columns of them.
    ::mlir::RankedTensorType getBlockScoreType(::mlir::RankedTensorType weight);
    /// `held`: elements that a word of the mask has bits of.
    static constexpr int64_t kWordBits = 32;
    /// `held`: the words of a mask of so many columns, for each row.
    ::mlir::RankedTensorType getMaskType(::mlir::RankedTensorType weight);
    /// The types of the state, for a weight of that shape.
    ::llvm::SmallVector<::mlir::Type>
    getStateTypes(::mlir::RankedTensorType weight);
    /// As it is written between angle brackets: "nm 2:4".
    std::string getText() const;
    /// As part of a kernel's name: "nm_2_4".
    std::string getName() const;
  }];
}

def PST_InitializerAttr : AttrDef<PST_Dialect, "Initializer"> {
  let mnemonic = "init";
  let summary = "How a parameter gets its first value";
  let description = [{
    `#pst.init<file "tensor.name">` takes the tensor of that name from the
    model files, and `#pst.init<file "tensor.name" columns 8 of 24>` the columns
    (of a vector: the elements) of a tensor of 24 from the 8th on, as many as
    the parameter has; `#pst.init<file "tensor.name" from "/path">` takes it
    from a safetensors file (or model directory) of its own; `#pst.init<zeros>`; `#pst.init<normal 2.0e-02>` draws
    independent normal values of mean 0 and that standard deviation;
    `#pst.init<constant 1.0>`.
  }];
  let parameters = (ins "InitializerKind":$kind,
                        StringRefParameter<"tensor of the model files">:$source,
                        APFloatParameter<"">:$value,
                        "int64_t":$column, "int64_t":$sourceColumns,
                        StringRefParameter<"file that is not the model's">:$file);
  let builders = [AttrBuilder<(ins "InitializerKind":$kind,
                                   "llvm::StringRef":$source,
                                   "llvm::APFloat":$value,
                                   CArg<"int64_t", "0">:$column,
                                   CArg<"int64_t", "0">:$sourceColumns,
                                   CArg<"llvm::StringRef", "{}">:$file)>];
  let skipDefaultBuilders = 1;
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// Whether the parameter is some columns of its tensor only.
    bool isPart() const { return getSourceColumns() != 0; }
  }];
}

def PST_FactorTensorAttr : AttrDef<PST_Dialect, "FactorTensor"> {
  let mnemonic = "factor_tensor";
  let summary = "A tensor of a factor: its name, role and first value";
  let description = [{
    What each layer declares as the parameter `WEIGHT.pst_NAME`, of the shape
    that the factor's kind gives it. In a `pst.criterion` it stands without its
    mnemonic: `U init<normal 1.0>`, or `norm frozen init<file "*" from
    "norms.safetensors">`, where `*` stands for the weight's name; a role that is not written is `trainable`.
  }];
  let parameters = (ins StringRefParameter<"end of the parameter's name">:$name,
                        "ParameterRole":$role,
                        "InitializerAttr":$initializer);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// As a criterion writes it; null after an error.
    static FactorTensorAttr parseDeclared(::mlir::AsmParser &parser);
    void printDeclared(::mlir::AsmPrinter &printer) const;
  }];
}

def PST_FactorAttr : AttrDef<PST_Dialect, "Factor"> {
  let mnemonic = "factor";
  let summary = "How a layer declares one factor of its criterion";
  let description = [{
    The rank of a `lowrank` factor, and its tensors. A rank may have the name of
    a hyperparameter, which then sets it: `lowrank<weight_rank = 8>(U
    init<normal 1.0>, V init<zeros>)`.
  }];
  let parameters = (ins "int64_t":$rank,
                        StringRefParameter<"hyperparameter, or empty">:$rankName,
                        OptionalArrayRefParameter<"FactorTensorAttr">:$tensors);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// The two parts as a criterion writes them: `weight_rank = 8` or `8`, and
    /// the tensors in parentheses, or nothing.
    static ::mlir::ParseResult parseRank(::mlir::AsmParser &parser,
                                         int64_t &rank, std::string &name);
    static ::mlir::ParseResult
    parseTensors(::mlir::AsmParser &parser,
                 ::llvm::SmallVectorImpl<FactorTensorAttr> &tensors);
    void printRank(::mlir::AsmPrinter &printer) const;
    void printTensors(::mlir::AsmPrinter &printer) const;
  }];
}
def PST_FactorArrayAttr
    : TypedArrayAttrBase<PST_FactorAttr, "declarations of factors">;

#endif // PST_DIALECT_PST_PSTATTRIBUTES_TD
