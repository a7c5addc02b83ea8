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
  case ElementType::i8:
    return read(int8_t());
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

/// Compares `results`, a tensor of `type`, with what is recorded under `name`;
/// a difference is told as one of `what`.
static void compare(const SafeTensorsFile &file, const std::string &name,
                    const TensorType &type, const std::byte *results,
                    const std::string &what, CheckResult &check) {
  int64_t count = type.numElements();
  // Of a large result some elements, by their indices.
  const TensorView *elements = file.find("elements." + name);
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
        throw Error(file.path().string() + ": \"elements." + name +
                    "\" names element " + std::to_string(indexOf(i)) + " of " +
                    std::to_string(whole));
  }
  const auto &wanted = recorded(file, "wanted." + name, count * 8);
  const auto &allowed = recorded(file, "allowed." + name, count * 8);
  check.numElements += count;
  for (int64_t i = 0; i < count; ++i) {
    double value = element(type.element, results, indexOf(i));
    double target = element(ElementType::f64, wanted.data, i);
    double bound = element(ElementType::f64, allowed.data, i);
    bool missing = std::isnan(value) && std::isnan(target);
    double share = missing ? 0 : errorShare(value, target, bound);
    if (share <= check.worst)
      continue;
    check.worst = share;
    check.where = what + "[" + std::to_string(indexOf(i)) +
                  "]: " + std::to_string(value) + " instead of " +
                  std::to_string(target);
  }
}

/// Whether a parameter has values in a space.
static bool liesIn(const Parameter &parameter, std::string_view space) {
  if (parameter.role != Role::trainable)
    return parameter.role != Role::frozen && space == spaceOf(parameter.role);
  return space != "state" && space != "cache" && space != "arena";
}

/// What the call starts from, in those spaces that are recorded.
static void restoreSpaces(const SafeTensorsFile &file, const EntryPoint &entry,
                          const ParameterStore &store) {
  for (const Argument &argument : entry.arguments) {
    std::string name = "before." + argument.name;
    if (argument.kind != Argument::Kind::space || !file.find(name))
      continue;
    int64_t bytes = store.spaceBytes(argument.name);
    std::memcpy(store.space(argument.name), recorded(file, name, bytes).data,
                static_cast<size_t>(bytes));
  }
}

/// What the call leaves in the spaces, of those parameters that are recorded.
static void compareSpaces(const SafeTensorsFile &file, const EntryPoint &entry,
                          const ParameterStore &store, CheckResult &check) {
  for (const Argument &argument : entry.arguments) {
    if (argument.kind != Argument::Kind::space)
      continue;
    for (const Parameter &parameter : store.manifest().parameters) {
      std::string name = argument.name + "/" + parameter.name;
      if (!liesIn(parameter, argument.name) || !file.find("wanted." + name))
        continue;
      const auto *space =
          static_cast<const std::byte *>(store.readSpace(argument.name));
      compare(file, name, parameter.type, space + parameter.offset,
              argument.name + " of \"" + parameter.name + "\"", check);
    }
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
  restoreSpaces(file, call.entryPoint(), store);
  call();
  CheckResult check;
  size_t next = 0;
  for (const Argument &argument : call.entryPoint().arguments)
    if (argument.kind == Argument::Kind::output)
      compare(file, argument.name, argument.type, results[next++].data(),
              "output \"" + argument.name + "\"", check);
  compareSpaces(file, call.entryPoint(), store, check);
  if (RemoteCall *remote = call.remoteCall(); remote && repetitions > 0) {
    check.seconds = Samples(store.accelerator()->time(repetitions, [&](int) {
                      remote->enqueue();
                    })).median;
    check.launches = remote->measureLaunches(repetitions);
  }
  return check;
}
