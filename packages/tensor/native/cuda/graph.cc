// Work of a device recorded once and launched as a whole (CUDA graphs).
#include "cuda/device_state.h"
#include "engine/error.h"

namespace fms_accel::cuda {
namespace {

constexpr size_t kPinnedChunk = size_t{64} << 10;

Graph& graph_of(DeviceState& state, int64_t id) {
  const auto found = state.graphs.find(id);
  check(found != state.graphs.end(), "cudaGraph: it was released");
  return found->second;
}

CheckRecord* make_records() {
  void* data = nullptr;
  require(cudaMallocHost(&data, kChecks * sizeof(CheckRecord)));
  return static_cast<CheckRecord*>(data);
}

// Frees what only `id` needs; tensors that still hold blocks of its pool give them back to the
// device. The device has ended its work with the graph.
void forget(DeviceState& state, int64_t id) {
  Graph& graph = graph_of(state, id);
  if (graph.executable != nullptr) cudaGraphExecDestroy(graph.executable);
  for (void* data : graph.pinned) cudaFreeHost(data);
  if (graph.records != nullptr) cudaFreeHost(graph.records);
  const std::lock_guard<std::mutex> lock(state.mutex);
  for (const auto& [size, data] : graph.parked) {
    state.statistics.graph_bytes -= static_cast<int64_t>(size);
    give_back(state, size, data);
  }
  const std::shared_ptr<GraphPool> pool = graph.pool;
  state.graphs.erase(id);
  for (const auto& [other, kept] : state.graphs) {
    if (kept.pool == pool) return;
  }
  for (auto& [data, block] : state.used_blocks) {
    if (block.pool == pool) block.pool.reset();
  }
  for (const auto& [size, data] : pool->free_blocks) {
    state.statistics.graph_bytes -= static_cast<int64_t>(size);
    give_back(state, size, data);
  }
  pool->free_blocks.clear();
}

}  // namespace

Graph* capture_of(DeviceState& state) {
  Graph* const graph = state.capture;
  if (graph == nullptr) return nullptr;
  check(state.capturing_thread == std::this_thread::get_id(),
        "another thread is recording a CUDA graph on this device: use another device meanwhile");
  return graph;
}

void refuse_in_capture(DeviceState& state, const char* what) {
  if (capture_of(state) == nullptr) return;
  fail(what,
       " cannot be part of a CUDA graph: the host takes no part when the graph is replayed. Do it "
       "before the capture, or after a replay");
}

void* pinned_of(Graph& graph, size_t bytes) {
  const size_t size = (bytes + 255) / 256 * 256;
  if (graph.pinned.empty() || graph.pinned_used + size > kPinnedChunk) {
    const AllowDuringCapture allow;
    void* data = nullptr;
    require(cudaMallocHost(&data, std::max(size, kPinnedChunk)));
    graph.pinned.push_back(data);
    graph.pinned_used = 0;
  }
  void* const place = static_cast<char*>(graph.pinned.back()) + graph.pinned_used;
  graph.pinned_used += size;
  return place;
}

bool is_capturing() { return capture_of(current_state()) != nullptr; }

const uint64_t* captured_random_state() {
  const Graph* graph = capture_of(current_state());
  return graph == nullptr ? nullptr : graph->random_state;
}

int64_t begin_capture(int index, int64_t shares_memory_with, const void* random_state) {
  require_device(index);
  DeviceState& state = state_of(index);
  make_current(index);
  check(capture_of(state) == nullptr, "cudaGraph: a capture is under way already");
  Graph graph;
  graph.pool = shares_memory_with == 0 ? std::make_shared<GraphPool>()
                                       : graph_of(state, shares_memory_with).pool;
  graph.random_state = static_cast<const uint64_t*>(random_state);
  graph.records = make_records();
  {
    // What the graph allocates cannot come from blocks that others go on using, and none may be
    // freed during the capture.
    const std::lock_guard<std::mutex> lock(state.mutex);
    free_cached_blocks(state);
  }
  const int64_t id = state.next_graph++;
  Graph& added = state.graphs[id] = std::move(graph);
  const cudaError_t error = cudaStreamBeginCapture(state.stream, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) forget(state, id);
  require(error);
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.capturing_thread = std::this_thread::get_id();
  state.capture_id = id;
  state.capture = &added;
  return id;
}

GraphStatistics end_capture(int index) {
  DeviceState& state = state_of(index);
  Graph* const graph = capture_of(state);
  check(graph != nullptr, "cudaGraph: no capture is under way");
  const int64_t id = state.capture_id;
  state.capture = nullptr;
  cudaGraph_t recorded = nullptr;
  cudaError_t error = cudaStreamEndCapture(state.stream, &recorded);
  size_t nodes = 0;
  if (error == cudaSuccess) error = cudaGraphGetNodes(recorded, nullptr, &nodes);
  if (error == cudaSuccess) error = cudaGraphInstantiate(&graph->executable, recorded, 0);
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  if (error != cudaSuccess) forget(state, id);
  require(error);
  return {graph->kernels, static_cast<int64_t>(nodes)};
}

void abort_capture(int index) {
  DeviceState& state = state_of(index);
  if (capture_of(state) == nullptr) return;
  const int64_t id = state.capture_id;
  state.capture = nullptr;
  cudaGraph_t recorded = nullptr;
  cudaStreamEndCapture(state.stream, &recorded);
  cudaGetLastError();  // a capture that CUDA itself has ended
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  forget(state, id);
}

void launch_graph(int index, int64_t id) {
  DeviceState& state = state_of(index);
  make_current(index);
  refuse_in_capture(state, "Launching a graph");
  Graph& graph = graph_of(state, id);
  require(cudaGraphLaunch(graph.executable, state.stream));
  ++state.graph_launches;
  graph.has_unseen_checks = !graph.checks.empty();
  if (!is_synchronous()) return;
  require(cudaStreamSynchronize(state.stream));
  report_checks(state);
}

void release_graph(int index, int64_t id) {
  DeviceState& state = state_of(index);
  make_current(index);
  refuse_in_capture(state, "Releasing a graph");
  if (state.graphs.find(id) == state.graphs.end()) return;
  ++state.waits;
  // What went wrong before is reported by what comes next: memory is given back all the same.
  if (cudaStreamSynchronize(state.stream) != cudaSuccess) cudaGetLastError();
  forget(state, id);
}

}  // namespace fms_accel::cuda
