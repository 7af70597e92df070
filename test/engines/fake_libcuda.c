/* A libcuda.so.1 over host memory, for tests of the ctypes layer and of what happens where the driver
 * is there but does not work. FAKE_CUDA_INIT: code of cuInit; FAKE_CUDA_DEVICES: how many there are.
 * Copies run at once, or are recorded while a stream captures and run when the graph is launched. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define BAD 1
#define NO_CONTEXT 201
typedef struct { char *to; const char *from; size_t size; } Copy;
typedef struct { int count; Copy copies[64]; } Graph;
typedef struct { int capturing; Graph *graph; uint32_t magic; } Stream;
static __thread void *current;
static int context, retained, live;
static Stream the_stream;
static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}
int fake_live(void) { return live + retained; }
int cuInit(unsigned flags) { return flags ? BAD : number("FAKE_CUDA_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuGetErrorName(int code, const char **name) {
  *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 999 ? "CUDA_ERROR_UNKNOWN"
        : code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == NO_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT"
        : code == BAD ? "CUDA_ERROR_INVALID_VALUE" : 0;
  return *name ? 0 : BAD;
}
int cuDeviceGetCount(int *count) { *count = number("FAKE_CUDA_DEVICES", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? BAD : 0; }
int cuDeviceGetName(char *name, int size, int device) {
  strncpy(name, "Orin", (size_t)size);
  return device ? BAD : 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 16 ? 16 : -1;
  return *value < 0 || device ? BAD : 0;
}
int cuDevicePrimaryCtxRetain(void **made, int device) { *made = &context; retained++; return device ? BAD : 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { retained--; return device ? BAD : 0; }
int cuCtxSetCurrent(void *given) { current = given; return given == &context ? 0 : BAD; }
#define NEED_CONTEXT if (current != &context) return NO_CONTEXT
int cuStreamCreate(void **made, unsigned flags) {
  NEED_CONTEXT; live++; the_stream.magic = 7; *made = &the_stream; return flags == 1 ? 0 : BAD;
}
#define NEED_STREAM NEED_CONTEXT; if (given != &the_stream || the_stream.magic != 7) return BAD
int cuStreamDestroy_v2(void *given) { NEED_STREAM; live--; the_stream.magic = 0; return 0; }
int cuStreamSynchronize(void *given) { NEED_STREAM; return the_stream.capturing ? 900 : 0; }
int cuStreamBeginCapture_v2(void *given, int mode) {
  NEED_STREAM;
  if (mode != 1 || the_stream.capturing) return BAD;
  the_stream.capturing = 1; the_stream.graph = calloc(1, sizeof(Graph)); live++;
  return 0;
}
int cuStreamEndCapture(void *given, void **made) {
  NEED_STREAM;
  if (!the_stream.capturing) return BAD;
  the_stream.capturing = 0; *made = the_stream.graph;
  return 0;
}
int cuGraphInstantiateWithFlags(void **made, void *graph, unsigned long long flags) {
  NEED_CONTEXT;
  Graph *copy = malloc(sizeof(Graph)); live++;
  memcpy(copy, graph, sizeof(Graph)); *made = copy;
  return flags ? BAD : 0;
}
int cuGraphDestroy(void *graph) { NEED_CONTEXT; free(graph); live--; return 0; }
int cuGraphExecDestroy(void *graph) { NEED_CONTEXT; free(graph); live--; return 0; }
static int copy(void *given, char *to, const char *from, size_t size) {
  NEED_STREAM;
  if (!the_stream.capturing) { memcpy(to, from, size); return 0; }
  if (the_stream.graph->count == 64) return BAD;
  the_stream.graph->copies[the_stream.graph->count++] = (Copy){to, from, size};
  return 0;
}
int cuGraphLaunch(void *graph, void *given) {
  NEED_STREAM;
  Graph *g = graph;
  for (int i = 0; i < g->count; i++) memcpy(g->copies[i].to, g->copies[i].from, g->copies[i].size);
  return the_stream.capturing ? BAD : 0;
}
static int event;
int cuEventCreate(void **made, unsigned flags) { NEED_CONTEXT; live++; *made = &event; return flags == 2 ? 0 : BAD; }
int cuEventRecord(void *e, void *given) { NEED_STREAM; return e == &event ? 0 : BAD; }
int cuEventSynchronize(void *e) { NEED_CONTEXT; return e == &event ? 0 : BAD; }
int cuEventDestroy_v2(void *e) { NEED_CONTEXT; live--; return e == &event ? 0 : BAD; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  NEED_CONTEXT;
  void *memory = 0;
  if (size > (1u << 30) || posix_memalign(&memory, 256, size)) return 2;
  live++; *address = (uint64_t)memory;
  return 0;
}
int cuMemFree_v2(uint64_t address) { NEED_CONTEXT; free((void *)address); live--; return 0; }
int cuMemHostAlloc(void **made, size_t size, unsigned flags) {
  NEED_CONTEXT; live++; *made = malloc(size); return flags ? BAD : 0;
}
int cuMemFreeHost(void *memory) { NEED_CONTEXT; free(memory); live--; return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *s) { return copy(s, (char *)to, from, size); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *s) { return copy(s, to, (char *)from, size); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void *s) { return copy(s, (char *)to, (char *)from, size); }
