// Switching between stacks: saved registers and a stack pointer where the CPU is known, ucontext
// elsewhere.
#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_emulator {

#if defined(__x86_64__)

struct Context {
  void* stack_pointer = nullptr;
};
extern "C" void cuda_emulator_switch(void** save, void* load);
inline void switch_context(Context& from, Context& to) {
  cuda_emulator_switch(&from.stack_pointer, to.stack_pointer);
}
inline void start_context(Context& context, char* stack, size_t size, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + size);
  *--top = nullptr;                              // where entry would return to: never used
  *--top = reinterpret_cast<void*>(entry);       // popped by ret
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // registers that a callee saves
  context.stack_pointer = top;
}

#else

struct Context {
  ucontext_t context;
};
inline void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
inline void start_context(Context& context, char* stack, size_t size, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = size;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

#endif

}  // namespace cuda_emulator
