//===- CaseText.h - The named kernels as MLIR text --------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_CASETEXT_H
#define PST_BENCH_CASETEXT_H

#include "VirtualLayer.h"
#include "pst/Bench/Rivals.h"

#include <string>
#include <vector>

namespace pst::bench {

/// @dense: the dense product; inputs "a" and "b", output "c".
std::string denseText(const Product &product);

/// Functions on a virtual weight. Each takes the factors ("w", "u", ...) and
/// what else it needs: "x", "dy", "tau" and "cut", or "previous" and
/// "sparsity".
class LayerText {
public:
  LayerText(const VirtualLayer &layer, int64_t tokens);

  /// @masked: "input" to "output", forward (X to Y) or `transposed` (dY to dX).
  std::string masked(bool transposed) const;
  /// @accumulate: "dy" and "x" to the gradients "du", "dv", "da", "db", "dr"
  /// and "dc".
  std::string accumulate() const;
  /// @select: to "tau" and "cut".
  std::string select() const;
  /// @layer: selection, "y", "dx" and the gradients.
  std::string whole() const;

private:
  std::string selection() const;
  std::string product(const std::string &result, const std::string &operand,
                      bool transposed) const;
  std::string gradients() const;
  std::vector<std::string> gradientTypes() const;

  const VirtualLayer &layer;
  std::string x, y; // their types
};

} // namespace pst::bench

#endif // PST_BENCH_CASETEXT_H
