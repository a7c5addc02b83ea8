//===- Gemm.h - Products of matrices, tile by tile --------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A product is planned (GemmPlan.h: which instructions, which tiles), then
// launched (`launchTiles`): a kernel computes C tile by tile, and what happens
// to a tile is written once, over the `GemmTile` that each way of multiplying
// hands out.

#ifndef PST_LIB_CODEGEN_GPU_GEMM_H
#define PST_LIB_CODEGEN_GPU_GEMM_H

#include "../Kernel/Activation.h"
#include "../Kernel/Dropout.h"
#include "GemmPlan.h"
#include <functional>
#include <optional>

namespace pst::cuda {

/// How much there is of a product of packed matrices, as indices; null: all
/// that the plan says. What an operand has beyond is undefined, and counts for
/// nothing; C has no rows there.
struct GemmExtent {
  Value rows = nullptr;  ///< Of op(A).
  Value depth = nullptr; ///< Of k.
};

/// A tile of C, in f32, in the registers of the threads that computed it.
/// Each thread has some of its elements, in groups of adjacent columns.
class GemmTile {
public:
  virtual ~GemmTile();

  /// The tile's place among the tiles of rows and of columns, and its first
  /// row and column of C.
  Value tileOfM, tileOfN, row, column;
  /// Which of the plan's parts of k it is a sum over; null if there is one.
  Value split;

  /// Columns of a group; groups begin at multiples of it.
  virtual int64_t groupSize() const = 0;

  /// body(i, j, values) for each of the thread's groups: the elements at (row +
  /// i, column + j), (row + i, column + j + 1), ... Some lie outside of C where
  /// the tile does. The order is the same at every call.
  using GroupBody = llvm::function_ref<void(Value, Value, ValueRange)>;
  virtual void forGroups(ThreadBuilder &b, GroupBody body) const = 0;

  /// The threads that have a part of the tile, and which of them this is.
  virtual int64_t threads() const { return plan.threads; }
  virtual Value thread(ThreadBuilder &b) const { return b.thread(); }
  /// They wait here for each other.
  virtual void barrier(ThreadBuilder &b) const;
  /// Memory that they share, tileM x `columns` of f32. It may be where the
  /// operands were.
  virtual Value scratch(ThreadBuilder &b, int64_t columns) const;

  /// body(i, j, value) for each of the thread's elements.
  void forElements(ThreadBuilder &b,
                   llvm::function_ref<void(Value, Value, Value)> body) const;
  /// body(row, column, values) for those of the thread's elements that lie in
  /// C, at their place in C: whole groups where n is a multiple of them, single
  /// elements elsewhere.
  void forInside(ThreadBuilder &b, GroupBody body) const;

  /// buffer = map(row, column, values), at those of the thread's elements that
  /// lie in C, some neighbours at a time. `buffer` is one, or, if the plan says
  /// so, the tensor map that wgmmaResult makes of it. If k is split, the
  /// products of its parts lie one below the other in it, and `map` is called
  /// at elements outside of C, too.
  struct Result {
    Value buffer;
    std::function<llvm::SmallVector<Value>(Value row, Value column,
                                           ValueRange values)>
        map;
  };
  virtual void store(ThreadBuilder &b, llvm::ArrayRef<Result> results) const;

  /// Whether a row or column of the tile lies within C; null if all do.
  Value isRow(ThreadBuilder &b, Value i) const;
  Value isColumn(ThreadBuilder &b, Value j) const;
  /// Both; null if all do.
  Value isElement(ThreadBuilder &b, Value i, Value j) const;

protected:
  /// The row of a result where `row` of C lies, a part of k's above or below.
  Value storedRow(ThreadBuilder &b, Value row) const;

  explicit GemmTile(const GemmPlan &plan) : plan(plan) {}

  GemmPlan plan;
};

/// What a kernel does with each tile, given the launch's `arguments`.
using TileBody =
    llvm::function_ref<void(ThreadBuilder &, const GemmTile &, ValueRange)>;

/// Launches the kernel `part`, which computes op(A) op(B) as planned and calls
/// `body` on each tile. Operands and arguments are buffers. Of a packed A,
/// tiles without a row are left out; if it is transposed, k ends where its rows
/// do, and B is packed too.
void launchTiles(KernelContext &context, CodeBuilder &host,
                 const KernelPart &part, const GemmPlan &plan, Value left,
                 Value right, ValueRange arguments, TileBody body);

/// What happens to an element of a product before it is stored, in this order.
struct GemmEpilogue {
  Value bias = nullptr; ///< One of each column is added; may be null.
  /// Of nn.dropout: i64, or null.
  Value seed = nullptr, site = nullptr;
  double probability = 0;
  mlir::IntegerAttr length = nullptr;
  Value addend = nullptr; ///< A matrix of the result's shape; may be null.
  /// f, which is applied; or, with a matrix of the result's shape, of whose
  /// elements f' is the factor.
  std::optional<nn::ActivationKind> activation = std::nullopt;
  Value preactivation = nullptr;
  /// A second result, of the first one's type, or null: what f is applied to,
  /// or, with a preactivation, f of that.
  Value kept = nullptr;

  /// Those of its values that there are, without results.
  llvm::SmallVector<Value> operands() const;
  /// The same epilogue, of other values: in a kernel, those of `operands()`.
  GemmEpilogue with(ValueRange operands) const;
};

/// An epilogue in a kernel.
class ProductFinish {
public:
  /// `operands` are the kernel's of the epilogue's operands(), for a result of
  /// so many columns.
  ProductFinish(const KernelContext &context, ThreadBuilder &b,
                const GemmEpilogue &epilogue, ValueRange operands,
                int64_t columns);

  /// The elements from (row, column) of the result on, given the product's.
  llvm::SmallVector<Value> operator()(ThreadBuilder &b, Value row, Value column,
                                      ValueRange products) const {
    return activate(b, row, column, add(b, row, column, products));
  }
  /// Those of what is kept.
  llvm::SmallVector<Value> keep(ThreadBuilder &b, Value row, Value column,
                                ValueRange products) const;

private:
  // Its two steps: all before the activation, and that.
  llvm::SmallVector<Value> add(ThreadBuilder &b, Value row, Value column,
                               ValueRange products) const;
  llvm::SmallVector<Value> activate(ThreadBuilder &b, Value row, Value column,
                                    ValueRange sums) const;

  const KernelContext &context;
  GemmEpilogue epilogue;
  std::optional<DropoutMask> mask;
  int64_t columns;
};

/// Whether tensor cores, which multiply matrices of one type, multiply a right
/// operand of this type (a weight) as one of the left's: one of f32 rounded to
/// bf16, or one of bf16 as f32 where that is multiplied as tf32.
bool convertsRight(const KernelContext &context, mlir::Type left,
                   mlir::Type right);
/// target = matrix, in the target's type
void launchConversion(KernelContext &context, CodeBuilder &host, Value matrix,
                      Value target);

/// The workspaces that launchGemm takes for a product of this shape.
llvm::SmallVector<mlir::RankedTensorType>
gemmWorkspaces(const KernelContext &context, const GemmShape &shape);

/// Launches result = epilogue(op(A) op(B)). Without workspaces k is not split,
/// nor is an operand converted. If there is no epilogue, rows of the result may
/// be longer than those of the product; what they have beyond is undefined.
void launchGemm(KernelContext &context, CodeBuilder &host, GemmOperand left,
                GemmOperand right, const GemmEpilogue &epilogue, Value result,
                ValueRange workspaces = {});

//===----------------------------------------------------------------------===//
// The kernels' bodies, one for each method, in files of their own
//===----------------------------------------------------------------------===//

/// Computes the block's tile and calls `body` on it.
using TileFunction = llvm::function_ref<void(const GemmTile &)>;
void emitFMATiles(ThreadBuilder &b, const GemmPlan &plan,
                  const GemmExtent &extent, Value left, Value right,
                  TileFunction body);
void emitMMATiles(ThreadBuilder &b, const GemmPlan &plan,
                  const GemmExtent &extent, Value left, Value right,
                  TileFunction body);

/// Blocks and dynamic shared memory of a launch of emitWgmmaTiles.
int64_t wgmmaBlocks(const GemmPlan &plan);
int64_t wgmmaSharedBytes(const GemmPlan &plan);
/// What emitWgmmaTiles takes for two buffers.
std::pair<Value, Value> wgmmaOperands(CodeBuilder &host, const GemmPlan &plan,
                                      Value left, Value right);
/// Lets TMA store the tiles if rows of the result are such that it can; the
/// `result` for GemmTile::store. Results of one product have one type.
Value wgmmaResult(CodeBuilder &host, GemmPlan &plan, Value result);
/// Computes the block's tiles and calls `body` on each.
void emitWgmmaTiles(ThreadBuilder &b, const GemmPlan &plan,
                    const GemmExtent &extent, Value left, Value right,
                    TileFunction body);

/// Steps of `depth` of k that each part of k has, but for the last ones, which
/// may have fewer: a constant, but where k has an extent.
Value stepsOfPart(ThreadBuilder &b, const GemmPlan &plan,
                  const GemmExtent &extent, int64_t depth);

/// All of the conditions; null if there are none.
Value allOf(ThreadBuilder &b, Value lhs, Value rhs);
/// first + i < size; null where a multiple of `step` makes it sure.
Value isBelow(ThreadBuilder &b, Value first, Value i, int64_t size,
              int64_t step);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_GEMM_H
