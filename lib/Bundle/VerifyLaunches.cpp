//===- VerifyLaunches.cpp - Whether launches stay where they belong -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ManifestVerify.h"
#include "pst/Bundle/Checked.h"

using namespace pst;
using namespace pst::manifest;

namespace {

/// Bytes that an argument of an entry point points to.
int64_t argumentBytes(const Manifest &manifest, const Argument &argument) {
  return argument.kind == Argument::Kind::space
             ? manifest.spaces.at(argument.name)
             : argument.type.numBytes();
}

void verifyPlace(const Manifest &manifest, const EntryPoint &entry,
                 const Place &place, Checked bytes, const std::string &where) {
  if (place.argument < 0 ||
      place.argument >= static_cast<int64_t>(entry.arguments.size()))
    fail(where, "argument " + std::to_string(place.argument) +
                    " does not exist: the entry point has " +
                    std::to_string(entry.arguments.size()));
  const Argument &argument = entry.arguments[place.argument];
  int64_t size = argumentBytes(manifest, argument);
  if (place.offset < 0 || !(bytes + place.offset).isAtMost(size))
    fail(where, bytes.text() + " bytes at offset " +
                    std::to_string(place.offset) + " end past " +
                    quote(argument.name) + ", which has " +
                    std::to_string(size) + " bytes");
}

/// Rules of cuTensorMapEncodeTiled.
void verifyMap(const Manifest &manifest, const EntryPoint &entry,
               const LaunchArgument &argument, const std::string &where) {
  const TensorMap &map = argument.map;
  size_t rank = map.shape.size();
  int64_t element = byteSize(map.element);
  Checked bytes = element;
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
    if (stride >= int64_t(1) << 40)
      fail(where, "a tensor map's strides are below 2^40 bytes, but one is " +
                      std::to_string(stride));
    bytes = bytes + Checked(map.shape[i] - 1) * stride;
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

/// What any GPU's block may have.
constexpr int64_t kMostShared = 256 << 10;

void verifyLaunch(const Manifest &manifest, const EntryPoint &entry,
                  const Launch &launch, const std::string &where) {
  if (launch.isCopy() &&
      (launch.copyBytes <= 0 || launch.arguments.size() != 2))
    fail(where, "a copy has a number of bytes and two places");
  for (const Launch::Extent *extent : {&launch.grid, &launch.block})
    for (int64_t size : *extent)
      if (size <= 0 || size >= (int64_t(1) << 31))
        fail(where, "sizes of grid and block are at least 1 and below 2^31");
  auto count = [](const Launch::Extent &extent) {
    return Checked(extent[0]) * extent[1] * extent[2];
  };
  if (!count(launch.block).isAtMost(1024))
    fail(where, "a block has at most 1024 threads");
  if (launch.sharedBytes < 0 || launch.sharedBytes > kMostShared)
    fail(where, "a block has at most " + std::to_string(kMostShared) +
                    " bytes of shared memory, not " +
                    std::to_string(launch.sharedBytes));
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

} // namespace

void manifest::verifyLaunches(const Manifest &manifest, const EntryPoint &entry,
                              const std::string &where) {
  for (size_t i = 0; i < entry.launches.size(); ++i)
    verifyLaunch(manifest, entry, entry.launches[i],
                 where + ", launch " + std::to_string(i));
}
