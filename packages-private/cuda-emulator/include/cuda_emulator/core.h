// The emulator's core. A block is a set of fibers on one OS thread, blocks run one after another.
// Everything a thread can wait for is one of two things:
//   collective(): the lanes of a mask meet; the last to arrive does the work for all
//   barrier():    the threads of a block meet
// A fault (deadlock, divergence, race, access out of bounds) ends the launch with an Error that
// says who waits where.
#pragma once
#include <functional>
#include <stdexcept>
#include <string>

#include "cuda_emulator/types.h"

namespace cuda_emulator {

constexpr int kWarp = 32;
constexpr uint32_t kFullMask = 0xffffffffu;

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where in the kernel a thread waits.
struct Site {
  const char* file;
  int line;
};
#define CUDA_EMULATOR_SITE ::cuda_emulator::Site site = {__builtin_FILE(), __builtin_LINE()}

// Runs on the last lane to arrive; payload[l] is what lane l brought.
using Complete = void (*)(void* const payload[kWarp], uint32_t mask);
void collective(const char* what, uint32_t mask, void* payload, Complete complete, Site site,
                bool orders_memory = false);

// __syncthreads and its relatives. Returns for how many threads `predicate` held.
int barrier(const char* what, bool predicate, Site site);

// Lets the other threads run: for loops that wait for an atomic.
void yield();
// Ends the launch with an Error that names block and thread.
[[noreturn]] void fail(const std::string& message);
// Accesses to memory from here to the end of the launch are the emulator's own.
void begin_report();
#define CUDA_EMULATOR_FAIL(message) \
  (::cuda_emulator::begin_report(), ::cuda_emulator::fail(message))

int lane();
void* dynamic_shared_memory();
// The place of one SHARED() variable in every block's static shared memory.
size_t shared_slot(size_t bytes);
void* static_shared_memory(size_t slot);

// Runs body() once for each thread of each block. Throws Error.
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);
// The same; a fault becomes cudaErrorLaunchFailure and the text that last_fault() gives.
cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);
const char* last_fault();

// cp.async: the copy is made by the wait, so that a missing wait shows.
void copy_async(void* to, const void* from, int bytes, int source_bytes, Site site);
void copy_async_commit();
void copy_async_wait(int groups_left);

// Tells the race and bounds detector of an access that the compiler cannot see (src/checks.cc);
// lane kSelf is the current thread. Does nothing in builds without the detector.
constexpr int kSelf = -1;
void note_access(int lane, const void* data, size_t bytes, bool is_write, bool is_atomic = false);
void note_fence();

struct Statistics {
  uint64_t switches = 0, blocks = 0, threads = 0, collectives = 0, barriers = 0;
};
extern Statistics statistics;

}  // namespace cuda_emulator

// Of the thread that runs.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
