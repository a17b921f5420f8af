// Threads of a block as fibers, their scheduler, and the two things they wait for (core.h).
//
// A thread gets a stack when it starts, and a thread that ends hands its stack to the next one
// without a switch: kernels without synchronisation run as a plain loop over their threads.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "context.h"
#include "internal.h"

#if defined(__x86_64__)
asm(R"(
.text
.globl cuda_emulator_switch
.hidden cuda_emulator_switch
.type cuda_emulator_switch,@function
cuda_emulator_switch:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
.size cuda_emulator_switch,.-cuda_emulator_switch
)");
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulator {

Statistics statistics;
BlockState block_state;

namespace {

constexpr size_t kStack = 64 * 1024, kGuard = 4096;
constexpr int kBarrierSpins = 2'000'000;

struct Fiber {
  Context context;
  char* stack = nullptr;
  size_t size = 0;
};

struct Copy {
  void* to;
  const void* from;
  int bytes, source_bytes;
  Site site;
};

struct Thread : ThreadPlace {
  Fiber* fiber = nullptr;  // null before it starts and after it ends
  enum State { kReady, kWarpWait, kBarrierWait, kExited } state = kReady;
  const char* what = "";
  Site site{};
  uint32_t wait_mask = 0;
  int barrier_result = 0;
  void* payload = nullptr;
  std::vector<Copy> copies;        // cp.async not yet performed
  std::vector<size_t> group_ends;  // copies.size() at each commit
};

// A collective that some lanes have reached.
struct WarpOperation {
  uint32_t mask = 0, arrived = 0;
  const char* what = nullptr;
  Site site{};
};
struct Warp {
  uint32_t ready = 0, live = 0;
  std::vector<WarpOperation> operations;  // almost always 0 or 1
};
struct Barrier {
  int waiting = 0, predicates = 0;
  Site site{};
  const char* what = nullptr;
};

enum class Order { kForward, kReverse, kRandom };

// Launches of several OS threads take turns.
std::mutex launch_mutex;
std::vector<std::unique_ptr<Thread>> threads;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> free_fibers;
Warp warps[32];
uint32_t ready_warps;
Barrier block_barrier;
int thread_count, live_count;
Thread* current;  // null: the launch itself
Fiber launcher;
std::string fault;
bool is_reporting;
const std::function<void()>* kernel_body;
Order order;
uint64_t random_state = 1;
uint64_t last_progress, polls;

Fiber* take_fiber() {
  if (free_fibers.empty()) {
    auto fiber = std::make_unique<Fiber>();
    void* data = mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) CUDA_EMULATOR_FAIL("no memory for the stacks of threads");
    mprotect(data, kGuard, PROT_NONE);  // an overflow faults instead of corrupting a neighbour
    fiber->stack = static_cast<char*>(data) + kGuard;
    // Tops are staggered: equal offsets in every stack would share the same cache sets.
    fiber->size = kStack - fibers.size() % 64 * 5 * 64;
    free_fibers.push_back(fiber.get());
    fibers.push_back(std::move(fiber));
  }
  Fiber* fiber = free_fibers.back();
  free_fibers.pop_back();
  return fiber;
}

void set_ready(Thread* thread) {
  thread->state = Thread::kReady;
  warps[thread->warp].ready |= 1u << thread->lane;
  ready_warps |= 1u << thread->warp;
}

int pick_bit(uint32_t mask) {
  if (order == Order::kForward) return __builtin_ctz(mask);
  if (order == Order::kReverse) return 31 - __builtin_clz(mask);
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  int skip =
      static_cast<int>((random_state >> 33) % static_cast<unsigned>(__builtin_popcount(mask)));
  while (skip-- > 0) mask &= mask - 1;
  return __builtin_ctz(mask);
}

Thread* take(int warp, int lane) {
  warps[warp].ready &= ~(1u << lane);
  if (warps[warp].ready == 0) ready_warps &= ~(1u << warp);
  return threads[static_cast<size_t>(warp * kWarp + lane)].get();
}

// The current warp's lanes first: their stacks are in the cache.
Thread* pick_next() {
  if (ready_warps == 0) return nullptr;
  int warp = current != nullptr ? current->warp : 0;
  if (order == Order::kRandom || (ready_warps >> warp & 1) == 0) warp = pick_bit(ready_warps);
  return take(warp, pick_bit(warps[warp].ready));
}

void fiber_main();

// From the fiber `from` to that of a thread, which may have to start; null is the launch itself.
void switch_to(Fiber& from, Thread* to) {
  ++statistics.switches;
  current = to;
  if (to == nullptr) {
    switch_context(from.context, launcher.context);
    return;
  }
  threadIdx = to->index;
  if (to->fiber == nullptr) {
    to->fiber = take_fiber();
    start_context(to->fiber->context, to->fiber->stack, to->fiber->size, fiber_main);
  }
  switch_context(from.context, to->fiber->context);
}

// The current thread cannot go on: another runs, or the launch ends.
void reschedule() {
  Thread* self = current;
  Thread* next = pick_next();
  if (next != self) switch_to(*self->fiber, next);
}

std::string place(const char* what, Site site) {
  const char* name = strrchr(site.file, '/');
  return std::string(what) + " at " + (name != nullptr ? name + 1 : site.file) + ":" +
         std::to_string(site.line);
}

std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(numbers[i]) +
            (last > i ? "-" + std::to_string(numbers[last]) : "");
    i = last + 1;
  }
  return text;
}

std::string who_waits_where() {
  std::map<std::string, std::vector<int>> groups;
  for (int i = 0; i < thread_count; ++i) {
    const Thread& thread = *threads[static_cast<size_t>(i)];
    std::string state = "waiting in " + place(thread.what, thread.site);
    if (thread.state == Thread::kExited) state = "exited";
    if (thread.state == Thread::kReady) state = "runnable";
    if (thread.state == Thread::kWarpWait) {
      char mask[32];
      snprintf(mask, sizeof mask, " mask %08x", thread.wait_mask);
      state += mask;
    }
    groups[state].push_back(i);
  }
  std::string text;
  for (const auto& [state, members] : groups)
    text += "\n  threads " + ranges(members) + ": " + state;
  return text;
}

void release_barrier_when_full() {
  Barrier& barrier = block_barrier;
  if (barrier.waiting == 0 || barrier.waiting < live_count) return;
  for (int i = 0; i < thread_count; ++i) {
    Thread* thread = threads[static_cast<size_t>(i)].get();
    if (thread->state != Thread::kBarrierWait) continue;
    thread->barrier_result = barrier.predicates;
    set_ready(thread);
  }
  ++block_state.barrier_epoch;
  ++statistics.barriers;
  barrier = Barrier{};
}

// Runs one thread after the other, as long as they have not begun; then goes on with one that
// waited.
void fiber_main() {
  for (;;) {
    (*kernel_body)();
    Thread* thread = current;
    if (!thread->copies.empty())
      CUDA_EMULATOR_FAIL(
          "the thread ends with asynchronous copies that it never waited for (the first from " +
          place("cp.async", thread->copies[0].site) + ")");
    thread->state = Thread::kExited;
    --live_count;
    warps[thread->warp].live &= ~(1u << thread->lane);
    release_barrier_when_full();
    Fiber* own = thread->fiber;
    thread->fiber = nullptr;
    Thread* next = pick_next();
    if (next != nullptr && next->fiber == nullptr) {
      next->fiber = own;
      current = next;
      threadIdx = next->index;
      continue;
    }
    free_fibers.push_back(own);
    switch_to(*own, next);
    abort();  // nothing resumes a fiber that ended
  }
}

}  // namespace

void begin_report() { is_reporting = true; }

void fail(const std::string& message) {
  if (current == nullptr) throw Error(message);
  char where[96];
  snprintf(where, sizeof where, "block (%u,%u,%u) thread (%u,%u,%u): ", blockIdx.x, blockIdx.y,
           blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  fault = where + message;
  switch_to(*current->fiber, nullptr);
  abort();
}

void collective(const char* what, uint32_t mask, void* payload, Complete complete, Site site,
                bool orders_memory) {
  Thread* thread = current;
  Warp& warp = warps[thread->warp];
  if ((mask >> thread->lane & 1) == 0)
    CUDA_EMULATOR_FAIL(place(what, site) + ": the calling lane is not in its own mask");
  if ((mask & ~warp.live) != 0) {
    CUDA_EMULATOR_FAIL(place(what, site) + ": the mask names lane " +
                       std::to_string(__builtin_ctz(mask & ~warp.live)) + ", which has exited");
  }
  thread->payload = payload;
  WarpOperation* operation = nullptr;
  for (WarpOperation& other : warp.operations) {
    if (other.mask == mask && (other.arrived >> thread->lane & 1) == 0) {
      operation = &other;
      break;
    }
  }
  if (operation == nullptr) {
    warp.operations.push_back({mask, 0, what, site});
    operation = &warp.operations.back();
  }
  if (strcmp(operation->what, what) != 0 || operation->site.line != site.line) {
    CUDA_EMULATOR_FAIL("divergent warp operation: this lane is at " + place(what, site) +
                       " but its warp is at " + place(operation->what, operation->site));
  }
  operation->arrived |= 1u << thread->lane;
  if (operation->arrived != mask) {
    thread->state = Thread::kWarpWait;
    thread->what = what;
    thread->site = site;
    thread->wait_mask = mask;
    reschedule();
    return;
  }
  // The last lane does the work for all, then releases the others.
  ++statistics.collectives;
  warp.operations.erase(warp.operations.begin() + (operation - warp.operations.data()));
  void* payloads[kWarp];
  uint32_t epoch = 0;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const Thread& other = *threads[static_cast<size_t>(thread->warp * kWarp + l)];
    payloads[l] = other.payload;
    if (other.warp_epoch > epoch) epoch = other.warp_epoch;
  }
  if (complete != nullptr) complete(payloads, mask);
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    Thread& other = *threads[static_cast<size_t>(thread->warp * kWarp + __builtin_ctz(rest))];
    if (orders_memory) other.warp_epoch = epoch + 1;
    if (&other != thread) set_ready(&other);
  }
}

int barrier(const char* what, bool predicate, Site site) {
  Thread* thread = current;
  Barrier& own = block_barrier;
  if (own.waiting > 0 && (own.site.line != site.line || strcmp(own.site.file, site.file) != 0)) {
    CUDA_EMULATOR_FAIL("divergent barrier: this thread is at " + place(what, site) +
                       " but others are at " + place(own.what, own.site) + who_waits_where());
  }
  own.site = site;
  own.what = what;
  ++own.waiting;
  own.predicates += predicate;
  thread->state = Thread::kBarrierWait;
  thread->what = what;
  thread->site = site;
  release_barrier_when_full();
  reschedule();
  return thread->barrier_result;
}

void yield() {
  if (current == nullptr) return;
  const uint64_t progress = statistics.collectives + statistics.barriers +
                            static_cast<unsigned>(thread_count - live_count);
  polls = progress == last_progress ? polls + 1 : 0;
  last_progress = progress;
  if (polls > kBarrierSpins)
    CUDA_EMULATOR_FAIL("a spin loop waits for something that does not happen" + who_waits_where());
  if (ready_warps == 0) return;
  // The next ready thread in cyclic order: any other choice could starve the one that is waited
  // for.
  Thread* self = current;
  int warp = self->warp;
  uint32_t lanes = warps[warp].ready & static_cast<uint32_t>(~uint64_t{0} << (self->lane + 1));
  if (lanes == 0) {
    const auto later = static_cast<uint32_t>(ready_warps & (~uint64_t{0} << (warp + 1)));
    warp = __builtin_ctz(later != 0 ? later : ready_warps);
    lanes = warps[warp].ready;
  }
  Thread* next = take(warp, __builtin_ctz(lanes));
  set_ready(self);
  switch_to(*self->fiber, next);
}

void copy_async(void* to, const void* from, int bytes, int source_bytes, Site site) {
  const auto unaligned = (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) %
                         static_cast<unsigned>(bytes);
  if (unaligned != 0)
    CUDA_EMULATOR_FAIL(place("cp.async", site) + ": an address is not aligned to the copy");
  if (source_bytes > 0) note_access(kSelf, from, static_cast<size_t>(source_bytes), false);
  note_copy_start(to, static_cast<size_t>(bytes), site);
  memset(to, 0xff, static_cast<size_t>(bytes));  // NaN until the wait; shows a copy over live data
  current->copies.push_back({to, from, bytes, source_bytes, site});
}

void copy_async_commit() { current->group_ends.push_back(current->copies.size()); }

void copy_async_wait(int groups_left) {
  Thread& thread = *current;
  const auto left = static_cast<size_t>(groups_left);
  if (thread.group_ends.size() <= left) return;
  const size_t groups = thread.group_ends.size() - left, count = thread.group_ends[groups - 1];
  for (size_t i = 0; i < count; ++i) {
    const Copy& copy = thread.copies[i];
    const auto read = static_cast<size_t>(copy.source_bytes);
    if (read > 0) note_access(kSelf, copy.from, read, false);
    note_copy_end(copy.to, static_cast<size_t>(copy.bytes));
    memcpy(copy.to, copy.from, read);
    memset(static_cast<char*>(copy.to) + read, 0, static_cast<size_t>(copy.bytes) - read);
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + static_cast<long>(count));
  thread.group_ends.erase(thread.group_ends.begin(),
                          thread.group_ends.begin() + static_cast<long>(groups));
  for (size_t& end : thread.group_ends) end -= count;
}

int lane() { return current->lane; }
bool in_kernel() { return current != nullptr; }
ThreadPlace* current_thread() { return is_reporting ? nullptr : current; }
ThreadPlace* sibling(int l) {
  return threads[static_cast<size_t>(current->warp * kWarp + l)].get();
}
bool on_current_stack(const void* data) {
  const Fiber* fiber = current->fiber;
  return data >= fiber->stack && data < fiber->stack + kStack;
}

// ---- Shared memory
// --------------------------------------------------------------------------------

namespace {

constexpr size_t kArena = 1 << 20;  // the SHARED() variables of all kernels together
alignas(1024) char static_arena[kArena];
struct Slot {
  size_t begin, bytes;
};
std::vector<Slot> slots;

// Shared memory starts undefined: NaN.
void poison_shared() {
  for (const Slot& slot : slots) memset(static_arena + slot.begin, 0xff, slot.bytes);
  memset(block_state.shared, 0xff, block_state.shared_bytes);
}

}  // namespace

size_t shared_slot(size_t bytes) {
  const size_t end = slots.empty() ? 0 : slots.back().begin + slots.back().bytes;
  const size_t begin = (end + 2 * 128 - 1) / 128 * 128;  // 128 bytes or more between slots
  if (begin + bytes + 128 > kArena) CUDA_EMULATOR_FAIL("no room for more SHARED() variables");
  slots.push_back({begin, bytes});
  memset(static_arena + begin, 0xff, bytes);
  return begin;
}
bool in_static_arena(const void* data) {
  return data >= static_arena && data < static_arena + kArena;
}
bool in_static_slot(const void* data, size_t bytes) {
  const auto at = static_cast<size_t>(static_cast<const char*>(data) - static_arena);
  for (const Slot& slot : slots) {
    if (at >= slot.begin && at + bytes <= slot.begin + slot.bytes) return true;
  }
  return false;
}
void* static_shared_memory(size_t slot) { return static_arena + slot; }
void* dynamic_shared_memory() { return block_state.shared; }

// ---- Launch
// ---------------------------------------------------------------------------------------

namespace {

void abandon_threads() {
  for (int i = 0; i < thread_count; ++i) {
    Thread& thread = *threads[static_cast<size_t>(i)];
    if (thread.fiber != nullptr) free_fibers.push_back(thread.fiber);
    thread.fiber = nullptr;
  }
}

void run_block() {
  thread_count = live_count = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  ready_warps = 0;
  block_barrier = Barrier{};
  for (Warp& warp : warps) {
    warp.ready = warp.live = 0;
    warp.operations.clear();
  }
  for (int i = 0; i < thread_count; ++i) {
    Thread& thread = *threads[static_cast<size_t>(i)];
    const auto n = static_cast<unsigned>(i);
    thread.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y)};
    thread.warp_epoch = 0;
    thread.copies.clear();
    thread.group_ends.clear();
    set_ready(&thread);
    warps[thread.warp].live |= 1u << thread.lane;
  }
  ++block_state.id;
  block_state.barrier_epoch = 0;
  block_state.fenced = false;
  ++statistics.blocks;
  statistics.threads += static_cast<unsigned>(thread_count);
  switch_to(launcher, pick_next());
  current = nullptr;
  is_reporting = false;
  if (fault.empty() && live_count > 0) {
    fault = "deadlock in block (" + std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) +
            "," + std::to_string(blockIdx.z) + "):" + who_waits_where();
  }
  if (!fault.empty()) {
    abandon_threads();
    throw Error(std::exchange(fault, {}));
  }
}

// CUDA_EMULATOR_ORDER: forward (the default), reverse or random:<seed>.
void read_order() {
  order = Order::kForward;
  const char* text = getenv("CUDA_EMULATOR_ORDER");
  if (text == nullptr) return;
  if (strncmp(text, "reverse", 7) == 0) order = Order::kReverse;
  if (strncmp(text, "random", 6) == 0) order = Order::kRandom;
  const char* seed = strchr(text, ':');
  if (seed != nullptr) random_state = strtoull(seed + 1, nullptr, 10) * 2 + 1;
}

}  // namespace

void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  const std::lock_guard<std::mutex> lock(launch_mutex);
  read_order();
  while (threads.size() < block.x * block.y * block.z) {
    auto thread = std::make_unique<Thread>();
    thread->linear = static_cast<int>(threads.size());
    thread->lane = thread->linear % kWarp;
    thread->warp = thread->linear / kWarp;
    threads.push_back(std::move(thread));
  }
  // Red zones on both sides, at 0xff as well.
  static std::vector<char> memory;
  memory.assign(shared_bytes + 2 * kRedZone + 1024, static_cast<char>(0xff));
  block_state.shared = reinterpret_cast<char*>(
      (reinterpret_cast<uintptr_t>(memory.data()) + kRedZone + 1023) / 1024 * 1024);
  block_state.shared_bytes = shared_bytes;
  gridDim = grid;
  blockDim = block;
  kernel_body = &body;
  ++block_state.launch;
  polls = 0;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        poison_shared();
        run_block();
      }
    }
  }
}

namespace {
std::string last_message;
}

cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  if (is_capturing()) {
    record([=] { return launch(grid, block, shared_bytes, body); });
    return cudaSuccess;
  }
  if (const cudaError_t error = check_launch(grid, block, shared_bytes)) return error;
  try {
    run(grid, block, shared_bytes, body);
    return cudaSuccess;
  } catch (const Error& error) {
    last_message = error.what();
    return cudaErrorLaunchFailure;
  }
}

const char* last_fault() { return last_message.c_str(); }

}  // namespace cuda_emulator
