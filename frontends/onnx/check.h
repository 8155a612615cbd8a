// What a model's parts have to be before anything is made of them: versions, counts, attributes, sub-graphs.
#pragma once

#include <map>
#include <string>

#include "frontends/onnx/model.h"
#include "onnx-ml.pb.h"

namespace suan::onnx {

// By domain; "ai.onnx" is "". ValueError on two versions of one domain, on one below 1 and on one too new.
using Opsets = std::map<std::string, int64_t>;
Opsets opsets_of(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto>& imports);
std::string plain_domain(const std::string& domain);

// The model's own version, and that it imports operator sets.
void check_versions(const ::onnx::ModelProto& model, const Opsets& opsets);

// Attributes are said once and hold what their type says; counts of inputs and outputs, names and types of attributes
// are those of ONNX's schemas, where these list the operator. `n` has name, operator, domain and version.
void check_node(const ::onnx::NodeProto& p, const Node& n, bool in_function);

// That branches and bodies fit their node: numbers of inputs and outputs, declared types.
void check_sub_graphs(const Node& node);
// That a value is what the model says of it. Sizes are compared where asked for: many exporters write those of one
// example into outputs.
void check_declared(const Port& declared, const Value& value, const char* what, bool sizes = false);
// That a call's value is of the type and sizes that the input declares.
void check_input(const Port& declared, const Value& value);

// Node `reader` reads a value that none before it makes: says whether it comes later, in a circle, or never.
[[noreturn]] void fail_unknown(const google::protobuf::RepeatedPtrField<::onnx::NodeProto>& nodes, int reader,
                               const std::string& value);

}  // namespace suan::onnx
