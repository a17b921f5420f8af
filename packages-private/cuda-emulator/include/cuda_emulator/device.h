// CUDA's device language for a host compiler: qualifiers, barriers, shuffles, atomics, and the
// intrinsics that the kernels use. Values are exact where a GPU approximates.
#pragma once
#include <cmath>
#include <cstring>

#include "cuda_emulator/core.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

inline void __syncthreads(CUDA_EMULATOR_SITE) {
  cuda_emulator::barrier("__syncthreads", false, site);
}
inline int __syncthreads_or(int predicate, CUDA_EMULATOR_SITE) {
  return cuda_emulator::barrier("__syncthreads_or", predicate != 0, site) != 0;
}
inline int __syncthreads_count(int predicate, CUDA_EMULATOR_SITE) {
  return cuda_emulator::barrier("__syncthreads_count", predicate != 0, site);
}
inline void __syncwarp(unsigned mask = cuda_emulator::kFullMask, CUDA_EMULATOR_SITE) {
  cuda_emulator::collective("__syncwarp", mask, nullptr, nullptr, site, true);
}
inline void __threadfence() { cuda_emulator::note_fence(); }

namespace cuda_emulator {

template <class T>
struct Shuffle {
  T in, out;
  int from;
};
// Reads and writes on the stacks of other lanes, which is the emulator's business.
template <class T>
__attribute__((no_sanitize("thread"))) void complete_shuffle(void* const payload[kWarp],
                                                             uint32_t mask) {
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    auto* own = static_cast<Shuffle<T>*>(payload[__builtin_ctz(rest)]);
    if ((mask >> own->from & 1) == 0)
      CUDA_EMULATOR_FAIL("shuffle reads lane " + std::to_string(own->from) +
                         ", which is not in the mask");
    own->out = static_cast<Shuffle<T>*>(payload[own->from])->in;
  }
}
template <class T>
T shuffle(const char* what, unsigned mask, T value, int from, Site site) {
  Shuffle<T> own{value, value, from};
  collective(what, mask, &own, complete_shuffle<T>, site);
  return own.out;
}

struct Vote {
  bool predicate;
  unsigned ballot;
};
void complete_vote(void* const payload[kWarp], uint32_t mask);

// Threads switch at synchronisation points only, so a plain read and write is atomic.
template <class T, class Function>
__attribute__((no_sanitize("thread"))) T atomic(T* at, Function function) {
  note_access(kSelf, at, sizeof(T), true, true);
  static unsigned count;
  if (++count % 64 == 0) yield();
  const T old = *at;
  *at = function(old);
  return old;
}

template <class To, class From>
To bits(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From));
  memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace cuda_emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_SITE) {
  const int lane = cuda_emulator::lane();
  return cuda_emulator::shuffle("__shfl_sync", mask, value,
                                (lane & ~(width - 1)) | (source & (width - 1)), site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32, CUDA_EMULATOR_SITE) {
  const int lane = cuda_emulator::lane(), from = lane ^ other;
  return cuda_emulator::shuffle("__shfl_xor_sync", mask, value,
                                from < (lane & ~(width - 1)) + width ? from : lane, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, CUDA_EMULATOR_SITE) {
  const int lane = cuda_emulator::lane(), from = lane + static_cast<int>(distance);
  return cuda_emulator::shuffle(
      "__shfl_down_sync", mask, value,
      (lane & (width - 1)) + static_cast<int>(distance) < width ? from : lane, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, CUDA_EMULATOR_SITE) {
  const int lane = cuda_emulator::lane();
  const bool inside = (lane & (width - 1)) >= static_cast<int>(distance);
  return cuda_emulator::shuffle("__shfl_up_sync", mask, value,
                                inside ? lane - static_cast<int>(distance) : lane, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_SITE) {
  cuda_emulator::Vote vote{predicate != 0, 0};
  cuda_emulator::collective("__ballot_sync", mask, &vote, cuda_emulator::complete_vote, site);
  return vote.ballot;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_SITE) {
  cuda_emulator::Vote vote{predicate != 0, 0};
  cuda_emulator::collective("__any_sync", mask, &vote, cuda_emulator::complete_vote, site);
  return vote.ballot != 0;
}

#define CUDA_EMULATOR_ATOMIC(name, T, expression)                             \
  __attribute__((no_sanitize("thread"))) inline T name(T* at, T value) {      \
    return cuda_emulator::atomic(at, [&](T old) -> T { return expression; }); \
  }
CUDA_EMULATOR_ATOMIC(atomicAdd, int, old + value)
CUDA_EMULATOR_ATOMIC(atomicAdd, unsigned, old + value)
CUDA_EMULATOR_ATOMIC(atomicAdd, unsigned long long, old + value)
CUDA_EMULATOR_ATOMIC(atomicAdd, float, old + value)
CUDA_EMULATOR_ATOMIC(atomicMin, unsigned long long, old < value ? old : value)
CUDA_EMULATOR_ATOMIC(atomicMax, unsigned long long, old > value ? old : value)
CUDA_EMULATOR_ATOMIC(atomicOr, unsigned, old | value)
CUDA_EMULATOR_ATOMIC(atomicExch, int, ((void)old, value))
CUDA_EMULATOR_ATOMIC(atomicExch, unsigned, ((void)old, value))
#undef CUDA_EMULATOR_ATOMIC

template <class T>
T __ldg(const T* at) {
  return *at;
}
inline float __uint_as_float(unsigned x) { return cuda_emulator::bits<float>(x); }
inline unsigned __float_as_uint(float x) { return cuda_emulator::bits<unsigned>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
// Rounded by themselves: never joined to a fused multiply-add.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
[[noreturn]] inline void __trap() { CUDA_EMULATOR_FAIL("__trap()"); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
