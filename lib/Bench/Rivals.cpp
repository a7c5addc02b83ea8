//===- Rivals.cpp - OpenBLAS, and which rivals there are ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Rivals.h"

#include <dlfcn.h>
#include <filesystem>

using namespace pst::bench;

namespace {

/// OpenBLAS through its C interface, loaded at run time: nothing to build
/// against, and the newest one at hand can be chosen.
class OpenBlas : public Rival {
public:
  /// Null, with a reason, if the library cannot be loaded.
  static std::unique_ptr<Rival> load(const std::string &file,
                                     std::string &reason);

  std::string name() const override { return title; }
  void setThreads(int threads) override { setCount(threads); }
  std::function<void()> prepare(const Product &product) override {
    return [this, product] {
      wide ? call<int64_t>(product) : call<int32_t>(product);
    };
  }

private:
  template <typename Integer> void call(const Product &p) const {
    using Gemm =
        void(int, int, int, Integer, Integer, Integer, float, const float *,
             Integer, const float *, Integer, float, float *, Integer);
    constexpr int rowMajor = 101, plain = 111, transposed = 112;
    reinterpret_cast<Gemm *>(gemm)(rowMajor, p.transposeA ? transposed : plain,
                                   p.transposeB ? transposed : plain, p.m, p.n,
                                   p.k, 1.0f, p.a, p.transposeA ? p.m : p.k,
                                   p.b, p.transposeB ? p.k : p.n, 0.0f, p.c,
                                   p.n);
  }

  std::string title;
  void *gemm = nullptr;
  bool wide = false; // 64-bit sizes
  void (*setCount)(int) = nullptr;
};

} // namespace

std::unique_ptr<Rival> OpenBlas::load(const std::string &file,
                                      std::string &reason) {
  void *library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    reason = "OpenBLAS: " + std::string(::dlerror());
    return nullptr;
  }
  // NumPy's and SciPy's wheels put prefixes and suffixes to the names.
  for (const char *prefix : {"", "scipy_"})
    for (const char *suffix : {"", "64_"}) {
      auto find = [&](const std::string &name) {
        return ::dlsym(library, (prefix + name + suffix).c_str());
      };
      auto rival = std::make_unique<OpenBlas>();
      rival->gemm = find("cblas_sgemm");
      rival->setCount =
          reinterpret_cast<void (*)(int)>(find("openblas_set_num_threads"));
      rival->wide = *suffix;
      if (!rival->gemm || !rival->setCount)
        continue;
      auto text = [&](const char *name) -> std::string {
        auto function = reinterpret_cast<char *(*)()>(find(name));
        return function ? function() : "";
      };
      // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ...": name and version.
      std::string config = text("openblas_get_config");
      rival->title = config.substr(0, config.find(' ', config.find(' ') + 1)) +
                     " " + text("openblas_get_corename");
      return rival;
    }
  reason = "OpenBLAS: " + file + " has no cblas_sgemm";
  return nullptr;
}

Rivals pst::bench::findRivals(const std::vector<std::string> &openBlasFiles) {
  Rivals rivals;
  auto add = [&](std::unique_ptr<Rival> rival, const std::string &reason) {
    if (rival)
      rivals.present.push_back(std::move(rival));
    else
      rivals.absent.push_back(reason);
  };
  std::vector<std::string> files = openBlasFiles;
  if (files.empty())
    files.push_back("libopenblas.so.0");
  std::string reason;
  for (const std::string &file : files)
    add(OpenBlas::load(file, reason), reason);
  add(makeOneDnn(reason), reason);
  return rivals;
}
