//===- GpuArray.cpp - An array in a GPU's memory --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuArray.h"
#include "pst/Runtime/Error.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::python;
using pst::runtime::Error;

GpuArray::GpuArray(nb::object owner, const SharedModel &model,
                   std::string space)
    : owner(std::move(owner)), model(model), space(std::move(space)) {}

std::pair<int, int> GpuArray::device() const {
  return {nb::device::cuda::value,
          model.parameters().accelerator()->deviceNumber()};
}

size_t GpuArray::size() const {
  return static_cast<size_t>(model.parameters().spaceBytes(space)) /
         sizeof(float);
}

nb::object GpuArray::dlpack(const nb::object &stream,
                            const nb::object &maxVersion,
                            const nb::object &wanted,
                            const nb::object &copy) const {
  if (!wanted.is_none() && nb::cast<std::pair<int, int>>(wanted) != device())
    throw nb::buffer_error("the array lies in the memory of another device");
  if (!copy.is_none() && nb::cast<bool>(copy))
    throw nb::buffer_error("the array is given without a copy, or not at all");
  // The standard says: 1 for the default stream, not 0, which could be either.
  int64_t number = stream.is_none() ? 1 : nb::cast<int64_t>(stream);
  if (number == 0 || number < -1)
    throw nb::value_error("the stream must be None, -1, 1, 2 or a handle, and "
                          "not 0 (array API standard, __dlpack__)");
  const runtime::ParameterStore &store = model.parameters();
  auto *data = inTurn(model.turns, [&] {
    auto *there = static_cast<float *>(store.spaceThere(space));
    if (number != -1)
      store.accelerator()->letWait(static_cast<uintptr_t>(number));
    return there;
  });
  nb::object array = nb::cast(nb::ndarray<nb::array_api, float, nb::ndim<1>>(
      data, {size()}, owner, {}, nb::dtype<float>(), nb::device::cuda::value,
      store.accelerator()->deviceNumber()));
  return array.attr("__dlpack__")("max_version"_a = maxVersion);
}

void GpuArray::waitFor(uintptr_t stream) const {
  inTurn(model.turns,
         [&] { model.parameters().accelerator()->waitFor(stream); });
}

void pst::python::bindGpuArray(nb::module_ &module) {
  nb::class_<GpuArray>(module, "GpuArray",
                       "float32 in the memory of a GPU, for torch.from_dlpack "
                       "and the like, without a copy.")
      .def("__dlpack_device__", &GpuArray::device)
      .def("__dlpack__", &GpuArray::dlpack, nb::kw_only(),
           "stream"_a.none() = nb::none(), "max_version"_a.none() = nb::none(),
           "dl_device"_a.none() = nb::none(), "copy"_a.none() = nb::none())
      .def("__len__", &GpuArray::size)
      .def_prop_ro("size", &GpuArray::size)
      .def("wait_for", &GpuArray::waitFor, "stream"_a,
           "Lets what the program does from now on come after what was given "
           "to this stream, such as torch.cuda.current_stream().cuda_stream.");
}
