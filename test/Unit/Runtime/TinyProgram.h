//===- TinyProgram.h - The tiny model as a program --------------*- C++ -*-===//
//-*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_UNIT_RUNTIME_TINYPROGRAM_H
#define PST_TEST_UNIT_RUNTIME_TINYPROGRAM_H

#include "TinyModel.h"
#include "pst/Runtime/Trainer.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json_fwd.hpp>

// As in the runtime's Driver.h: functions of the driver are called by their own
// types.
namespace pst::runtime::cuda {
using Stream = struct StreamTag *;
}

namespace tiny {

/// Where the address sanitizer looks, frozen parameters are copied.
#if __has_feature(address_sanitizer)
inline constexpr bool kReadsFrozenInPlace = false;
#else
inline constexpr bool kReadsFrozenInPlace = true;
#endif

struct Variant {
  int batch = 4; ///< 4 or 8
  bool regression = false;
  bool dropout = true; ///< classification only
  bool oneShot = false;
  int classes() const { return regression ? 1 : 3; }
};

pst::Manifest makeManifest(Variant variant = {});
std::shared_ptr<const pst::runtime::Program> makeProgram(Variant variant = {});

/// The same for a GPU: each entry point is one launch of a kernel of its
/// symbol's name. They run on the stand-in for the driver (GpuKernels.cpp).
std::shared_ptr<const pst::runtime::Program> makeGpuProgram();

/// A directory of its own, removed at the end.
class TemporaryDirectory {
public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  std::filesystem::path operator/(const std::string &name) const {
    return root / name;
  }
  const std::filesystem::path &path() const { return root; }

private:
  std::filesystem::path root;
};

/// Writes model.safetensors (names without the prefix "tiny."), config.json and
/// tokenizer files.
void writeModel(const std::filesystem::path &directory);

/// The program with the weights of `directory`.
std::unique_ptr<pst::runtime::Model>
makeModel(const std::filesystem::path &directory, Variant variant = {},
          uint64_t seed = 7);

/// Random examples whose label depends on the tokens.
pst::runtime::Dataset makeData(int count, Variant variant = {},
                               uint64_t seed = 1);

std::string readBytes(const std::filesystem::path &file);
void writeBytes(const std::filesystem::path &file, const std::string &bytes);
/// All files of a directory, by name.
std::map<std::string, std::string>
readAll(const std::filesystem::path &directory);

/// Changes a checkpoint's trainer_state.json as if a run had written it so: its
/// digest fits.
void changeState(const std::filesystem::path &checkpoint,
                 const std::function<void(nlohmann::ordered_json &)> &change);

/// Text of the Error that `action` throws, or a failure of the test.
std::string errorOf(const std::function<void()> &action);

#define EXPECT_ERROR(ACTION, PART)                                             \
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, PART,                            \
                      ::tiny::errorOf([&] { ACTION; }))

} // namespace tiny

#endif // PST_TEST_UNIT_RUNTIME_TINYPROGRAM_H
