/* A Vulkan loader that hands everything on to the real one, and fails as a card does that is lost or whose memory is full.
 *
 * LOST_AFTER_SUBMITS=N  the device is lost at the N-th submission of work
 * MEMORY_MIB=N          no more than so much memory is given out */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*GetProcAddr)(void *, const char *);

enum { OUT_OF_DEVICE_MEMORY = -2, DEVICE_LOST = -4, BLOCKS = 65536 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GetProcAddr real_instance, real_device;
static long submits, is_lost;
static uint64_t given, blocks[BLOCKS][2];

static long setting(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

static long loses(void) {
    pthread_mutex_lock(&lock);
    long after = setting("LOST_AFTER_SUBMITS");
    if (after && ++submits >= after)
        is_lost = 1;
    pthread_mutex_unlock(&lock);
    return is_lost;
}

/* One for each function whose answer changes: what it was, and what it is here. */
static int32_t (*real_submit)(void *, uint32_t, const void *, void *);
static int32_t submit(void *queue, uint32_t count, const void *infos, void *fence) {
    return loses() ? DEVICE_LOST : real_submit(queue, count, infos, fence);
}

static int32_t (*real_submit2)(void *, uint32_t, const void *, void *);
static int32_t submit2(void *queue, uint32_t count, const void *infos, void *fence) {
    return loses() ? DEVICE_LOST : real_submit2(queue, count, infos, fence);
}

static int32_t (*real_wait_semaphores)(void *, const void *, uint64_t);
static int32_t wait_semaphores(void *device, const void *info, uint64_t timeout) {
    return is_lost ? DEVICE_LOST : real_wait_semaphores(device, info, timeout);
}

static int32_t (*real_counter)(void *, void *, uint64_t *);
static int32_t counter(void *device, void *semaphore, uint64_t *value) {
    return is_lost ? DEVICE_LOST : real_counter(device, semaphore, value);
}

static int32_t (*real_wait_fences)(void *, uint32_t, const void *, uint32_t, uint64_t);
static int32_t wait_fences(void *device, uint32_t count, const void *fences, uint32_t all, uint64_t timeout) {
    return is_lost ? DEVICE_LOST : real_wait_fences(device, count, fences, all, timeout);
}

struct MemoryInfo {
    uint32_t type;
    const void *next;
    uint64_t size;
};

static int32_t (*real_allocate)(void *, const struct MemoryInfo *, const void *, uint64_t *);
static int32_t allocate(void *device, const struct MemoryInfo *info, const void *allocator, uint64_t *memory) {
    long limit = setting("MEMORY_MIB");
    pthread_mutex_lock(&lock);
    if (limit && given + info->size > (uint64_t)limit << 20) {
        pthread_mutex_unlock(&lock);
        return OUT_OF_DEVICE_MEMORY;
    }
    int32_t result = real_allocate(device, info, allocator, memory);
    for (int i = 0; result == 0 && i < BLOCKS; i++) {
        if (blocks[i][0] == 0) {
            blocks[i][0] = *memory;
            blocks[i][1] = info->size;
            given += info->size;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void (*real_free)(void *, uint64_t, const void *);
static void give_back(void *device, uint64_t memory, const void *allocator) {
    pthread_mutex_lock(&lock);
    for (int i = 0; memory && i < BLOCKS; i++) {
        if (blocks[i][0] == memory) {
            given -= blocks[i][1];
            blocks[i][0] = blocks[i][1] = 0;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    real_free(device, memory, allocator);
}

static Function of_device(void *device, const char *name);

/* `found` itself, or what stands in for it. */
static Function wrapped(const char *name, Function found) {
    struct {
        const char *name;
        Function *real;
        Function ours;
    } all[] = {
        {"vkGetDeviceProcAddr", (Function *)&real_device, (Function)of_device},
        {"vkQueueSubmit", (Function *)&real_submit, (Function)submit},
        {"vkQueueSubmit2", (Function *)&real_submit2, (Function)submit2},
        {"vkQueueSubmit2KHR", (Function *)&real_submit2, (Function)submit2},
        {"vkWaitSemaphores", (Function *)&real_wait_semaphores, (Function)wait_semaphores},
        {"vkWaitSemaphoresKHR", (Function *)&real_wait_semaphores, (Function)wait_semaphores},
        {"vkGetSemaphoreCounterValue", (Function *)&real_counter, (Function)counter},
        {"vkGetSemaphoreCounterValueKHR", (Function *)&real_counter, (Function)counter},
        {"vkWaitForFences", (Function *)&real_wait_fences, (Function)wait_fences},
        {"vkAllocateMemory", (Function *)&real_allocate, (Function)allocate},
        {"vkFreeMemory", (Function *)&real_free, (Function)give_back},
    };
    for (size_t i = 0; found && i < sizeof all / sizeof *all; i++) {
        if (strcmp(name, all[i].name) == 0) {
            *all[i].real = found;
            return all[i].ours;
        }
    }
    return found;
}

static Function of_device(void *device, const char *name) {
    return wrapped(name, real_device(device, name));
}

Function vkGetInstanceProcAddr(void *instance, const char *name) {
    if (!real_instance) {
        void *loader = dlopen(getenv("REAL_VULKAN"), RTLD_NOW | RTLD_LOCAL);
        if (!loader)
            return 0;
        real_instance = (GetProcAddr)dlsym(loader, "vkGetInstanceProcAddr");
    }
    return wrapped(name, real_instance(instance, name));
}
