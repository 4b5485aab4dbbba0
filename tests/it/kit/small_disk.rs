//! A disk that a test can fill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::directory::Directory;

/// A file system of 64 MiB; it goes when this is dropped, whoever uses it.
pub struct SmallDisk {
    path: PathBuf,
    _directory: Directory,
}

impl SmallDisk {
    /// `None`, and a word about it, where no file system can be mounted.
    #[expect(clippy::print_stderr, reason = "what was not checked is to be seen")]
    pub fn mount() -> Option<Self> {
        let directory = Directory::new();
        let path = directory.path().join("disk");
        std::fs::create_dir(&path).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&path).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("not checked: no file system can be mounted here");
        }
        mounted.then_some(Self { path, _directory: directory })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all the room that is left, as another program would. Removing the file gives it back.
    pub fn fill(&self) -> PathBuf {
        let file = self.path.join("of-another-program");
        let block = vec![0; 64 << 10];
        let mut into = std::fs::File::options().create(true).append(true).open(&file).expect("a file on the disk");
        while into.write_all(&block).is_ok() {}
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
