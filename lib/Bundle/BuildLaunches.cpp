//===- BuildLaunches.cpp - The launches of an entry point -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/BuildLaunches.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/IR/Matchers.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Dialect/PST/StageAttributes.h"

using namespace mlir;
using namespace pst;

/// The value of a constant of index type; an error at `user` if it is none.
static FailureOr<int64_t> constant(Value value, Operation *user) {
  APInt number;
  if (matchPattern(value, m_ConstantInt(&number)))
    return number.getSExtValue();
  return user->emitOpError(
      "depends on a size that is not constant: an entry point for a GPU is a "
      "list of launches that are known beforehand");
}

/// Where a buffer begins: an argument of the entry point, or a view of one at
/// constant places.
static FailureOr<Place> placeOf(Value buffer, Operation *user) {
  if (auto argument = dyn_cast<BlockArgument>(buffer))
    return Place{argument.getArgNumber(), 0};
  Operation *definition = buffer.getDefiningOp();
  if (auto view = dyn_cast<memref::ViewOp>(definition)) {
    FailureOr<Place> place = placeOf(view.getSource(), user);
    FailureOr<int64_t> shift = constant(view.getByteShift(), view);
    if (failed(place) || failed(shift))
      return failure();
    return Place{place->argument, place->offset + *shift};
  }
  if (isa<memref::CastOp, memref::CollapseShapeOp, memref::ExpandShapeOp>(
          definition))
    return placeOf(definition->getOperand(0), user);
  if (auto shape = dyn_cast<memref::ReinterpretCastOp>(definition)) {
    auto source = dyn_cast<MemRefType>(shape.getSource().getType());
    if (source && source.getLayout().isIdentity() &&
        shape.getType().getLayout().isIdentity())
      return placeOf(shape.getSource(), user);
  }
  if (auto part = dyn_cast<memref::SubViewOp>(definition)) {
    FailureOr<Place> place = placeOf(part.getSource(), user);
    int64_t from, to;
    SmallVector<int64_t> strides;
    if (succeeded(place) &&
        succeeded(part.getSourceType().getStridesAndOffset(strides, from)) &&
        succeeded(part.getType().getStridesAndOffset(strides, to)) &&
        !ShapedType::isDynamic(from) && !ShapedType::isDynamic(to))
      return Place{place->argument,
                   place->offset + (to - from) *
                                       part.getType().getElementTypeBitWidth() /
                                       8};
  }
  return user->emitOpError("has an operand in no place that is known "
                           "beforehand: it comes from '")
         << definition->getName() << "'";
}

static FailureOr<ElementType> elementType(Type type, Operation *user) {
  if (type.isF32())
    return ElementType::f32;
  if (type.isBF16())
    return ElementType::bf16;
  return user->emitOpError("makes a tensor map of elements of type ")
         << type << ": f32 and bf16 are known";
}

static int64_t swizzleBytes(nvgpu::TensorMapSwizzleKind kind) {
  switch (kind) {
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_NONE:
    return 0;
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_32B:
    return 32;
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_64B:
    return 64;
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_128B:
    return 128;
  }
  llvm_unreachable("unknown swizzle");
}

static FailureOr<LaunchArgument>
tensorMap(nvgpu::TmaCreateDescriptorOp descriptor) {
  auto cast = descriptor.getTensor().getDefiningOp<memref::CastOp>();
  auto type =
      cast ? dyn_cast<MemRefType>(cast.getSource().getType()) : MemRefType();
  SmallVector<int64_t> strides;
  int64_t offset;
  if (!type || !type.hasStaticShape() ||
      failed(type.getStridesAndOffset(strides, offset)) ||
      llvm::any_of(strides, ShapedType::isDynamic) || strides.empty() ||
      strides.back() != 1)
    return descriptor.emitOpError("must be of a buffer of constant shape and "
                                  "strides, adjacent in the innermost");
  LaunchArgument argument;
  argument.kind = LaunchArgument::Kind::map;
  argument.bytes = 128;
  FailureOr<Place> place = placeOf(cast.getSource(), descriptor);
  FailureOr<ElementType> element =
      elementType(type.getElementType(), descriptor);
  if (failed(place) || failed(element))
    return failure();
  argument.place = *place;
  argument.map.element = *element;
  argument.map.shape = type.getShape().vec();
  for (int64_t stride : ArrayRef(strides).drop_back())
    argument.map.strides.push_back(stride * byteSize(*element));
  for (Value size : descriptor.getBoxDimensions()) {
    FailureOr<int64_t> box = constant(size, descriptor);
    if (failed(box))
      return failure();
    argument.map.box.push_back(*box);
  }
  argument.map.swizzle =
      swizzleBytes(descriptor.getTensorMap().getType().getSwizzle());
  return argument;
}

static FailureOr<LaunchArgument> argumentOf(Value operand,
                                            gpu::LaunchFuncOp launch) {
  if (auto cast = operand.getDefiningOp<UnrealizedConversionCastOp>())
    operand = cast.getOperand(0); // as -pst-lower-tensor-maps leaves it
  if (auto map = operand.getDefiningOp<nvgpu::TmaCreateDescriptorOp>())
    return tensorMap(map);
  LaunchArgument argument;
  if (isa<MemRefType>(operand.getType())) {
    FailureOr<Place> place = placeOf(operand, launch);
    if (failed(place))
      return failure();
    argument.place = *place;
    return argument;
  }
  argument.kind = LaunchArgument::Kind::value;
  TypedAttr value;
  if (!matchPattern(operand, m_Constant(&value)))
    return launch.emitOpError("has the operand ")
           << operand << ", which is no constant";
  bool isIndex = isa<IndexType>(operand.getType());
  argument.bytes = isIndex ? 8 : operand.getType().getIntOrFloatBitWidth() / 8;
  if (auto number = dyn_cast<FloatAttr>(value))
    argument.bits = number.getValue().bitcastToAPInt().getZExtValue();
  else
    argument.bits = cast<IntegerAttr>(value).getValue().getZExtValue();
  return argument;
}

static LogicalResult extent(Launch::Extent &extent, gpu::KernelDim3 sizes,
                            Operation *user) {
  for (auto [target, size] :
       llvm::zip(extent, std::array<Value, 3>{sizes.x, sizes.y, sizes.z})) {
    FailureOr<int64_t> number = constant(size, user);
    if (failed(number))
      return failure();
    target = *number;
  }
  return success();
}

static FailureOr<Launch> launchOf(gpu::LaunchFuncOp op) {
  Launch launch;
  launch.kernel = op.getKernelName().str();
  if (failed(extent(launch.grid, op.getGridSizeOperandValues(), op)) ||
      failed(extent(launch.block, op.getBlockSizeOperandValues(), op)))
    return failure();
  if (Value shared = op.getDynamicSharedMemorySize()) {
    FailureOr<int64_t> bytes = constant(shared, op);
    if (failed(bytes))
      return failure();
    launch.sharedBytes = *bytes;
  }
  if (auto name = op->getAttrOfType<StringAttr>(kOpAttribute))
    launch.op = name.str();
  if (auto flops = op->getAttrOfType<IntegerAttr>(kFlopsAttribute))
    launch.flops = flops.getInt();
  if (auto bytes = op->getAttrOfType<IntegerAttr>(kBytesAttribute))
    launch.bytes = bytes.getInt();
  for (Value operand : op.getKernelOperands()) {
    FailureOr<LaunchArgument> argument = argumentOf(operand, op);
    if (failed(argument))
      return failure();
    launch.arguments.push_back(*argument);
  }
  return launch;
}

static FailureOr<Launch> copyOf(memref::CopyOp op) {
  auto from = dyn_cast<MemRefType>(op.getSource().getType());
  auto to = dyn_cast<MemRefType>(op.getTarget().getType());
  if (!from || !to || !from.hasStaticShape() ||
      !from.areTrailingDimsContiguous(from.getRank()) ||
      !to.areTrailingDimsContiguous(to.getRank()))
    return op.emitOpError("copies what is not contiguous, or of no constant "
                          "shape");
  FailureOr<Place> source = placeOf(op.getSource(), op),
                   target = placeOf(op.getTarget(), op);
  if (failed(source) || failed(target))
    return failure();
  Launch copy;
  copy.copyBytes = from.getNumElements() * from.getElementTypeBitWidth() / 8;
  copy.arguments.resize(2);
  copy.arguments[0].place = *target;
  copy.arguments[1].place = *source;
  return copy;
}

FailureOr<std::vector<Launch>> pst::buildLaunches(func::FuncOp entry) {
  if (!entry.getBody().hasOneBlock())
    return entry.emitOpError("is no straight list of launches");
  std::vector<Launch> launches;
  for (Operation &op : entry.front()) {
    FailureOr<Launch> launch = failure();
    if (auto kernel = dyn_cast<gpu::LaunchFuncOp>(op))
      launch = launchOf(kernel);
    else if (auto copy = dyn_cast<memref::CopyOp>(op))
      launch = copyOf(copy);
    else if (isa<func::ReturnOp, arith::ConstantOp, memref::ViewOp,
                 memref::CastOp, memref::CollapseShapeOp, memref::ExpandShapeOp,
                 memref::ReinterpretCastOp, memref::SubViewOp,
                 nvgpu::TmaCreateDescriptorOp, UnrealizedConversionCastOp>(op))
      continue; // of use to launches only
    else
      return op.emitOpError("in an entry point for a GPU, which may only "
                            "launch kernels");
    if (failed(launch))
      return failure();
    launches.push_back(std::move(*launch));
  }
  return launches;
}
