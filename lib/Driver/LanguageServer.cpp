//===- LanguageServer.cpp - What editors are told of MLIR text ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// MLIR's server says of an op its name and its generic form, and has no place
// for more. So its answers pass through a pipe, on whose other end what it says
// of an op of ours gets the op's documentation.
//
//===----------------------------------------------------------------------===//

#include "pst/Driver/LanguageServer.h"
#include "pst/Pipelines.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <thread>
#include <unistd.h>

using namespace llvm;

/// The reference pages of the dialects, as TableGen writes them.
static constexpr StringLiteral pages[] = {
#include "OpPages.inc"
};

/// What a reference page says of an op before its tables; empty if none does.
static StringRef documentationOf(StringRef op) {
  for (StringRef page : pages) {
    size_t title = page.find(("\n### `" + op + "` (").str());
    if (title == StringRef::npos)
      continue;
    StringRef text = page.substr(page.find('\n', title + 1));
    size_t end = text.size();
    for (StringRef next : {"\nTraits:", "\nInterfaces:", "\nEffects:",
                           "\n#### ", "\n### ", "\n## "})
      end = std::min(end, text.find(next));
    return text.take_front(end).trim();
  }
  return "";
}

/// A message of the server, with what we know of the op that it is about: that
/// of an answer on hovering begins with the op's name, in quotes.
static std::string withDocumentation(StringRef message) {
  Expected<json::Value> parsed = json::parse(message);
  if (!parsed) {
    consumeError(parsed.takeError());
    return message.str();
  }
  json::Object *answer = parsed->getAsObject();
  json::Object *result = answer ? answer->getObject("result") : nullptr;
  json::Object *contents = result ? result->getObject("contents") : nullptr;
  StringRef value =
      contents ? contents->getString("value").value_or("") : StringRef();
  auto [name, rest] = value.drop_front(value.starts_with("\"")).split('"');
  StringRef text = documentationOf(name);
  if (text.empty())
    return message.str();
  // Of its own, for `value` lies in what is written to.
  std::string described =
      ("\"" + name + "\"\n\n" + text + "\n\n" + rest.ltrim()).str();
  (*contents)["value"] = std::move(described);
  return formatv("{0:2}", *parsed).str();
}

static void writeAll(int to, StringRef text) {
  while (!text.empty()) {
    ssize_t count = ::write(to, text.data(), text.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0) // The editor has gone.
      return;
    text = text.drop_front(count);
  }
}

/// Passes on what the server writes, message by message (LSP: a header, an
/// empty line, as many bytes as the header says).
static void passOn(int from, int to) {
  std::string pending;
  char bytes[1 << 14];
  for (;;) {
    ssize_t count = ::read(from, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      break;
    pending.append(bytes, count);
    for (;;) {
      StringRef rest = pending;
      size_t header = rest.find("\r\n\r\n");
      size_t length = 0;
      StringRef field = "Content-Length:";
      if (header == StringRef::npos || !rest.starts_with(field) ||
          rest.slice(field.size(), rest.find("\r\n"))
              .trim()
              .getAsInteger(10, length) ||
          rest.size() - (header + 4) < length)
        break;
      std::string message = withDocumentation(rest.substr(header + 4, length));
      writeAll(
          to,
          formatv("{0} {1}\r\n\r\n{2}", field, message.size(), message).str());
      pending.erase(0, header + 4 + length);
    }
  }
  writeAll(to, pending);
}

int pst::runLanguageServer(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registerDialects(registry);

  int answers[2], editor = ::dup(STDOUT_FILENO);
  if (editor < 0 || ::pipe(answers) != 0 ||
      ::dup2(answers[1], STDOUT_FILENO) < 0) {
    errs() << "pst-lsp-server: error: cannot make a pipe\n";
    return 1;
  }
  ::close(answers[1]);
  std::thread reader(passOn, answers[0], editor);
  bool failed = mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
  outs().flush();
  std::fflush(stdout);
  ::close(STDOUT_FILENO); // The last end to write to: the reader ends.
  reader.join();
  ::dup2(editor, STDOUT_FILENO);
  return failed;
}
