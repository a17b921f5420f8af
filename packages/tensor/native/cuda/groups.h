// Work on rows that belong to groups, whose sizes stay on the device: the host does not wait for
// them. On the CPU the launchers (ops/grouped_linear.cc, ops/indexing.cc) do it with what is there.
#pragma once
#include "cpu/matmul.h"

namespace fms_accel {

// Products of rows that lie in the order of their groups: group g has those from offsets[g] to
// offsets[g + 1], in [0, rows]. Either each group's rows are multiplied by a matrix B of its own,
// or
// (`sums_rows`) its rows are what is summed over, as k of Aᵀ · B, and C is its own.
struct GroupedMatmul {
  struct Group {
    int64_t number;
    const void* matrix;  // its B, or its C
  };
  MatmulArguments common;  // operands from the first row of all; m, or k, is all rows
  const int64_t* offsets = nullptr;
  const Group* groups = nullptr;  // all in order, or with `sums_rows` any
  int64_t count = 0;
  bool sums_rows = false;
};

namespace cuda {

// Of the device that `kernels()` made current on this thread.
void matmul_groups(const GroupedMatmul& grouped);
// order [count] = the positions of group 0 as they come, of group 1, …; those of group g begin at
// offsets[g], of [groups + 1]. group [count] is in [0, groups).
void group_rows(const int64_t* group, int64_t count, int64_t groups, int64_t* order,
                int64_t* offsets);

}  // namespace cuda
}  // namespace fms_accel
