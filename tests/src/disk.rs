//! A small disk that can be filled up: a file system in memory, mounted where a server keeps its files.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// Mounted until it is dropped.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts an empty disk over a folder, which is made. Only root may: who may not is told so,
    /// and the test fails rather than pass without its fault.
    pub fn mount(path: &Path, megabytes: u32) -> Self {
        std::fs::create_dir_all(path).expect("a folder");
        let size = format!("size={megabytes}m,mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        let mounted = mounted.expect("`mount` is installed");
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "a full disk needs the right to mount one (run as root): {said}");
        Self { path: path.to_owned() }
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes all that is free, to the last byte.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("the disk was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a process that is about to end has files open there.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("`{}` is still mounted", self.path.display());
        }
    }
}
