//===- Manifest.cpp - A bundle, from its manifest to an export ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"
#include "pst/Runtime/Evaluation.h"
#include "pst/Runtime/Export.h"

#include <cstring>
#include <utility>

using namespace pst;
using namespace pst::runtime;

/// Larger programs are verified only.
static constexpr int64_t kMostBytes = int64_t(1) << 22;

/// The code of a program whose kernels read and write all that their arguments
/// point to, as the manifest describes it. Functions of the convention are told
/// nothing but their arguments, so there is one for each entry point.
static std::vector<const EntryPoint *> called;
static const Manifest *running;

static void touch(const EntryPoint &entry, void *const *arguments) {
  static volatile unsigned char sum;
  for (size_t i = 0; i < entry.arguments.size(); ++i) {
    const Argument &argument = entry.arguments[i];
    int64_t bytes = argument.kind == Argument::Kind::space
                        ? running->spaces.at(argument.name)
                        : argument.type.numBytes();
    auto *data = static_cast<unsigned char *>(arguments[i]);
    for (int64_t b = 0; b < bytes; ++b)
      sum = sum + data[b];
    if (argument.kind == Argument::Kind::space ||
        argument.kind == Argument::Kind::output)
      std::memset(data, 0, bytes);
  }
}

template <size_t... i>
static std::vector<EntryFunction> makeFunctions(std::index_sequence<i...>) {
  return {+[](void *const *arguments) { touch(*called[i], arguments); }...};
}

static int64_t bytesOf(const Manifest &manifest) {
  int64_t bytes = 0;
  for (const auto &[name, size] : manifest.spaces)
    bytes += size;
  for (const Parameter &parameter : manifest.parameters)
    bytes += parameter.type.numBytes();
  for (const auto &[name, entry] : manifest.entryPoints)
    for (const Argument &argument : entry.arguments)
      if (argument.kind != Argument::Kind::space && bytes < kMostBytes)
        bytes += argument.type.numBytes();
  return bytes;
}

/// Three examples of ones and zeros, as an entry point reads them.
static Dataset examplesFor(const EntryPoint &entry) {
  std::vector<DataArray> arrays;
  for (const Argument &argument : entry.arguments) {
    if (argument.kind != Argument::Kind::input || argument.type.shape.empty())
      continue;
    TensorType type = argument.type;
    type.shape.front() = 3;
    std::shared_ptr<int32_t[]> values(new int32_t[type.numBytes() / 4 + 2]());
    if (argument.name == "attention_mask")
      std::fill_n(values.get(), type.numElements(), 1);
    arrays.push_back({argument.name, type, values.get(), values});
  }
  return Dataset(std::move(arrays));
}

static void run(const Manifest &manifest) {
  static const std::vector<EntryFunction> functions =
      makeFunctions(std::make_index_sequence<16>());
  if (manifest.isForGPU() || bytesOf(manifest) > kMostBytes ||
      manifest.entryPoints.size() > functions.size())
    return;
  std::map<std::string, EntryFunction> code;
  called.clear();
  for (const auto &[name, entry] : manifest.entryPoints) {
    code[name] = functions[called.size()];
    called.push_back(&entry);
  }
  running = &manifest;
  std::filesystem::path directory = fuzz::directory() / "model";
  Model model(Program::create(manifest, code),
              std::make_shared<const ModelFiles>(directory), 7);
  fuzz::expectErrorsOnly([&] { model.select(0.5); });
  fuzz::expectErrorsOnly([&] { (void)model.takeProfile(); });
  fuzz::expectErrorsOnly([&] {
    (void)evaluate(model, examplesFor(model.program().entryPoint("forward")),
                   0.5);
  });
  fuzz::expectErrorsOnly([&] {
    const EntryPoint &entry = model.program().entryPoint("forward_backward");
    Dataset data = examplesFor(entry);
    data.check(manifest, "forward_backward", /*needLabels=*/true);
    Batch batch(entry);
    std::vector<int64_t> rows{0};
    batch.gather(data, rows);
    model.forwardBackward(batch, 1, 1);
    model.apply({});
  });
  fuzz::expectErrorsOnly([&] {
    ExportOptions options;
    options.outputDir = fuzz::directory() / "exported";
    options.overwrite = true;
    exportModel(model, 0.5, options);
  });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz::expectErrorsOnly([&] {
    Manifest manifest = Manifest::fromJson(fuzz::text(data, size));
    std::string again = manifest.toJson();
    if (Manifest::fromJson(again).toJson() != again)
      __builtin_trap();
    (void)manifest.fingerprint();
    run(manifest);
  });
  return 0;
}
