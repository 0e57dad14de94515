// Sets the time of day of a process off by as many seconds as CLOCK_OFF_SECONDS says: for LD_PRELOAD.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *to) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, to);
    const char *off = getenv("CLOCK_OFF_SECONDS");
    if (done == 0 && id == CLOCK_REALTIME && off) to->tv_sec += atol(off);
    return done;
}
