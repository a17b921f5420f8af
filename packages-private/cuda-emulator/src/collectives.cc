// What the last lane of a vote does for its warp.
#include "cuda_emulator/device.h"

namespace cuda_emulator {

void complete_vote(void* const payload[kWarp], uint32_t mask) {
  unsigned ballot = 0;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    ballot |= static_cast<unsigned>(static_cast<Vote*>(payload[l])->predicate) << l;
  }
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1)
    static_cast<Vote*>(payload[__builtin_ctz(rest)])->ballot = ballot;
}

}  // namespace cuda_emulator
