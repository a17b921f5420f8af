# How kernels of the cuda device are compiled, for the engine and for plugin addons: by nvcc where it is found, and over the emulator
# of packages-private/cuda-emulator.
#
#   -DFMS_ACCEL_CUDA=auto|on|off   auto: where nvcc is found (FMS_ACCEL_NVCC, PATH, CUDA_HOME, or pip's nvidia-cuda-nvcc)
#   -DFMS_ACCEL_CUDA_ARCHITECTURES="80;86;89;90a"   the last one also as PTX
#
# Sets HAS_NVCC; where it is true, CUDA_ROOT and CUDA_LIBRARIES. Sets CUDA_EMULATOR where this is the repository; the published packages
# have no emulator.
set(FMS_ACCEL_CUDA auto CACHE STRING "auto, on or off")
set(FMS_ACCEL_CUDA_ARCHITECTURES "80;86;89;90a" CACHE STRING "compute capabilities")
get_filename_component(TENSOR_ROOT ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)

# ---- nvcc ---------------------------------------------------------------------------------------------------------------------
set(HAS_NVCC FALSE)
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
  set(HAS_NVCC TRUE)
  get_filename_component(CUDA_ROOT ${FMS_ACCEL_NVCC} REALPATH)
  get_filename_component(CUDA_ROOT ${CUDA_ROOT} DIRECTORY)
  get_filename_component(CUDA_ROOT ${CUDA_ROOT} DIRECTORY)
  find_library(CUDART_STATIC cudart_static PATHS ${CUDA_ROOT}/lib64 ${CUDA_ROOT}/lib REQUIRED NO_DEFAULT_PATH)
  set(CUDA_LIBRARIES ${CUDART_STATIC} ${CMAKE_DL_LIBS} rt)
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
endif()

# compile_cuda(OBJECTS source...): the sources by nvcc, with `native` and the engine's public headers to include.
function(compile_cuda OBJECTS)
  set(ALL "")
  foreach(SOURCE IN LISTS ARGN)
    get_filename_component(NAME ${SOURCE} NAME_WE)
    set(OBJECT ${CMAKE_CURRENT_BINARY_DIR}/cuda/${NAME}.o)
    add_custom_command(
      OUTPUT ${OBJECT}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/cuda
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${FMS_ACCEL_NVCC} -std=c++20 -O3 ${GENCODE} --expt-relaxed-constexpr -Werror all-warnings -Xfatbin=-compress-all -Xcompiler=-fPIC,-fvisibility=hidden
        -I${CMAKE_CURRENT_SOURCE_DIR}/native -I${TENSOR_ROOT}/include -MD -MF ${OBJECT}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${SOURCE} -o ${OBJECT}
      DEPENDS ${SOURCE}
      DEPFILE ${OBJECT}.d
      COMMENT "nvcc ${SOURCE}"
      VERBATIM)
    list(APPEND ALL ${OBJECT})
  endforeach()
  set(${OBJECTS} ${ALL} PARENT_SCOPE)
endfunction()

# ---- The emulator: `checked` also finds races and accesses out of bounds; it is slow --------------------------------------------------
set(CUDA_EMULATIONS "")
set(CUDA_EMULATOR ${TENSOR_ROOT}/../../packages-private/cuda-emulator)
if(EXISTS ${CUDA_EMULATOR})
  set(CUDA_EMULATIONS emulated checked)
endif()

# emulate_cuda(target variant source...): an object library of the sources for the host.
function(emulate_cuda TARGET VARIANT)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
  add_library(${TARGET} OBJECT EXCLUDE_FROM_ALL ${ARGN})
  target_include_directories(${TARGET} PRIVATE native ${TENSOR_ROOT}/include ${CUDA_EMULATOR}/include)
  # Kernels read memory as other types, as nvcc lets them.
  target_compile_options(${TARGET} PRIVATE -O2 -fno-strict-aliasing -fno-threadsafe-statics -Wno-unknown-pragmas)
  if(VARIANT STREQUAL "checked")
    # The compiler reports every access of the kernels, and each that is not aligned; the emulator takes the place of the sanitizers' libraries.
    target_compile_options(${TARGET} PRIVATE -fsanitize=thread -fsanitize=alignment -g1)
  endif()
endfunction()
