// Kernels that are broken on purpose, and some that are right: prints `name: fault` or `name: none`
// for each (checks.test.ts says what is expected).
#include <cstdio>
#include <functional>

#include "cuda_emulator/tensor_core.h"

#define SHARED(name, ...)                                                              \
  static const size_t name##_slot = ::cuda_emulator::shared_slot(sizeof(__VA_ARGS__)); \
  auto& name = *static_cast<Same<__VA_ARGS__>*>(cuda_emulator::static_shared_memory(name##_slot))
template <class T>
struct Identity {
  using type = T;
};
template <class T>
using Same = typename Identity<T>::type;

namespace {

using cuda_emulator::kFullMask;

int tid() { return static_cast<int>(threadIdx.x); }
int* dynamic_ints() { return static_cast<int*>(cuda_emulator::dynamic_shared_memory()); }

// ---- Right
// ------------------------------------------------------------------------------------------

void barrier_between(int* out) {
  SHARED(s, int[64]);
  s[tid()] = tid();
  __syncthreads();
  out[tid()] = s[63 - tid()];
}
void early_exit_before_barrier(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[tid()] = 1;
}
void syncwarp_within_warp(int* out) {
  SHARED(s, int[64]);
  s[tid()] = tid();
  __syncwarp();
  out[tid()] = s[tid() ^ 31];
}
void spin_on_atomic(int* flag) {
  if (threadIdx.x == 0) {
    while (atomicAdd(flag, 0) == 0) {
    }
  }
  if (threadIdx.x == 33) atomicExch(flag, 1);
}
void atomics_of_blocks(int* out) { atomicAdd(out, 1); }
void waited_copy(int* out) {
  int* s = dynamic_ints();
  cuda_emulator::copy_async(s + tid() * 4, out + tid() * 4, 16, 16, {__FILE__, __LINE__});
  cuda_emulator::copy_async_commit();
  cuda_emulator::copy_async_wait(0);
  __syncthreads();
  if (s[(31 - tid()) * 4] != 0) __trap();
}

// Each of eight threads brings 16 bytes to one stage of a ring.
void start_stage(int stage, const int* from) {
  cuda_emulator::copy_async(dynamic_ints() + stage * 32 + tid() * 4, from + tid() * 4, 16, 16,
                            {__FILE__, __LINE__});
  cuda_emulator::copy_async_commit();
}
// Threads read what their neighbours brought.
int sum_of_stage(int stage) { return dynamic_ints()[stage * 32 + (tid() * 4 + 5) % 32]; }
// A ring of three stages, two of them under way, as kernels use it; one barrier a stage.
void ring_of_copies(int* out) {
  int sum = 0;
  start_stage(0, out);
  start_stage(1, out);
  for (int i = 0; i < 7; ++i) {
    cuda_emulator::copy_async_wait(1);
    __syncthreads();
    if (i + 2 < 7) {
      start_stage((i + 2) % 3, out);
    } else {
      cuda_emulator::copy_async_commit();
    }
    sum += sum_of_stage(i % 3);
  }
  if (sum != 0) __trap();
}

// ---- Broken
// -----------------------------------------------------------------------------------------

void divergent_barrier(int*) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
void lanes_at_two_shuffles(int* out) {
  if (threadIdx.x % 2 == 1) {
    out[tid()] = __shfl_sync(kFullMask, 1, 0);
  } else {
    out[tid()] = __shfl_sync(kFullMask, 2, 0);
  }
}
void lane_skips_shuffle(int* out) {
  if (threadIdx.x != 5) {
    out[tid()] = __shfl_xor_sync(kFullMask, tid(), 1);
  } else {
    __syncthreads();
  }
}
void exited_lane_in_mask(int* out) {
  if (threadIdx.x == 31) return;
  out[tid()] = __shfl_down_sync(kFullMask, tid(), 1);
}
void shuffle_from_outside_of_mask(int* out) {
  if (threadIdx.x < 16) out[tid()] = __shfl_sync(0xffffu, tid(), 20);
}
void endless_spin(int* flag) {
  while (atomicAdd(flag, 0) == 0) {
  }
}
void trap(int*) { __trap(); }
void copy_never_waited_for(int* out) {
  cuda_emulator::copy_async(dynamic_ints() + tid() * 4, out, 16, 16, {__FILE__, __LINE__});
  cuda_emulator::copy_async_commit();
}
void misaligned_copy(int* out) {
  cuda_emulator::copy_async(dynamic_ints() + tid() + 1, out, 16, 16, {__FILE__, __LINE__});
}
void read_before_wait(int* out) {
  int* s = dynamic_ints();
  cuda_emulator::copy_async(s + tid() * 4, out + tid() * 4, 16, 16, {__FILE__, __LINE__});
  cuda_emulator::copy_async_commit();
  const int value = s[tid() * 4];
  cuda_emulator::copy_async_wait(0);
  if (value == -1) __trap();  // the poison that a copy leaves until the wait
}
void wrong_group_waited_for(int* out) {
  start_stage(0, out);
  start_stage(1, out);
  cuda_emulator::copy_async_wait(1);
  __syncthreads();
  const int sum = sum_of_stage(0) + sum_of_stage(1);
  cuda_emulator::copy_async_wait(0);
  if (sum != 0) __trap();
}
void misaligned_ldmatrix(int*) {
  uint32_t to[4];
  cuda_emulator::ldmatrix_x4(to, dynamic_ints() + 1);
}
void uninitialised_shared(int*) {
  SHARED(s, float[32]);
  if (s[tid()] != s[tid()]) __trap();  // NaN
}
// Found with checks only.
void stage_refilled_while_read(int* out) {
  start_stage(0, out);
  cuda_emulator::copy_async_wait(0);
  __syncthreads();
  const int sum = sum_of_stage(0);
  start_stage(0, out);
  cuda_emulator::copy_async_wait(0);
  if (sum > 0) __trap();
}
void misaligned_vector(int* out) {
  const uint4 four = *reinterpret_cast<const uint4*>(out + 1);
  if (four.x + four.w != 0) __trap();
}
void shared_race(int* out) {
  SHARED(s, int[64]);
  s[tid()] = tid();
  out[tid()] = s[63 - tid()];
}
void shuffle_orders_no_memory(int* out) {
  SHARED(s, int[32]);
  s[tid()] = tid();
  const int x = __shfl_xor_sync(kFullMask, 0, 1);
  out[tid()] = s[31 - tid()] + x;
}
void race_of_blocks(int* out) { out[0] = static_cast<int>(blockIdx.x); }
void write_past_device_memory(int* out) { out[1024 + tid()] = 1; }
void read_past_device_memory(int* out) { out[tid()] = out[tid() + 1000]; }
void write_past_shared_variable(int* out) {
  SHARED(s, int[32]);
  s[tid()] = 1;
  __syncthreads();
  out[tid()] = s[0];
}
void write_past_dynamic_shared(int* out) {
  dynamic_ints()[128 + tid()] = 1;
  __syncthreads();
  out[tid()] = 0;
}

void run(const char* name, void (*kernel)(int*), unsigned grid, unsigned block) {
  void* data = nullptr;
  cudaMalloc(&data, 1024 * sizeof(int));
  cudaMemsetAsync(data, 0, 1024 * sizeof(int), nullptr);
  const cudaError_t error =
      cuda_emulator::launch(dim3(grid), dim3(block), 512, [=] { kernel(static_cast<int*>(data)); });
  printf("%s: %s\n", name, error == cudaSuccess ? "none" : cudaGetErrorString(error));
  if (cudaFree(data) != cudaSuccess) {
    printf("%s, when freed: the block was overrun\n", name);
    cuda_emulator::launch(dim3(1), dim3(1), 0, [] {});  // takes the report
  }
}

}  // namespace

#define RUN(kernel, grid, block) run(#kernel, kernel, grid, block)

int main() {
  RUN(barrier_between, 1, 64);
  RUN(early_exit_before_barrier, 1, 64);
  RUN(syncwarp_within_warp, 1, 64);
  RUN(spin_on_atomic, 1, 64);
  RUN(atomics_of_blocks, 3, 32);
  RUN(waited_copy, 1, 32);
  RUN(ring_of_copies, 1, 8);
  RUN(divergent_barrier, 1, 64);
  RUN(lanes_at_two_shuffles, 1, 32);
  RUN(lane_skips_shuffle, 1, 32);
  RUN(exited_lane_in_mask, 1, 32);
  RUN(shuffle_from_outside_of_mask, 1, 32);
  RUN(endless_spin, 1, 64);
  RUN(trap, 1, 1);
  RUN(copy_never_waited_for, 1, 32);
  RUN(misaligned_copy, 1, 32);
  RUN(read_before_wait, 1, 32);
  RUN(wrong_group_waited_for, 1, 8);
  RUN(misaligned_ldmatrix, 1, 32);
  RUN(uninitialised_shared, 1, 32);
  RUN(misaligned_vector, 1, 32);
  RUN(shared_race, 1, 64);
  RUN(stage_refilled_while_read, 1, 8);
  RUN(shuffle_orders_no_memory, 1, 32);
  RUN(race_of_blocks, 2, 1);
  RUN(write_past_device_memory, 1, 32);
  RUN(read_past_device_memory, 1, 32);
  RUN(write_past_shared_variable, 1, 33);
  RUN(write_past_dynamic_shared, 1, 1);
}
