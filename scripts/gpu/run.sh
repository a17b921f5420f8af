#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, nvcc, g++ and cmake, in a checkout that has out/gpu/kit.tar.xz (scripts/gpu/pack.sh); no registry is needed:
#   bash scripts/gpu/run.sh [build] [test] [sanitize] [bench]     all of them by default
# Figures go to packages-private/benchmarks/refs/gpu-<device>*, with gpu-<device>-summary.csv that says which are what was asked; to $OUT as well
# where that is set. FMS_ACCEL_CUDA_EMULATOR=1 is the rehearsal on the emulated device (scripts/gpu/rehearse.sh): shapes are small, times mean
# nothing, and figures go to $REFS (out/gpu).
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${*:-build test sanitize bench}
if [ -f out/gpu/kit.tar.xz ] && [ ! -d out/gpu/node ]; then
  tar --extract --file out/gpu/kit.tar.xz --anchored --exclude=node
  tar --extract --file out/gpu/kit.tar.xz --directory out/gpu node
fi
[ -d out/gpu/node ] && export PATH="$PWD/out/gpu/node/bin:$PATH" npm_config_nodedir="$PWD/out/gpu/node"
if [ -n "${FMS_ACCEL_CUDA_EMULATOR:-}" ]; then
  # Compiled for what check-nvcc.sh compiles for: a compiler cache serves both.
  device="CUDA emulator" capability="80;86;89;90a" refs=${REFS:-out/gpu} quick=--quick steps_of_run=2 lengths=8,8 shapes=tiny
else
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  refs=packages-private/benchmarks/refs quick="" steps_of_run=10 lengths=512,512,512,512 shapes="135m 1b-4l"
fi
[ "$capability" = 90 ] && capability=90a
echo "device: $device, node $(node --version) of $(command -v node)"

build() {
  local cuda=on
  if [ -n "$quick" ]; then cuda=auto; fi
  for folder in packages/*/; do
    [ -f "$folder/CMakeLists.txt" ] || continue
    (cd "$folder" && node node_modules/cmake-js/bin/cmake-js build --CDCMAKE_BUILD_TYPE=Release "--CDFMS_ACCEL_CUDA=$cuda" \
      "--CDFMS_ACCEL_CUDA_ARCHITECTURES=$capability" -l warn -p "$(nproc)")
    ls -l "$folder"build/Release/*.node
  done
  [ -n "$quick" ] || return 0
  for package in tensor attention-and-distributed-packing; do
    cmake --build "packages/$package/build" --target cuda_emulation --parallel "$(nproc)"
  done
}
vitest() { node node_modules/vitest/vitest.mjs run --maxWorkers=4 "$@"; }
test_() {
  local files="packages/tensor/test packages/models/test/architectures packages/models/test/layers packages/models/test/rope \
    packages/models/test/peft packages/models/test/generation packages/trainer/test/cuda packages/trainer/test/optimizer \
    packages/trainer/test/training/curves.test.ts packages/attention-and-distributed-packing/test/cuda \
    packages/attention-and-distributed-packing/test/variable-length-attention packages/attention-and-distributed-packing/test/padding-free \
    packages/attention-and-distributed-packing/test/data/packed-loss packages/attention-and-distributed-packing/test/data/multipack-training"
  if [ -n "$quick" ]; then files="packages/tensor/test/cuda packages/tensor/test/matmul.test.ts packages/tensor/test/softmax.test.ts"; fi
  # shellcheck disable=SC2086
  FMS_ACCEL_TEST_DEVICE=cuda vitest $files
}
# One test process under each tool; the kernels of every operation run in these files.
sanitize() {
  if ! command -v compute-sanitizer > /dev/null; then
    echo "compute-sanitizer is missing (it comes with the CUDA toolkit, and as the package cuda-sanitizer): skipped"
    return
  fi
  for tool in memcheck racecheck synccheck; do
    echo "compute-sanitizer --tool $tool"
    FMS_ACCEL_TEST_DEVICE=cuda compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 --print-limit 20 \
      node node_modules/vitest/vitest.mjs run --maxWorkers=1 --testTimeout=600000 packages/tensor/test/attention.test.ts \
      packages/tensor/test/matmul.test.ts packages/tensor/test/cuda/products.test.ts packages/tensor/test/softmax.test.ts packages/tensor/test/indexing.test.ts \
      packages/tensor/test/cross-entropy.test.ts packages/tensor/test/adamw.test.ts packages/tensor/test/random.test.ts \
      packages/tensor/test/grouped-linear.test.ts packages/tensor/test/rms-norm.test.ts packages/tensor/test/rotary.test.ts \
      packages/tensor/test/swiglu.test.ts packages/tensor/test/few-rows.test.ts packages/tensor/test/reduce.test.ts \
      packages/attention-and-distributed-packing/test/cuda/kernels.test.ts
  done
}
has_torch() { [ -z "$quick" ] && python3 -c 'import torch; torch.zeros(1, device="cuda")' 2> /dev/null; }
# Steps of LoRA in bfloat16, launched one by one and as a graph, the peer's in the same run, and how much of the time the GPU works.
train() {
  for shape in $shapes; do
    step=(node packages-private/benchmarks/src/train-step.mjs --device cuda --shape "$shape" --dtype bfloat16 --lengths "$lengths")
    "${step[@]}" --steps "$steps_of_run"
    "${step[@]}" --steps "$steps_of_run" --graphs
    if has_torch && python3 -c 'import peft' 2> /dev/null; then
      python3 packages-private/benchmarks/peer/train_step.py --device cuda --shape "$shape" --method lora --dtype bfloat16 \
        --lengths "$lengths" --steps "$steps_of_run"
    fi
    if [ -z "$quick" ] && command -v nsys > /dev/null; then
      nsys profile --force-overwrite true --trace cuda --output out/gpu/step "${step[@]}" --steps 30 > /dev/null
      nsys stats --force-export true --report cuda_gpu_trace --format csv out/gpu/step.nsys-rep 2> /dev/null |
        node scripts/gpu/busy-share.mjs "$shape"
    else
      echo "nsys is missing: gaps between kernels of $shape are not measured" >&2
    fi
  done
}
bench() {
  mkdir -p "$refs" out/gpu
  csv=$refs/gpu-$(echo "$device" | tr ' A-Z' '-a-z').csv
  # The rehearsal has what stands in for cuBLASLt in tests.
  local library=${FMS_ACCEL_CUBLASLT:-}
  if [ -n "$quick" ]; then library=$PWD/packages/tensor/build/Release/libfake_cublaslt.so; fi
  FMS_ACCEL_CUBLASLT=$library node packages/tensor/bench/cuda.mjs $quick --csv "$csv"
  FMS_ACCEL_CUBLASLT=0 node packages/tensor/bench/cuda.mjs $quick --only linear --csv "${csv%.csv}-own-products.csv"
  if has_torch; then
    python3 packages-private/benchmarks/peer/cuda_kernels.py --csv "${csv%.csv}-torch.csv"
  else
    echo "no PyTorch with CUDA: its kernels are not timed"
  fi
  train | tee "${csv%.csv}-training.jsonl"
  node scripts/gpu/summary.mjs "${csv%.csv}"
  if [ -n "${OUT:-}" ]; then cp "${csv%.csv}"* "$OUT"; fi
}
for step in $steps; do
  echo "== $step"
  case $step in
  build) build ;;
  test) test_ ;;
  sanitize) sanitize ;;
  bench) bench ;;
  *) echo "unknown step $step: expected build, test, sanitize or bench"; exit 2 ;;
  esac
done
