//! Whether the recorder gets into a program at all: asked before it is run, for afterwards the whole run would have
//! been for nothing.

use crate::record::RecordError;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Refuses a program that the dynamic linker does not load the recorder into. One that is not there, or cannot be
/// read, is left to whoever starts it: the error is better there.
pub(crate) fn check(program: &Path) -> Result<(), RecordError> {
    let Some(path) = found(program) else { return Ok(()) };
    let Some(head) = head(&path) else { return Ok(()) };
    // A script is run by its interpreter, and privileges of a script are ignored by Linux.
    let (path, head) = match interpreter(&head) {
        Some(interpreter) => match self::head(&interpreter) {
            Some(head) => (interpreter, head),
            None => return Ok(()),
        },
        None => (path, head),
    };
    let refused =
        |why, hint| Err(RecordError::NotLoadable { program: path.display().to_string(), why, hint });
    if is_privileged(&path) {
        return refused(
            "gains privileges (set-user-id or set-group-id)",
            "run it as that user, without the bit",
        );
    }
    if is_static(&head) {
        return refused("is a static program", "link it dynamically");
    }
    Ok(())
}

/// Where a program stands: a name without a slash is looked for in `PATH`.
fn found(program: &Path) -> Option<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Some(program.to_path_buf());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The program headers lie in front, and a `#!` line is short.
const HEAD: u64 = 64 << 10;

fn head(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.trim_ascii().split(|b| *b == b' ' || *b == b'\t').next()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(word)))
}

fn is_privileged(path: &Path) -> bool {
    const SET_USER: u32 = 0o4000;
    const SET_GROUP: u32 = 0o2000;
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    std::fs::metadata(path).is_ok_and(|m| {
        m.mode() & SET_USER != 0 && m.uid() != user || m.mode() & SET_GROUP != 0 && m.gid() != group
    })
}

/// A 64-bit ELF file without a program interpreter (elf(5)). What is no such file is not judged.
fn is_static(head: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: u64, len: usize| -> Option<u64> {
        let bytes = head.get(usize::try_from(at).ok()?..)?.get(..len)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    let kinds = (0..count).map(|i| number(table.saturating_add(i * size), 4));
    // A table that lies further behind is not judged.
    kinds.into_iter().collect::<Option<Vec<_>>>().is_some_and(|kinds| !kinds.contains(&PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_every_kind() {
        check(Path::new("sh")).unwrap();
        check(Path::new("/bin/sh")).unwrap();
        check(&std::env::current_exe().unwrap()).unwrap();
        check(Path::new("no-such-program")).unwrap();
        // The dynamic linker itself has no interpreter.
        let linker = Path::new("/lib64/ld-linux-x86-64.so.2");
        if linker.exists() {
            let error = check(linker).unwrap_err().to_string();
            assert!(
                error.contains("is a static program") && error.contains("link it dynamically"),
                "{error}"
            );
            let dir = tempfile::tempdir().unwrap();
            let script = dir.path().join("script");
            std::fs::write(&script, format!("#! {} --help\n", linker.display())).unwrap();
            assert!(check(&script).is_err());
            std::fs::write(&script, "#!/bin/sh\n").unwrap();
            check(&script).unwrap();
        }
    }
}
