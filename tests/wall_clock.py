"""A wall clock that a test can set, for processes that it starts."""

import shutil
import subprocess
from pathlib import Path

# A library that stands before the C library's own clock functions and adds the seconds that a file
# holds. The monotonic clock stays as it is.
SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_SHIFT"), "r");
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, at);
    if (clock == CLOCK_REALTIME) at->tv_sec += shift();
    return code;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    int code = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return code;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class WallClock:
    """Set by `step`; processes with `environment` go by it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock-shift"
        library = folder / "clock.so"
        (folder / "clock.c").write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "clock.c"), "-ldl"]
        subprocess.run(command, check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}
        self.step(0)

    @staticmethod
    def can_be_set() -> bool:
        return shutil.which("cc") is not None

    def step(self, seconds: int) -> None:
        """Let the clock be this much ahead of the real one; negative is behind."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(str(seconds))
        unfinished.replace(self._file)
