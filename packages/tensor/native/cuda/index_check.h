// Where the device writes what was wrong with an index; the host reads it after waiting.
#pragma once
#include "cuda/device.h"

namespace fms_accel::cuda {

struct CheckRecord {
  unsigned long long position;  // of the first wrong index; all bits set: none
  long long value;
};

// Enqueues the check; `record` lies in pinned memory.
void enqueue_index_check(const int64_t* index, int64_t count, int64_t* checked,
                         const IndexCheck& check, CheckRecord* record);

}  // namespace fms_accel::cuda
