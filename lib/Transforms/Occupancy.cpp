//===- Occupancy.cpp - Which bytes are taken when -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Occupancy.h"
#include <algorithm>

using namespace pst;

Occupancy::Occupancy(size_t numTimes) {
  while (leaves < numTimes)
    leaves *= 2;
  nodes.resize(2 * leaves);
}

/// The first range that ends at `offset` or behind it.
template <typename RangesT>
static auto endingFrom(RangesT &ranges, int64_t at) {
  return std::partition_point(
      ranges.begin(), ranges.end(),
      [&](const auto &range) { return range.second < at; });
}

void Occupancy::add(Ranges &ranges, int64_t begin, int64_t end) {
  auto from = endingFrom(ranges, begin), to = from;
  for (; to != ranges.end() && to->first <= end; ++to) {
    begin = std::min(begin, to->first);
    end = std::max(end, to->second);
  }
  if (from == to) {
    ranges.insert(from, {begin, end});
    return;
  }
  *from = {begin, end};
  ranges.erase(from + 1, to);
}

void Occupancy::take(size_t first, size_t last, int64_t offset, int64_t size) {
  forCover(first, last, [&](size_t node) {
    add(nodes[node].always, offset, offset + size);
  });
  // The nodes above those of the cover are above the first time or the last.
  for (size_t time : {first, last})
    for (size_t node = leaves + time; node; node /= 2)
      add(nodes[node].ever, offset, offset + size);
  forCover(first, last,
           [&](size_t node) { add(nodes[node].ever, offset, offset + size); });
}

int64_t Occupancy::findFree(size_t first, size_t last, int64_t size) const {
  std::vector<const Ranges *> taken;
  forCover(first, last,
           [&](size_t node) { taken.push_back(&nodes[node].ever); });
  for (size_t time : {first, last})
    for (size_t node = leaves + time; node; node /= 2)
      taken.push_back(&nodes[node].always);
  int64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (const Ranges *ranges : taken)
      for (auto range = endingFrom(*ranges, offset + 1);
           range != ranges->end() && range->first < offset + size; ++range) {
        offset = range->second;
        moved = true;
      }
  }
  return offset;
}
