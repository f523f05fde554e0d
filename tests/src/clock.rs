//! A wall clock that jumps for one process: a small library, loaded before the system's, adds what a
//! file says to the time. Monotonic clocks are left alone, as a machine's are when its time is set.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *seconds;

__attribute__((constructor)) static void open_file(void) {
    const char *path = getenv("TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) seconds = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && seconds && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += *seconds;
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// The clock of the processes that are started with its settings.
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that goes right. It needs the C compiler that links the tests, too.
    pub fn new(folder: &Path) -> Self {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        std::fs::write(&source, LIBRARY).expect("writes");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        let compiled = compiler.output().expect("`cc` is installed");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let clock = Self { file: folder.join("clock"), library };
        clock.set(0);
        clock
    }

    /// What a process needs in its environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let shown = |path: &Path| path.display().to_string();
        [("LD_PRELOAD", shown(&self.library)), ("TEST_CLOCK", shown(&self.file))]
    }

    /// Lets it go wrong by so many seconds from now on.
    pub fn set(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.file);
        // In place: whoever has the file open sees it.
        file.expect("a file").write_all_at(&seconds.to_ne_bytes(), 0).expect("writes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_the_time_that_was_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::new(folder.path());
        clock.set(-400 * 86_400);
        let year = |environment: &[(&str, String)]| {
            let said = Command::new("date").arg("+%s").envs(environment.iter().cloned()).output();
            let said = said.expect("`date` is installed").stdout;
            String::from_utf8_lossy(&said).trim().parse::<i64>().expect("seconds")
        };
        let days = (year(&[]) - year(&clock.environment())) / 86_400;
        assert!((399..=400).contains(&days), "{days}");
    }
}
