//===- RandomInputs.h - Values for inputs, where there are no data --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_RANDOMINPUTS_H
#define PST_RUNTIME_LIB_RANDOMINPUTS_H

#include "pst/Bundle/Manifest.h"

#include <cstddef>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace pst::runtime {

/// Values for the inputs of an entry point, one after the other.
class RandomInputs {
public:
  RandomInputs(const Manifest &manifest, const EntryPoint &entry,
               double sparsity, uint64_t seed);
  std::vector<std::byte> fill(const Argument &argument);

private:
  bool knownScalar(const std::string &name, double &value) const;

  std::map<std::string, double> sparsities; ///< by input of "select"
  uint64_t seed;
  std::mt19937 generator;
  int32_t tokens = 1000; ///< fewer than any model's, if it does not say
  int32_t labels = 2;
  int64_t examples = 1;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_RANDOMINPUTS_H
