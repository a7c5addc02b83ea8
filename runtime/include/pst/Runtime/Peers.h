//===- Peers.h - Processes that train one model together --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Data-parallel training: every rank holds the whole model, computes the
// gradient of its share of each batch, and applies the same step to the sum.
// The exchange itself is another library's (torch.distributed); what the loop
// needs of it is two functions.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_PEERS_H
#define PST_RUNTIME_PEERS_H

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace pst::runtime {

/// This process among those of a run. All ranks call every function, in the
/// same order; what `sum` or `gather` throws ends the run. The default is a
/// process on its own, which exchanges nothing.
class Peers {
public:
  /// Replaces the values by their sums over all ranks: the same bits on each.
  using Sum = std::function<void(std::span<float>)>;
  /// The values of all ranks, as many from each, in the order of the ranks.
  using Gather = std::function<std::vector<double>(std::span<const double>)>;
  /// As Sum, of the gradient where it lies, in an accelerator's memory, among
  /// the accelerator's work: it need not be done when this returns.
  using SumThere = std::function<void()>;

  Peers() = default;
  /// Throws Error unless 0 <= rank < count.
  Peers(int rank, int count, Sum sum, Gather gather,
        SumThere sumThere = nullptr);

  int rank() const { return ownRank; }
  int count() const { return numRanks; }
  bool alone() const { return numRanks == 1; }
  /// Whether this is the one that writes: log, checkpoints, the model.
  bool leads() const { return ownRank == 0; }

  /// The gradient of all ranks, in place.
  void sumGradient(std::span<float> gradient) const;
  /// The same in an accelerator's memory; false if there is no way to do it.
  bool sumGradientThere() const;
  /// `values` of all ranks, `values.size()` from each, in rank order.
  std::vector<double> gather(std::span<const double> values) const;
  /// The sum over all ranks, in rank order.
  double sum(double value) const;
  bool any(bool value) const { return sum(value ? 1 : 0) > 0; }
  /// Returns when all ranks have come here.
  void wait() const { gather({}); }

  /// Throws Error, on every rank, if some rank's digest is not that of rank 0;
  /// the message begins with `what`, continues "of rank R differ", and ends
  /// with `advice`.
  void requireEqual(uint64_t digest, const std::string &what,
                    const std::string &advice) const;
  /// The same for settings by name: the message names those that differ.
  void requireEqual(const std::map<std::string, std::string> &settings) const;

private:
  int ownRank = 0, numRanks = 1;
  Sum sumFunction;
  SumThere sumThereFunction;
  Gather gatherFunction;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_PEERS_H
