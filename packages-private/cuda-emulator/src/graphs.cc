// Stream capture and graphs: a capture records closures with copied arguments, a launch runs them
// in order. A stream that captures does nothing else, and calls that CUDA forbids meanwhile end the
// capture as they do there.
#include <vector>

#include "internal.h"

using Nodes = std::vector<std::function<cudaError_t()>>;

struct CUgraph_st {
  Nodes nodes;
};
struct CUgraphExec_st {
  Nodes nodes;
};

namespace {

struct Capture {
  cudaStream_t stream = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  bool is_broken = false;
  Nodes nodes;
};
thread_local Capture* capture;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

}  // namespace

namespace cuda_emulator {

bool is_capturing() { return capture != nullptr; }

void record(std::function<cudaError_t()> node) { capture->nodes.push_back(std::move(node)); }

bool breaks_capture() {
  if (capture == nullptr) return false;
  capture->is_broken = true;
  return true;
}

bool is_unsafe_in_capture() {
  if (capture == nullptr || capture->mode == cudaStreamCaptureModeRelaxed ||
      thread_mode == cudaStreamCaptureModeRelaxed)
    return false;
  return breaks_capture();
}

}  // namespace cuda_emulator

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (capture != nullptr || stream == nullptr) return cudaErrorStreamCaptureUnsupported;
  capture = new Capture{stream, mode, false, {}};
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (capture == nullptr || capture->stream != stream) return cudaErrorInvalidValue;
  const Capture* const ended = capture;
  capture = nullptr;
  if (!ended->is_broken) *graph = new CUgraph_st{ended->nodes};
  delete ended;
  return *graph == nullptr ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = capture == nullptr || capture->stream != stream ? cudaStreamCaptureStatusNone
            : capture->is_broken                            ? cudaStreamCaptureStatusInvalidated
                                                            : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  if (cuda_emulator::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  for (const auto& node : executable->nodes) {
    if (const cudaError_t error = node()) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

}  // extern "C"
