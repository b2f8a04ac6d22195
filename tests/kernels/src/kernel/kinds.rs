//! The file systems that are measured, as they are made and mounted.

use crate::{Error, Result};
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// A file system with its mount options, and the model that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name in fixtures and reports.
    pub name: &'static str,
    /// For mount(2).
    pub fs: &'static str,
    /// For mount(2).
    pub options: &'static str,
    /// For the mount that reads a crash image.
    pub reading: &'static str,
    /// The model, by name.
    pub model: &'static str,
    /// Commits by itself every second if it is mounted with `commit=1`.
    pub commits: bool,
    tool: &'static str,
    mib: u64,
}

const EXT4: Kind = Kind {
    name: "ext4-ordered",
    fs: "ext4",
    options: "",
    reading: "",
    model: "ext4-ordered",
    commits: true,
    tool: "mkfs.ext4 -q -F -b 4096 -J size=4 -N 256 -E lazy_itable_init=0,lazy_journal_init=0",
    mib: 32,
};

static KINDS: [Kind; 9] = [
    EXT4,
    // Both are without dioread_nolock, so that writes put zeros beside themselves (effect/unwritten.rs): the model of
    // whatever else may be mounted. (Nothing else tells them from the defaults, see tests/fixtures.rs.)
    Kind { name: "ext4-nodelalloc", options: "nodelalloc", model: "ext4-writeback", ..EXT4 },
    Kind { name: "ext4-dioread_lock", options: "dioread_lock", model: "ext4-writeback", ..EXT4 },
    // Its model is the one that waits for nothing at a rename: that of data=writeback, which allows more besides.
    Kind { name: "ext4-noauto", options: "noauto_da_alloc", model: "ext4-writeback", ..EXT4 },
    Kind { name: "ext4-writeback", options: "data=writeback", model: "ext4-writeback", ..EXT4 },
    Kind {
        name: "ext4-writeback-lock",
        options: "data=writeback,dioread_lock",
        model: "ext4-writeback",
        ..EXT4
    },
    Kind { name: "ext4-journal", options: "data=journal", model: "ext4-journal", ..EXT4 },
    Kind {
        name: "xfs",
        fs: "xfs",
        options: "",
        reading: "nouuid",
        model: "xfs",
        commits: false,
        tool: "mkfs.xfs -q -f --unsupported",
        mib: 32,
    },
    Kind {
        name: "btrfs",
        fs: "btrfs",
        options: "nodiscard",
        reading: "",
        model: "btrfs",
        commits: true,
        tool: "mkfs.btrfs -q -f -m single -d single",
        mib: 112,
    },
];

/// All of them.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

/// The one of this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

impl Kind {
    /// The program that makes it.
    pub fn tool(&self) -> &'static str {
        self.tool.split(' ').next().unwrap_or(self.tool)
    }

    /// The mount options, with those of a variant.
    pub fn options_with(&self, more: &str) -> String {
        let all = [self.options, more];
        all.iter().filter(|o| !o.is_empty()).copied().collect::<Vec<_>>().join(",")
    }

    /// A fresh file system, made in a file in `dir`.
    ///
    /// # Errors
    /// The tool failed.
    pub fn make(&self, dir: &Path) -> Result<Vec<u8>> {
        let path = dir.join("fresh");
        let file = File::create(&path).map_err(Error::at(&path))?;
        file.set_len(self.mib << 20).map_err(Error::at(&path))?;
        drop(file);
        let mut words = self.tool.split(' ');
        let tool = words.next().unwrap_or_default();
        let out = Command::new(tool)
            .args(words)
            .arg(&path)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .output()
            .map_err(Error::io(tool))?;
        if !out.status.success() {
            let stderr = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            return Err(Error::Tool { tool: tool.into(), stderr });
        }
        let bytes = std::fs::read(&path).map_err(Error::at(&path))?;
        std::fs::remove_file(&path).map_err(Error::at(&path))?;
        Ok(bytes)
    }
}
