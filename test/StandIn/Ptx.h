//===- Ptx.h - What PTX says of its kernels ---------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_STANDIN_PTX_H
#define PST_TEST_STANDIN_PTX_H

#include <cstdint>
#include <map>
#include <regex>
#include <string>
#include <vector>

namespace standin {

struct KernelParameter {
  int64_t bytes = 0;
  bool isPointer = false, isMap = false;
};

struct KernelText {
  std::vector<KernelParameter> parameters;
  int64_t threads = 0; ///< of .reqntid, or at most of .maxntid; 0: any
  bool exactThreads = false;
};

/// The `.entry`s of a module's text, by name.
inline std::map<std::string, KernelText> parseKernels(const std::string &text) {
  std::map<std::string, KernelText> kernels;
  static const std::regex entry(R"(\.entry\s+([\w$]+)\s*\(([^)]*)\)([^{]*)\{)");
  static const std::regex parameter(
      R"(\.param\s+(?:\.align\s+(\d+)\s+)?\.(u|b|s|f)(\d+)(\s+\.ptr)?[^,\[]*(?:\[(\d+)\])?)");
  static const std::regex threads(
      R"(\.(req|max)ntid\s+(\d+)(?:,\s*(\d+))?(?:,\s*(\d+))?)");
  for (std::sregex_iterator it(text.begin(), text.end(), entry), end; it != end;
       ++it) {
    KernelText &kernel = kernels[(*it)[1]];
    std::string list = (*it)[2], limits = (*it)[3];
    for (std::sregex_iterator p(list.begin(), list.end(), parameter); p != end;
         ++p) {
      int64_t bytes = std::stoll((*p)[3]) / 8;
      if ((*p)[5].matched)
        bytes *= std::stoll((*p)[5]);
      kernel.parameters.push_back(
          {bytes, (*p)[4].matched, (*p)[5].matched && bytes == 128});
    }
    for (std::sregex_iterator t(limits.begin(), limits.end(), threads);
         t != end; ++t) {
      int64_t product = 1;
      for (int i = 2; i <= 4; ++i)
        if ((*t)[i].matched)
          product *= std::stoll((*t)[i]);
      kernel.threads = product;
      kernel.exactThreads |= (*t)[1] == "req";
    }
  }
  return kernels;
}

} // namespace standin

#endif // PST_TEST_STANDIN_PTX_H
