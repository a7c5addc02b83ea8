//===- ConfigFile.cpp - config.json, with positions -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ConfigFile.h"
#include "WeightFiles.h"
#include "mlir/IR/MLIRContext.h"
#include "pst/Bundle/JsonText.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace pst;
using Json = nlohmann::json;

ConfigFile::ConfigFile(MLIRContext &context, StringRef path)
    : context(context), path(path) {}

ConfigFile::~ConfigFile() = default;

std::unique_ptr<ConfigFile> ConfigFile::read(MLIRContext &context,
                                             StringRef path) {
  std::unique_ptr<ConfigFile> file(new ConfigFile(context, path));
  try {
    file->contents = runtime::readFile(path.str());
  } catch (const runtime::Error &error) {
    (void)emitFileError(context, path, error.what());
    return nullptr;
  }
  if (nestsTooDeep(file->contents)) {
    file->error() << "not valid JSON: " << tooDeepMessage();
    return nullptr;
  }
  try {
    file->values = std::make_unique<Json>(Json::parse(file->contents));
  } catch (const Json::parse_error &error) {
    // "[json.exception...] parse error at line 3, column 5: what"
    StringRef what = error.what();
    size_t byte = error.byte == 0 ? 0 : error.byte - 1;
    emitError(file->locate(std::min(byte, file->contents.size())))
        << "not valid JSON: " << what.substr(what.find(": ") + 2);
    return nullptr;
  } catch (const Json::exception &error) {
    StringRef what = error.what();
    file->error() << "not valid JSON: " << what.substr(what.find("] ") + 2);
    return nullptr;
  }
  // The parser takes a zero byte for the end of the text.
  if (size_t zero = file->contents.find('\0'); zero != std::string::npos) {
    emitError(file->locate(zero)) << "not valid JSON: a zero byte";
    return nullptr;
  }
  if (!file->values->is_object()) {
    file->error() << "must be a JSON object, but is of type "
                  << file->values->type_name();
    return nullptr;
  }
  file->findKeys();
  return file;
}

/// Finds keys in a text that is known to be JSON.
void ConfigFile::findKeys() {
  // The keys whose objects or lists are open; the outermost object has none,
  // nor has what lies in a list.
  std::vector<std::string> open;
  std::string key;
  for (size_t i = 0; i < contents.size(); ++i) {
    char c = contents[i];
    if (c == '{' || c == '[')
      open.push_back(std::exchange(key, ""));
    if (c == '}' || c == ']')
      open.pop_back();
    if (c != '"')
      continue;
    size_t begin = i++;
    while (contents[i] != '"')
      i += contents[i] == '\\' ? 2 : 1;
    size_t next = contents.find_first_not_of(" \t\r\n", i + 1);
    if (contents[next] != ':')
      continue;
    key = Json::parse(contents.begin() + begin, contents.begin() + i + 1)
              .get<std::string>();
    if (open.size() == 1)
      positions.insert_or_assign(key, begin);
    else if (open.size() == 2)
      positions.insert_or_assign(open[1] + "." + key, begin);
  }
}

//===----------------------------------------------------------------------===//
// Positions and errors
//===----------------------------------------------------------------------===//

Location ConfigFile::locate(size_t byte) const {
  StringRef before = StringRef(contents).take_front(byte);
  size_t lineBegin = before.rfind('\n') + 1; // npos + 1 is 0
  return FileLineColLoc::get(&context, path, before.count('\n') + 1,
                             byte - lineBegin + 1);
}

InFlightDiagnostic ConfigFile::error(StringRef key) {
  hasFailed = true;
  auto found = positions.find(key);
  if (found == positions.end())
    found = positions.find(key.split('.').first);
  return emitError(locate(found == positions.end() ? 0 : found->second));
}

InFlightDiagnostic ConfigFile::error() {
  hasFailed = true;
  return emitError(FileLineColLoc::get(&context, path, 0, 0));
}

void ConfigFile::complain(StringRef key, const Twine &expected) {
  const Json *value = find(key);
  if (!value) {
    error(key) << "\"" << key << "\" is missing; it must be " << expected;
    return;
  }
  std::string found = value->dump();
  if (found.size() > 60)
    found = found.substr(0, 57) + "...";
  error(key) << "\"" << key << "\" must be " << expected << ", but is "
             << found;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

const Json *ConfigFile::find(StringRef key) const {
  auto in = [](const Json &object, StringRef name) -> const Json * {
    auto found = object.find(name.str());
    return found == object.end() || found->is_null() ? nullptr : &*found;
  };
  auto [outer, inner] = key.split('.');
  const Json *found = in(*values, outer);
  return !found || inner.empty() ? found : in(*found, inner);
}

bool ConfigFile::has(StringRef key) const { return find(key) != nullptr; }

bool ConfigFile::hasNull(StringRef key) const {
  return positions.contains(key) && !has(key);
}

int64_t ConfigFile::integer(StringRef key, int64_t low, int64_t high,
                            std::optional<int64_t> otherwise) {
  const Json *value = find(key);
  if (!value && otherwise)
    return *otherwise;
  // A number above 2^63 is unsigned, and would wrap.
  bool huge = value && value->is_number_unsigned() &&
              value->get<uint64_t>() > std::numeric_limits<int64_t>::max();
  if (value && value->is_number_integer() && !huge &&
      value->get<int64_t>() >= low && value->get<int64_t>() <= high)
    return value->get<int64_t>();
  complain(key, "a whole number from " + Twine(low) + " to " + Twine(high));
  return low;
}

double ConfigFile::positive(StringRef key, std::optional<double> otherwise) {
  const Json *value = find(key);
  if (!value && otherwise)
    return *otherwise;
  if (value && value->is_number() && value->get<double>() > 0.0)
    return value->get<double>();
  complain(key, "a number above 0");
  return otherwise.value_or(1.0);
}

double ConfigFile::probability(StringRef key, double otherwise) {
  const Json *value = find(key);
  if (!value)
    return otherwise;
  if (value->is_number() && value->get<double>() >= 0.0 &&
      value->get<double>() < 1.0)
    return value->get<double>();
  complain(key, "a probability in [0, 1)");
  return otherwise;
}

bool ConfigFile::boolean(StringRef key, bool otherwise) {
  const Json *value = find(key);
  if (!value)
    return otherwise;
  if (value->is_boolean())
    return value->get<bool>();
  complain(key, "true or false");
  return otherwise;
}

std::string ConfigFile::string(StringRef key, StringRef otherwise) {
  const Json *value = find(key);
  if (!value)
    return otherwise.str();
  if (value->is_string())
    return value->get<std::string>();
  complain(key, "a string");
  return otherwise.str();
}

std::vector<std::string> ConfigFile::strings(StringRef key) {
  const Json *value = find(key);
  if (!value)
    return {};
  if (value->is_array() &&
      llvm::all_of(*value, [](const Json &entry) { return entry.is_string(); }))
    return value->get<std::vector<std::string>>();
  complain(key, "a list of strings");
  return {};
}

bool ConfigFile::object(StringRef key) {
  const Json *value = find(key);
  if (value && !value->is_object())
    complain(key, "an object");
  return value && value->is_object();
}

int64_t ConfigFile::size(StringRef key) {
  const Json *value = find(key);
  if (!value)
    return 0;
  if (value->is_object() || value->is_array())
    return value->size();
  complain(key, "an object");
  return 0;
}
