#!/usr/bin/env bash
# Compiles every kernel of every package for sm_80, sm_86, sm_89 and sm_90a, with PTX, warnings as errors, and links the addons. Needs no GPU.
#   bash scripts/gpu/check-nvcc.sh [path of nvcc]
# nvcc without a system installation: python3 -m pip install --target DIR nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 \
#   nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85; it is DIR/nvidia/cu13/bin/nvcc then.
# JOBS says how many compile at a time (all cores). CMAKE_CXX_COMPILER_LAUNCHER=ccache keeps what nvcc made, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=${1:-$(command -v nvcc || true)}
options=(--CDCMAKE_BUILD_TYPE=Release --CDFMS_ACCEL_CUDA=on)
[ -n "$nvcc" ] && options+=("--CDFMS_ACCEL_NVCC=$nvcc")
for package in packages/*/; do
  grep --quiet --no-messages CUDA_OBJECTS "$package"CMakeLists.txt || continue
  (cd "$package" && node node_modules/cmake-js/bin/cmake-js build --out build/nvcc "${options[@]}" -l warn -p "${JOBS:-$(nproc)}")
  for addon in "$package"build/nvcc/Release/fms_accel_*.node; do
    size=$(stat --format=%s "$addon")
    echo "$(basename "$addon") with CUDA: $((size / 1000000)) MB"
    [ "$size" -lt 40000000 ] || { echo "more than 40 MB"; exit 1; }
  done
done
# The engine loads, and says what is missing, on a machine without a driver.
node -e '
  const addon = require(process.argv[1]);
  const status = addon.cudaStatus();
  console.log(status.build, "for", status.architectures, "-", status.problem || status.devices.map(({ name }) => name).join(", "));
' "$PWD/packages/tensor/build/nvcc/Release/fms_accel_tensor.node"
