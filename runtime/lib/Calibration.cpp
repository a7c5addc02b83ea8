//===- Calibration.cpp - What layers read on some data
//---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Calibration.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <numeric>

using namespace pst;
using namespace pst::runtime;

std::map<std::string, std::vector<double>>
pst::runtime::calibrate(Model &model, const Dataset &data) {
  const EntryPoint &entry = model.program().entryPoint("calibrate"); // throws
  data.check(model.manifest(), "calibrate", /*needLabels=*/false);
  Batch batch(entry, model.manifest().tokenCapacity);
  Invocation call(model.parameters(), "calibrate");
  std::map<std::string, std::vector<double>> sums;
  std::map<std::string, std::vector<float>> ofBatch;
  for (const Argument &argument : entry.arguments) {
    if (argument.kind != Argument::Kind::output)
      continue;
    if (argument.type.element != ElementType::f32 ||
        argument.type.shape.size() != 1)
      throw Error(
          "the output \"" + argument.name +
          "\" of \"calibrate\" must be a vector of f32: the bundle does "
          "not follow the calling convention");
    size_t columns = static_cast<size_t>(argument.type.numElements());
    sums[argument.name].resize(columns);
    ofBatch[argument.name].resize(columns);
    call.bind(argument.name, ofBatch[argument.name].data());
  }
  std::vector<int64_t> rows(static_cast<size_t>(data.size()));
  std::iota(rows.begin(), rows.end(), 0);
  for (size_t done = 0; done < rows.size();) {
    std::span<const int64_t> next(
        rows.data() + done,
        std::min(rows.size() - done, static_cast<size_t>(batch.capacity())));
    next = next.first(static_cast<size_t>(batch.countFitting(data, next)));
    batch.gather(data, next);
    for (const Batch::Buffer &buffer : batch.buffers())
      call.bind(buffer.name, buffer.bytes.data());
    call();
    for (auto &[name, sum] : sums)
      std::transform(sum.begin(), sum.end(), ofBatch[name].begin(), sum.begin(),
                     [](double all, float more) { return all + more; });
    done += next.size();
  }
  return sums;
}
