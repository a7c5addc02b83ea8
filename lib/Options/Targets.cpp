//===- Targets.cpp - Where programs run -----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Options/Targets.h"

#include <algorithm>

using namespace pst;
using namespace pst::runtime;

/// What no kernel for GPUs has.
static std::vector<Refusal> refusedOnGPUs() {
  return {
      {"products",
       {"packed", "compressed"},
       "whose products read the masked weight from a buffer"},
      {"weight_storage",
       {"compressed", "bitmask"},
       "whose products with fixed weights are dense"},
      {"storage_tokens", {}, "whose products with fixed weights are dense"},
      {"frozen_type", {"int8"}, "whose kernels read weights of f32 or bf16"},
      {"cache_length", {}, "which has no kernel to generate text"},
      {"vector_width", {}, "whose kernels have no vectors"},
      {"sanitize_address",
       {},
       "whose kernels NVIDIA's compute-sanitizer checks"},
      {"blocks", {}, "whose kernels have tiles of their own"}};
}

static std::vector<Refusal> with(std::vector<Refusal> refusals,
                                 std::initializer_list<Refusal> more) {
  refusals.insert(refusals.end(), more);
  return refusals;
}

std::span<const Target> pst::targets() {
  static const Target table[] = {
      {TargetKind::CPU,
       "a CPU",
       KernelFamily::CPU,
       CodeForm::Object,
       {{"precision", {"tf32", "bf16"}, "whose kernels compute in f32"},
        {"gpu_arch", {}, "which is no GPU"},
        {"gemm_plan", {}, "which is no GPU"}}},
      {TargetKind::CUDA, "an NVIDIA GPU", KernelFamily::GPU, CodeForm::PTX,
       with(refusedOnGPUs(),
            {{"cpu", {}, "which has a --gpu_arch instead"},
             {"triple", {}, "which has a --gpu_arch instead"},
             {"profile", {}, "whose kernels 'pst-run bench' measures"}})},
      {TargetKind::Emulated, "the GPU's kernels on a CPU, for tests",
       KernelFamily::GPU, CodeForm::EmulatedObject, refusedOnGPUs()},
      {TargetKind::Emulation,
       "those kernels alone, for a stand-in of the driver", KernelFamily::GPU,
       CodeForm::EmulatedKernels,
       with(refusedOnGPUs(),
            {{"profile", {}, "whose kernels 'pst-run bench' measures"}})},
  };
  return table;
}

const Target &pst::targetOf(const CompilerOptions &options) {
  return targets()[static_cast<size_t>(options.target)];
}

/// Whether the target has no use for `value`; says why.
static const Refusal *findRefusal(const Target &target,
                                  const OptionInfo &option,
                                  const std::string &value) {
  for (const Refusal &refusal : target.refuses)
    if (refusal.option == option.name &&
        (refusal.values.empty() ? value != option.initial
                                : std::ranges::count(refusal.values, value)))
      return &refusal;
  return nullptr;
}

void pst::checkTarget(const CompilerOptions &options) {
  const Target &target = targetOf(options);
  for (const auto &option : compilerOptions()) {
    std::string value = option.text(options), others;
    const Refusal *refusal = findRefusal(target, option, value);
    if (!refusal)
      continue;
    for (const Target &other : targets())
      if (other.code != CodeForm::EmulatedKernels &&
          !findRefusal(other, option, value))
        others +=
            (others.empty() ? "" : " or ") + std::string(spell(other.kind));
    std::string given = option.name;
    if (option.type != OptionType::flag)
      given += " " + value;
    throw Error("--" + given + " is not for --target " + spell(target.kind) +
                ", " + std::string(refusal->why) + ": leave it out" +
                (others.empty() ? "" : ", or take --target " + others));
  }
}

std::string pst::formatTargets() {
  static const char *const code[] = {
      "object code", "PTX, and lists of launches",
      "object code, whose launches the emulator runs",
      "object code of the kernels, and lists of launches"};
  std::string text = "\n| target | what it is | kernels | becomes | refuses "
                     "|\n|---|---|---|---|---|\n";
  for (const Target &target : targets()) {
    std::string refused;
    for (const Refusal &refusal : target.refuses) {
      refused += (refused.empty() ? "`" : ", `") + std::string(refusal.option);
      for (std::string_view value : refusal.values)
        refused +=
            (value == refusal.values.front() ? " " : "/") + std::string(value);
      refused += "`";
    }
    text += "| `" + std::string(spell(target.kind)) + "` | " +
            std::string(target.description) + " | " +
            (target.kernels == KernelFamily::CPU ? "CPU" : "GPU") + " | " +
            code[static_cast<size_t>(target.code)] + " | " + refused + " |\n";
  }
  return text;
}
