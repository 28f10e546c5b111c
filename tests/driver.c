/* A GPU driver's library with two devices of 24 GiB, for machines that have none. Built by tests/gpus.py. */

#include <string.h>

enum { OK = 0, WRONG = 2, DEVICES = 2 };

struct memory { unsigned long long total, free, used; };

static const char *const UUIDS[DEVICES] = {"GPU-0000aaaa-1111-2222-3333-444444444444", "GPU-0000bbbb-1111-2222-3333-444444444444"};

static int put(char *into, unsigned length, const char *text) {
    if (strlen(text) >= length) return WRONG;
    strcpy(into, text);
    return OK;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return OK; }
int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "the driver of the tests does not know that"; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12040; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = DEVICES; return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, const char *const **device) {
    if (index >= DEVICES) return WRONG;
    *device = &UUIDS[index];
    return OK;
}

int nvmlDeviceGetUUID(const char *const *device, char *into, unsigned length) { return put(into, length, *device); }

int nvmlDeviceGetName(const char *const *device, char *into, unsigned length) {
    (void)device;
    return put(into, length, "NVIDIA GeForce RTX 4090");
}

int nvmlDeviceGetMemoryInfo(const char *const *device, struct memory *found) {
    (void)device;
    found->total = 24ULL << 30;
    found->used = 1ULL << 30;
    found->free = found->total - found->used;
    return OK;
}

int nvmlDeviceGetPowerUsage(const char *const *device, unsigned *milliwatts) { (void)device; *milliwatts = 61000; return OK; }
