//===- PSTAttributes.td - Attributes of the pst dialect ----*- tablegen -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTATTRIBUTES_TD
#define PST_DIALECT_PST_PSTATTRIBUTES_TD

include "pst/Dialect/PST/PSTDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def PST_Role : I32EnumAttr<"ParameterRole", "where a parameter lives", [
    I32EnumAttrCase<"Frozen", 0, "frozen">,
    I32EnumAttrCase<"Trainable", 1, "trainable">,
    I32EnumAttrCase<"State", 2, "state">]> {
  let cppNamespace = "::pst";
}

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

def PST_ProductForm : I32EnumAttr<"ProductForm", "how a masked weight enters a product", [
    I32EnumAttrCase<"Packed", 0, "packed">,
    I32EnumAttrCase<"Compressed", 1, "compressed">,
    I32EnumAttrCase<"Adaptive", 2, "adaptive">]> {
  let cppNamespace = "::pst";
}

def PST_InitializerAttr : AttrDef<PST_Dialect, "Initializer"> {
  let mnemonic = "init";
  let summary = "How a parameter gets its first value";
  let description = [{
    `#pst.init<file "tensor.name">` takes the tensor of that name from the
    model files, and `#pst.init<file "tensor.name" columns 8 of 24>` the columns
    (of a vector: the elements) of a tensor of 24 from the 8th on, as many as
    the parameter has; `#pst.init<zeros>`; `#pst.init<normal 2.0e-02>` draws
    independent normal values of mean 0 and that standard deviation;
    `#pst.init<constant 1.0>`.
  }];
  let parameters = (ins "InitializerKind":$kind,
                        StringRefParameter<"tensor of the model files">:$source,
                        APFloatParameter<"">:$value,
                        "int64_t":$column, "int64_t":$sourceColumns);
  let builders = [AttrBuilder<(ins "InitializerKind":$kind,
                                   "llvm::StringRef":$source,
                                   "llvm::APFloat":$value,
                                   CArg<"int64_t", "0">:$column,
                                   CArg<"int64_t", "0">:$sourceColumns)>];
  let skipDefaultBuilders = 1;
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// Whether the parameter is some columns of its tensor only.
    bool isPart() const { return getSourceColumns() != 0; }
  }];
}

#endif // PST_DIALECT_PST_PSTATTRIBUTES_TD
