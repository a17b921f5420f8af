# The cuda device. Sets CUDA_OBJECTS and CUDA_LIBRARIES for the addon, and CUDA_EMULATIONS, the names of the object libraries
# fms_accel_cuda_{kernels,runtime}_<name> that hold the device over the emulator, the shared library fms_accel_cuda_emulator_<name>.
include(cmake/cuda_kernels.cmake)

set(CUDA_HOST_SOURCES native/cuda/cublaslt.cc native/cuda/device.cc native/cuda/graph.cc native/cuda/staging.cc native/cuda/table.cc)
# A kernel that is new in native/cpu/kernels.h is named in this table: as the device's own, or as one that it has not.
set_source_files_properties(native/cuda/table.cc PROPERTIES COMPILE_OPTIONS -Werror=missing-field-initializers)
set(CUDA_KERNEL_SOURCES
  native/cuda/attention.cu
  native/cuda/cross_entropy.cu
  native/cuda/elementwise.cu
  native/cuda/fault.cu
  native/cuda/few_rows.cu
  native/cuda/flash_attention.cu
  native/cuda/flash_attention_backward.cu
  native/cuda/flash_attention_float.cu
  native/cuda/indexing.cu
  native/cuda/matmul.cu
  native/cuda/matmul_bf16.cu
  native/cuda/optimizer.cu
  native/cuda/random.cu
  native/cuda/reduce.cu
  native/cuda/rms_norm.cu
  native/cuda/rotary.cu
  native/cuda/softmax.cu
  native/cuda/sort.cu
  native/cuda/swiglu.cu)

# ---- nvcc ---------------------------------------------------------------------------------------------------------------------
set(CUDA_OBJECTS native/cuda/absent.cc)
if(HAS_NVCC)
  compile_cuda(CUDA_OBJECTS ${CUDA_KERNEL_SOURCES})
  string(REPLACE ";" ", " ARCHITECTURE_LIST "${FMS_ACCEL_CUDA_ARCHITECTURES}")
  add_library(fms_accel_cuda_host OBJECT ${CUDA_HOST_SOURCES})
  target_include_directories(fms_accel_cuda_host PRIVATE native include)
  target_include_directories(fms_accel_cuda_host SYSTEM PRIVATE ${CUDA_ROOT}/include)
  target_compile_definitions(fms_accel_cuda_host PRIVATE FMS_ACCEL_CUDA_TOOLKIT FMS_ACCEL_CUDA_ARCHITECTURES="${ARCHITECTURE_LIST}")
  list(APPEND CUDA_OBJECTS $<TARGET_OBJECTS:fms_accel_cuda_host>)
endif()

# ---- The emulator -------------------------------------------------------------------------------------------------------------
# One library a process, as CUDA's driver is: the engine and the plugins share its devices and their memory.
foreach(VARIANT IN LISTS CUDA_EMULATIONS)
  add_library(fms_accel_cuda_emulator_${VARIANT} SHARED EXCLUDE_FROM_ALL
    ${CUDA_EMULATOR}/src/checks.cc
    ${CUDA_EMULATOR}/src/collectives.cc
    ${CUDA_EMULATOR}/src/fibers.cc
    ${CUDA_EMULATOR}/src/graphs.cc
    ${CUDA_EMULATOR}/src/runtime.cc
    ${CUDA_EMULATOR}/src/tensor_core.cc)
  target_include_directories(fms_accel_cuda_emulator_${VARIANT} PRIVATE ${CUDA_EMULATOR}/include ${CUDA_EMULATOR}/src)
  target_compile_options(fms_accel_cuda_emulator_${VARIANT} PRIVATE
    -O2 -fno-strict-aliasing -fno-threadsafe-statics -Wno-unknown-pragmas -fno-semantic-interposition)
  target_link_libraries(fms_accel_cuda_emulator_${VARIANT} PRIVATE ${CMAKE_DL_LIBS})
  set_target_properties(fms_accel_cuda_emulator_${VARIANT} PROPERTIES CXX_VISIBILITY_PRESET default)
  emulate_cuda(fms_accel_cuda_kernels_${VARIANT} ${VARIANT} ${CUDA_KERNEL_SOURCES})
  add_library(fms_accel_cuda_runtime_${VARIANT} OBJECT EXCLUDE_FROM_ALL ${CUDA_HOST_SOURCES})
  target_include_directories(fms_accel_cuda_runtime_${VARIANT} PRIVATE native include ${CUDA_EMULATOR}/include)
endforeach()
if(TARGET fms_accel_cuda_emulator_checked)
  target_compile_definitions(fms_accel_cuda_emulator_checked PRIVATE CUDA_EMULATOR_CHECKS)
endif()
