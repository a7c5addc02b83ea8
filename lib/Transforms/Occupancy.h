//===- Occupancy.h - Which bytes are taken when -----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_TRANSFORMS_OCCUPANCY_H
#define PST_LIB_TRANSFORMS_OCCUPANCY_H

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace pst {

/// Which bytes of an arena are taken at which times: a segment tree over the
/// times, whose nodes hold ranges of bytes. Buffers that live at one time lie
/// side by side, so that few ranges tell of many buffers, and a place is found
/// without a look at each.
class Occupancy {
public:
  /// `numTimes`: from 1 on.
  explicit Occupancy(size_t numTimes);

  /// The lowest offset at which `size` bytes are free at all times from `first`
  /// to `last`, both included.
  int64_t findFree(size_t first, size_t last, int64_t size) const;

  /// Takes bytes at the times from `first` to `last`, both included.
  void take(size_t first, size_t last, int64_t offset, int64_t size);

private:
  /// Begin and end; ascending, with something free between them.
  using Ranges = std::vector<std::pair<int64_t, int64_t>>;
  /// What is taken at all times of a node, and what at any of them.
  struct Node {
    Ranges always, ever;
  };

  static void add(Ranges &ranges, int64_t begin, int64_t end);

  /// fn(node) for the fewest nodes that make up the times.
  template <typename Fn> void forCover(size_t first, size_t last, Fn fn) const {
    for (first += leaves, last += leaves + 1; first < last;
         first /= 2, last /= 2) {
      if (first % 2)
        fn(first++);
      if (last % 2)
        fn(--last);
    }
  }

  size_t leaves = 1;
  std::vector<Node> nodes; ///< Those below node n are 2 n and 2 n + 1.
};

} // namespace pst

#endif // PST_LIB_TRANSFORMS_OCCUPANCY_H
