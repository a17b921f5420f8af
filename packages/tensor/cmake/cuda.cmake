# The cuda device. Sets CUDA_OBJECTS and CUDA_LIBRARIES for the addon, and CUDA_EMULATIONS, the names of the object libraries
# fms_accel_cuda_<name> that hold the device over the emulator of packages-private/cuda-emulator.
#
#   -DFMS_ACCEL_CUDA=auto|on|off   auto: where nvcc is found (FMS_ACCEL_NVCC, PATH, CUDA_HOME, or pip's nvidia-cuda-nvcc)
#   -DFMS_ACCEL_CUDA_ARCHITECTURES="80;86;89;90a"   the last one also as PTX
set(FMS_ACCEL_CUDA auto CACHE STRING "auto, on or off")
set(FMS_ACCEL_CUDA_ARCHITECTURES "80;86;89;90a" CACHE STRING "compute capabilities")

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
set(CUDA_LIBRARIES "")
if(NOT FMS_ACCEL_CUDA STREQUAL "off")
  execute_process(
    COMMAND python3 -c "import nvidia.cu13 as p; print(list(p.__path__)[0])"
    OUTPUT_VARIABLE PIP_CUDA OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_program(FMS_ACCEL_NVCC nvcc
    HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin
    PATHS /usr/local/cuda/bin ${PIP_CUDA}/bin)
  if(NOT FMS_ACCEL_NVCC AND FMS_ACCEL_CUDA STREQUAL "on")
    message(FATAL_ERROR "FMS_ACCEL_CUDA=on, but nvcc was not found: put it on PATH, set CUDA_HOME, or "
      "`pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl` (version 13)")
  endif()
endif()
if(FMS_ACCEL_NVCC AND NOT FMS_ACCEL_CUDA STREQUAL "off")
  get_filename_component(CUDA_ROOT ${FMS_ACCEL_NVCC} REALPATH)
  get_filename_component(CUDA_ROOT ${CUDA_ROOT} DIRECTORY)
  get_filename_component(CUDA_ROOT ${CUDA_ROOT} DIRECTORY)
  find_library(CUDART_STATIC cudart_static PATHS ${CUDA_ROOT}/lib64 ${CUDA_ROOT}/lib REQUIRED NO_DEFAULT_PATH)
  # Code for 8.6 and 8.9 is made from the PTX of 8.0: no kernel asks for more, and nvcc's first half, the longer one, runs once for the three.
  set(GENCODE "")
  set(AMPERE ${FMS_ACCEL_CUDA_ARCHITECTURES})
  list(FILTER AMPERE INCLUDE REGEX "^8")
  if(AMPERE)
    list(GET AMPERE 0 OLDEST)
    list(TRANSFORM AMPERE PREPEND sm_)
    list(JOIN AMPERE "," AMPERE_CODES)
    list(APPEND GENCODE "-gencode=arch=compute_${OLDEST},code=[${AMPERE_CODES}]")
  endif()
  foreach(ARCHITECTURE IN LISTS FMS_ACCEL_CUDA_ARCHITECTURES)
    if(NOT ARCHITECTURE MATCHES "^8")
      list(APPEND GENCODE -gencode=arch=compute_${ARCHITECTURE},code=sm_${ARCHITECTURE})
    endif()
  endforeach()
  # PTX for what comes after: of 90 rather than 90a, whose code runs on no other architecture.
  list(APPEND GENCODE -gencode=arch=compute_90,code=compute_90)
  string(REPLACE ";" ", " ARCHITECTURE_LIST "${FMS_ACCEL_CUDA_ARCHITECTURES}")
  set(CUDA_OBJECTS "")
  foreach(SOURCE IN LISTS CUDA_KERNEL_SOURCES)
    get_filename_component(NAME ${SOURCE} NAME_WE)
    set(OBJECT ${CMAKE_CURRENT_BINARY_DIR}/cuda/${NAME}.o)
    add_custom_command(
      OUTPUT ${OBJECT}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/cuda
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${FMS_ACCEL_NVCC} -std=c++20 -O3 ${GENCODE} --expt-relaxed-constexpr -Werror all-warnings -Xfatbin=-compress-all -Xcompiler=-fPIC,-fvisibility=hidden
        -I${CMAKE_CURRENT_SOURCE_DIR}/native -MD -MF ${OBJECT}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${SOURCE} -o ${OBJECT}
      DEPENDS ${SOURCE}
      DEPFILE ${OBJECT}.d
      COMMENT "nvcc ${SOURCE}"
      VERBATIM)
    list(APPEND CUDA_OBJECTS ${OBJECT})
  endforeach()
  add_library(fms_accel_cuda_host OBJECT ${CUDA_HOST_SOURCES})
  target_include_directories(fms_accel_cuda_host PRIVATE native)
  target_include_directories(fms_accel_cuda_host SYSTEM PRIVATE ${CUDA_ROOT}/include)
  target_compile_definitions(fms_accel_cuda_host PRIVATE FMS_ACCEL_CUDA_TOOLKIT FMS_ACCEL_CUDA_ARCHITECTURES="${ARCHITECTURE_LIST}")
  list(APPEND CUDA_OBJECTS $<TARGET_OBJECTS:fms_accel_cuda_host>)
  set(CUDA_LIBRARIES ${CUDART_STATIC} ${CMAKE_DL_LIBS} rt)
endif()

# ---- The emulator -------------------------------------------------------------------------------------------------------------
# In the repository only: the published package has no emulator. `checked` also finds races and accesses out of bounds; it is slow.
set(CUDA_EMULATIONS "")
set(CUDA_EMULATOR ${CMAKE_CURRENT_SOURCE_DIR}/../../packages-private/cuda-emulator)
if(EXISTS ${CUDA_EMULATOR})
  set(CUDA_EMULATIONS emulated checked)
  set_source_files_properties(${CUDA_KERNEL_SOURCES} PROPERTIES LANGUAGE CXX)
  foreach(VARIANT IN LISTS CUDA_EMULATIONS)
    add_library(fms_accel_cuda_kernels_${VARIANT} OBJECT EXCLUDE_FROM_ALL ${CUDA_KERNEL_SOURCES})
    add_library(fms_accel_cuda_runtime_${VARIANT} OBJECT EXCLUDE_FROM_ALL
      ${CUDA_HOST_SOURCES}
      ${CUDA_EMULATOR}/src/checks.cc
      ${CUDA_EMULATOR}/src/collectives.cc
      ${CUDA_EMULATOR}/src/fibers.cc
      ${CUDA_EMULATOR}/src/graphs.cc
      ${CUDA_EMULATOR}/src/runtime.cc
      ${CUDA_EMULATOR}/src/tensor_core.cc)
    foreach(TARGET fms_accel_cuda_kernels_${VARIANT} fms_accel_cuda_runtime_${VARIANT})
      target_include_directories(${TARGET} PRIVATE native ${CUDA_EMULATOR}/include ${CUDA_EMULATOR}/src)
      # Kernels read memory as other types, as nvcc lets them.
      target_compile_options(${TARGET} PRIVATE -O2 -fno-strict-aliasing -fno-threadsafe-statics -Wno-unknown-pragmas)
    endforeach()
  endforeach()
  target_compile_definitions(fms_accel_cuda_runtime_checked PRIVATE CUDA_EMULATOR_CHECKS)
  # The compiler reports every access of the kernels; the emulator takes the place of the sanitizer's library.
  target_compile_options(fms_accel_cuda_kernels_checked PRIVATE -fsanitize=thread -g1)
endif()
