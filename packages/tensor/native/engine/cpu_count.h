// How many threads are worth starting.
#pragma once

namespace fms_accel {

// Physical cores that this process may run on: its affinity mask, siblings of one core counted
// once, and no more than its control group's quota. At least 1.
int available_cores();

}  // namespace fms_accel
