//===- KernelNames.cpp - What kernels are called --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelNames.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

template <typename T> static std::string printed(const T &value) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << value;
  return text;
}

/// "2x3", "2x3xbf16", "i64" for a tensor or buffer of rank 0; nothing for what
/// is passed by value, whose type the kind of kernel tells.
static std::string typeText(Type type) {
  auto shaped = dyn_cast<ShapedType>(type);
  if (!shaped)
    return "";
  std::string text;
  for (int64_t size : shaped.getShape())
    text += (text.empty() ? "" : "x") + std::to_string(size);
  if (text.empty())
    return printed(shaped.getElementType());
  if (!shaped.getElementType().isF32())
    text += "x" + printed(shaped.getElementType());
  return text;
}

/// Whether an attribute of an op tells where its data is, not what is done.
static bool isPlace(NamedAttribute attribute) {
  // Of names, that of a criterion tells what is computed.
  if (isa<SymbolRefAttr>(attribute.getValue()))
    return attribute.getName() != "criterion";
  return attribute.getName() == "site";
}

/// The word of an enumeration, which is stored as a number.
static std::optional<StringRef> enumerator(Operation *op, StringRef attribute) {
  using Word = std::optional<StringRef>;
  return llvm::TypeSwitch<Operation *, Word>(op)
      .Case<nn::ActivationOp, nn::ActivationBackwardOp, nn::GatedActivationOp,
            nn::GatedActivationBackwardOp>([&](auto op) -> Word {
        if (attribute != op.getKindAttrName())
          return std::nullopt;
        return nn::stringifyActivationKind(op.getKind());
      })
      .Case([&](MaskedMatmulOp op) -> Word {
        if (attribute != op.getActivationAttrName())
          return std::nullopt;
        return nn::stringifyActivationKind(*op.getActivation());
      })
      .Case([&](MaterializeOp op) -> Word {
        if (attribute != op.getStorageAttrName())
          return std::nullopt;
        return stringifyStorage(op.getStorage());
      })
      .Case([&](StoredMatmulOp op) -> Word {
        if (attribute == op.getActivationAttrName())
          return nn::stringifyActivationKind(*op.getActivation());
        if (attribute == op.getStorageAttrName())
          return stringifyStorage(op.getStorage());
        return std::nullopt;
      })
      .Default(std::nullopt);
}

/// What a reader wants to know of an attribute: "transposed", "heads12",
/// "gelu", "wrt1_2". Floating-point numbers as their bits, for all digits
/// count.
static std::string attributeText(Operation *op, NamedAttribute attribute) {
  std::string name = attribute.getName().str();
  if (std::optional<StringRef> word = enumerator(op, name))
    return word->str();
  return llvm::TypeSwitch<Attribute, std::string>(attribute.getValue())
      .Case([&](UnitAttr) { return name; })
      .Case([&](BoolAttr value) { return value.getValue() ? name : ""; })
      .Case([&](IntegerAttr value) {
        return name + llvm::toString(value.getValue(), 10, /*Signed=*/true);
      })
      .Case([&](FloatAttr value) {
        return name +
               llvm::utohexstr(value.getValue().bitcastToAPInt().getZExtValue(),
                               /*LowerCase=*/true);
      })
      .Case([&](StringAttr value) { return value.str(); })
      .Case([&](SelectionAttr value) {
        // The usual one is understood.
        return value.getKind() == SelectionKind::Layer ? "" : value.getName();
      })
      .Case([&](SymbolRefAttr value) { return value.getLeafReference().str(); })
      .Case([&](DenseI64ArrayAttr value) {
        for (auto [i, number] : llvm::enumerate(value.asArrayRef()))
          name += (i ? "_" : "") + std::to_string(number);
        return name;
      })
      .Default(std::string());
}

KernelIdentity::KernelIdentity(Operation *op)
    : KernelIdentity(op->getName().stripDialect()) {
  SmallVector<Type> types(op->getOperandTypes());
  llvm::append_range(types, op->getResultTypes());
  add(TypeRange(types));
  auto own = op->getName().getAttributeNames();
  for (NamedAttribute attribute : op->getAttrDictionary()) {
    if (!llvm::is_contained(own, attribute.getName()) || isPlace(attribute))
      continue;
    key +=
        "\n" + attribute.getName().str() + "=" + printed(attribute.getValue());
    // Which operands there are, their types tell.
    std::string word = attributeText(op, attribute);
    if (attribute.getName() != "operandSegmentSizes" && !word.empty())
      text += "_" + word;
  }
}

KernelIdentity &KernelIdentity::add(StringRef word) {
  key += "\n" + word.str();
  text += "_" + word.str();
  return *this;
}

KernelIdentity &KernelIdentity::add(TypeRange types) {
  distinguish(types);
  // Each shape once: names stay short enough to be read.
  llvm::SetVector<Type> different;
  for (Type type : types) {
    std::string word = different.insert(type) ? typeText(type) : "";
    if (!word.empty())
      text += "_" + word;
  }
  return *this;
}

KernelIdentity &KernelIdentity::add(StringRef word,
                                    ArrayRef<unsigned> numbers) {
  return numbers.empty()
             ? *this
             : add(word.str() +
                   llvm::join(llvm::map_range(
                                  numbers,
                                  [](unsigned n) { return std::to_string(n); }),
                              "_"));
}

KernelIdentity &KernelIdentity::distinguish(TypeRange types) {
  for (Type type : types)
    key += "\n" + printed(type);
  return *this;
}

KernelIdentity &KernelIdentity::distinguish(Attribute attribute) {
  if (attribute)
    key += "\n" + printed(attribute);
  return *this;
}

StringRef KernelNames::of(const KernelIdentity &identity) {
  auto [known, isNew] = byKey.try_emplace(identity.getKey());
  if (isNew) {
    std::string name = identity.getText().str();
    for (uint64_t hash = llvm::xxh3_64bits(identity.getKey());
         !taken.insert(name).second; ++hash)
      name = identity.getText().str() + "_" +
             llvm::utohexstr(uint32_t(hash), /*LowerCase=*/true);
    known->second = name;
  }
  return known->second;
}
