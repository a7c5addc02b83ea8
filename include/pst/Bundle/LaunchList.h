//===- LaunchList.h - What an entry point for GPUs does ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An entry point for GPUs is no function but data: kernels to launch, one after
// the other, over places that are known once memory is allocated. Part of the
// manifest, so nothing of LLVM in here.
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_LAUNCHLIST_H
#define PST_BUNDLE_LAUNCHLIST_H

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pst {

/// Element types, spelled as MLIR spells them: "f32", "i32", ...
enum class ElementType { f32, f64, bf16, i8, i32, i64 };

/// Bytes of one element.
int64_t byteSize(ElementType type);
std::string_view name(ElementType type);

/// `offset` bytes into the data of the entry point's argument `argument`.
struct Place {
  int64_t argument = 0, offset = 0;
  bool operator==(const Place &) const = default;
};

/// How a kernel reads tiles of a tensor (cuTensorMapEncodeTiled), with zeros
/// outside. Sizes from the outermost to the innermost, as in a shape.
struct TensorMap {
  ElementType element = ElementType::bf16;
  std::vector<int64_t> shape;
  /// Bytes from one index to the next, of all dimensions but the innermost.
  std::vector<int64_t> strides;
  std::vector<int64_t> box; ///< elements of a tile
  int64_t swizzle = 0;      ///< bytes: 0 (none), 32, 64 or 128
  bool operator==(const TensorMap &) const = default;
};

/// A parameter of a kernel.
///  - address: of a place in the GPU's memory, 8 bytes;
///  - value:   the lowest `bytes` of `bits`;
///  - map:     a tensor map of 128 bytes, over a place.
struct LaunchArgument {
  enum class Kind { address, value, map } kind = Kind::address;
  Place place;
  uint64_t bits = 0;
  int64_t bytes = 8;
  TensorMap map;
  bool operator==(const LaunchArgument &) const = default;
};

/// A kernel to launch; or, without a kernel, `copyBytes` to copy, to the place
/// of the first argument from that of the second.
struct Launch {
  using Extent = std::array<int64_t, 3>;
  std::string kernel;
  Extent grid{1, 1, 1}, block{1, 1, 1};
  int64_t sharedBytes = 0; ///< dynamic shared memory
  int64_t copyBytes = 0;
  /// The op that begins with this launch: what the launches from here to that
  /// of the next op do is `flops` of matrix products (two for each
  /// multiply-add) and at least `bytes` of tensors, read or written. Empty: the
  /// op of the launch before.
  std::string op;
  int64_t flops = 0, bytes = 0;
  std::vector<LaunchArgument> arguments;
  bool operator==(const Launch &) const = default;

  bool isCopy() const { return kernel.empty(); }

  /// One line of words (docs/BundleFormat.md, "Launches"):
  ///   gelu_2x3 grid 1x1x1 block 256x1x1 : #3+0 #7+512 4:3f800000
  ///   mm grid 8x1x1 block 384x1x1 for nn.matmul flops 96 bytes 48 : #3+0 #4+0
  ///   copy bytes 4 : #3+0 #7+512
  std::string toText() const;
  /// Throws ManifestError, whose message begins with `where`.
  static Launch fromText(std::string_view text, const std::string &where);
};

} // namespace pst

#endif // PST_BUNDLE_LAUNCHLIST_H
