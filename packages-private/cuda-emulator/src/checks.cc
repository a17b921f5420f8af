// The detector of data races and of accesses out of bounds. Kernels are compiled with
// -fsanitize=thread, which calls a function at each load and store, and -fsanitize=alignment, which
// calls one where an address does not suit its type; the functions are these, not those of the
// sanitizers' libraries.
//
// Bounds: an access must lie inside of a block of device memory, of the block's shared memory, or
// on the thread's own stack; reads of constants and parameters on the host are let through.
//
// Races: each byte of shared and device memory has a shadow: who wrote it and who read it last,
// with block, barriers and __syncwarps counted. Two accesses race when one writes, the threads
// differ, and no barrier (same block), no __syncwarp (same warp) and no pair of __threadfence
// (other block of the same launch) lies between. As in CUDA, shuffles and mma order no memory.
//
// Copies: from its start to the wait for its group, what a cp.async brings is nobody's to touch,
// not even the thread's own that started it.
#include "internal.h"

#if !defined(CUDA_EMULATOR_CHECKS)

namespace cuda_emulator {
void note_access(int, const void*, size_t, bool, bool) {}
void note_fence() {}
void note_copy_start(const void*, size_t, Site) {}
void note_copy_end(const void*, size_t) {}
}  // namespace cuda_emulator

#else

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <unordered_map>

namespace cuda_emulator {
namespace {

constexpr int16_t kNobody = -1, kSeveral = -2;
struct Stamp {
  uint32_t launch = 0, block = 0, barriers = 0, warp_epoch = 0;
  int16_t thread = kNobody, warp = kNobody;
  bool atomic = false, fenced = false;
  const void* program_counter = nullptr;
};
struct Cell {
  Stamp write, read;
  uint32_t copied_by = 0;  // the block with a copy on its way there, or 0
  Site copy{};
};
struct Page {
  Cell cells[256];
};
std::unordered_map<uintptr_t, Page> shadow;
bool is_busy;

enum class Place { kOther, kShared, kDevice };

// file:line of a return address.
std::string line_of(const void* program_counter) {
  Dl_info info;
  if (dladdr(program_counter, &info) == 0) return "?";
  char command[512], line[256] = "";
  const auto offset =
      static_cast<const char*>(program_counter) - static_cast<const char*>(info.dli_fbase) - 1;
  snprintf(command, sizeof command, "addr2line -s -e '%s' %#zx 2>/dev/null", info.dli_fname,
           static_cast<size_t>(offset));
  if (FILE* pipe = popen(command, "r")) {
    if (fgets(line, sizeof line, pipe) == nullptr) line[0] = 0;
    pclose(pipe);
  }
  return std::string(line, strcspn(line, " \n"));
}

// Whether the host's own variables lie there, those of the kernel's library: the places of SHARED()
// are set by kernels.
bool is_variable_of_host(const void* data, const void* program_counter) {
  Dl_info variable, kernel;
  return dladdr(data, &variable) != 0 && dladdr(program_counter, &kernel) != 0 &&
         variable.dli_fbase == kernel.dli_fbase;
}

Place place_of(const void* data, size_t bytes, bool is_write, const void* program_counter) {
  const auto out_of_bounds = [&](const std::string& what) {
    begin_report();
    fail(std::string(is_write ? "write" : "read") + " of " + std::to_string(bytes) + " bytes at " +
         line_of(program_counter) + " out of bounds: " + what);
  };
  const char* at = static_cast<const char*>(data);
  if (in_static_arena(data)) {
    if (!in_static_slot(data, bytes)) out_of_bounds("a SHARED() variable");
    return Place::kShared;
  }
  const char* shared = block_state.shared;
  if (at >= shared - kRedZone && at < shared + block_state.shared_bytes + kRedZone) {
    if (at < shared || at + bytes > shared + block_state.shared_bytes) {
      begin_report();
      out_of_bounds("dynamic shared memory of " + std::to_string(block_state.shared_bytes) +
                    " bytes");
    }
    return Place::kShared;
  }
  if (on_current_stack(data)) return Place::kOther;
  const Memory memory = memory_at(data, bytes);
  if (memory == Memory::kRedZone) {
    begin_report();
    out_of_bounds(description_of_block(data));
  }
  if (memory == Memory::kHost && is_write && !is_variable_of_host(data, program_counter))
    out_of_bounds("no memory of the device");
  return memory == Memory::kDevice ? Place::kDevice : Place::kOther;
}

// May an access with stamp s and one by `thread` now run at the same time?
bool is_concurrent(const Stamp& s, const ThreadPlace& thread, Place place) {
  if (s.thread == kNobody || s.launch != block_state.launch) return false;
  if (s.block != block_state.id)
    return place == Place::kDevice && !(s.fenced && block_state.fenced);
  if (s.thread == thread.linear || s.barriers != block_state.barrier_epoch) return false;
  return s.warp != thread.warp || s.warp_epoch >= thread.warp_epoch;
}

void report(Place place, bool is_write, const Stamp& other, bool other_wrote,
            const ThreadPlace& thread, const void* program_counter) {
  const std::string who =
      other.thread == kSeveral ? "several threads" : "thread " + std::to_string(other.thread);
  is_busy = false;
  begin_report();
  fail(std::string("race on ") + (place == Place::kShared ? "shared" : "device") +
       " memory: thread " + std::to_string(thread.linear) + (is_write ? " writes (" : " reads (") +
       line_of(program_counter) + ") what " + who +
       (other.block == block_state.id ? "" : " of another block") +
       (other_wrote ? " wrote (" : " read (") + line_of(other.program_counter) +
       ") with no synchronisation between");
}

void report_copy(bool is_write, Site copy, const ThreadPlace& thread, const void* program_counter) {
  const char* name = strrchr(copy.file, '/');
  is_busy = false;
  begin_report();
  fail("thread " + std::to_string(thread.linear) + (is_write ? " writes (" : " reads (") +
       line_of(program_counter) + ") what a copy is still bringing: cp.async at " +
       (name != nullptr ? name + 1 : copy.file) + ":" + std::to_string(copy.line) +
       " was not waited for");
}

// The shadow of one byte.
Cell& cell_at(uintptr_t address) {
  static uintptr_t last_page = ~uintptr_t{0};
  static Page* page;
  if (address >> 8 != last_page) {
    last_page = address >> 8;
    page = &shadow[last_page];
  }
  return page->cells[address & 255];
}

void access(const ThreadPlace* thread, const void* data, size_t bytes, bool is_write,
            bool is_atomic, const void* program_counter) {
  if (thread == nullptr || is_busy) return;
  const Place place = place_of(data, bytes, is_write, program_counter);
  if (place == Place::kOther) return;
  is_busy = true;
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cell_at(reinterpret_cast<uintptr_t>(data) + i);
    if (cell.copied_by == block_state.id)
      report_copy(is_write, cell.copy, *thread, program_counter);
    if (is_concurrent(cell.write, *thread, place) && !(is_atomic && cell.write.atomic))
      report(place, is_write, cell.write, true, *thread, program_counter);
    const bool read_before = is_concurrent(cell.read, *thread, place);
    if (is_write && read_before) report(place, true, cell.read, false, *thread, program_counter);
    Stamp stamp;
    stamp.launch = block_state.launch;
    stamp.block = block_state.id;
    stamp.barriers = block_state.barrier_epoch;
    stamp.warp_epoch = thread->warp_epoch;
    stamp.thread = static_cast<int16_t>(thread->linear);
    stamp.warp = static_cast<int16_t>(thread->warp);
    stamp.atomic = is_atomic;
    stamp.fenced = block_state.fenced;
    stamp.program_counter = program_counter;
    if (is_write) {
      cell.write = stamp;
    } else {
      if (read_before) {  // every concurrent reader is kept in mind
        stamp.thread = kSeveral;
        if (cell.read.warp != stamp.warp) stamp.warp = kSeveral;
      }
      cell.read = stamp;
    }
  }
  is_busy = false;
}

}  // namespace

void note_access(int lane, const void* data, size_t bytes, bool is_write, bool is_atomic) {
  if (in_kernel())
    access(lane == kSelf ? current_thread() : sibling(lane), data, bytes, is_write, is_atomic,
           __builtin_return_address(0));
}
void note_fence() { block_state.fenced = true; }
void note_copy_start(const void* to, size_t bytes, Site site) {
  access(current_thread(), to, bytes, true, false, __builtin_return_address(0));
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cell_at(reinterpret_cast<uintptr_t>(to) + i);
    cell.copied_by = block_state.id;
    cell.copy = site;
  }
}
void note_copy_end(const void* to, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) cell_at(reinterpret_cast<uintptr_t>(to) + i).copied_by = 0;
  access(current_thread(), to, bytes, true, false, __builtin_return_address(0));
}

}  // namespace cuda_emulator

#define CUDA_EMULATOR_HOOK(name, bytes, is_write)                                        \
  __attribute__((visibility("default"))) void name(void* data) {                         \
    cuda_emulator::access(cuda_emulator::current_thread(), data, bytes, is_write, false, \
                          __builtin_return_address(0));                                  \
  }
#define CUDA_EMULATOR_HOOKS(bytes)                               \
  CUDA_EMULATOR_HOOK(__tsan_read##bytes, bytes, false)           \
  CUDA_EMULATOR_HOOK(__tsan_write##bytes, bytes, true)           \
  CUDA_EMULATOR_HOOK(__tsan_unaligned_read##bytes, bytes, false) \
  CUDA_EMULATOR_HOOK(__tsan_unaligned_write##bytes, bytes, true) \
  void __tsan_volatile_read##bytes(void*) {}                     \
  void __tsan_volatile_write##bytes(void*) {}
extern "C" {
CUDA_EMULATOR_HOOKS(1)
CUDA_EMULATOR_HOOKS(2)
CUDA_EMULATOR_HOOKS(4)
CUDA_EMULATOR_HOOKS(8)
CUDA_EMULATOR_HOOKS(16)
void __tsan_read_range(void* data, size_t bytes) {
  cuda_emulator::access(cuda_emulator::current_thread(), data, bytes, false, false,
                        __builtin_return_address(0));
}
void __tsan_write_range(void* data, size_t bytes) {
  cuda_emulator::access(cuda_emulator::current_thread(), data, bytes, true, false,
                        __builtin_return_address(0));
}
// What the compiler says of an address and its type.
struct TypeMismatch {
  const char* file;
  uint32_t line, column;
  const void* type;
  uint8_t log_alignment, kind;
};
// A GPU refuses what most hosts allow: vectors that begin anywhere.
__attribute__((visibility("default"))) void __ubsan_handle_type_mismatch_v1(
    const TypeMismatch* access, const void*) {
  if (!cuda_emulator::in_kernel()) return;
  CUDA_EMULATOR_FAIL(std::string("access at ") + access->file + ":" + std::to_string(access->line) +
                     ": the address is not aligned to " +
                     std::to_string(1 << access->log_alignment) + " bytes");
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
}

#endif
