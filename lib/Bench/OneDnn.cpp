//===- OneDnn.cpp - oneDNN's matrix product -------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Rivals.h"

using namespace pst::bench;

#ifdef PST_HAVE_ONEDNN
#include <dnnl.hpp>
#include <omp.h>

namespace {

class OneDnn : public Rival {
public:
  std::string name() const override {
    const dnnl_version_t *version = dnnl_version();
    return "oneDNN " + std::to_string(version->major) + "." +
           std::to_string(version->minor) + "." +
           std::to_string(version->patch);
  }
  void setThreads(int threads) override { omp_set_num_threads(threads); }

  std::function<void()> prepare(const Product &p) override {
    using Tag = dnnl::memory::format_tag;
    auto describe = [](int64_t rows, int64_t columns, bool transposed) {
      return dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::f32,
                                transposed ? Tag::ba : Tag::ab);
    };
    auto a = describe(p.m, p.k, p.transposeA);
    auto b = describe(p.k, p.n, p.transposeB);
    auto c = describe(p.m, p.n, false);
#if DNNL_VERSION_MAJOR >= 3
    dnnl::matmul::primitive_desc description(engine, a, b, c);
#else
    dnnl::matmul::primitive_desc description({a, b, c}, engine);
#endif
    dnnl::matmul matmul(description);
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, {a, engine, const_cast<float *>(p.a)}},
        {DNNL_ARG_WEIGHTS, {b, engine, const_cast<float *>(p.b)}},
        {DNNL_ARG_DST, {c, engine, p.c}}};
    return [this, matmul, arguments] {
      matmul.execute(stream, arguments);
      stream.wait();
    };
  }

private:
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  mutable dnnl::stream stream{engine};
};

} // namespace

std::unique_ptr<Rival> pst::bench::makeOneDnn(std::string &) {
  return std::make_unique<OneDnn>();
}

#else

std::unique_ptr<Rival> pst::bench::makeOneDnn(std::string &reason) {
  reason = "oneDNN: was not there when pst-bench was built (Debian: "
           "libdnnl-dev)";
  return nullptr;
}

#endif
