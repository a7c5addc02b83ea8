//===- Check.cpp - A program against recorded results ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Check.h"
#include "pst/Runtime/Bench.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Invocation.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

using namespace pst;
using namespace pst::runtime;

static double element(ElementType type, const std::byte *data, int64_t i) {
  auto read = [&]<typename T>(T value) {
    std::memcpy(&value, data + i * sizeof value, sizeof value);
    return value;
  };
  switch (type) {
  case ElementType::f32:
    return read(float());
  case ElementType::f64:
    return read(double());
  case ElementType::bf16:
    return std::bit_cast<float>(uint32_t(read(uint16_t())) << 16);
  case ElementType::i32:
    return read(int32_t());
  case ElementType::i64:
    return static_cast<double>(read(int64_t()));
  }
  return 0;
}

double pst::runtime::errorShare(double value, double wanted, double allowed) {
  double error = std::abs(value - wanted);
  if (value == wanted)
    return 0;
  return allowed > 0 && std::isfinite(error)
             ? error / allowed
             : std::numeric_limits<double>::infinity();
}

/// The recorded tensor of an argument, of `bytes` bytes.
static const TensorView &recorded(const SafeTensorsFile &file,
                                  const std::string &name, int64_t bytes) {
  const TensorView *found = file.find(name);
  if (!found || found->numBytes != bytes)
    throw Error(file.path().string() + ": must hold \"" + name + "\", of " +
                std::to_string(bytes) + " bytes");
  return *found;
}

static void compare(const SafeTensorsFile &file, const Argument &argument,
                    const std::byte *results, CheckResult &check) {
  int64_t count = argument.type.numElements();
  // Of a large result some elements, by their indices.
  const TensorView *elements = file.find("elements." + argument.name);
  auto indexOf = [&](int64_t i) {
    return elements ? static_cast<int64_t>(
                          element(ElementType::i64, elements->data, i))
                    : i;
  };
  if (elements) {
    int64_t whole = count;
    count = elements->numBytes / 8;
    for (int64_t i = 0; i < count; ++i)
      if (indexOf(i) < 0 || indexOf(i) >= whole)
        throw Error(file.path().string() + ": \"elements." + argument.name +
                    "\" names element " + std::to_string(indexOf(i)) + " of " +
                    std::to_string(whole));
  }
  const auto &wanted = recorded(file, "wanted." + argument.name, count * 8);
  const auto &allowed = recorded(file, "allowed." + argument.name, count * 8);
  check.numElements += count;
  for (int64_t i = 0; i < count; ++i) {
    double value = element(argument.type.element, results, indexOf(i));
    double target = element(ElementType::f64, wanted.data, i);
    double bound = element(ElementType::f64, allowed.data, i);
    bool missing = std::isnan(value) && std::isnan(target);
    double share = missing ? 0 : errorShare(value, target, bound);
    if (share <= check.worst)
      continue;
    check.worst = share;
    check.where = "output \"" + argument.name + "\"[" +
                  std::to_string(indexOf(i)) + "]: " + std::to_string(value) +
                  " instead of " + std::to_string(target);
  }
}

CheckResult pst::runtime::checkBundle(const std::filesystem::path &directory,
                                      int repetitions) {
  auto program = Program::load(directory);
  SafeTensorsFile file(directory / "check.safetensors");
  auto name = file.metadata().find("entry");
  if (name == file.metadata().end())
    throw Error(file.path().string() + ": names no \"entry\" to call");
  ParameterStore store(program, nullptr, 0);
  Invocation call(store, name->second);
  std::vector<std::vector<std::byte>> results;
  for (const Argument &argument : call.entryPoint().arguments) {
    int64_t bytes = argument.type.numBytes();
    if (argument.kind == Argument::Kind::input)
      call.bind(argument.name,
                recorded(file, "input." + argument.name, bytes).data);
    if (argument.kind == Argument::Kind::output)
      call.bind(argument.name,
                results.emplace_back(static_cast<size_t>(bytes)).data());
  }
  call();
  CheckResult check;
  size_t next = 0;
  for (const Argument &argument : call.entryPoint().arguments)
    if (argument.kind == Argument::Kind::output)
      compare(file, argument, results[next++].data(), check);
  if (RemoteCall *remote = call.remoteCall(); remote && repetitions > 0) {
    check.seconds = Samples(store.accelerator()->time(repetitions, [&](int) {
                      remote->enqueue();
                    })).median;
    check.launches = remote->measureLaunches(repetitions);
  }
  return check;
}
