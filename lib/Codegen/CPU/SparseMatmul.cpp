//===- SparseMatmul.cpp - The product with a compressed weight ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SparseMatmul.h"
#include "KernelContext.h"
#include "ProductEpilogue.h"
#include "SparseFewRows.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;
using llvm::alignTo;
using llvm::divideCeil;

static int64_t dim(Value value, unsigned i) {
  return cast<ShapedType>(value.getType()).getDimSize(i);
}

SparseBlocking::SparseBlocking(Value input, Value result, int64_t lanes)
    : tokens(dim(result, 0)), layout{dim(result, 1), dim(input, 1)},
      lanes(std::min(lanes, CompressedLayout::kSlack)),
      panelTokens(std::min<int64_t>(64, alignTo(tokens, this->lanes))) {}

int64_t SparseBlocking::parts() const {
  constexpr int64_t kTasks = 8;
  return std::min<int64_t>(layout.groups(),
                           divideCeil(kTasks, std::min(kTasks, panels())));
}

int64_t SparseBlocking::packedStride() const {
  // Packing writes as much behind a panel.
  int64_t depth = alignTo(std::min(k(), kPackedDepth), GemmBlocking::kUnroll);
  return depth * panelTokens + lanes;
}

namespace {

/// A part of the depth of a panel of X, transposed.
struct PackedPart {
  Value buffer, base, depth;
};

/// Multiplies one panel of X by the cells of some groups of rows.
class PanelProduct {
public:
  PanelProduct(KernelBuilder &b, const SparseBlocking &s, Value count,
               const CellElements &elements, const Epilogue &epilogue,
               Value result)
      : b(b), s(s), count(count), elements(elements), epilogue(epilogue),
        result(result) {
    sums = b.stackBuffer(SparseBlocking::kRows * s.panelTokens);
  }

  void emit(function_ref<PackedPart(Value)> partAt, Value firstToken,
            Value firstGroup, Value endGroup) {
    this->firstToken = firstToken;
    b.loop(0, s.k(), SparseBlocking::kPackedDepth, [&](Value packed) {
      part = partAt(packed);
      Value first = b.cmpi(arith::CmpIPredicate::eq, packed, b.index(0));
      Value firstBlock = b.divi(packed, SparseBlocking::kDepth);
      Value blocks = ceilDivide(b, part.depth, SparseBlocking::kDepth);
      b.loop(firstGroup, endGroup, 1, [&](Value group) {
        Value row = b.muli(group, SparseBlocking::kRows);
        Value rows = remaining(b, s.n(), row, SparseBlocking::kRows);
        Value firstCell = b.addi(b.muli(group, s.layout.blocks()), firstBlock);
        addCell(firstCell, b.index(0), rows, /*isFirst=*/true);
        b.loop(b.index(1), blocks, 1, [&](Value block) {
          addCell(b.addi(firstCell, block), block, rows, /*isFirst=*/false);
        });
        store(first, row, rows);
        if (!epilogue.activation)
          return;
        Value last = b.cmpi(arith::CmpIPredicate::sge, packed,
                            b.index(s.k() - SparseBlocking::kPackedDepth));
        b.ifThen(last, [&] {
          epilogue.activate(b, result, firstToken, tokensOfPanel(), row, rows,
                            s.lanes);
        });
      });
    });
  }

private:
  int64_t vectors() const { return s.panelTokens / s.lanes; }

  Value tokensOfPanel() {
    return count ? remaining(b, count, firstToken, s.panelTokens)
                 : remaining(b, s.tokens, firstToken, s.panelTokens);
  }

  /// sums[r, :] += sum over the elements (r, k) of the cell: value * X[:, k];
  /// the first cell writes the sums.
  void addCell(Value cell, Value block, Value rows, bool isFirst) {
    Value column = b.addi(
        part.base, b.muli(block, SparseBlocking::kDepth * s.panelTokens));
    elements.forRows(b, cell, rows, [&](const CellElements::Row &row) {
      Value place = b.muli(row.number, s.panelTokens);
      SmallVector<Value> carried;
      for (int64_t v = 0; v < vectors(); ++v)
        carried.push_back(
            isFirst ? b.f32(0.0, s.lanes)
                    : b.load(sums, b.addi(place, v * s.lanes), s.lanes));
      llvm::append_range(carried, row.state);
      carried = b.loop(
          row.begin, row.end, 1, carried, [&](Value e, ValueRange carried) {
            SmallVector<Value> next(carried);
            Value value = b.loadSplat(elements.values, e, s.lanes);
            Value k = elements.nextColumn(
                b, e, MutableArrayRef(next).drop_front(vectors()));
            Value x = b.addi(column, b.muli(k, s.panelTokens));
            for (int64_t v = 0; v < vectors(); ++v)
              next[v] = b.fma(
                  value, b.load(part.buffer, b.addi(x, v * s.lanes), s.lanes),
                  next[v]);
            return next;
          });
      for (int64_t v = 0; v < vectors(); ++v)
        b.store(carried[v], sums, b.addi(place, v * s.lanes));
    });
  }

  /// Y[token, row..] = sums, transposed (and bias, addend), or += where it is
  /// not the first part of the depth.
  void store(Value first, Value row, Value rows) {
    Value tokens = tokensOfPanel();
    auto put = [&](Value sum, Value token, Value r) {
      int64_t lanes = KernelBuilder::lanesOf(sum);
      SmallVector<Value> at{b.addi(firstToken, token), b.addi(row, r)};
      auto set = [&] {
        b.store(epilogue.add(b, sum, at[0], at[1]), result, at);
      };
      if (s.k() <= SparseBlocking::kPackedDepth)
        return set();
      b.ifElse(first, set, [&] {
        Value part = epilogue.scale(b, sum, at[1]);
        b.store(b.addf(b.load(result, at, lanes), part), result, at);
      });
    };
    b.loop(b.index(0), tokens, s.lanes, [&](Value token) {
      b.loop(b.index(0), rows, s.lanes, [&](Value r) {
        auto place = [&](Value r, Value token) {
          return b.addi(b.muli(r, s.panelTokens), token);
        };
        auto whole = [&] {
          SmallVector<Value> square;
          for (int64_t i = 0; i < s.lanes; ++i)
            square.push_back(b.load(sums, place(b.addi(r, i), token), s.lanes));
          transpose(b, square);
          for (int64_t i = 0; i < s.lanes; ++i)
            put(square[i], b.addi(token, i), r);
        };
        if (!count && s.tokens % s.lanes == 0 && s.n() % s.lanes == 0)
          return whole();
        Value tokensFit =
            b.cmpi(arith::CmpIPredicate::sle, b.addi(token, s.lanes), tokens);
        Value rowsFit =
            b.cmpi(arith::CmpIPredicate::sle, b.addi(r, s.lanes), rows);
        b.ifElse(arith::AndIOp::create(b, tokensFit, rowsFit), whole, [&] {
          b.loop(
              token, b.mini(b.addi(token, s.lanes), tokens), 1, [&](Value t) {
                b.loop(r, b.mini(b.addi(r, s.lanes), rows), 1,
                       [&](Value i) { put(b.load(sums, place(i, t)), t, i); });
              });
        });
      });
    });
  }

  KernelBuilder &b;
  const SparseBlocking &s;
  Value count; ///< The tokens that there are; null: all.
  const CellElements &elements;
  const Epilogue &epilogue;
  Value result;
  Value sums; ///< Y transposed: [kRows, panelTokens]
  PackedPart part;
  Value firstToken;
};

} // namespace

void pst::cpu::emitNaN(KernelBuilder &b, int64_t lanes, Value result) {
  b.parallel(dim(result, 0), [&](Value row) {
    b.vectorLoop(dim(result, 1), lanes, [&](Value i, int64_t width) {
      b.store(b.f32(NAN, width), result, {row, i});
    });
  });
}

void CompressedCells::forRows(KernelBuilder &b, Value cell, Value rows,
                              function_ref<void(const Row &)> body) const {
  Value start = toIndex(b, b.load(matrix.cells, {cell, b.index(0)}));
  b.loop(b.index(0), rows, 1, {start},
         [&](Value i, ValueRange at) -> SmallVector<Value> {
           auto [number, count] = matrix.rowAt(b, cell, i);
           Value end = b.addi(at[0], count);
           body({number, at[0], end, {}});
           return {end};
         });
}

Value CompressedCells::nextColumn(KernelBuilder &b, Value slot,
                                  MutableArrayRef<Value>) const {
  return toIndex(b, b.loadAsStored(matrix.columns, slot));
}

// parallel for panels of tokens:
//   for parts of the depth:
//     pack X(panel, part), transposed, on the stack
//     for groups of rows:
//       for cells of the group in the part, for rows r of the cell:
//         for the row's elements (k, value): sums(r, :) += value * X(k, :)
//       Y(panel, group) += sums, transposed
//
// With few panels: parallel for panels, and parts of the depth: pack; then
// parallel for panels, and parts of the groups of rows: the rest.
//
// Each sum runs over ascending k, whatever the threads and the blocks of rows.
void pst::cpu::emitSparseMatmul(KernelBuilder &b,
                                const SparseBlocking &blocking, Value count,
                                const MatrixReader &input,
                                const Epilogue &epilogue, Value result,
                                Value workspace, const CellElements &elements) {
  const SparseBlocking &s = blocking;
  auto pack = [&](Value buffer, Value base, Value firstToken,
                  Value begin) -> PackedPart {
    Value depth = remaining(b, s.k(), begin, SparseBlocking::kPackedDepth);
    packPanel(b, s.lanes, input, /*transposed=*/true, {buffer, s.panelTokens},
              base, firstToken, begin, depth, s.k() % s.lanes == 0);
    return {buffer, base, depth};
  };
  Value panels =
      count ? ceilDivide(b, count, s.panelTokens) : b.index(s.panels());
  if (s.parts() == 1)
    return b.parallel(panels, [&](Value panel) {
      Value buffer = b.stackBuffer(s.packedStride());
      Value firstToken = b.muli(panel, s.panelTokens);
      PanelProduct product(b, s, count, elements, epilogue, result);
      product.emit(
          [&](Value begin) {
            return pack(buffer, b.index(0), firstToken, begin);
          },
          firstToken, b.index(0), b.index(s.layout.groups()));
    });

  b.parallel(b.muli(panels, s.packedParts()), [&](Value task) {
    pack(workspace, b.muli(task, s.packedStride()),
         b.muli(b.divi(task, s.packedParts()), s.panelTokens),
         b.muli(b.remi(task, s.packedParts()), SparseBlocking::kPackedDepth));
  });
  int64_t partGroups = divideCeil(s.layout.groups(), s.parts());
  b.parallel(b.muli(panels, s.parts()), [&](Value task) {
    Value panel = b.divi(task, s.parts());
    Value firstGroup = b.muli(b.remi(task, s.parts()), partGroups);
    Value endGroup =
        b.mini(b.addi(firstGroup, partGroups), b.index(s.layout.groups()));
    PanelProduct product(b, s, count, elements, epilogue, result);
    product.emit(
        [&](Value begin) -> PackedPart {
          Value number = b.addi(b.muli(panel, s.packedParts()),
                                b.divi(begin, SparseBlocking::kPackedDepth));
          return {workspace, b.muli(number, s.packedStride()),
                  remaining(b, s.k(), begin, SparseBlocking::kPackedDepth)};
        },
        b.muli(panel, s.panelTokens), firstGroup, endGroup);
  });
}

namespace {
/// Y = X S^T, and what follows; NaN where S is not whole.
struct StoredMatmulPattern : KernelPattern<StoredMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(StoredMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Compressed)
      return failure();
    size_t stored = op.getStored().size();
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, op.getStored());
    appendEpilogue(op, inputs);
    SparseBlocking blocking(op.getInput(), op.getResult(), context.lanes());
    SparseFewRows few{blocking.tokens, blocking.layout, blocking.lanes};
    bool hasFewRows = SparseFewRows::pays(few.tokens, few.lanes);
    SmallVector<RankedTensorType> workspaces;
    if (!hasFewRows && blocking.workspaceSize())
      workspaces.push_back(RankedTensorType::get(blocking.workspaceSize(),
                                                 rewriter.getF32Type()));
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          Value workspace;
          if (!workspaces.empty()) {
            workspace = arguments.back();
            arguments = arguments.drop_back();
          }
          Value result = arguments.back();
          auto compressed = CompressedMatrix::of(arguments.slice(1, stored));
          Value count = context.packedCount(result);
          Epilogue epilogue = epilogueOf(op, arguments.drop_front(1 + stored));
          epilogue.scales = compressed.scales;
          b.ifElse(
              compressed.isWhole(b),
              [&] {
                // All of them, also where fewer are there: it is as quick.
                if (hasFewRows)
                  return few.emit(b, arguments[0], epilogue, result,
                                  compressed);
                emitSparseMatmul(
                    b, blocking, count, MatrixReader::of(arguments[0]),
                    epilogue, result, workspace, CompressedCells(compressed));
              },
              [&] { emitNaN(b, context.lanes(), result); });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateSparseMatmulKernels(RewritePatternSet &patterns,
                                           KernelContext &context) {
  patterns.add<StoredMatmulPattern>(patterns.getContext(), context);
}
