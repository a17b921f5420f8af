// The engine's threads. Work is split into items whose bounds never change a result: which thread
// runs an item does not matter, so every number of threads gives the same bits.
//
// FMS_ACCEL_NUM_THREADS sets the number of threads (1 to 1024); the default is the number of
// physical cores that the process may use. Threads spin for some microseconds after their last
// item, then sleep. Functions are safe on any thread: one caller at a time has the pool, another
// one (a second Node worker) runs its items inline meanwhile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fms_accel {

using ParallelBody = void (*)(void* argument, int64_t item, int thread);

// Runs body(argument, item, thread) for each item in [0, items), 0 <= thread < num_threads(); items
// are handed out in rising order. Returns when all are done. Nested calls run inline, with the
// thread index of the outer item. The first exception that an item throws is thrown here again,
// after the items in progress have ended; items not yet begun are dropped.
void parallel_for(int64_t items, ParallelBody body, void* argument);

template <class Body>
inline void parallel_for(int64_t items, const Body& body) {
  parallel_for(
      items,
      [](void* argument, int64_t item, int thread) {
        (*static_cast<const Body*>(argument))(item, thread);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Throws Error when FMS_ACCEL_NUM_THREADS is not a number from 1 to 1024.
int num_threads();
// Threads that a parallel_for called here would use: 1 inside of an item.
int usable_threads();
void set_num_threads(int threads);

// The index that parallel_for gave to the item in progress; 0 outside of it.
int current_thread();

// Scratch of at least `bytes`, 64-byte aligned, kept between calls, private to (calling thread,
// purpose); `thread` must be current_thread(). A pointer may be handed to the items of a
// parallel_for. Purposes below 8 belong to plugins and operations, the others to the engine itself.
constexpr int kWorkspacePurposes = 16;
void* workspace(int thread, int purpose, size_t bytes);

}  // namespace fms_accel
