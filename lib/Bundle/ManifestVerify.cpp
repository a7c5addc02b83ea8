//===- ManifestVerify.cpp - Whether a manifest contradicts itself ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ManifestText.h"
#include "pst/Bundle/Manifest.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

using namespace pst;
using namespace pst::manifest;

namespace {

void verifyType(const TensorType &type, const std::string &where) {
  // Far below overflow, far above any tensor.
  constexpr int64_t limit = int64_t(1) << 48;
  int64_t count = 1;
  for (int64_t size : type.shape) {
    if (size <= 0)
      fail(where, "sizes must be positive, but got " + spell(type));
    if (size > limit / count)
      fail(where, "the type " + spell(type) + " is absurdly large");
    count *= size;
  }
}

int64_t spaceBytes(const Manifest &manifest, const std::string &space,
                   const std::string &where) {
  auto found = manifest.spaces.find(space);
  if (found == manifest.spaces.end())
    fail(where, "needs the space " + quote(space) + ", which \"spaces\" lacks");
  return found->second;
}

void verifyParameters(const Manifest &manifest) {
  std::set<std::string_view> names;
  std::map<Role, std::vector<const Parameter *>> byRole;
  for (const Parameter &parameter : manifest.parameters) {
    std::string where = "parameter " + quote(parameter.name);
    if (parameter.name.empty() || !names.insert(parameter.name).second)
      fail(where, "names must be unique and not empty");
    verifyType(parameter.type, where);
    if ((parameter.initializer.kind == Initializer::Kind::file) ==
        parameter.source.empty())
      fail(where, "\"source\" must be given if, and only if, the initializer "
                  "is \"file\"");
    if (!parameter.sourceFile.empty() && parameter.source.empty())
      fail(where, "has a \"source_file\", but no \"source\" in it");
    if (parameter.column && !parameter.sourceColumns)
      fail(where, "begins at column " + std::to_string(parameter.column) +
                      " of a tensor of which \"source_columns\" says nothing");
    if (parameter.sourceColumns &&
        (parameter.type.shape.empty() || parameter.column < 0 ||
         parameter.column >
             parameter.sourceColumns - parameter.type.shape.back()))
      fail(where, "columns from " + std::to_string(parameter.column) +
                      " of a tensor of " +
                      std::to_string(parameter.sourceColumns) +
                      " cannot hold those of " + spell(parameter.type));
    if (parameter.role == Role::frozen) {
      if (parameter.initializer.kind != Initializer::Kind::file)
        fail(where, "a frozen parameter must come from a file");
      continue;
    }
    if (parameter.role == Role::trainable &&
        parameter.type.element != ElementType::f32)
      fail(where, "a trainable parameter must be f32, but is " +
                      spell(parameter.type));
    if (parameter.offset % byteSize(parameter.type.element) != 0)
      fail(where, "offset " + std::to_string(parameter.offset) +
                      " is not aligned to its elements");
    byRole[parameter.role].push_back(&parameter);
  }
  for (auto &[role, list] : byRole) {
    std::sort(list.begin(), list.end(),
              [](auto *a, auto *b) { return a->offset < b->offset; });
    int64_t end = 0;
    for (const Parameter *parameter : list) {
      std::string where = "parameter " + quote(parameter->name);
      if (parameter->offset < end)
        fail(where, "overlaps another parameter at offset " +
                        std::to_string(parameter->offset));
      end = parameter->offset + parameter->type.numBytes();
      std::string space = role == Role::state ? "state" : "trainable";
      if (end > spaceBytes(manifest, space, where))
        fail(where, "ends at byte " + std::to_string(end) +
                        ", past the end of "
                        "the space " +
                        quote(space));
    }
  }
  if (!byRole[Role::trainable].empty())
    for (const char *space : {"gradient", "moment1", "moment2"})
      if (auto found = manifest.spaces.find(space);
          found != manifest.spaces.end() &&
          found->second != manifest.spaces.at("trainable"))
        fail("spaces." + std::string(space),
             "must be as large as the space \"trainable\"");
}

/// Whether tensors of these shapes are such a factor of a rows x columns
/// weight.
bool isFactor(Factor::Kind kind, const std::vector<const Parameter *> &tensors,
              int64_t rows, int64_t columns) {
  using Shape = std::vector<int64_t>;
  auto is = [&](const Shape &shape) {
    return tensors.size() == 1 && tensors[0]->type.shape == shape;
  };
  switch (kind) {
  case Factor::Kind::dense:
    return is({rows, columns});
  case Factor::Kind::row:
    return is({rows});
  case Factor::Kind::col:
    return is({columns});
  case Factor::Kind::lowrank:
    break;
  }
  if (tensors.size() != 2 || tensors[0]->type.shape.size() != 2)
    return false;
  int64_t rank = tensors[0]->type.shape[1];
  return tensors[0]->type.shape == Shape{rows, rank} &&
         tensors[1]->type.shape == Shape{rank, columns};
}

void verifyFactors(const Manifest &manifest, const SparseLayer &layer) {
  bool hasWeight = false;
  for (const Factor &factor : layer.factors) {
    std::vector<const Parameter *> tensors;
    std::string names;
    for (const std::string &name : factor.tensors) {
      names += (names.empty() ? "" : ", ") + quote(name);
      tensors.push_back(manifest.findParameter(name));
      if (!tensors.back())
        fail("sparse layer " + quote(layer.weight),
             "has the factor " + quote(name) + ", which is no parameter");
      hasWeight |= name == layer.weight && factor.kind == Factor::Kind::dense;
    }
    if (!isFactor(factor.kind, tensors, layer.rows, layer.columns))
      fail("sparse layer " + quote(layer.weight),
           "its factor of " + (names.empty() ? "no tensor" : names) +
               " has not the shapes of its kind");
  }
  if (!hasWeight)
    fail("sparse layer " + quote(layer.weight),
         "its weight must be one of its dense factors");
}

void verifySparseLayers(const Manifest &manifest) {
  for (const SparseLayer &layer : manifest.sparseLayers) {
    const Parameter *weight = manifest.findParameter(layer.weight);
    if (!weight ||
        weight->type.shape != std::vector<int64_t>{layer.rows, layer.columns})
      fail("sparse layer " + quote(layer.weight),
           "there must be a parameter of this name, " +
               std::to_string(layer.rows) + " x " +
               std::to_string(layer.columns));
    verifyFactors(manifest, layer);
    if (layer.finalSparsity >= 1 ||
        (layer.finalSparsity >= 0 &&
         !(manifest.finalSparsity >= 0 && manifest.finalSparsity < 1)))
      fail("sparse layer " + quote(layer.weight),
           "has a final sparsity of its own, which must lie below 1, as must "
           "the manifest's \"final_sparsity\"");
    // Without a score nothing is masked, only merged.
    if (layer.selection.empty() != layer.state.empty())
      fail("sparse layer " + quote(layer.weight),
           "must have a selection and its state, or neither");
    for (const std::string &name : layer.state) {
      const Parameter *parameter = manifest.findParameter(name);
      if (!parameter || parameter->role != Role::state)
        fail("sparse layer " + quote(layer.weight),
             quote(name) + " must be a state parameter");
    }
    const Parameter *pruned = manifest.findParameter(layer.pruned);
    if (!layer.pruned.empty() &&
        (layer.selection.empty() || !pruned || pruned->role != Role::state ||
         pruned->type != TensorType{ElementType::i64, {}}))
      fail("sparse layer " + quote(layer.weight),
           quote(layer.pruned) +
               " must be a state parameter of type i64, which its selection "
               "leaves");
  }
}

/// Bytes that an argument of an entry point points to.
int64_t argumentBytes(const Manifest &manifest, const Argument &argument) {
  return argument.kind == Argument::Kind::space
             ? manifest.spaces.at(argument.name)
             : argument.type.numBytes();
}

void verifyPlace(const Manifest &manifest, const EntryPoint &entry,
                 const Place &place, int64_t bytes, const std::string &where) {
  if (place.argument < 0 ||
      place.argument >= static_cast<int64_t>(entry.arguments.size()))
    fail(where, "argument " + std::to_string(place.argument) +
                    " does not exist: the entry point has " +
                    std::to_string(entry.arguments.size()));
  const Argument &argument = entry.arguments[place.argument];
  int64_t size = argumentBytes(manifest, argument);
  if (place.offset < 0 || place.offset > size || bytes > size - place.offset)
    fail(where, std::to_string(bytes) + " bytes at offset " +
                    std::to_string(place.offset) + " end past " +
                    quote(argument.name) + ", which has " +
                    std::to_string(size) + " bytes");
}

/// Rules of cuTensorMapEncodeTiled.
void verifyMap(const Manifest &manifest, const EntryPoint &entry,
               const LaunchArgument &argument, const std::string &where) {
  const TensorMap &map = argument.map;
  size_t rank = map.shape.size();
  int64_t element = byteSize(map.element), bytes = element;
  if (rank < 1 || rank > 5)
    fail(where,
         "a tensor map has 1 to 5 dimensions, not " + std::to_string(rank));
  for (size_t i = 0; i < rank; ++i) {
    if (map.shape[i] <= 0 || map.shape[i] > (int64_t(1) << 32))
      fail(where, "a tensor map's sizes lie between 1 and 2^32");
    if (map.box[i] <= 0 || map.box[i] > 256)
      fail(where, "a tensor map's box has 1 to 256 elements a side");
    int64_t stride = i + 1 < rank ? map.strides[i] : element;
    if (i + 1 < rank && (stride <= 0 || stride % 16 != 0))
      fail(where, "a tensor map's strides are multiples of 16 bytes, but one "
                  "is " +
                      std::to_string(stride));
    bytes += (map.shape[i] - 1) * stride;
  }
  if (map.swizzle != 0 && map.swizzle != 32 && map.swizzle != 64 &&
      map.swizzle != 128)
    fail(where, "a tensor map's swizzle is 0, 32, 64 or 128 bytes, not " +
                    std::to_string(map.swizzle));
  if (map.swizzle && map.box.back() * element > map.swizzle)
    fail(where, "a tensor map's box is wider than its swizzle");
  if (argument.place.offset % 16 != 0)
    fail(where, "a tensor map's place is not a multiple of 16 bytes");
  verifyPlace(manifest, entry, argument.place, bytes, where);
}

void verifyLaunch(const Manifest &manifest, const EntryPoint &entry,
                  const Launch &launch, const std::string &where) {
  if (launch.isCopy() &&
      (launch.copyBytes <= 0 || launch.arguments.size() != 2))
    fail(where, "a copy has a number of bytes and two places");
  for (const Launch::Extent *extent :
       {&launch.grid, &launch.block, &launch.cluster})
    for (int64_t size : *extent)
      if (size <= 0 || size >= (int64_t(1) << 31))
        fail(where, "sizes of grid, block and cluster are at least 1 and below "
                    "2^31");
  if (launch.block[0] * launch.block[1] * launch.block[2] > 1024)
    fail(where, "a block has at most 1024 threads");
  for (size_t i = 0; i < 3; ++i)
    if (launch.grid[i] % launch.cluster[i] != 0)
      fail(where, "the grid is no multiple of the cluster");
  for (const LaunchArgument &argument : launch.arguments)
    switch (argument.kind) {
    case LaunchArgument::Kind::address:
      verifyPlace(manifest, entry, argument.place,
                  launch.isCopy() ? launch.copyBytes : 1, where);
      break;
    case LaunchArgument::Kind::value:
      if (launch.isCopy() || (argument.bytes != 1 && argument.bytes != 2 &&
                              argument.bytes != 4 && argument.bytes != 8))
        fail(where, "a value has 1, 2, 4 or 8 bytes, and is no place to copy");
      break;
    case LaunchArgument::Kind::map:
      if (launch.isCopy())
        fail(where, "a tensor map is no place to copy");
      verifyMap(manifest, entry, argument, where);
      break;
    }
}

void verifyEntryPoints(const Manifest &manifest) {
  for (const auto &[name, entry] : manifest.entryPoints) {
    std::string where = "entry point " + quote(name);
    if (entry.symbol.empty() != manifest.isForGPU())
      fail(where, manifest.isForGPU()
                      ? "has a symbol, but code for a GPU has launches instead"
                      : "the symbol is empty");
    if (!entry.launches.empty() && !manifest.isForGPU())
      fail(where, "has launches, but the code is for " + manifest.triple);
    std::set<std::pair<Argument::Kind, std::string_view>> seen;
    for (const Argument &argument : entry.arguments) {
      std::string at = where + ", argument " + quote(argument.name);
      if (!seen.emplace(argument.kind, argument.name).second)
        fail(at, "is listed twice");
      if (argument.kind == Argument::Kind::space) {
        spaceBytes(manifest, argument.name, at);
        continue;
      }
      verifyType(argument.type, at);
      if (argument.kind != Argument::Kind::parameter)
        continue;
      const Parameter *parameter = manifest.findParameter(argument.name);
      if (!parameter || parameter->role != Role::frozen ||
          parameter->type != argument.type)
        fail(at, "there must be a frozen parameter of this name, of type " +
                     spell(argument.type));
    }
    for (size_t i = 0; i < entry.launches.size(); ++i)
      verifyLaunch(manifest, entry, entry.launches[i],
                   where + ", launch " + std::to_string(i));
  }
}

} // namespace

void Manifest::verify() const {
  verifyParameters(*this);
  verifySparseLayers(*this);
  verifyEntryPoints(*this);
}
