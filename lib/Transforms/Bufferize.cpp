//===- Bufferize.cpp - How pst ops become ops on buffers ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Transforms/Bufferize.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "pst/Dialect/PST/PSTOps.h"

using namespace mlir;
using namespace mlir::bufferization;
using namespace pst;

static MemRefType bufferTypeOf(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  return MemRefType::get(type.getShape(), type.getElementType());
}

namespace {

/// pst.load -> pst.buffer. Only a gradient may be written through the value:
/// `pst.accumulate` adds in place.
struct LoadModel : BufferizableOpInterface::ExternalModel<LoadModel, LoadOp> {
  AliasingOpOperandList getAliasingOpOperands(Operation *, Value,
                                              const AnalysisState &) const {
    return {};
  }
  bool isWritable(Operation *op, Value, const AnalysisState &) const {
    auto load = cast<LoadOp>(op);
    return load.getPart() == Part::Gradient || load.getUpdate();
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &,
                          BufferizationState &) const {
    auto load = cast<LoadOp>(op);
    replaceOpWithNewBufferizedOp<BufferOp>(
        rewriter, op, bufferTypeOf(load.getResult()), load.getParameterAttr(),
        load.getPartAttr());
    return success();
  }
};

/// pst.space on tensors -> pst.space on buffers, written in place.
struct SpaceModel
    : BufferizableOpInterface::ExternalModel<SpaceModel, SpaceOp> {
  AliasingOpOperandList getAliasingOpOperands(Operation *, Value,
                                              const AnalysisState &) const {
    return {};
  }
  bool isWritable(Operation *, Value, const AnalysisState &) const {
    return true;
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &,
                          BufferizationState &) const {
    auto space = cast<SpaceOp>(op);
    replaceOpWithNewBufferizedOp<SpaceOp>(
        rewriter, op, bufferTypeOf(space.getResult()), space.getSpaceAttr());
    return success();
  }
};

/// pst.store -> a copy to the parameter's buffer.
struct StoreModel
    : BufferizableOpInterface::ExternalModel<StoreModel, StoreOp> {
  bool bufferizesToMemoryRead(Operation *, OpOperand &,
                              const AnalysisState &) const {
    return true;
  }
  bool bufferizesToMemoryWrite(Operation *, OpOperand &,
                               const AnalysisState &) const {
    return false;
  }
  AliasingValueList getAliasingValues(Operation *, OpOperand &,
                                      const AnalysisState &) const {
    return {};
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto store = cast<StoreOp>(op);
    FailureOr<Value> source =
        getBuffer(rewriter, store.getValue(), options, state);
    if (failed(source))
      return failure();
    Value target = BufferOp::create(
        rewriter, op->getLoc(), bufferTypeOf(store.getValue()),
        store.getParameterAttr(), PartAttr::get(op->getContext(), Part::Value));
    memref::CopyOp::create(rewriter, op->getLoc(), *source, target);
    rewriter.eraseOp(op);
    return success();
  }
};

/// pst.launch on tensors -> pst.launch on buffers. Kernels take buffers of
/// identity layout, so a strided view is copied first.
struct LaunchModel
    : DstBufferizableOpInterfaceExternalModel<LaunchModel, LaunchOp> {
  /// The result that an output is, or none. The analysis asks for it more often
  /// than for anything else, and DestinationStyleOpInterface makes an attribute
  /// to answer.
  static OpResult resultOf(Operation *op, OpOperand &operand) {
    auto launch = cast<LaunchOp>(op);
    size_t inputs = launch.getInputs().size();
    size_t number = operand.getOperandNumber();
    return number < inputs ? OpResult() : op->getResult(number - inputs);
  }
  bool bufferizesToMemoryWrite(Operation *op, OpOperand &operand,
                               const AnalysisState &) const {
    return static_cast<bool>(resultOf(op, operand));
  }
  AliasingValueList getAliasingValues(Operation *op, OpOperand &operand,
                                      const AnalysisState &) const {
    if (OpResult result = resultOf(op, operand))
      return {{result, BufferRelation::Equivalent}};
    return {};
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto launch = cast<LaunchOp>(op);
    SmallVector<Value> inputs, outputs, results;
    for (Value input : launch.getInputs()) {
      if (!isa<TensorType>(input.getType())) {
        inputs.push_back(input);
        continue;
      }
      FailureOr<Value> buffer = getBuffer(rewriter, input, options, state);
      if (failed(buffer))
        return failure();
      if (!cast<MemRefType>(buffer->getType()).getLayout().isIdentity()) {
        Value packed = memref::AllocOp::create(rewriter, op->getLoc(),
                                               bufferTypeOf(input));
        memref::CopyOp::create(rewriter, op->getLoc(), *buffer, packed);
        buffer = packed;
      }
      inputs.push_back(*buffer);
    }
    for (Value output : launch.getOutputs()) {
      FailureOr<Value> buffer = getBuffer(rewriter, output, options, state);
      if (failed(buffer))
        return failure();
      if (!cast<MemRefType>(buffer->getType()).getLayout().isIdentity())
        return launch.emitOpError("cannot write to a strided destination ")
               << buffer->getType();
      outputs.push_back(*buffer);
    }
    LaunchOp::create(rewriter, op->getLoc(), TypeRange{}, launch.getKernel(),
                     inputs, outputs, launch.getWorkspace());
    replaceOpWithBufferizedValues(rewriter, op, outputs);
    return success();
  }
};

} // namespace

void pst::registerBufferization(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, PSTDialect *) {
    LoadOp::attachInterface<LoadModel>(*context);
    SpaceOp::attachInterface<SpaceModel>(*context);
    StoreOp::attachInterface<StoreModel>(*context);
    LaunchOp::attachInterface<LaunchModel>(*context);
  });
}
