//===- Decoder.cpp - Tokens read, one after the other ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <limits>
#include <numeric>

using namespace pst;
using namespace pst::runtime;

/// An argument of an entry point, of this element type and so many dimensions.
static const Argument &argumentOf(const Invocation &call, const char *name,
                                  ElementType element) {
  const EntryPoint &entry = call.entryPoint();
  for (const Argument &argument : entry.arguments)
    if (argument.name == name && argument.type.element == element &&
        argument.type.shape.size() == 2)
      return argument;
  throw Error("\"" + entry.symbol + "\" has no matrix \"" + name +
              "\": the bundle does not follow the calling convention");
}

static size_t rowsOf(const Invocation &call, const char *name) {
  const TensorType &type = argumentOf(call, name, ElementType::i32).type;
  if (type.shape[1] != 1)
    throw Error("the argument \"" + std::string(name) + "\" of \"" +
                call.entryPoint().symbol +
                "\" must have one column: the bundle does not follow the "
                "calling convention");
  return static_cast<size_t>(type.shape[0]);
}

Decoder::Call::Call(Model &model, const char *entry)
    : room(0), invocation(model.parameters(), entry) {
  room = rowsOf(invocation, "input_ids");
  for (auto [name, values] : {std::pair("input_ids", &ids),
                              {"sequences", &sequences},
                              {"positions", &positions}}) {
    if (rowsOf(invocation, name) != room)
      throw Error("the arguments of \"" + invocation.entryPoint().symbol +
                  "\" have not as many rows each: the bundle does not follow "
                  "the calling convention");
    values->resize(room);
    invocation.bind(name, values->data());
    values->clear(); // which keeps the memory
  }
}

static Model &needDecoder(Model &model) {
  for (const char *entry : {"prefill", "decode"})
    if (!model.program().has(entry))
      throw Error("the program does not generate texts: compile a language "
                  "model with --cache_length, as 'pst compile --for "
                  "generation' does");
  return model;
}

Decoder::Decoder(Model &model)
    : prefill(needDecoder(model), "prefill"), decode(model, "decode") {
  const Argument &table =
      argumentOf(decode.invocation, "slots", ElementType::i32);
  const Argument &scores =
      argumentOf(decode.invocation, "logits", ElementType::f32);
  numRows = table.type.shape[0];
  numPositions = table.type.shape[1];
  numWords = scores.type.shape[1];
  ids = argumentOf(decode.invocation, "input_ids", ElementType::i32).ids;
  if (argumentOf(prefill.invocation, "slots", ElementType::i32).type !=
          table.type ||
      scores.type.shape[0] != numRows ||
      decode.room != static_cast<size_t>(numRows) || prefill.room == 0 ||
      numRows == 0 || numWords == 0 ||
      table.type.numElements() > std::numeric_limits<int32_t>::max())
    throw Error("\"prefill\" and \"decode\" have other rows than \"slots\" and "
                "\"logits\": the bundle does not follow the calling "
                "convention");
  slots.resize(static_cast<size_t>(table.type.numElements()));
  std::iota(slots.begin(), slots.end(), 0);
  lengths.assign(static_cast<size_t>(numRows), 0);
  logits.resize(static_cast<size_t>(scores.type.numElements()));
  for (Call *call : {&prefill, &decode})
    call->invocation.bind("slots", slots.data());
  decode.invocation.bind("logits", logits.data());
}

void Decoder::add(Call &call, int32_t token, int64_t row) {
  int64_t &length = lengths[static_cast<size_t>(row)];
  slotOf(row, length) = static_cast<int32_t>(row * numPositions + length);
  call.ids.push_back(token);
  call.sequences.push_back(static_cast<int32_t>(row));
  call.positions.push_back(static_cast<int32_t>(length++));
}

void Decoder::read(std::span<const Reading> readings) {
  auto run = [&] {
    // What is left of the room reads the last token again, which changes
    // nothing.
    for (std::vector<int32_t> *values :
         {&prefill.ids, &prefill.sequences, &prefill.positions}) {
      std::fill_n(std::back_inserter(*values), prefill.room - values->size(),
                  int32_t{values->back()});
    }
    prefill.invocation();
    prefill.ids.clear();
    prefill.sequences.clear();
    prefill.positions.clear();
  };
  for (const Reading &reading : readings) {
    lengths[static_cast<size_t>(reading.row)] = 0;
    for (int32_t token : reading.tokens) {
      add(prefill, token, reading.row);
      if (prefill.ids.size() == prefill.room)
        run();
    }
  }
  if (!prefill.ids.empty())
    run();
}

void Decoder::follow(int64_t first, std::span<const int64_t> parents) {
  int64_t count = static_cast<int64_t>(parents.size());
  auto begin = slots.begin() + first * numPositions;
  std::vector<int32_t> before(begin, begin + count * numPositions);
  std::vector<int64_t> read(lengths.begin() + first,
                            lengths.begin() + first + count);
  for (int64_t i = 0; i < count; ++i) {
    int64_t parent = parents[static_cast<size_t>(i)];
    int64_t length = read[static_cast<size_t>(parent)];
    std::copy_n(before.begin() + parent * numPositions, length,
                begin + i * numPositions);
    lengths[static_cast<size_t>(first + i)] = length;
  }
}

const float *Decoder::step(std::span<const int32_t> tokens) {
  decode.ids.clear();
  decode.sequences.clear();
  decode.positions.clear();
  for (int64_t row = 0; row < numRows; ++row) {
    int32_t token = tokens[static_cast<size_t>(row)];
    if (token == rest) {
      // Its first slot is free: what it had read is of no use any more.
      lengths[static_cast<size_t>(row)] = 0;
      token = 0;
    }
    add(decode, token, row);
  }
  decode.invocation();
  return logits.data();
}
