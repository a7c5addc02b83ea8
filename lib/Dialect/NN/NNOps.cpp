//===- NNOps.cpp - Verifiers of the nn dialect ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/NN/NNOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"
#include "pst/Dialect/NN/NNPacking.h"

using namespace mlir;
using namespace pst::nn;

/// Types of an attention: `query, mask`, or `query, key, mask` where the keys
/// have another type than the query.
static ParseResult parseAttentionTypes(OpAsmParser &parser, Type &query,
                                       Type &key, Type &mask) {
  if (parser.parseType(query) || parser.parseComma() || parser.parseType(key))
    return failure();
  if (succeeded(parser.parseOptionalComma()))
    return parser.parseType(mask);
  mask = std::exchange(key, query);
  return success();
}

static void printAttentionTypes(OpAsmPrinter &printer, Operation *, Type query,
                                Type key, Type mask) {
  printer << query << ", ";
  if (key != query)
    printer << key << ", ";
  printer << mask;
}

#define GET_OP_CLASSES
#include "pst/Dialect/NN/NNOps.cpp.inc"

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Checks that `value` has the shape that the other operands ask for.
static LogicalResult verifyShape(Operation *op, StringRef what, Value value,
                                 ArrayRef<int64_t> shape) {
  RankedTensorType type = typeOf(value);
  if (type.getShape() == shape)
    return success();
  return op->emitOpError("must have ")
         << what << " of type "
         << RankedTensorType::get(shape, type.getElementType()) << ", but got "
         << type;
}

/// Checks that `length` divides the rows of `tokens` and fits the table, which
/// the message calls `what`.
static LogicalResult verifyPositions(Operation *op, int64_t first,
                                     int64_t length, Value tokens, Value ids,
                                     StringRef what, Value table) {
  int64_t rows = typeOf(tokens).getDimSize(0);
  if (length <= 0 || rows % length != 0) // (C1)
    return op->emitOpError("length must be positive and divide the ")
           << rows << " tokens, but got " << length;
  if (first < 0) // (C1)
    return op->emitOpError("first must not be negative, but got ") << first;
  if (first + length > typeOf(table).getDimSize(0)) { // (C1)
    InFlightDiagnostic error =
        op->emitOpError(first ? "first and length together must be at most the "
                              : "length must be at most the ");
    return error << typeOf(table).getDimSize(0) << " rows of the " << what
                 << ", but got " << first + length;
  }
  if (typeOf(tokens).getDimSize(1) != typeOf(table).getDimSize(1)) // (C2)
    return op->emitOpError("must have a ")
           << what << " of " << typeOf(tokens).getDimSize(1)
           << " columns, as the tokens have, but got " << typeOf(table);
  if (!ids)
    return success();
  if (first == 0) // (C3)
    return op->emitOpError("with ids, first must be positive: the id before it "
                           "is padding");
  return verifyShape(op, "ids", ids, {rows / length, length}); // (C3)
}

/// Checks that `rows` (called `what`) has a row of the table for each index.
static LogicalResult verifyEmbedding(Operation *op, Value indices,
                                     StringRef what, Value rows, Value table) {
  return verifyShape(
      op, what, rows,
      {typeOf(indices).getNumElements(), typeOf(table).getDimSize(1)}); // (C1)
}

/// Checks that a weight of i8, and no other, has a scale for each row.
static LogicalResult verifyScales(Operation *op, StringRef what, Value weight,
                                  Value scales) {
  RankedTensorType type = typeOf(weight);
  bool isScaled = type.getElementType().isInteger(8);
  if (!isScaled && scales)
    return op->emitOpError("must have no scales of a ")
           << what << " that is not i8, but has those of " << type;
  if (isScaled &&
      (!scales || typeOf(scales).getDimSize(0) != type.getDimSize(0))) {
    InFlightDiagnostic error = op->emitOpError("must have ")
                               << type.getDimSize(0)
                               << " scales, one for each row of the " << what
                               << ", which is " << type << ", but got ";
    return scales ? error << scales.getType() : error << "none";
  }
  return success();
}

static LogicalResult verifyProbability(Operation *op, double probability) {
  if (probability >= 0.0 && probability < 1.0)
    return success();
  return op->emitOpError("probability must be in [0, 1), but got ")
         << probability;
}

LogicalResult pst::nn::verifyDroppedRows(Operation *op, RankedTensorType matrix,
                                         std::optional<int64_t> length) {
  int64_t rows = matrix.getDimSize(0), columns = matrix.getDimSize(1);
  if (length && (*length <= 0 || rows % *length != 0))
    return op->emitOpError("must have a length of its dropout that is positive "
                           "and divides the ")
           << rows << " rows, but got " << *length;
  int64_t positions = length.value_or(rows);
  if (columns > 0 && positions > (int64_t(1) << 32) / columns)
    return op->emitOpError("drops out sequences of ")
           << positions << " rows of " << columns
           << ", but 2^32 elements is the most";
  return success();
}

/// Keys and values of heads as wide as the query's.
static LogicalResult verifyKeyHeads(Operation *op, RankedTensorType query,
                                    RankedTensorType key, int64_t heads) {
  int64_t width = query.getDimSize(1) / heads;
  int64_t keyHeads = width ? key.getDimSize(1) / width : 0;
  if (keyHeads == 0 || key.getDimSize(1) % width != 0 ||
      heads % keyHeads != 0 || key.getElementType() != query.getElementType())
    return op->emitOpError("must have keys of heads of ")
           << width << " columns of " << query.getElementType()
           << ", as the query has, whose number divides " << heads
           << ", but got " << key;
  return success();
}

/// For the op and its backward.
template <typename OpT> static LogicalResult verifyAttention(OpT op) {
  RankedTensorType query = typeOf(op.getQuery()), key = typeOf(op.getKey()),
                   mask = typeOf(op.getMask());
  for (RankedTensorType type : {query, key}) // (C1)
    if (type.getDimSize(0) != mask.getNumElements())
      return op.emitOpError("has ")
             << type.getDimSize(0) << " tokens, but the mask " << mask
             << " has " << mask.getNumElements();
  int64_t heads = op.getHeads();
  if (heads <= 0 || query.getDimSize(1) % heads != 0) // (C2)
    return op.emitOpError("heads must be positive and divide the ")
           << query.getDimSize(1) << " columns, but got " << heads;
  if (static_cast<bool>(op.getSeed()) != op.getProbability().has_value() ||
      static_cast<bool>(op.getSeed()) != op.getSite().has_value()) // (C3)
    return op.emitOpError("must have a seed, a probability and a site, or none "
                          "of them");
  if (op.getSeed() && mask.getDimSize(1) > kMostDroppedPositions) // (C3)
    return op.emitOpError("drops out at most ")
           << kMostDroppedPositions << " positions, but the mask " << mask
           << " has more";
  if (failed(verifyKeyHeads(op, query, key, heads))) // (C4)
    return failure();
  if (std::optional<int64_t> window = op.getWindow();
      window && (*window <= 0 || !op.getCausal())) // (C5)
    return op.emitOpError("window must be positive, and of causal attention, "
                          "but got ")
           << *window << (op.getCausal() ? "" : " without 'causal'");
  std::optional<APFloat> probability = op.getProbability();
  return probability ? verifyProbability(op, probability->convertToDouble())
                     : success();
}

static LogicalResult verifySelectToken(Operation *op, Value tokens, Value rows,
                                       Value mask,
                                       std::optional<int64_t> index) {
  RankedTensorType all = typeOf(tokens), some = typeOf(rows);
  if (all.getDimSize(1) != some.getDimSize(1) || some.getDimSize(0) == 0 ||
      all.getDimSize(0) % some.getDimSize(0) != 0 ||
      all.getElementType() != some.getElementType()) // (C1)
    return op->emitOpError("must take one row for each sequence of ")
           << all << ", of " << all.getDimSize(1) << " columns of "
           << all.getElementType() << " and a number that divides "
           << all.getDimSize(0) << ", but got " << some;
  int64_t length = all.getDimSize(0) / some.getDimSize(0);
  if (!mask == !index) // (C3)
    return op->emitOpError("must have either an index or a mask");
  if (mask)
    return verifyShape(op, "a mask", mask,
                       {some.getDimSize(0), length}); // (C3)
  if (*index < 0 || *index >= length)                 // (C2)
    return op->emitOpError("index must be in [0, ")
           << length << "), the tokens of a sequence, but got " << *index;
  return success();
}

static LogicalResult verifyLoss(Operation *op, Value rows, Value labels,
                                bool classes) {
  RankedTensorType type = typeOf(labels);
  Type element = classes ? Type(IntegerType::get(op->getContext(), 32))
                         : Type(Float32Type::get(op->getContext()));
  auto expected = RankedTensorType::get({typeOf(rows).getDimSize(0)}, element);
  if (type != expected) // (C1)
    return op->emitOpError("must have labels of type ")
           << expected << ", but got " << type;
  if (!classes && typeOf(rows).getDimSize(1) != 1) // (C2)
    return op->emitOpError("must have predictions of one column, but got ")
           << typeOf(rows);
  return success();
}

LogicalResult EmbeddingOp::verify() {
  if (failed(verifyEmbedding(*this, getIndices(), "a result", getResult(),
                             getTable())))
    return failure();
  return verifyScales(*this, "table", getTable(), getScales()); // (C2)
}

LogicalResult EmbeddingBackwardOp::verify() {
  return verifyEmbedding(*this, getIndices(), "a gradient", getGradient(),
                         getResult());
}

LogicalResult AddPositionsOp::verify() {
  if (failed(verifyPositions(*this, getFirst(), getLength(), getInput(),
                             getIds(), "table", getTable())))
    return failure();
  return verifyScales(*this, "table", getTable(), getScales()); // (C4)
}

LogicalResult PositionSumOp::verify() {
  return verifyPositions(*this, getFirst(), getLength(), getInput(), getIds(),
                         "result", getResult());
}

LogicalResult LinearOp::verify() {
  int64_t n = typeOf(getWeight()).getDimSize(0);
  int64_t m = typeOf(getWeight()).getDimSize(1);
  if (getTransposed())
    std::swap(n, m);
  int64_t tokens = typeOf(getInput()).getDimSize(0);
  if (failed(verifyShape(*this, "an input", getInput(), {tokens, m})) ||
      failed(verifyShape(*this, "a result", getResult(), {tokens, n})))
    return failure(); // (C1)
  if (typeOf(getInput()).getEncoding() !=
      typeOf(getResult()).getEncoding()) // (C3)
    return emitOpError("must have both input and result packed alike, but "
                       "makes ")
           << getResult().getType() << " of " << getInput().getType();
  return getBias() ? verifyShape(*this, "a bias", getBias(), {n}) // (C2)
                   : success();
}

LogicalResult MatmulOp::verify() {
  ArrayRef<int64_t> a = typeOf(getLhs()).getShape();
  ArrayRef<int64_t> b = typeOf(getRhs()).getShape();
  int64_t m = a[getTransposeLhs() ? 1 : 0], k = a[getTransposeLhs() ? 0 : 1];
  int64_t kb = b[getTransposeRhs() ? 1 : 0], n = b[getTransposeRhs() ? 0 : 1];
  if (k != kb) // (C1)
    return emitOpError("sums over ")
           << k << " elements on the left, but over " << kb << " on the right";
  return verifyShape(*this, "a result", getResult(), {m, n});
}

LogicalResult ColumnSumOp::verify() {
  return verifyShape(*this, "a result", getResult(),
                     {typeOf(getInput()).getDimSize(1)});
}

LogicalResult DropoutOp::verify() {
  if (getToken() && (getLength() || int64_t(*getToken()) < 0)) // (C2)
    return emitOpError("must have a token that is not negative, and no length "
                       "beside it, but has token ")
           << int64_t(*getToken());
  if (getToken() && getPacked(getType())) // (C3)
    return emitOpError("has rows that are a token each, which are not packed");
  if (!getToken() && failed(verifyDroppedRows(*this, getType(), getLength())))
    return failure(); // (C2), (C4)
  return verifyProbability(*this, getProbability().convertToDouble());
}

OpFoldResult DropoutOp::fold(FoldAdaptor) {
  return getProbability().isZero() ? getInput() : Value();
}

static LogicalResult verifyNorm(Operation *op, Value input, Value scale,
                                const APFloat &epsilon) {
  if (failed(verifyShape(op, "a scale", scale,
                         {typeOf(input).getDimSize(1)}))) // (C1)
    return failure();
  if (epsilon.convertToDouble() > 0.0) // (C2)
    return success();
  return op->emitOpError("epsilon must be positive, but got ")
         << epsilon.convertToDouble();
}

LogicalResult LayerNormOp::verify() {
  return verifyNorm(*this, getInput(), getScale(), getEpsilon());
}

template <typename OpT> static LogicalResult verifyNormBackward(OpT op) {
  if (failed(verifyNorm(op, op.getInput(), op.getScale(), op.getEpsilon())))
    return failure();
  for (auto [what, value] :
       {std::pair<StringRef, Value>("an addend", op.getAddend()),
        {"what is dropped out", op.getDropped()}})
    if (value && value.getType() != op.getInput().getType()) // (C3)
      return op.emitOpError("must have ")
             << what << " of the input's type " << op.getInput().getType()
             << ", but got " << value.getType();
  bool drops = static_cast<bool>(op.getSeed());
  if (drops != op.getProbability().has_value() ||
      drops != op.getSite().has_value() ||
      drops != static_cast<bool>(op.getDropped())) // (C4)
    return op.emitOpError("must have a seed, a probability, a site and a "
                          "result of its dropout, or none of them");
  if (op.getLength() && !drops) // (C4)
    return op.emitOpError("must have a length with a dropout alone");
  if (drops &&
      failed(verifyDroppedRows(op, typeOf(op.getInput()), op.getLength())))
    return failure(); // (C4)
  return drops ? verifyProbability(op, op.getProbability()->convertToDouble())
               : success(); // (C4)
}

LogicalResult LayerNormBackwardOp::verify() {
  return verifyNormBackward(*this);
}

LogicalResult RMSNormOp::verify() {
  return verifyNorm(*this, getInput(), getScale(), getEpsilon());
}

LogicalResult RMSNormBackwardOp::verify() { return verifyNormBackward(*this); }

LogicalResult RotaryTableOp::verify() {
  RankedTensorType result = typeOf(getResult());
  if (failed(verifyShape(*this, "a result", getResult(),
                         {result.getDimSize(0),
                          2 * typeOf(getFrequencies()).getDimSize(0)}))) // (C1)
    return failure();
  return getPositions() ? verifyShape(*this, "positions", getPositions(),
                                      {result.getDimSize(0), 1}) // (C2)
                        : success();
}

LogicalResult RotaryOp::verify() {
  RankedTensorType input = typeOf(getInput()), table = typeOf(getTable());
  int64_t length = table.getDimSize(0), width = table.getDimSize(1);
  if (length == 0 || input.getDimSize(0) % length != 0) // (C1)
    return emitOpError("must have a table whose rows divide the ")
           << input.getDimSize(0) << " tokens, but got " << table;
  if (width == 0 || width % 2 != 0 || input.getDimSize(1) % width != 0) // (C2)
    return emitOpError("must have a table whose columns are even and divide "
                       "the input's ")
           << input.getDimSize(1) << ", but got " << table;
  return success();
}

LogicalResult AttentionOp::verify() { return verifyAttention(*this); }

LogicalResult AttentionBackwardOp::verify() { return verifyAttention(*this); }

LogicalResult CacheRowsOp::verify() {
  RankedTensorType input = typeOf(getInput()), cache = typeOf(getCache());
  if (failed(verifyShape(*this, "sequences", getSequences(),
                         {input.getDimSize(0), 1}))) // (C1)
    return failure();
  if (input.getDimSize(1) != cache.getDimSize(1)) // (C2)
    return emitOpError("must have a cache of ")
           << input.getDimSize(1) << " columns, as the input has, but got "
           << cache;
  return success();
}

LogicalResult CachedAttentionOp::verify() {
  RankedTensorType query = typeOf(getQuery());
  if (failed(verifyShape(*this, "sequences", getSequences(),
                         {query.getDimSize(0), 1}))) // (C1)
    return failure();
  int64_t heads = getHeads();
  if (heads <= 0 || query.getDimSize(1) % heads != 0) // (C2)
    return emitOpError("heads must be positive and divide the ")
           << query.getDimSize(1) << " columns, but got " << heads;
  if (getWindow() && *getWindow() <= 0) // (C4)
    return emitOpError("window must be positive, but got ") << *getWindow();
  return verifyKeyHeads(*this, query, typeOf(getKeys()), heads); // (C3)
}

LogicalResult SelectTokenOp::verify() {
  return verifySelectToken(*this, getInput(), getResult(), getMask(),
                           getIndex());
}

LogicalResult SelectTokenBackwardOp::verify() {
  return verifySelectToken(*this, getResult(), getGradient(), getMask(),
                           getIndex());
}

/// One for each column of the logits, if there are any.
template <typename OpT> static LogicalResult verifyClassWeights(OpT op) {
  int64_t classes = typeOf(op.getLogits()).getDimSize(1);
  if (!op.getWeights() || typeOf(op.getWeights()).getDimSize(0) == classes)
    return success();
  return op.emitOpError("must have ")
         << classes << " weights, one for each column of the logits, but got "
         << typeOf(op.getWeights());
}

template <typename OpT> static LogicalResult verifyCrossEntropy(OpT op) {
  RankedTensorType labels = typeOf(op.getLabels());
  int64_t rows = typeOf(op.getLogits()).getDimSize(0);
  if (labels.getRank() == 2 && labels.getNumElements() != rows) // (C1)
    return op.emitOpError("must have ")
           << rows << " labels, one for each row of the logits, but got "
           << labels;
  if (labels.getRank() == 1 &&
      failed(verifyLoss(op, op.getLogits(), op.getLabels(), /*classes=*/true)))
    return failure();
  if (!op.getWeights() != !op.getSmoothing()) // (C3)
    return op.emitOpError("must have both weights and smoothing, or neither");
  return verifyClassWeights(op); // (C2)
}

LogicalResult CrossEntropyOp::verify() { return verifyCrossEntropy(*this); }

static LogicalResult verifyVocabulary(Operation *op, Value input, Value weight,
                                      Value labels) {
  auto x = cast<RankedTensorType>(input.getType());
  auto w = cast<RankedTensorType>(weight.getType());
  int64_t count = cast<RankedTensorType>(labels.getType()).getNumElements();
  if (count != x.getDimSize(0)) // (C1)
    return op->emitOpError("must have ")
           << x.getDimSize(0) << " labels, one for each row of the input, but "
           << "got " << count;
  if (w.getDimSize(1) != x.getDimSize(1)) // (C2)
    return op->emitOpError("must have a weight of ")
           << x.getDimSize(1) << " columns, as the input has, but got " << w;
  return success();
}

LogicalResult LinearCrossEntropyOp::verify() {
  if (failed(verifyVocabulary(*this, getInput(), getWeight(), getLabels())))
    return failure();
  return verifyScales(*this, "weight", getWeight(), getScales()); // (C3)
}

LogicalResult LinearCrossEntropyBackwardOp::verify() {
  if (failed(verifyVocabulary(*this, getInput(), getWeight(), getLabels())))
    return failure();
  Value gradient = getWeightGradient();
  if (gradient && typeOf(getWeight()).getElementType().isBF16()) // (C2)
    return emitOpError("has no gradient of a weight of bf16, which is only "
                       "read, but is asked for one");
  if (gradient && gradient.getType() != getWeight().getType()) // (C2)
    return emitOpError("must have a weight's gradient of type ")
           << getWeight().getType() << ", but got " << gradient.getType();
  return success();
}

LogicalResult CrossEntropyBackwardOp::verify() {
  return verifyCrossEntropy(*this);
}

LogicalResult SquaredErrorOp::verify() {
  return verifyLoss(*this, getPredictions(), getLabels(), /*classes=*/false);
}

LogicalResult SquaredErrorBackwardOp::verify() {
  return verifyLoss(*this, getPredictions(), getLabels(), /*classes=*/false);
}

template <typename OpT> static LogicalResult verifyBinaryCrossEntropy(OpT op) {
  RankedTensorType logits = typeOf(op.getLogits());
  if (typeOf(op.getLabels()).getShape() != logits.getShape()) // (C1)
    return op.emitOpError("must have labels of the logits' shape, as in ")
           << logits << ", but got " << typeOf(op.getLabels());
  return verifyClassWeights(op); // (C2)
}

LogicalResult BinaryCrossEntropyOp::verify() {
  return verifyBinaryCrossEntropy(*this);
}

LogicalResult BinaryCrossEntropyBackwardOp::verify() {
  return verifyBinaryCrossEntropy(*this);
}

template <typename OpT> static LogicalResult verifyDistillation(OpT op) {
  RankedTensorType logits = typeOf(op.getLogits());
  if (typeOf(op.getTeacher()).getShape() == logits.getShape()) // (C1)
    return success();
  return op.emitOpError("must have a teacher's logits of the logits' shape, as "
                        "in ")
         << logits << ", but got " << typeOf(op.getTeacher());
}

LogicalResult DistillationLossOp::verify() { return verifyDistillation(*this); }

LogicalResult DistillationLossBackwardOp::verify() {
  return verifyDistillation(*this);
}
