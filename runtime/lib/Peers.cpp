//===- Peers.cpp - Processes that train one model together ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Peers.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"

using namespace pst::runtime;

Peers::Peers(int rank, int count, Sum sum, Gather gather, SumThere sumThere)
    : ownRank(rank), numRanks(count), sumFunction(std::move(sum)),
      sumThereFunction(std::move(sumThere)), gatherFunction(std::move(gather)) {
  if (rank < 0 || rank >= count)
    throw Error("rank " + std::to_string(rank) + " is none of " +
                std::to_string(count) + " ranks, which count from 0");
}

void Peers::sumGradient(std::span<float> gradient) const {
  if (!alone())
    sumFunction(gradient);
}

bool Peers::sumGradientThere() const {
  if (!alone() && sumThereFunction)
    sumThereFunction();
  return alone() || sumThereFunction;
}

std::vector<double> Peers::gather(std::span<const double> values) const {
  if (alone())
    return {values.begin(), values.end()};
  // Something must be sent by every rank for the others to wait for it.
  if (values.empty()) {
    const double nothing = 0;
    gatherFunction({&nothing, 1});
    return {};
  }
  return gatherFunction(values);
}

double Peers::sum(double value) const {
  double total = 0;
  for (double part : gather({&value, 1}))
    total += part;
  return total;
}

/// The first rank whose digests are not those of rank 0, or 0; `differs[i]`
/// says whether it is in the i-th. Halves of a digest are exact as doubles.
static int findDifference(const Peers &peers,
                          const std::vector<uint64_t> &digests,
                          std::vector<bool> &differs) {
  std::vector<double> halves;
  for (uint64_t digest : digests) {
    halves.push_back(static_cast<double>(digest >> 32));
    halves.push_back(static_cast<double>(digest & 0xffffffff));
  }
  std::vector<double> all = peers.gather(halves);
  differs.assign(digests.size(), false);
  for (int rank = 1; rank < peers.count(); ++rank) {
    bool some = false;
    for (size_t i = 0; i < halves.size(); ++i)
      if (all[rank * halves.size() + i] != all[i])
        some = differs[i / 2] = true;
    if (some)
      return rank;
  }
  return 0;
}

void Peers::requireEqual(uint64_t digest, const std::string &what,
                         const std::string &advice) const {
  std::vector<bool> differs;
  if (int rank = findDifference(*this, {digest}, differs))
    throw Error(what + " of rank " + std::to_string(rank) +
                " differ from those of rank 0: " + advice);
}

void Peers::requireEqual(
    const std::map<std::string, std::string> &settings) const {
  std::string names;
  std::vector<uint64_t> digests;
  for (const auto &[name, value] : settings) {
    names += name + "\n";
    digests.push_back(digestBytes(value.data(), value.size()));
  }
  const std::string advice =
      "start every rank with the same command line, on the same files";
  requireEqual(digestBytes(names.data(), names.size()), "the kinds of options",
               advice);
  std::vector<bool> differs;
  int rank = findDifference(*this, digests, differs);
  if (rank == 0)
    return;
  std::string list;
  size_t i = 0;
  for (const auto &[name, value] : settings)
    if (differs[i++])
      list += (list.empty() ? "" : ", ") + name;
  throw Error("rank " + std::to_string(rank) + " differs from rank 0 in " +
              list + ": " + advice);
}
