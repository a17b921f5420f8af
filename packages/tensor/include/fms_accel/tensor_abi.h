// The C ABI between the tensor engine and plugin addons. This is the only public native header of
// @fms-accel/tensor that a plugin needs; what kernels for the cuda device are written in lies in
// fms_accel/cuda/, in headers that link nothing either.
//
// A plugin addon never links the engine. JavaScript passes it `engineExternal()`, an N-API External
// whose type tag is FMS_ACCEL_ENGINE_TAG_{LOW,HIGH} and whose pointer is a `const
// fms_accel_engine_v1*`. A plugin checks the tag, then `abi_major` (must be equal) and
// `struct_size` (at least what the plugin was compiled with), and keeps the pointer.
//
// Tensors cross as handles (slot + generation, an integer below 2^53). `resolve` turns a handle
// into a DLPack-layout view that is valid until the current call into the addon returns. Every
// function that can fail returns 0 on success and non-zero after setting the message that
// `last_error` gives (FMS_ACCEL_DEVICE_FAILED where a device failed: CUDA's message and the remedy,
// without the operation); a plugin turns that into a JavaScript error.
#ifndef FMS_ACCEL_TENSOR_ABI_H_
#define FMS_ACCEL_TENSOR_ABI_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FMS_ACCEL_ABI_MAJOR 1
#define FMS_ACCEL_ABI_MINOR 1
#define FMS_ACCEL_ENGINE_TAG_LOW 0x66d5acce1e7b0a01ULL
#define FMS_ACCEL_ENGINE_TAG_HIGH 0x9b1c5f3d2e4a8870ULL
#define FMS_ACCEL_MAX_DIMS 8
#define FMS_ACCEL_DEVICE_FAILED 2

// The layout of DLPack's DLDevice, DLDataType and DLTensor (dlpack.h, version 1), so that kernels
// written for DLPack work unchanged.
typedef struct {
  int32_t device_type;  // 1 = CPU, 2 = CUDA
  int32_t device_id;
} fms_accel_device;

typedef struct {
  uint8_t code;  // 0 int, 1 uint, 2 float, 4 bfloat, 6 bool
  uint8_t bits;
  uint16_t lanes;
} fms_accel_dtype;

typedef struct {
  void* data;
  fms_accel_device device;
  int32_t ndim;
  fms_accel_dtype dtype;
  const int64_t* shape;
  const int64_t* strides;  // in elements; never null
  uint64_t byte_offset;    // always 0: `data` points at the first element
} fms_accel_tensor_view;

// What a kernel on a device reports of its operands' values; the engine reads it at the next point
// where it waits for the device anyway.
typedef struct {
  uint64_t position;  // all bits set: nothing is wrong
  int64_t value;
} fms_accel_device_record;

typedef uint64_t fms_accel_handle;
typedef struct fms_accel_engine_context fms_accel_engine_context;
typedef void (*fms_accel_parallel_body)(void* argument, int64_t item, int32_t thread);

// Entries are only ever appended within one major version.
typedef struct {
  uint32_t abi_major;
  uint32_t abi_minor;
  uint64_t struct_size;
  fms_accel_engine_context* context;

  // Fails for a stale or foreign handle.
  int (*resolve)(fms_accel_engine_context*, fms_accel_handle, fms_accel_tensor_view* view);
  // A new contiguous tensor with uninitialised contents. The handle belongs to the caller: return
  // it to JavaScript
  // (`adoptHandle`) or release it.
  int (*allocate)(fms_accel_engine_context*, fms_accel_dtype, const int64_t* shape, int32_t ndim,
                  fms_accel_device, fms_accel_handle* handle);
  int (*release)(fms_accel_engine_context*, fms_accel_handle);
  // 1 where the tensor lies in a read-only mapping (a checkpoint file): kernels must not write
  // there.
  int (*is_read_only)(fms_accel_engine_context*, fms_accel_handle);
  // Scratch of at least `bytes`, 64-byte aligned, private to (`thread`, `purpose`) and kept between
  // calls; purpose < 8. Threads are those that `parallel_for` reports; 0 outside of it. Null where
  // there is no memory.
  void* (*workspace)(fms_accel_engine_context*, int32_t thread, int32_t purpose, size_t bytes);
  // Runs body(argument, item, thread) for every item in [0, items). Items are handed out in rising
  // order; results must not depend on which thread runs an item. A nested call runs inline. `body`
  // must not throw.
  void (*parallel_for)(fms_accel_engine_context*, int64_t items, fms_accel_parallel_body body,
                       void* argument);
  int32_t (*num_threads)(fms_accel_engine_context*);
  // The stream that work of this device is enqueued on (a cudaStream_t); null on the CPU, and, with
  // a message, where the device cannot be had. Memory that is released is reused in the stream's
  // order: scratch may be released as soon as the work that uses it is enqueued.
  void* (*stream)(fms_accel_engine_context*, fms_accel_device);
  void (*set_error)(fms_accel_engine_context*, const char* message);
  const char* (*last_error)(fms_accel_engine_context*);

  // ---- Since 1.1
  // A record that kernels which are enqueued afterwards may write. When they have, the error is
  // "<message>, found <value> at <position>".
  int (*device_record)(fms_accel_engine_context*, fms_accel_device, const char* message,
                       fms_accel_device_record** record);
  // To be called after each kernel that was enqueued: it is counted. Where FMS_ACCEL_CUDA_SYNC=1
  // asks for it, and on an emulated device, waits and fails with what went wrong.
  int (*launched)(fms_accel_engine_context*, fms_accel_device);
} fms_accel_engine_v1;

#ifdef __cplusplus
}
#endif
#endif  // FMS_ACCEL_TENSOR_ABI_H_
