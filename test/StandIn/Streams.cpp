//===- Streams.cpp - The driver's streams, graphs and events --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Handles.h"

#include <utility>

using namespace standin;

extern "C" {

Result cuStreamCreate(Stream *stream, unsigned flags) {
  State &state = enter("cuStreamCreate");
  if (flags != kStreamNonBlocking)
    fail("a stream that waits for the default stream by itself, and it for it");
  *stream = reinterpret_cast<Stream>(create(state.streams));
  return kSuccess;
}

Result cuStreamDestroy_v2(Stream stream) {
  return destroy("cuStreamDestroy_v2", State::get().streams, stream);
}

Result cuStreamSynchronize(Stream stream) {
  State &state = enter("cuStreamSynchronize");
  state.drain(state.stream(stream));
  return state.waited();
}

Result cuStreamWaitEvent(Stream stream, Event handle, unsigned) {
  State &state = enter("cuStreamWaitEvent");
  EventState event = lookUp(state.events, handle, "an event");
  state.give(stream, [event] {
    if (event.stream)
      State::get().drain(*event.stream, event.at);
  });
  return kSuccess;
}

Result cuStreamBeginCapture_v2(Stream stream, int) {
  State &state = enter("cuStreamBeginCapture_v2");
  if (reinterpret_cast<uintptr_t>(stream) <= 1)
    fail("cuStreamBeginCapture_v2 of the default stream");
  state.stream(stream).capturing = true;
  return kSuccess;
}

Result cuStreamEndCapture(Stream handle, Graph *graph) {
  State &state = enter("cuStreamEndCapture", true, true);
  StreamState &stream = state.stream(handle);
  if (!std::exchange(stream.capturing, false))
    fail("cuStreamEndCapture of a stream that is not captured");
  GraphState *made = create(state.graphs);
  made->work = std::move(stream.captured);
  stream.captured.clear();
  *graph = reinterpret_cast<Graph>(made);
  return kSuccess;
}

Result cuGraphInstantiateWithFlags(GraphExec *executable, Graph handle,
                                   unsigned long long) {
  State &state = enter("cuGraphInstantiateWithFlags");
  GraphState *made = create(state.executables);
  made->work = lookUp(state.graphs, handle, "a graph").work;
  *executable = reinterpret_cast<GraphExec>(made);
  return kSuccess;
}

/// For tests: work of another library on a stream, done when its turn comes.
void standin_give(Stream stream, void (*work)(void *), void *data) {
  State::get().give(stream, [=] { work(data); });
}

Result cuGraphLaunch(GraphExec handle, Stream stream) {
  State &state = enter("cuGraphLaunch");
  GraphState &graph = lookUp(state.executables, handle, "a graph");
  state.give(stream, [work = graph.work] {
    for (const Work &one : work)
      one();
  });
  return kSuccess;
}

Result cuGraphExecDestroy(GraphExec graph) {
  return destroy("cuGraphExecDestroy", State::get().executables, graph);
}

Result cuGraphDestroy(Graph graph) {
  return destroy("cuGraphDestroy", State::get().graphs, graph);
}

Result cuEventCreate(Event *event, unsigned flags) {
  State &state = enter("cuEventCreate");
  EventState *made = create(state.events);
  made->timing = !(flags & kEventDisableTiming);
  *event = reinterpret_cast<Event>(made);
  return kSuccess;
}

Result cuEventDestroy_v2(Event event) {
  return destroy("cuEventDestroy_v2", State::get().events, event);
}

Result cuEventRecord(Event handle, Stream stream) {
  State &state = enter("cuEventRecord");
  EventState &event = lookUp(state.events, handle, "an event");
  event.stream = &state.stream(stream);
  event.at = event.stream->given;
  return kSuccess;
}

Result cuEventSynchronize(Event handle) {
  State &state = enter("cuEventSynchronize");
  EventState &event = lookUp(state.events, handle, "an event");
  if (event.stream)
    state.drain(*event.stream, event.at);
  return state.waited();
}

Result cuEventElapsedTime(float *milliseconds, Event begin, Event end) {
  State &state = enter("cuEventElapsedTime");
  for (Event handle : {begin, end}) {
    EventState &event = lookUp(state.events, handle, "an event");
    if (!event.timing || !event.stream)
      fail("cuEventElapsedTime of an event that has no time");
    if (event.stream->done < event.at)
      fail("cuEventElapsedTime before the event was reached");
  }
  *milliseconds = 1;
  return kSuccess;
}
}
