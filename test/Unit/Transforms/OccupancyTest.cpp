//===- OccupancyTest.cpp - Places in the arena, against a search ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Transforms/Occupancy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

using namespace pst;

namespace {

struct Taken {
  size_t first, last;
  int64_t offset, size;
};

bool isFree(const std::vector<Taken> &all, const Taken &place) {
  return std::ranges::none_of(all, [&](const Taken &one) {
    return one.first <= place.last && place.first <= one.last &&
           one.offset < place.offset + place.size &&
           place.offset < one.offset + one.size;
  });
}

/// The lowest offset, which is 0 or the end of something that is taken.
int64_t search(const std::vector<Taken> &all, Taken place) {
  std::vector<int64_t> offsets{0};
  for (const Taken &one : all)
    offsets.push_back(one.offset + one.size);
  std::ranges::sort(offsets);
  return *std::ranges::find_if(offsets, [&](int64_t offset) {
    place.offset = offset;
    return isFree(all, place);
  });
}

TEST(OccupancyTest, FindsTheLowestPlaceThatIsFree) {
  std::mt19937 random(5);
  for (size_t times : {1, 2, 3, 7, 16, 37}) {
    Occupancy occupancy(times);
    std::vector<Taken> all;
    for (int i = 0; i < 200; ++i) {
      Taken place;
      place.first = random() % times;
      place.last = place.first + random() % (times - place.first);
      place.size = 1 + random() % 9;
      place.offset = occupancy.findFree(place.first, place.last, place.size);
      ASSERT_EQ(place.offset, search(all, place))
          << times << " times, number " << i;
      // Some further up, so that there are gaps.
      Taken above = place;
      above.offset += random() % 20;
      if (i % 3 == 0 && isFree(all, above))
        place = above;
      occupancy.take(place.first, place.last, place.offset, place.size);
      all.push_back(place);
    }
  }
}

} // namespace
