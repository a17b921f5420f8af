// Where the device writes what was wrong with an index; the host reads it after waiting.
#pragma once
#include "cuda/device.h"

namespace fms_accel::cuda {

using CheckRecord = fms_accel_device_record;
constexpr uint64_t kNothingWrong = ~uint64_t{0};

// Enqueues the check; `record` lies in pinned memory.
void enqueue_index_check(const int64_t* index, int64_t count, int64_t* checked,
                         const IndexCheck& check, CheckRecord* record);

}  // namespace fms_accel::cuda
